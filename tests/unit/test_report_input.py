"""What the report says of the input (what check found there, the mask) and of predictions that are missing."""

from __future__ import annotations

import base64
import dataclasses
import io
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from report_job import Page, finished, job_at, put_json, row

from isonet2.io.star import read_star, write_star
from isonet2.job.load import dump_job
from isonet2.job.models import Job
from isonet2.job.resolved import resolved_job
from isonet2.parallel.world import World
from isonet2.report.input_check import input_check
from isonet2.report.records import read_records
from isonet2.report.unfinished import unfinished
from isonet2.stages import report

CURE = "set rlnTiltMin -61"


def found(tomogram: str, subject: str, verdict: str, seen: str = "15 Å", cure: str = "") -> dict[str, str]:
    return {"tomogram": tomogram, "subject": subject, "verdict": verdict, "seen": seen, "cure": cure}


def put_check(job: Job, *findings: dict[str, str], drawn: tuple[str, ...] = ()) -> None:
    measured = {name: {"picture": f"{name}.png"} for name in drawn}
    put_json(job.path("check/check.json"), {"keys": {}, "findings": findings, "measured": measured})
    for name in drawn:
        Image.fromarray(np.full((90, 300, 3), 200, dtype=np.uint8)).save(job.path(f"check/{name}.png"))


def test_what_check_found_wrong_is_in_the_overview_and_all_of_it_with_its_picture_on_the_tomograms_page(
    tmp_path: Path,
) -> None:
    job = finished(tmp_path, ("t1", "t2"), report={})
    before = report.inputs(job)
    wrong = found("t1", "tilts", "error", "−61…61° measured", CURE)
    put_check(job, found("t1", "pixel size", "fine"), wrong, found("t2", "pixel size", "fine"), drawn=("t1", "t2"))
    assert report.inputs(job).keys() - before.keys() == {str(job.path("check/check.json"))}
    report.run(job, World())
    page = Page(job.path("report.html"))
    pages = dict(re.findall(r'<section class="page" id="([^"]+)">(.*?)</section>', page.source, re.DOTALL))
    assert f"Tilts: certainly wrong (t1)</dt><dd>−61…61° measured → {CURE}." in pages["overview"]
    assert "isonet2 check looked at 2 of 2 tomograms: 1 × error, 2 × fine." in pages["overview"]
    assert "Pixel size" not in pages["overview"]
    assert '<details class="checked" open>' in pages["tomogram-1"]
    assert '<details class="checked">' in pages["tomogram-2"]  # nothing is wrong there
    assert pages["tomogram-1"].index("Tilts: certainly wrong") < pages["tomogram-1"].index("Pixel size: fine")
    assert "Tilts: certainly wrong" not in pages["tomogram-2"]
    for number in ("1", "2"):
        (uri,) = re.findall(
            rf'src="([^"]+)" alt="what isonet2 check measured in t{number}', pages[f"tomogram-{number}"]
        )
        with Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))) as picture:
            assert picture.size == (300, 90)


def test_without_a_check_nothing_is_said_of_one_and_a_good_one_takes_a_sentence(tmp_path: Path) -> None:
    job = finished(tmp_path, report={})
    report.run(job, World())
    assert "isonet2 check" not in Page(job.path("report.html")).text
    put_check(job, found("t1", "tilts", "fine"), found("gone", "tilts", "error"))
    report.run(job, World())
    text = Page(job.path("report.html")).text
    assert "isonet2 check looked at 1 of 1 tomogram: 1 × fine." in text
    assert "What may be wrong" not in text


@pytest.mark.parametrize("content", ["", "[]", '{"keys": {}}', '{"keys": {}, "findings": [{"a": 1}], "measured": {}}'])
def test_a_damaged_record_of_a_check_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "check").mkdir()
    (tmp_path / "check/check.json").write_text(content)
    assert input_check(job_at(tmp_path), [row(1, tomogram="t1.mrc")]) is None


def test_one_mistake_in_many_tomograms_is_one_warning_errors_before_doubts(tmp_path: Path) -> None:
    names = [f"t{number}" for number in range(1, 8)]
    job = job_at(tmp_path)
    put_check(
        job,
        *(found(name, "pixel size", "doubt", f"{name} seems small") for name in names),
        found("t2", "files", "error", "cut off"),
        found("t2", "files", "error", "also a map of t3"),
    )
    check = input_check(job, [row(number, tomogram=f"{name}.mrc") for number, name in enumerate(names, start=1)])
    assert check is not None
    assert check.warnings == [
        ("Files: certainly wrong (t2)", "bad", "cut off. also a map of t3."),
        ("Pixel size: probably wrong (t1, t2, t3, t4 and 3 more)", "caution", "t1: t1 seems small."),
    ]


def test_maps_that_are_newer_than_the_check_are_named(tmp_path: Path) -> None:
    job = finished(tmp_path, ("t1", "t2"))
    put_check(job, found("t1", "tilts", "fine"), found("t2", "tilts", "fine"))
    rows, written = read_star(job.path("tomograms.star")), job.path("check/check.json").stat().st_mtime
    for name, age in (("even/t1", -5), ("odd/t1", -5), ("even/t2", -5), ("odd/t2", 5)):
        os.utime(job.path(f"{name}.mrc"), (written, written + age))
    check = input_check(job, rows)
    assert check is not None
    assert check.renewed == ["t2"]
    assert "Maps of t2 are newer: isonet2 check looks again." in check.sentence


def test_the_mask_lies_over_raw_or_what_was_deconvolved_with_the_share_that_make_mask_kept(tmp_path: Path) -> None:
    job = finished(tmp_path, report={})
    put_json(job.path("stages/make_mask.json"), {
        "stage": "make_mask", "seconds": 1.0, "ranks": 1, "finished": "2026-11-22T15:01:00+00:00",
        "facts": {"masks": {"t1": {"file": "mask/t1.mrc", "kept": 0.4049}}},
    })  # fmt: skip
    seen = []
    for deconvolved in (None, "even/t1.mrc"):
        (only,) = read_star(job.path("tomograms.star"))
        write_star(job.path("tomograms.star"), [dataclasses.replace(only, deconvolved=deconvolved)])
        report.run(job, World())
        page = Page(job.path("report.html"))
        assert "which holds 40 % of the voxels" in page.text
        masked = {str(image["alt"]) for image in page.all("img") if "under its mask" in str(image["alt"])}
        seen.append({alt.split(", ")[1] for alt in masked if alt.startswith(("xy", "xz", "yz"))})
    assert seen == [{"raw"}, {"deconvolved"}]


def left_out(job: Job) -> Any:
    return unfinished(job, read_star(job.path("tomograms.star")), read_records(job), "corrected")


def interrupted(folder: Path, *names: str, **predict: Any) -> Job:
    """As predict leaves it that was stopped after the first tomogram: no record, the others not named in the list."""
    finished(folder, names, report={})
    job = job_at(folder, predict={"tile_batch": 2, **predict})
    job.path("stages/predict.json").unlink()
    rows = read_star(job.path("tomograms.star"))
    write_star(job.path("tomograms.star"), [rows[0], *(dataclasses.replace(one, corrected=None) for one in rows[1:])])
    return job


def test_a_finished_predict_leaves_nothing_to_say(tmp_path: Path) -> None:
    assert left_out(finished(tmp_path, ("t1", "t2"))) is None


def test_a_report_after_an_interrupted_predict_says_what_is_missing_why_and_what_to_run(tmp_path: Path) -> None:
    job = interrupted(tmp_path, "t1", "t2", "t3", "t4")
    (tmp_path / "resolved.yaml").write_text(dump_job(job))
    for name, note in {"2.fail": "CUDA out of memory.\nmore", "3.running": "{}", "1.fail": "an old one"}.items():
        job.path("stages/predict").mkdir(exist_ok=True)
        job.path(f"stages/predict/{name}").write_text(note)
    report.run(job_at(tmp_path, report={"with_comparison": False}), World())
    page = Page(job.path("report.html"))
    assert "Of 4 tomograms (16 × 24 × 20 voxels of 10 Å), 1 has been corrected." in page.text
    assert (
        "3 of 4 tomograms have no corrected map. t2: its task failed: CUDA out of memory; t3: its task was killed; "
        "t4: predict did not come to it. This goes on, and keeps what is whole: "
        "isonet2 predict tomograms.star --tile_batch 2 --model isonet_maps/network.pt isonet2 report tomograms.star"
    ) in page.text
    assert "t2 Not corrected: its task failed: CUDA out of memory" in page.text  # in the table of all
    assert page.text.count("Not corrected: predict did not come to it") == 2  # and on its page


def test_the_job_file_goes_on_if_it_is_that_which_ran(tmp_path: Path) -> None:
    job = interrupted(tmp_path, "t1", "t2")
    job.path("job.yaml").write_text("predict: {model: isonet_maps/network.pt}\n")  # of another predict
    assert left_out(job).commands[0].startswith("isonet2 predict tomograms.star")
    job.path("job.yaml").write_text("prepare_star: {full: raw}\nrefine: {method: isonet2}\npredict: {tile_batch: 2}\n")
    assert left_out(job).commands == ["isonet2 run job.yaml"]


def test_a_map_that_was_deleted_is_missing_and_one_that_nobody_asked_for_is_not(tmp_path: Path) -> None:
    job = finished(tmp_path, ("t1", "t2"))
    rows = read_star(job.path("tomograms.star"))
    write_star(job.path("tomograms.star"), [rows[0], dataclasses.replace(rows[1], corrected=None)])
    assert left_out(job) is None
    job.path("out/corrected_t1.mrc").unlink()
    assert left_out(job).reasons == {"t1": "its map, which the list names, is not there any more"}
    job.path("even/t1.mrc").unlink()
    assert "raw maps" in left_out(job).reasons["t1"]


def test_only_what_tomo_idx_chose_is_missed_also_in_a_list_that_has_changed(tmp_path: Path) -> None:
    job = interrupted(tmp_path, "t1", "t2", "t3", tomo_idx="1-2")
    assert list(left_out(job).reasons) == ["t2"]
    changed = job_at(tmp_path, predict={"tomo_idx": "9"})
    assert left_out(changed).finding.state == "caution"  # all that the list names is there; but predict did not end


def test_denoised_maps_of_an_interrupted_predict_are_found(tmp_path: Path) -> None:
    job = interrupted(tmp_path, "t1")
    (only,) = read_star(job.path("tomograms.star"))
    write_star(job.path("tomograms.star"), [dataclasses.replace(only, corrected=None, denoised=only.corrected)])
    report.run(job_at(tmp_path, report={"with_comparison": False}), World())
    assert "The noise of 1 tomogram" in Page(job.path("report.html")).text


def test_a_report_without_comparison_leaves_a_job_that_loads_again(tmp_path: Path) -> None:
    job = job_at(tmp_path, report={"with_comparison": False})
    (tmp_path / "resolved.yaml").write_text(dump_job(job))
    resolved = resolved_job(tmp_path)
    assert resolved is not None
    assert resolved.report == job.report

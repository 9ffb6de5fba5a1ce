from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mrcfile
import numpy as np
import pytest
from PIL import Image
from report_job import Page, finished, job_at, put_json, row, smooth, write

from isonet2 import log
from isonet2.errors import UserError
from isonet2.io.star import write_star
from isonet2.job.models import Job
from isonet2.parallel.world import World
from isonet2.report import overview, words
from isonet2.report.records import StageRecord
from isonet2.stages import report


@dataclass(frozen=True)
class Written:
    job: Job
    facts: dict[str, Any]
    page: Page


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The report of two tomograms with everything that can be in it."""
    job = finished(tmp_path_factory.mktemp("job"), ("t1", "t2"), with_metrics=True)
    facts = report.run(job, World())
    return Written(job, facts, Page(job.path("report.html")))


def test_the_page_needs_no_other_file_and_every_picture_is_whole_and_has_words(written: Written) -> None:
    page = written.page
    assert not {"script", "link", "iframe", "object", "source"} & {tag for tag, _ in page.elements}
    assert "url(" not in page.source
    assert "@import" not in page.source
    images = page.all("img")
    assert len(images) > 25
    for image in images:
        assert image["alt"]
        header, data = str(image["src"]).split(",")
        assert header == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as picture:
            picture.load()
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    links = [str(link["href"]) for link in page.all("a")]
    pages = [link for link in links if not link.startswith("https://")]
    assert all(link.startswith("#") and link[1:] in ids for link in pages)
    assert len(ids) == sum("id" in attributes for _, attributes in page.elements)
    assert len(page.source.encode()) < 6e6


def test_every_page_of_the_file_is_in_its_navigation_and_one_shows_without_a_choice(written: Written) -> None:
    source = written.page.source
    pages = [str(section["id"]) for section in written.page.all("section") if section.get("class") == "page"]
    assert pages == ["overview", "tomograms", "tomogram-1", "tomogram-2", "training", "methods", "run", "limits",
                     "glossary"]  # fmt: skip
    navigation = source[source.index("<nav") : source.index("</nav>")]
    assert re.findall(r'href="#(.*?)"', navigation) == [*pages, "all"]
    for page in pages:
        assert f'body:has(#{page}:target) nav a[href="#{page}"]' in source
    assert "body:not(:has(:target)) #overview { display: block; }" in source
    assert '<a href="#tomogram-2">t2 →</a>' in source
    assert '<a href="#tomogram-1">← t1</a>' in source


def test_the_page_says_what_was_run_where_and_what_it_took(written: Written) -> None:
    for expected in (
        "prepare_star kept from an earlier run 0.5 s 2 0.8 GB to 1.2 GB",  # it ended at 14:59, this run began at 15:00
        "refine run 5 min 40 s 2",
        "extract not run –",
        "speed 61.74",
        "5 < 6 & 7",
        "node017",
        "seed 0",
        "arch: unet-tiny # resolved",
        "1.8 million parameters (unet-tiny, isonet2-n2n)",
        "for 4 epochs (200 steps); its loss went from 2 to 0.5",
        "All stages together took 5 min 48 s, 98 % of it in refine; no rank needed more than 1.2 GB",
        "Epoch 4: power inside the wedge over measured 0.40",
        "same network, not independent",
        "learned, not measured",
        "13, 6482 (2022)",
        "2025.12.09.693325",
        "15, 8255 (2024)",
        "10.48550/arXiv.1803.04189",
    ):
        assert expected in written.page.text
    assert "git revision" not in written.page.text


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel().astype(np.float64), b.ravel().astype(np.float64))[0, 1])


def test_the_truth_table_holds_the_mean_correlations_of_raw_linear_and_corrected(written: Written) -> None:
    job, facts = written.job, written.facts
    table = json.loads(job.path("truth.json").read_text())
    assert facts["truth"] == table
    assert facts["outputs"] == ["report.html", "out/corrected_t1.json", "out/corrected_t2.json", "truth.json"]
    expected: dict[str, list[float]] = {"raw": [], "corrected": []}
    for name in ("t1", "t2"):
        even, odd, truth = (mrcfile.read(job.path(f"{kind}/{name}.mrc")) for kind in ("even", "odd", "truth"))
        expected["raw"].append(pearson((even + odd) / 2, truth))
        expected["corrected"].append(pearson(mrcfile.read(job.path(f"out/corrected_{name}.mrc")), truth))
        assert table["tomograms"][name]["raw"]["cc"] == pytest.approx(expected["raw"][-1], abs=1e-5)
    assert {key: table[key]["cc"] for key in expected} == pytest.approx(
        {key: np.mean(values) for key, values in expected.items()}, abs=1e-5
    )
    assert set(table["linear"]) == {"cc", "cc_measured", "cc_wedge"}
    assert table["raw"]["cc"] < table["linear"]["cc"]
    raw, corrected = (words.correlation(table[name]["cc"]) for name in ("raw", "corrected"))
    assert f"The correlation with the known truth went from {raw} to {corrected}" in written.page.text


def test_only_tomograms_that_are_corrected_count_for_the_mean_of_corrected(tmp_path: Path) -> None:
    job = finished(tmp_path, ("t1", "t2"))
    job.path("out/corrected_t2.mrc").unlink()
    table = report.run(job, World())["truth"]
    assert table["corrected"] == table["tomograms"]["t1"]["corrected"]
    assert set(table["tomograms"]["t2"]) == {"raw", "linear"}


def test_a_list_with_one_int8_tomogram_and_its_mask_is_enough(tmp_path: Path, real_data: Path) -> None:
    """The real tomogram of the shared data, 36×206×94."""
    source = real_data / "microtubule_13pf.mrc"
    volume = mrcfile.read(source)
    mask = np.zeros(volume.shape, dtype=np.int8)
    mask[10:26, 50:150, 30:60] = 1
    write(tmp_path / "mask.mrc", mask)
    real = replace(row(1), tomogram=str(source), mask="mask.mrc", pixel_size_angstrom=10.52, tilt_min_deg=-66.0)
    write_star(tmp_path / "tomograms.star", [real])
    report.run(job_at(tmp_path, make_mask={}), World())
    page = Page(tmp_path / "report.html")
    assert "1 tomogram (36 × 206 × 94 voxels of 10.52 Å); nothing has been corrected yet" in page.text
    assert "make_mask not run" in page.text
    assert "Training" not in page.text
    planes = {image["alt"]: image["src"] for image in page.all("img")}
    xy = str(planes["xy plane through the middle of microtubule_13pf, raw"]).split(",")[1]
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(xy)))).astype(float)
    assert pearson(picture[::-1], volume[18].astype(float)) > 0.99
    assert [alt for alt in planes if alt and alt.startswith("the mask")] == [
        f"the mask in the plane {plane}" for plane in ("xy", "xz", "yz")
    ]
    bars = [span["style"] for span in page.all("span") if span.get("class") == "bar"]
    assert bars == 2 * ["width: 20.22%", "width: 20.22%", "width: 23.07%"]  # 20 of 98.9 nm, and 50 of 216.7 nm
    assert page.text.count("20 nm raw") == 4
    assert f'aspect-ratio: {94 / 206:.4f}"' in page.source
    slopes = [-float(str(line["y2"])) / float(str(line["x2"])) for line in page.all("line")]
    assert slopes == pytest.approx([np.tan(np.deg2rad(-66)), np.tan(np.deg2rad(60))])


def test_a_job_that_only_reports_finds_what_an_earlier_job_left(tmp_path: Path) -> None:
    folder = finished(tmp_path, with_metrics=True).folder
    report.run(job_at(folder), World())
    text = Page(folder / "report.html").text
    assert "A network of 1.8 million parameters (unet-tiny, isonet2-n2n) learned from these tomograms alone" in text
    assert "refine run 5 min 40 s" in text


def test_names_from_the_user_are_text_and_never_markup(tmp_path: Path) -> None:
    job = finished(tmp_path, ("<i>a & b",), report={})
    report.run(job, World())
    page = Page(job.path("report.html"))
    assert "i" not in {tag for tag, _ in page.elements}
    assert "b" not in {tag for tag, _ in page.elements}
    assert "<i>a & b 16 × 24 × 20 voxels" in page.text


def test_the_first_six_tomograms_are_drawn_and_the_rest_and_the_missing_are_named(tmp_path: Path) -> None:
    rows = [row(number, tomogram=f"n{number}.mrc") for number in range(1, 10)]
    for number in {*range(1, 10)} - {3}:
        write(tmp_path / f"n{number}.mrc", smooth(number))
    write_star(tmp_path / "tomograms.star", rows)
    report.run(job_at(tmp_path), World())
    page = Page(tmp_path / "report.html")
    pages = [element["id"] for element in page.all("section") if str(element.get("id")).startswith("tomogram-")]
    assert len(pages) == report.SHOWN == 6
    assert "2 more tomograms are in the list; the first 6 are drawn" in page.text
    assert "Listed, but not there any more: n3." in page.text


def test_every_tomogram_is_judged_also_those_that_are_not_drawn_and_beside_its_map(tmp_path: Path) -> None:
    names = tuple(f"t{number}" for number in range(1, 9))
    job = finished(tmp_path, names, report={})
    facts = report.run(job, World())
    assert tuple(facts["support"]) == names
    cell = r'<td class="words">(.*?)</td>'
    row = rf'<tr><th scope="row">(?:<a href="#tomogram-\d">)?(t\d)(?:</a>)?</th>{cell}{cell}</tr>'
    rows = re.findall(row, Page(job.path("report.html")).source)
    for name in names:
        beside = json.loads(job.path(f"out/corrected_{name}.json").read_text())
        assert f"out/corrected_{name}.json" in facts["outputs"]
        assert beside.items() >= facts["support"][name].items()
        (said,) = [verdicts for found, *verdicts in rows if found == name]
        assert [
            facts["support"][name][region]["sentence"].split(":")[0] for region in ("measured region", "missing wedge")
        ] == said


def test_nothing_is_written_beside_a_map_that_predict_did_not_make(tmp_path: Path) -> None:
    job = finished(tmp_path, report={}, predict={"outputs": []})
    assert report.run(job, World())["outputs"] == ["report.html"]
    assert not job.path("out/corrected_t1.json").exists()


def test_the_predictions_are_compared_with_what_predict_has_read(tmp_path: Path) -> None:
    """With the true map in the place of what it read, the agreement is another one."""
    job = finished(tmp_path, report={})
    shares = []
    for maps in (["even/t1.mrc", "odd/t1.mrc"], ["truth/t1.mrc"]):
        record = json.loads(job.path("stages/predict.json").read_text())
        record["facts"]["maps"] = {"t1": maps}
        put_json(job.path("stages/predict.json"), record)
        shares.append(report.run(job, World())["support"]["t1"]["measured region"]["sentence"])
    assert "the other half" in shares[0]
    assert "there is only one map" in shares[1]


def test_maps_of_different_shapes_are_refused_with_both_sizes_and_no_page_is_left(tmp_path: Path) -> None:
    job = finished(tmp_path)
    write(job.path("truth/t1.mrc"), np.zeros((16, 24, 22), dtype=np.float32))
    with pytest.raises(UserError, match=r"t1: the truth has 16 × 24 × 22 voxels, the tomogram 16 × 24 × 20"):
        report.run(job, World())
    assert not job.path("report.html").exists()


def test_a_truth_folder_without_the_names_of_the_tomograms_is_refused(tmp_path: Path) -> None:
    job = finished(tmp_path, report={"truth_folder": "mask"})
    for mask in job.path("mask").iterdir():
        mask.unlink()
    with pytest.raises(UserError, match=r"report\.truth_folder: .*mask holds no map that is named .* t1\.mrc"):
        report.inputs(job)


def test_the_report_is_made_anew_when_a_stage_has_run_again_and_not_otherwise(tmp_path: Path) -> None:
    job = finished(tmp_path)
    before = report.inputs(job)
    json.dumps(before)
    report.run(job, World())
    assert report.inputs(job) == before
    put_json(job.path("stages/predict.json"), {"stage": "predict", "seconds": 8.0})
    after = report.inputs(job)
    assert [path for path in before if before[path] != after[path]] == [str(job.path("stages/predict.json"))]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.042, "0.042 s"),
        (9.94, "9.9 s"),
        (42.4, "42 s"),
        (59.7, "1 min 00 s"),
        (340, "5 min 40 s"),
        (7500, "2 h 05 min"),
    ],
)
def test_a_duration_reads_well(seconds: float, expected: str) -> None:
    assert log.duration(seconds) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.123456, "0.1235"), (2400, "2,400"), (True, "yes"), (None, "–"), ({"a": [1, 2.0]}, "a 1; 2"), ("x", "x"),
     (list(range(14)), "0; 1; 2; 3; 4; 5; 6; 7; 8; 9; 10; 11; and 2 more")],
)  # fmt: skip
def test_a_fact_of_a_stage_is_one_line(value: Any, expected: str) -> None:
    assert words.fact(value) == expected


def test_resolutions_at_or_beyond_nyquist_say_so() -> None:
    assert [words.resolution(value, 20.0) for value in (45.678, 20.0, float("inf"))] == ["45.7 Å", "≤ 20 Å", "–"]


def test_time_spent_before_an_interruption_is_said_to_be_missing() -> None:
    record = StageRecord("refine", "run", seconds=60.0, ranks=1, facts={"steps_before": 7})
    said = overview._cost(SimpleNamespace(stages=[record]))
    assert said == "All stages together took 1 min 00 s since the last interruption, 100 % of it in refine."

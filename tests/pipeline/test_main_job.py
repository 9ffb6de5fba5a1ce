"""The whole way on real files: one job file in, corrected tomograms and a report out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from main_job import FLAGS, JOB, assert_equal, isonet2, metrics, prepared, weights

from isonet2.io.mrc import open_volume, read_header, write_mrc
from isonet2.io.star import read_star, write_star
from isonet2.physics.quality import wedge_power_ratio


def test_the_corrected_map_is_nearer_to_the_truth_than_the_raw_one_everywhere(run: Path) -> None:
    truth = json.loads((run / "truth.json").read_text())
    assert set(truth) == {"raw", "linear", "corrected", "tomograms"}
    for part in ("cc", "cc_measured", "cc_wedge"):
        assert truth["corrected"][part] > truth["raw"][part] + 0.02, part


def test_everything_that_a_job_leaves_is_there(run: Path) -> None:
    maps = run / "isonet_maps"
    for path in (
        run / "report.html",
        run / "resolved.yaml",
        run / "provenance.json",
        run / "logs" / "rank0000.log",
        maps / "loss.png",
        maps / "previews" / "epoch002.png",
        maps / "previews" / "epoch005.png",
        maps / "network_isonet2-n2n_unet-tiny_24_full.pt",
        maps / "network_isonet2-n2n_unet-tiny_24_epoch004_full.pt",
        *(run / "stages" / f"{stage}.json" for stage in ("simulate", "extract", "refine", "predict", "report")),
    ):
        assert path.stat().st_size > 0, path
    assert not list(run.rglob("*.part*"))
    names = sorted(path.name for path in (maps / "checkpoints").iterdir())
    assert names == [f"step{24 * e:08d}{'_saved' if e in (2, 4, 5) else ''}.pt" for e in (1, 2, 3, 4, 5)]


def test_every_epoch_that_was_asked_for_is_trained(run: Path) -> None:
    lines = [json.loads(line) for line in (run / "isonet_maps" / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines if line["kind"] == "epoch"] == [1, 2, 3, 4, 5]
    assert [line["epoch"] for line in lines if line["kind"] == "preview"] == [2, 4, 5]
    assert lines[-1]["step"] == 5 * 24
    losses = [line["loss"] for line in lines if line["kind"] == "epoch"]
    assert losses[-1] < losses[0]


def test_the_star_file_names_the_results_and_headers_are_kept(run: Path) -> None:
    for row in read_star(run / "tomograms.star"):
        assert row.corrected is not None
        assert row.half1 is not None
        corrected, raw = read_header(run / row.corrected), read_header(run / row.half1)
        assert corrected.shape == raw.shape
        assert corrected.pixel_size_angstrom == pytest.approx((15, 15, 15))
        assert (row.mask, row.tilt_min_deg) == (f"mask/{row.name}_mask.mrc", -51.0)


def test_predictions_have_the_contrast_and_scale_of_the_tomogram(run: Path) -> None:
    row = read_star(run / "tomograms.star")[0]
    volumes = []
    for name in (row.half1, row.half2, row.corrected):
        with open_volume(run / str(name)) as volume:
            volumes.append(volume[0:48])
    raw, corrected = (volumes[0] + volumes[1]) / 2, volumes[2]
    assert np.corrcoef(raw.ravel(), corrected.ravel())[0, 1] > 0.2
    assert abs(corrected.mean() - raw.mean()) < 0.2 * raw.std()
    slope = (raw * corrected).sum() / (corrected**2).sum()
    assert 0.7 < slope < 1.4  # what is left of the raw map once it has the scale of the truth


def test_a_job_that_is_done_is_not_done_again(run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*.mrc")}
    said = isonet2("run", "job.yaml", cwd=run).stderr
    assert said.count("done before") == 7
    assert before == {path: path.stat().st_mtime_ns for path in run.rglob("*.mrc")}


def test_what_is_missing_is_made_again_and_nothing_before_it(run: Path) -> None:
    (run / "corrected_tomos" / "corrected_tomo_001.mrc").unlink()
    other = run / "corrected_tomos" / "corrected_tomo_002.mrc"
    before = other.stat().st_mtime_ns
    said = isonet2("run", "job.yaml", cwd=run).stderr
    assert said.count("done before") >= 5
    assert "predict: starts" in said
    assert other.stat().st_mtime_ns == before
    assert (run / "corrected_tomos" / "corrected_tomo_001.mrc").exists()


def test_previews_change_no_weight(run: Path, straight: Path, tmp_path: Path) -> None:
    without = prepared(run, tmp_path / "job")
    isonet2("refine", "tomograms.star", *FLAGS, "--with_preview", "False", cwd=without)
    assert len(metrics(straight, "preview")) == 3
    assert not metrics(without, "preview")
    assert_equal(weights(straight), weights(without))


def test_the_real_tomogram_goes_through_the_stages_that_need_no_halves(real_data: Path, tmp_path: Path) -> None:
    """int8, thinner than 64 planes, one map: masked, cut into cubes and shown with its wedge."""
    (tmp_path / "tomos").mkdir()
    (tmp_path / "tomos" / "microtubule.mrc").symlink_to(real_data / "microtubule_13pf.mrc")
    (tmp_path / "job.yaml").write_text(
        "version: 1\n"
        "prepare_star: {full: tomos, number_subtomos: 20, tilt_min: -66, tilt_max: 57}\n"
        "make_mask:\nextract: {cube_size: 32}\nreport:\n"
    )
    isonet2("run", "job.yaml", cwd=tmp_path)
    row = read_star(tmp_path / "tomograms.star")[0]
    assert row.pixel_size_angstrom == pytest.approx(10.52, rel=0.01)
    with h5py.File(next((tmp_path / "cache").glob("*/*.h5"))) as file:
        cubes = file["full"][:].astype(np.float32)
    assert cubes.shape == (20, 36, 36, 36)
    assert abs(cubes.mean()) < 0.5
    assert 0.7 < cubes.std() < 1.5
    record = json.loads((tmp_path / "stages" / "report.json").read_text())
    assert record["facts"]["tomograms"] == 1
    with open_volume(tmp_path / "tomos" / "microtubule.mrc") as volume:
        tomogram = torch.from_numpy(volume[0:36])
    assert wedge_power_ratio(tomogram, ((-66.0, 57.0),)) < 0.7 * wedge_power_ratio(tomogram, ((-57.0, 66.0),))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"refine: {arch": "refine: {archh"}, "job.yaml:9: refine.archh: unknown key (did you mean 'arch'?)"),
        ({"cube_size: 24": "cube_size: 25"}, "cube_size 25 does not fit unet-tiny, which needs a multiple of 8"),
        ({"cube_size: 24": "cube_size: 64"}, "cube"),
        ({"even: simulated/even": "even: nowhere"}, "nowhere"),
        ({"truth_folder: simulated": "truth_folder: other"}, "other/truth"),
    ],
)
def test_a_mistake_gets_one_line_and_exit_64_before_any_work(tmp_path: Path, change: dict[str, str], said: str) -> None:
    text = JOB
    for old, new in change.items():
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "job.yaml").write_text(text)
    done = isonet2("run", "job.yaml", cwd=tmp_path, check=False)
    assert done.returncode == 64
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job.yaml"]


def test_halves_of_different_shape_are_refused_by_name(run: Path, tmp_path: Path) -> None:
    folder = prepared(run, tmp_path / "job")
    write_mrc(folder / "small.mrc", np.ones((8, 8, 8), np.float32), pixel_size_angstrom=15)
    rows = [replace(row, half2="small.mrc") for row in read_star(folder / "tomograms.star")[:1]]
    write_star(folder / "tomograms.star", rows)
    done = isonet2("refine", "tomograms.star", *FLAGS, cwd=folder, check=False)
    assert done.returncode == 64
    assert "small.mrc: 8×8×8" in done.stderr
    assert not (folder / "isonet_maps").exists()


def test_an_empty_mask_is_refused_by_name(run: Path, tmp_path: Path) -> None:
    folder = prepared(run, tmp_path / "job")
    rows = read_star(folder / "tomograms.star")[:1]
    write_mrc(folder / "empty.mrc", np.zeros((48, 64, 72), np.int8), pixel_size_angstrom=15)
    write_star(folder / "tomograms.star", [replace(row, mask="empty.mrc") for row in rows])
    done = isonet2("refine", "tomograms.star", *FLAGS, cwd=folder, check=False)
    assert done.returncode == 64
    assert "empty.mrc: the mask is empty" in done.stderr

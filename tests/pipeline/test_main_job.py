"""The whole way on real files: one job file in, corrected tomograms and a report out; killed, and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from isonet2.io.mrc import open_volume, read_header
from isonet2.io.star import read_star, write_star

JOB = """
version: 1
seed: 3
resources: {threads_per_rank: 1}
simulate: {count: 2, size: [48, 64, 72], pixel_size: 15, snr: 2, particles: 30, membranes: 1, tilt_min: -51}
prepare_star: {even: simulated/even, odd: simulated/odd, number_subtomos: 24, tilt_min: -51}
make_mask:
extract:
refine: {arch: unet-tiny, cube_size: 24, epochs: 5, batch_size: 2, save_interval: 2, warmup_steps: 5}
predict: {keep_halves: true}
report: {truth_folder: simulated/truth}
"""
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def isonet2(*words: str, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "isonet2", *words]
    done = subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=280, check=False)
    assert not check or done.returncode == 0, done.stderr[-4000:]
    return done


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a job")  # a path with a space
    (folder / "job.yaml").write_text(JOB)
    isonet2("run", str(folder / "job.yaml"), cwd=folder.parent)  # started from another folder
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    content = torch.load(next((folder / "isonet_maps").glob("network_*24_full.pt")), weights_only=True)
    state: dict[str, torch.Tensor] = content["model_state_dict"]
    return state


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


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
    said = isonet2("run", "job.yaml", cwd=run).stderr
    assert said.count("done before") >= 5
    assert "predict: starts" in said
    assert (run / "corrected_tomos" / "corrected_tomo_001.mrc").exists()


def test_a_second_run_in_the_folder_says_who_holds_it(run: Path) -> None:
    first = subprocess.Popen(
        [sys.executable, "-m", "isonet2", "run", "job.yaml", "--restart"],
        cwd=run, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert first.stderr is not None
        for line in first.stderr:
            if "starts" in line:
                break
        second = isonet2("run", "job.yaml", cwd=run, check=False)
    finally:
        first.kill()
        first.communicate()
    assert second.returncode == 64
    assert f"process {first.pid} on" in second.stderr


@pytest.mark.parametrize("moment", ["mid epoch", "end of epoch"])
def test_a_training_that_was_killed_ends_with_the_weights_of_one_that_was_not(
    run: Path, tmp_path: Path, moment: str
) -> None:
    """SIGKILL, then the same command again: bit by bit the same network, and metrics without a gap."""
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    for folder in (straight, killed):
        folder.mkdir()
        rows = read_star(run / "tomograms.star")
        write_star(folder / "tomograms.star", [
            replace(row, half1=f"{run}/{row.half1}", half2=f"{run}/{row.half2}", mask=f"{run}/{row.mask}")
            for row in rows
        ])  # fmt: skip
    minutes = 0.0005 if moment == "mid epoch" else 60
    flags = ["--arch", "unet-tiny", "--cube_size", "24", "--epochs", "3", "--batch_size", "2", "--threads", "1",
             "--save_interval", "1", "--checkpoint_minutes", str(minutes)]  # fmt: skip
    isonet2("refine", "tomograms.star", *flags, cwd=straight)
    process = subprocess.Popen(
        [sys.executable, "-m", "isonet2", "refine", "tomograms.star", *flags],
        cwd=killed, env=ENVIRONMENT, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    checkpoints = killed / "isonet_maps" / "checkpoints"
    wanted = (lambda step: step > 24 and step % 24) if moment == "mid epoch" else (lambda step: step == 24)
    deadline = time.monotonic() + 120
    while not any(wanted(int(path.stem.removeprefix("step")[:8])) for path in checkpoints.glob("step*.pt")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list((killed / "isonet_maps").glob("*epoch003*"))
    isonet2("refine", "tomograms.star", *flags, cwd=killed)
    assert_equal(weights(straight), weights(killed))
    lines = [json.loads(line) for line in (killed / "isonet_maps" / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines if line["kind"] == "epoch"] == [1, 2, 3]
    expected = [json.loads(line) for line in (straight / "isonet_maps" / "metrics.jsonl").read_text().splitlines()]
    for line, other in zip(lines, expected, strict=False):
        assert line.get("loss") == other.get("loss")

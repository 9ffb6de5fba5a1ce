"""Some stages of a job, one tomogram of a stage, one run after another: what they may do, and what they leave."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from main_job import ENVIRONMENT
from small_job import JOB, after, before, results, run

from isonet2.cli import main
from isonet2.errors import UserError
from isonet2.io.lock import holding
from isonet2.io.star import read_star
from isonet2.job.load import load_job

Capture = pytest.CaptureFixture[str]
PREDICT = ("--stages", "predict")


def corrected(folder: Path) -> list[str | None]:
    return [row.corrected for row in read_star(folder / "tomograms.star")]


def test_stages_that_others_come_before_wait_for_these(whole: Path, tmp_path: Path, capfd: Capture) -> None:
    (tmp_path / "job.yaml").write_text(JOB)
    assert run(tmp_path, "--stages", "refine") == 64
    assert "simulate is not finished in" in capfd.readouterr().err
    folder = before("extract", whole, tmp_path / "a job")
    assert run(folder, "--stages", "refine") == 64
    assert "extract is not finished in" in capfd.readouterr().err
    assert run(folder, "--stages", "extract") == 0
    assert not (folder / "stages" / "refine.json").exists()
    (folder / "mask" / "tomo_001_mask.mrc").unlink()
    assert run(folder, "--stages", "refine") == 64
    assert "make_mask is not finished in" in capfd.readouterr().err


@pytest.fixture
def trained(whole: Path, tmp_path: Path) -> Path:
    """A job whose tomograms wait for their prediction, and are not named yet."""
    folder = before("predict", whole, tmp_path / "a job")
    star = folder / "tomograms.star"
    star.write_text("\n".join(line.replace("corrected_tomos", "earlier") for line in star.read_text().splitlines()))
    return folder


def test_one_tomogram_leaves_the_list_to_the_run_of_all(trained: Path, whole: Path) -> None:
    star = (trained / "tomograms.star").read_bytes()
    assert run(trained, *PREDICT, "--tomogram", "2") == 0
    notes = trained / "stages" / "predict"
    assert [path.name for path in notes.iterdir()] == ["2.ok"]
    assert not (trained / "stages" / "predict.json").exists()
    assert (trained / "tomograms.star").read_bytes() == star
    maps = [trained / "corrected_tomos" / f"corrected_tomo_00{n}.mrc" for n in (1, 2)]
    assert [path.exists() for path in maps] == [False, True]
    time = maps[1].stat().st_mtime_ns
    assert run(trained) == 0
    assert maps[1].stat().st_mtime_ns == time
    assert corrected(trained) == [f"corrected_tomos/corrected_tomo_00{n}.mrc" for n in (1, 2, 3)]
    assert results(trained) == results(whole)


def test_one_tomogram_that_fails_says_why(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note = trained / "stages" / "predict" / "3.fail"

    def fail(*_: object) -> None:
        raise UserError("tomo_003 is upside down: turn it")

    with monkeypatch.context() as patch:
        patch.setattr("isonet2.stages.predict.predict_row", fail)
        assert run(trained, *PREDICT, "--tomogram", "3") == 64
    assert note.read_text() == "tomo_003 is upside down: turn it\n"
    assert run(trained, *PREDICT, "--tomogram", "9") == 64
    assert "predict takes no tomogram of that index" in note.with_name("9.fail").read_text()
    assert run(trained, *PREDICT, "--tomogram", "3") == 0
    assert sorted(path.name for path in note.parent.iterdir()) == ["3.ok", "9.fail"]


def test_one_tomogram_that_is_stopped_stops_no_other(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        after(patch, 1, "isonet2.stages.predict.predict_row")
        assert run(trained, *PREDICT, "--tomogram", "2") == 75
    (note,) = (trained / "stages" / "predict").iterdir()
    why, progress, *_ = note.read_text().split("\n")
    assert (note.name, why.startswith("stopped (")) == ("2.stopped", True)
    assert re.fullmatch(r"\d+ left", progress)
    assert not (trained / "stop").exists()
    assert run(trained, *PREDICT, "--tomogram", "1") == 0
    assert run(trained, *PREDICT, "--tomogram", "2") == 0
    assert sorted(path.name for path in note.parent.iterdir()) == ["1.ok", "2.ok"]


def test_tomograms_share_a_folder_with_each_other_and_with_nobody_else(trained: Path, capfd: Capture) -> None:
    mine = f"process {os.getpid()} on"
    with holding(trained, together=True):
        assert run(trained, *PREDICT, "--tomogram", "1") == 0
        assert run(trained) == 64
        assert "another run works here" in capfd.readouterr().err
    assert (trained / "stages" / "predict" / "1.ok").exists()
    with holding(trained):
        assert run(trained, *PREDICT, "--tomogram", "1") == 64
        assert mine in capfd.readouterr().err
        assert [path.name for path in (trained / "stages" / "predict").iterdir()] == ["1.fail"]
        (trained / "stop").touch()  # is for the run that works here
        assert run(trained) == 64
        assert mine in capfd.readouterr().err
    assert (trained / "stop").exists()


def test_two_tomograms_at_once(trained: Path) -> None:
    command = [sys.executable, "-m", "isonet2", "run", str(trained / "job.yaml"), *PREDICT, "--tomogram"]
    both = [
        subprocess.Popen([*command, index], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) for index in ("1", "2")
    ]
    said = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sorted(path.name for path in (trained / "stages" / "predict").iterdir()) == ["1.ok", "2.ok"]


def test_the_batch_size_of_the_first_start_stays_with_other_ranks(whole: Path, tmp_path: Path) -> None:
    folder = before("refine", whole, tmp_path / "a job")
    (folder / "job.yaml").write_text(JOB.replace("batch_size: 4", "batch_size: null"))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*torchrun, "-m", "isonet2", "run", "job.yaml", "--stages", "refine", "--set", "refine.epochs=1"]
    subprocess.run(command, cwd=folder, env=ENVIRONMENT, check=True, capture_output=True, timeout=120)
    resolved = folder / "resolved.yaml"
    assert load_job(resolved).trainings["refine"].batch_size == 4
    assert run(folder, "--stages", "refine") == 0  # one rank would take 2
    assert load_job(resolved).trainings["refine"].batch_size == 4
    without = [f"--set={stage}=null" for stage in ("extract", "refine", "predict")]
    assert run(folder, "--stages", "make_mask", *without) == 0
    assert load_job(resolved).trainings["refine"].batch_size == 4  # also after a job that does not train
    assert run(folder, *PREDICT, "--tomogram", "1") == 0  # for which the training is the one that was finished
    assert run(folder, "--stages", "refine", "--set", "refine.batch_size=2") == 64


def test_single_commands_keep_what_the_others_wrote_down(
    trained: Path, monkeypatch: pytest.MonkeyPatch, whole: Path
) -> None:
    monkeypatch.chdir(trained)
    for name in ("resolved.yaml", "job.yaml"):
        Path(name).unlink()
    network = next(Path("isonet_maps").glob("network_*_16_full.pt"))
    assert main(["make_mask", "tomograms.star", "--z_crop", "0.3"]) == 0
    assert main(["predict", "tomograms.star", str(network), "--tomo_idx", "1"]) == 0
    job = load_job(trained / "resolved.yaml")
    assert job.make_mask is not None
    assert job.predict is not None
    assert (job.make_mask.z_crop, job.predict.tomo_idx, job.refine) == (0.3, "1", None)

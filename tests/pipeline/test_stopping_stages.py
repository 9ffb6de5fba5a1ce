"""Asked to stop, in any stage: 75, a verdict, nothing half done; the same command does what is left, and no more."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from small_job import after, before, results, run

from isonet2.parallel.stopping import STOP_AT

ITEMS = {
    "deconv": "isonet2.stages.deconv._filter_chunk",
    "make_mask": "isonet2.stages.make_mask._put_together",
    "extract": "isonet2.data.extraction.write_shard",
    "predict": "isonet2.stages.predict.predict_row",
}
"""What a stage calls once for each of its items."""
STEP = "isonet2.training.learner.Learner.step"


def verdict(folder: Path) -> list[str]:
    return (folder / "logs" / "verdict").read_text().splitlines()


def names_written(patch: pytest.MonkeyPatch, folder: Path) -> set[str]:
    """Fills with the names that files get, from now on."""
    names: set[str] = set()
    rename = Path.replace

    def noted(part: Path, path: Path) -> Path:
        names.add(path.relative_to(folder).as_posix())
        return rename(part, path)

    patch.setattr(Path, "replace", noted)
    return names


def parts(folder: Path) -> list[Path]:
    return [path for path in folder.rglob(".*.part*") if path.is_file()]


@pytest.mark.parametrize("stage", ITEMS)
def test_a_stage_that_was_stopped_keeps_what_it_has_and_does_the_rest(
    stage: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = before(stage, whole, tmp_path / "a job")
    there = results(folder, "*.npy")
    with monkeypatch.context() as patch:
        after(patch, 2, ITEMS[stage])
        assert run(folder) == 75
    code, sentence, progress = verdict(folder)
    assert (code, sentence) == ("75", "stopped (SIGTERM); the same command goes on")
    assert progress.startswith(f"{stage}: ")
    assert not (folder / "stages" / f"{stage}.json").exists()
    kept = results(folder, "*.npy")
    assert len(kept) >= len(there) + 2
    with monkeypatch.context() as patch:
        written = names_written(patch, folder)
        assert run(folder) == 0
    assert not written & kept.keys() - {"tomograms.star"}
    assert results(folder) == results(whole)
    assert not parts(folder)
    assert verdict(folder) == ["0", "done", ""]


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda folder: os.kill(os.getpid(), signal.SIGTERM), "SIGTERM"),
        (lambda folder: os.kill(os.getpid(), signal.SIGUSR2), "SIGUSR2"),
        (lambda folder: ((folder / "stop").touch(), time.sleep(0.6)), "the file "),
    ],
)
def test_a_training_stops_at_the_step_at_which_it_was_asked(
    ask: Callable[[Path], object], said: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = before("refine", whole, tmp_path / "a job")
    with monkeypatch.context() as patch:
        after(patch, 8, STEP, lambda: ask(folder))
        assert run(folder) == 75
    code, sentence, progress = verdict(folder)
    assert (code, progress) == ("75", "refine: step 8")
    assert sentence.startswith(f"stopped ({said}")
    maps = folder / "isonet_maps"
    assert sorted(path.stem for path in (maps / "checkpoints").iterdir()) == ["step00000006", "step00000008"]
    assert not (folder / "stop").exists()
    assert not parts(folder)
    if said == "SIGUSR2":
        assert run(folder) == 0
        assert results(folder) == results(whole)
        assert losses(folder) == losses(whole)
        assert json.loads((folder / "stages" / "refine.json").read_text())["facts"]["steps_before"] == 8


def losses(folder: Path) -> list[tuple[str, int, float]]:
    lines = [json.loads(line) for line in (folder / "isonet_maps" / "metrics.jsonl").read_text().splitlines()]
    return [(line["kind"], line["epoch"], line["loss"]) for line in lines]


def test_a_stop_at_the_end_of_an_epoch_loses_and_repeats_nothing(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = before("refine", whole, tmp_path / "a job")
    for step in (12, 0):  # the last of the second epoch, whose network is exported
        with monkeypatch.context() as patch:
            after(patch, step, STEP)
            assert run(folder) == (75 if step else 0)
    assert results(folder) == results(whole)
    assert losses(folder) == losses(whole)


def test_when_time_is_over_nothing_is_begun_and_nothing_is_lost(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = before("extract", whole, tmp_path / "a job")
    there = results(folder)
    monkeypatch.setenv(STOP_AT, "1000")
    assert run(folder) == 75
    assert verdict(folder) == ["75", "stopped (the time is over); the same command goes on", "extract: not begun"]
    assert results(folder) == there
    assert not (folder / "stop").exists()


def test_a_job_begun_anew_and_stopped_is_not_the_old_one(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --restart it goes on from where the new one was stopped; nothing of the old one passes for a result."""
    folder = before("predict", whole, tmp_path / "a job")
    with monkeypatch.context() as patch:
        after(patch, 3, STEP)
        assert run(folder, "--restart") == 75
    assert not list((folder / "isonet_maps").glob("*.pt"))
    assert run(folder, "--stages", "predict") == 64
    assert run(folder) == 0
    assert json.loads((folder / "stages" / "refine.json").read_text())["facts"]["steps_before"] == 3
    assert results(folder).items() >= results(whole).items()  # and a cache of the maps that were simulated anew

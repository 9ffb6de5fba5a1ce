"""What `isonet2 status` tells of a run from its files, and the file that a run keeps for it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import run_folder as at

from isonet2 import log, pipeline
from isonet2.cli import main
from isonet2.errors import UserError
from isonet2.job.models import Job
from isonet2.parallel.collectives import on_shared_items
from isonet2.parallel.world import World
from isonet2.report.progress import PROGRESS, Told
from isonet2.report.status import read_status

Make = Callable[[Path], object]


def nothing(folder: Path) -> None: ...


def at_work(**how: Any) -> Make:
    return lambda folder: at.told(folder / PROGRESS, **how)


def ended(text: str) -> Make:
    def make(folder: Path) -> None:
        at.told(folder / PROGRESS, silent_s=3600, ended=True)
        at.verdict(folder, text)

    return make


def after_another(folder: Path) -> None:
    at.verdict(folder, "1\nsomething broke\n\n", age_s=100)
    at.told(folder / PROGRESS, silent_s=5)


def between_steps(folder: Path) -> None:
    at.told(folder / PROGRESS, ended=True, stage="deconv")
    at.verdict(folder, "0\ndone\n\n")


def refused(folder: Path) -> None:
    """By rank.sh, after a run that was killed."""
    at.told(folder / PROGRESS, silent_s=3600)
    at.verdict(folder, "70\nrank.sh: this is rank 0 of 1\n\n")


def finished(folder: Path) -> None:
    for stage in ("deconv", "refine", "predict"):
        at.done(folder, stage)
    at.told(folder / PROGRESS, ended=True, stage="predict")
    at.verdict(folder, "0\ndone\n\n")


@pytest.mark.parametrize(
    ("make", "state", "refine", "words", "code"),
    [
        (nothing, "waiting", "waiting", "", 0),
        (at_work(silent_s=5), "running", "running", "", 0),
        (at_work(silent_s=60, host="elsewhere", process=at.NOBODY), "running", "running", "", 0),
        (at_work(silent_s=400, host="elsewhere"), "lost", "lost", "on elsewhere since", 1),
        (at_work(silent_s=60, process=at.NOBODY), "lost", "lost", "it is gone; the same command goes on", 1),
        (at_work(silent_s=5, process=at.NOBODY), "running", "running", "", 0),  # perhaps another container's number
        (ended("75\nstopped (SIGTERM); the same command goes on\nrefine: step 200\n"), "stopped", "stopped",
         "stopped (SIGTERM); the same command goes on", 75),
        (ended("1\nthe loss is no number any more\n\n"), "failed", "failed", "the loss is no number any more", 1),
        (ended("64\nbatch_size 9 is more than there are\n\n"), "failed", "failed", "batch_size 9 is", 1),
        (refused, "failed", "failed", "rank.sh: this is rank 0 of 1", 1),
        (after_another, "running", "running", "", 0),
        (between_steps, "waiting", "waiting", "", 0),
        (finished, "done", "done", "", 0),
    ],
)  # fmt: skip
def test_the_state_of_a_run_is_told_from_its_files_and_by_the_exit_code(
    make: Make, state: str, refine: str, words: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at.job(tmp_path)
    at.done(tmp_path, "deconv")
    make(tmp_path)
    found = read_status(tmp_path)
    assert (found.state, {stage.stage: stage.state for stage in found.stages}["refine"]) == (state, refine)
    assert words in found.sentence
    assert main(["status", str(tmp_path), "--json"]) == code
    printed = capsys.readouterr()
    assert json.loads(printed.out)["state"] == state
    assert printed.err == (f"isonet2: {found.sentence}\n" if code else "")


def test_a_run_that_had_no_room_to_tell_its_end_is_lost_for_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at.told(at.job(tmp_path) / PROGRESS, silent_s=60, process=at.NOBODY)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=4096))
    found = read_status(tmp_path)
    assert found.state == "lost"
    assert found.sentence.endswith(": the disk is full: make room; the same command goes on")


def test_progress_and_the_time_left_are_those_of_this_start(tmp_path: Path) -> None:
    """100 steps in 50 s leave 100 s for 200; of these 20 have gone by in silence."""
    at.told(at.job(tmp_path) / PROGRESS, silent_s=20)
    now = read_status(tmp_path).current
    assert now is not None
    assert (now.stage, now.unit, now.done, now.total) == ("refine", "step", 200, 400)
    assert now.seconds_left == pytest.approx(80, abs=2)
    assert now.seconds == pytest.approx(75, abs=2)
    at.told(tmp_path / PROGRESS, done=100, moved=time.time())
    assert read_status(tmp_path).current.seconds_left is None  # type: ignore[union-attr]


def test_losses_and_logs_are_those_of_the_last_start(tmp_path: Path) -> None:
    at.told(at.job(tmp_path) / PROGRESS)
    at.metrics(tmp_path, [0.9, 0.7, 0.6])
    at.ranks(tmp_path, 3, "10:00:00 I old")
    for rank in range(2):
        path = tmp_path / "logs" / "77.0" / f"rank{rank:04d}.log"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(f"line {n}\n" for n in range(4000)))
        os.utime(path, (time.time() + 1,) * 2)
    found = read_status(tmp_path / "job.yaml")
    (course,) = found.trainings
    assert (course.stage, course.epoch, course.epochs, course.loss, course.val_loss) == ("refine", 3, 50, 0.6, 0.3)
    assert course.losses == [0.9, 0.7, 0.6]
    assert [(each.rank, each.file) for each in found.logs] == [(n, f"logs/77.0/rank000{n}.log") for n in (0, 1)]
    assert found.logs[0].lines == [f"line {n}" for n in range(3995, 4000)]


def test_tasks_of_an_array_are_counted_by_how_they_ended_last(tmp_path: Path) -> None:
    notes = at.job(tmp_path) / "stages" / "predict"
    for name in ("1.running", "2.running", "3.running", "4.running"):
        at.told(notes / name, ended=name[0] in "12", silent_s=400 * (name[0] == "4"))
    for name in ("1.ok", "2.fail", "3.fail", "5.ok"):
        (notes / name).write_text("x\n")
    assert read_status(tmp_path).tomograms == {"ok": 2, "fail": 1, "running": 1, "lost": 1}


def test_the_keys_for_scripts_are_these(tmp_path: Path) -> None:
    """To take one away, or to change what it means, is another `format`."""
    at.told(at.job(tmp_path) / PROGRESS)
    at.metrics(tmp_path, [0.9])
    at.ranks(tmp_path, 1, "x")
    found = json.loads(json.dumps(read_status(tmp_path).as_dict()))
    assert found["format"] == 1
    assert set(found) == {
        "format", "folder", "state", "sentence", "exit_code", "host", "process", "ranks", "device", "started",
        "updated", "silent_s", "stages", "current", "trainings", "tomograms", "logs",
    }  # fmt: skip
    assert set(found["stages"][0]) == {
        "stage", "state", "finished", "seconds", "ranks", "peak_memory_gb", "outputs"
    }  # fmt: skip
    assert set(found["current"]) == {"stage", "since", "seconds", "unit", "done", "total", "seconds_left"}
    assert set(found["trainings"][0]) == {
        "stage", "part", "epoch", "epochs", "step", "loss", "val_loss", "learning_rate", "samples_per_s", "losses",
        "val_losses",
    }  # fmt: skip
    assert set(found["logs"][0]) == {"rank", "file", "silent_s", "lines"}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"host": 1}', "null"])
def test_a_damaged_file_is_no_file(content: str, tmp_path: Path) -> None:
    at.job(tmp_path)
    for name in (PROGRESS, "stages/deconv.json", "logs/verdict", "isonet_maps/metrics.jsonl", "resolved.yaml"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    assert read_status(tmp_path).state == "waiting"


def test_where_there_is_no_run_one_line_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("status", "watch"):
        assert main([verb, str(tmp_path)]) == 64
        assert capsys.readouterr().err == (
            f"isonet2: {tmp_path}: no run here: name the folder that holds job.yaml, or the job file\n"
        )


def test_it_needs_no_torch(tmp_path: Path) -> None:
    at.told(at.job(tmp_path) / PROGRESS)
    code = (
        "import sys\nfrom isonet2.cli import main\n"
        f"assert main(['status', {str(tmp_path)!r}]) == main(['schema']) == 0\n"
        "assert not {'torch', 'scipy', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_run_tells_of_each_stage_and_at_last_that_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def look(message: str) -> None:
        if "chunk" in message:
            monkeypatch.setattr(log, "TELL_S", 0.01)
            time.sleep(0.2)
            seen.append(read_status(tmp_path))

    monkeypatch.setattr("isonet2.stages.deconv.info", look)
    job = Job(
        simulate={"size": [32, 48, 48], "particles": 4, "membranes": 0},
        prepare_star={"even": "simulated/even", "odd": "simulated/odd", "defocus": 30000},
        deconv={"chunk_size": 32, "highpassnyquist": 0.2},
    ).in_folder(tmp_path)
    pipeline.run(job)
    assert [(s.state, s.current.stage, s.current.total) for s in seen[-2:]] == [("running", "deconv", 4)] * 2  # type: ignore[union-attr]
    assert seen[-1].current.done > 0  # type: ignore[union-attr]
    found = read_status(tmp_path)
    assert (found.state, found.exit_code, found.process, found.ranks) == ("done", 0, os.getpid(), 1)
    assert [(stage.stage, stage.state, stage.outputs) for stage in found.stages] == [
        ("simulate", "done", 4), ("prepare_star", "done", 1), ("deconv", "done", 1)
    ]  # fmt: skip
    told = Told.read(tmp_path / PROGRESS)
    assert told is not None
    assert told.ended

    def refuse(*_: object) -> None:
        raise UserError("no room")

    monkeypatch.setattr("isonet2.stages.deconv._put_together", refuse)
    with pytest.raises(UserError):
        pipeline.run(job, restart=True)
    found = read_status(tmp_path)
    assert (found.state, found.stages[-1].state, found.exit_code) == ("failed", "failed", 64)
    assert found.sentence == "no room"


def test_shares_of_several_ranks_add_up_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rank 0 of three has 3 of 7 items: each of them stands for 7/3."""
    heard: list[tuple[float, float]] = []
    monkeypatch.setattr("isonet2.parallel.collectives.all_gather", lambda world, value: [value])
    world = World(rank=0, size=3)

    def work(item: int) -> None:
        heard.append((log._work.done, log._work.total))

    with log.telling(lambda work, ended: None):
        log.begin("deconv", "deconv: starts")
        log.expect(14, "chunk")
        for _ in range(2):
            with pytest.raises((KeyError, IndexError)):  # nobody did the others' items
                on_shared_items(world, range(7), [1.0] * 7, work, unit="chunk")
        assert log._work.done == pytest.approx(14)
        assert not log.expects("chunk")
    assert {total for _, total in heard} == {14}
    assert [done for done, _ in heard] == pytest.approx([7 / 3 * n for n in range(6)])


def test_a_full_disk_does_not_end_the_work() -> None:
    def tell(work: log.Work, ended: bool) -> None:
        calls.append(ended)
        raise OSError(28, "No space left on device")

    calls: list[bool] = []
    with log.telling(tell):
        for step in log.progress(range(5, 8), total=10, label="training", unit="step", first=5, show=False):
            assert log._work.done == step
    assert (calls[0], calls[-1]) == (False, True)
    assert (log._work.done, log._work.first, log._work.total) == (8, 5, 10)

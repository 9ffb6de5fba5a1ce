"""What is known of a run from the files in its folder, without torch, wherever it works."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from isonet2.errors import Interrupted, UserError
from isonet2.job.load import load_job
from isonet2.job.models import STAGES, Job
from isonet2.report.progress import PROGRESS, Told
from isonet2.report.records import Course, read_records, stage_path

_RANKS = 64  # whose logs are looked at
_TAIL_BYTES = 4096
_LINES = 5
_LITTLE_BYTES = 1 << 20
_DAMAGED = (OSError, ValueError, KeyError, TypeError)

State = Literal["waiting", "running", "done", "stopped", "failed", "lost"]
"""lost: it began, said nothing of an end, and gives no sign of life."""


@dataclass(frozen=True)
class StageStatus:
    """One stage of the job. What it took and made is known once it is done; outputs, also while it works."""

    stage: str
    state: State
    finished: str | None = None
    seconds: float | None = None
    ranks: int | None = None
    peak_memory_gb: list[float] | None = None
    outputs: int = 0


@dataclass(frozen=True)
class Current:
    """The stage that the run is at, or was when it ended. `units` are steps, tomograms, chunks …, of which `total` is 0
    where nobody counts; the time left is that of this stage."""

    stage: str
    since: str
    seconds: float
    unit: str
    done: int
    total: int
    seconds_left: float | None


@dataclass(frozen=True)
class Training:
    """The course of one network, up to the last whole epoch; the losses of every epoch are in `losses`, those on cubes
    that were never trained on in `val_losses`."""

    stage: str
    part: str
    epoch: int
    epochs: int | None
    step: int
    loss: float
    val_loss: float | None
    learning_rate: float
    samples_per_s: float
    losses: list[float]
    val_losses: list[float]


@dataclass(frozen=True)
class RankLog:
    """The last lines that one rank wrote, and how long ago."""

    rank: int
    file: str
    silent_s: float
    lines: list[str]


@dataclass(frozen=True)
class Status:
    """What is known of a run; these are the keys of `isonet2 status --json`. Times are ISO 8601, silence is in seconds.

    `format` changes when a key changes its meaning or goes. `state` is that of the whole run: waiting also between two
    steps of launch/run.sh. `sentence` says why it ended, if not well; `exit_code` is that of the run that ended. Host,
    process, ranks, device, started and updated are those of the last start, and null before the first. `tomograms`
    counts the tasks of an array by how they ended. Of the logs those of the first 64 ranks are there.
    """

    format: int
    folder: str
    state: State
    sentence: str
    exit_code: int | None
    host: str | None
    process: int | None
    ranks: int | None
    device: str | None
    started: str | None
    updated: str | None
    silent_s: float | None
    stages: list[StageStatus]
    current: Current | None
    trainings: list[Training]
    tomograms: dict[str, int]
    logs: list[RankLog]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def run_folder(run: str) -> Path:
    """The folder of a run that is named by its folder or its job file. UserError if there is none."""
    path = Path(run)
    folder = path.parent if path.is_file() else path
    if path.is_file() or any((folder / name).is_file() for name in ("resolved.yaml", "job.yaml", PROGRESS)):
        return folder.absolute()
    raise UserError(f"{run}: no run here: name the folder that holds job.yaml, or the job file")


def read_status(run: str | Path = ".") -> Status:
    """What the files in the folder of a run tell, now, whoever runs it and wherever. Nothing is written or locked.

    `run` is the folder or the job file. UserError if there is neither.
    """
    folder = run_folder(str(run))
    job = _job(folder, Path(run))
    told = Told.read(folder / PROGRESS)
    code, sentence = _verdict(folder, told)
    stages = _stages(job, told)
    state = _state(stages, told, code)
    if state == "lost" and told:
        cure = "it is gone; the same command goes on" if told.gone else "look for it there"
        if shutil.disk_usage(folder).free < _LITTLE_BYTES:  # of which it had no room to tell
            cure = "the disk is full: make room; the same command goes on"
        sentence = f"no sign of life of process {told.process} on {told.host} since {_iso(told.updated)}: {cure}"
    stages = [replace(stage, state=state) if stage.state == "running" else stage for stage in stages]  # one fate
    return Status(
        format=1,
        folder=str(folder),
        state=state,
        sentence=sentence if state not in ("done", "running", "waiting") else "",
        exit_code=code,
        host=told.host if told else None,
        process=told.process if told else None,
        ranks=told.ranks if told else None,
        device=told.device if told else None,
        started=_iso(told.started) if told else None,
        updated=_iso(told.updated) if told else None,
        silent_s=round(told.silent_s, 1) if told else None,
        stages=stages,
        current=_current(told, state) if told and told.work.stage else None,
        trainings=[_training(job, course) for course in _courses(job, stages)],
        tomograms=_array(folder),
        logs=_logs(folder),
    )


def _current(told: Told, state: State) -> Current:
    work = told.work
    now = time.time() if state == "running" else told.updated
    here, took = work.done - work.first, work.moved - work.counted
    left = (work.total - work.done) * took / here - (now - work.moved) if here > 0 and state == "running" else None
    return Current(
        stage=work.stage,
        since=_iso(work.began),
        seconds=round(max(0.0, now - work.began), 1),
        unit=work.unit,
        done=min(round(work.done), round(work.total)),
        total=round(work.total),
        seconds_left=None if left is None else round(max(0.0, left), 1),
    )


def _job(folder: Path, run: Path) -> Job:
    """As the last run resolved it; before the first, as its job file asks for it."""
    for path in (folder / "resolved.yaml", run if run.is_file() else folder / "job.yaml"):
        if path.is_file():
            with suppress(UserError):  # of another version
                return _loaded(path, path.stat().st_mtime_ns)
    return Job().in_folder(folder)


@lru_cache(maxsize=4)
def _loaded(path: Path, _: int) -> Job:
    """Once, while it stays as it is."""
    return load_job(path)


def _verdict(folder: Path, told: Told | None) -> tuple[int | None, str]:
    """Exit code and sentence of the run that ended last; neither while one is at work that began later."""
    path = folder / "logs" / "verdict"
    try:
        code, sentence, *_ = path.read_text(encoding="utf-8").splitlines()
        if told is None or told.ended or path.stat().st_mtime >= told.file_time:
            return int(code), sentence
    except (OSError, ValueError):
        pass
    return None, ""


def _stages(job: Job, told: Told | None) -> list[StageStatus]:
    """What is done has a record, and what is begun is the stage that the run told of last."""
    found = []
    for name in STAGES:
        path = stage_path(job, name)
        if path.is_file():
            with suppress(*_DAMAGED):
                record = json.loads(path.read_text(encoding="utf-8"))
                facts = {key: record[key] for key in ("finished", "seconds", "ranks", "peak_memory_gb")}
                found.append(StageStatus(name, "done", **facts, outputs=len(record["outputs"])))
                continue
        if getattr(job, name) is not None:
            begun = told is not None and told.work.stage == name
            found.append(StageStatus(name, "running" if begun else "waiting", outputs=_made(job, name)))
    return found


def _made(job: Job, stage: str) -> int:
    """Outputs that an unfinished stage has finished."""
    output_dir = getattr(getattr(job, stage), "output_dir", None)
    records = (job.path(output_dir) / ".finished").glob("*.json") if output_dir else ()
    return sum(1 for _ in records)


def _state(stages: Sequence[StageStatus], told: Told | None, code: int | None) -> State:
    if code:
        return "stopped" if code == Interrupted.exit_code else "failed"
    if told is not None and not told.ended and code is None:
        return "lost" if told.lost else "running"
    return "done" if stages and all(stage.state == "done" for stage in stages) else "waiting"


def _courses(job: Job, stages: Sequence[StageStatus]) -> list[Course]:
    """Those of trainings that were begun."""
    begun = {stage.stage for stage in stages if stage.state != "waiting"}
    with suppress(*_DAMAGED):  # what is being replaced is there the next time
        return [course for course in read_records(job).courses if course.stage in begun]
    return []


def _training(job: Job, course: Course) -> Training:
    last, section = course.epochs[-1], job.trainings.get(course.stage)
    return Training(
        stage=course.stage,
        part=course.part,
        epoch=last["epoch"],
        epochs=section.epochs if section else None,
        step=last["step"],
        loss=last["loss"],
        val_loss=last.get("val_loss"),
        learning_rate=last["learning_rate"],
        samples_per_s=last["samples_per_s"],
        losses=[line["loss"] for line in course.epochs],
        val_losses=course.held_out_losses,
    )


def _array(folder: Path) -> dict[str, int]:
    """How many tasks of an array ended well (ok), failed, were stopped, are at work or lost; empty without an array."""
    notes = folder / "stages" / "predict"
    found = {path.stem: ending for ending in ("ok", "fail", "stopped") for path in notes.glob(f"*.{ending}")}
    for path in notes.glob("*.running"):
        told = Told.read(path)
        if told is not None and not told.ended:  # perhaps once more, after another end
            found[path.stem] = "lost" if told.lost else "running"
    return dict(Counter(found.values()))


def _logs(folder: Path) -> list[RankLog]:
    """Of the last start: in logs/, or for a job of a scheduler in a folder there."""
    files = [*(folder / "logs").glob("rank*.log"), *(folder / "logs").glob("*/rank*.log")]
    if not files:
        return []
    newest = max(files, key=lambda path: path.stat().st_mtime).parent
    return [_rank_log(folder, path) for path in sorted(path for path in files if path.parent == newest)[:_RANKS]]


def _rank_log(folder: Path, path: Path) -> RankLog:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        lines = file.read().decode("utf-8", errors="replace").splitlines()
    silent_s = max(0.0, time.time() - path.stat().st_mtime)
    return RankLog(
        int(path.stem.removeprefix("rank")), str(path.relative_to(folder)), round(silent_s, 1), lines[-_LINES:]
    )


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")

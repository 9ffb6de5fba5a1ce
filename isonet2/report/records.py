"""What a job left in its folder: a record for each stage, where and with what it ran, and the courses of training."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from isonet2.job.models import STAGES, Job

_TRAINING = ("denoise", "refine")
_PARTS = ("top", "bottom")  # of split_halves


@dataclass(frozen=True)
class StageRecord:
    """One stage: its state in words, and what it took and found if it has finished."""

    stage: str
    state: str
    seconds: float = 0.0
    ranks: int = 0
    peak_memory_gb: list[float] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        return self.ranks > 0


@dataclass(frozen=True)
class Course:
    """The training of one network: its stage, the part of the specimen that it saw ("top", "bottom", or "" for all),
    its folder and the lines of its metrics."""

    stage: str
    part: str
    folder: Path
    metrics: list[dict[str, Any]]

    @property
    def name(self) -> str:
        return f"{self.stage}, {self.part} half" if self.part else self.stage

    @property
    def epochs(self) -> list[dict[str, Any]]:
        return [line for line in self.metrics if line.get("kind") == "epoch"]

    @property
    def previews(self) -> list[dict[str, Any]]:
        return [line for line in self.metrics if line.get("kind") == "preview"]

    @property
    def held_out_losses(self) -> list[float]:
        """Of each epoch, on cubes that were never trained on; empty if none were held out."""
        return [line["val_loss"] for line in self.epochs if "val_loss" in line]


@dataclass(frozen=True)
class RunRecords:
    """All of it; empty where the job has not come so far."""

    stages: list[StageRecord]
    provenance: dict[str, Any]
    resolved: str
    courses: list[Course]

    def facts(self, stage: str) -> dict[str, Any]:
        """What a stage has found; nothing if it has not finished."""
        return next((record.facts for record in self.stages if record.stage == stage), {})


def read_records(job: Job) -> RunRecords:
    """Everything in the job's folder but the tomograms. What is missing is empty; the report itself is left out."""
    provenance = _json(job.folder / "provenance.json")
    resolved = job.folder / "resolved.yaml"
    names = [name for name in STAGES if name != "report"]
    records = [_stage(job, name, str(provenance.get("started", ""))) for name in names]
    courses = [Course(stage, part, path.parent, _json_lines(path)) for stage, part, path in _metrics(job)]
    return RunRecords(
        stages=[record for record in records if record is not None],
        provenance=provenance,
        resolved=resolved.read_text(encoding="utf-8") if resolved.is_file() else "",
        courses=[course for course in courses if course.epochs],
    )


def record_files(job: Job) -> list[Path]:
    """The files that `read_records` reads and that say what was found, whether they are there or not."""
    stages = [stage_path(job, stage) for stage in STAGES if stage != "report"]
    return stages + [path for _, _, path in _metrics(job)]


def stage_path(job: Job, stage: str) -> Path:
    """The record of a finished stage."""
    return job.folder / "stages" / f"{stage}.json"


def _metrics(job: Job) -> Iterator[tuple[str, str, Path]]:
    """Stage, part and metrics file of every network that the job trains, or that an earlier job in this folder did."""
    for stage in _TRAINING:
        section = job.trainings.get(stage)
        if section is not None:
            folders = [job.path(section.output_dir) / part for part in (_PARTS if section.split_halves else ("",))]
            split = section.split_halves
        else:
            facts = _json(stage_path(job, stage)).get("facts") or {}
            folders = [job.path(network).parent for network in facts.get("networks", [])]
            split = len(folders) > 1
        for folder in folders:
            yield stage, folder.name if split else "", folder / "metrics.jsonl"


def _stage(job: Job, name: str, started: str) -> StageRecord | None:
    """The record of one stage, "not run" if the job asks for it and there is none, nothing if nobody asked."""
    path = stage_path(job, name)
    if not path.is_file():
        return StageRecord(name, "not run") if getattr(job, name) is not None else None
    record = _json(path)
    earlier = started and datetime.fromisoformat(record["finished"]) < datetime.fromisoformat(started)
    return StageRecord(
        stage=name,
        state="kept from an earlier run" if earlier else "run",
        seconds=float(record["seconds"]),
        ranks=int(record["ranks"]),
        peak_memory_gb=[float(value) for value in record.get("peak_memory_gb", [])],
        facts=dict(record.get("facts") or {}),
    )


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _json_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a file that may still be written to: a last line without an end is not one yet."""
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines() if line.strip()]

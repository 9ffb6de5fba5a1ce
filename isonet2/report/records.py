"""What a job left in its folder: one record for each stage, where and with what it ran, and the metrics of training."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from isonet2.job.models import STAGES, Job, Refine


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
class RunRecords:
    """All of it; empty where the job has not come so far."""

    stages: list[StageRecord]
    provenance: dict[str, Any]
    resolved: str
    metrics: list[dict[str, Any]]

    @property
    def epochs(self) -> list[dict[str, Any]]:
        return [line for line in self.metrics if line.get("kind") == "epoch"]

    @property
    def previews(self) -> list[dict[str, Any]]:
        return [line for line in self.metrics if line.get("kind") == "preview"]


def read_records(job: Job) -> RunRecords:
    """Everything in the job's folder but the tomograms. What is missing is empty; the report itself is left out."""
    provenance = _json(job.folder / "provenance.json")
    resolved = job.folder / "resolved.yaml"
    names = [name for name in STAGES if name != "report"]
    records = [_stage(job, name, str(provenance.get("started", ""))) for name in names]
    return RunRecords(
        stages=[record for record in records if record is not None],
        provenance=provenance,
        resolved=resolved.read_text(encoding="utf-8") if resolved.is_file() else "",
        metrics=_json_lines(metrics_folder(job) / "metrics.jsonl"),
    )


def metrics_folder(job: Job) -> Path:
    """Where training writes: the job's own folder for it, or the default if the job only reports."""
    return job.path((job.refine or Refine()).output_dir)


def stage_path(job: Job, stage: str) -> Path:
    """The record of a finished stage."""
    return job.folder / "stages" / f"{stage}.json"


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

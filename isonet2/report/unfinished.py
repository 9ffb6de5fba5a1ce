"""What predict was to make and has not: which tomograms have no map, why, and what to run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from isonet2.errors import UserError
from isonet2.io.star import TomogramRow, select_rows
from isonet2.job.load import load_job
from isonet2.job.models import Job
from isonet2.job.settings import written
from isonet2.report import words
from isonet2.report.records import RunRecords
from isonet2.report.support import Finding, State
from isonet2.report.tomogram import is_there

_MOST_REASONS = 4
_NOTES = {"running": "its task was killed", "fail": "its task failed: ", "stopped": "its task was stopped: "}


class Unfinished(NamedTuple):
    """What is missing; by tomogram, why it has no map that it should have; and the command lines that make them."""

    finding: Finding
    reasons: dict[str, str]
    commands: list[str]


def unfinished(job: Job, rows: Sequence[TomogramRow], records: RunRecords, column: str) -> Unfinished | None:
    """What predict left out, or that it did not come to its end; None if there is nothing to say.

    `job`: with the stages of earlier runs; `column`: that of the predicted maps.
    """
    reasons, ended = _without_map(job, rows, records.facts("predict"), column), bool(records.facts("predict"))
    if not reasons and (ended or job.predict is None):
        return None
    state: State = "bad" if reasons else "caution"
    said = "predict was begun again and did not come to its end: maps may be of an earlier network"
    if reasons:
        have = "has" if len(reasons) == 1 else "have"
        said = f"{len(reasons):,} of {words.count(len(rows), 'tomogram')} {have} no {column} map. {_told(reasons)}"
    finding = Finding("Not finished", state, f"{said}. This goes on, and keeps what is whole:")
    return Unfinished(finding, reasons, _again(job, records))


def _without_map(job: Job, rows: Sequence[TomogramRow], facts: Mapping[str, Any], column: str) -> dict[str, str]:
    """See `Unfinished`; `facts`: what predict found, empty if it has not finished."""
    asked = set(facts.get("corrected", ()))
    if not facts and job.predict is not None:
        with suppress(UserError):  # of a list that has changed
            asked = {row.name for row in select_rows(rows, job.predict.tomo_idx)}
    found = {}
    for row in rows:
        named = getattr(row, column)
        if (row.name in asked or named) and not (named and job.path(named).is_file()):
            found[row.name] = _reason(job, row, named, finished=bool(facts))
    return found


def _told(reasons: Mapping[str, str]) -> str:
    names: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        names.setdefault(reason, []).append(name)
    told = [f"{words.named(found)}: {reason}" for reason, found in names.items()]
    return "; ".join(told[:_MOST_REASONS] + ["and other reasons"] * (len(told) > _MOST_REASONS))


def _reason(job: Job, row: TomogramRow, named: str | None, *, finished: bool) -> str:
    if not is_there(job, row):
        return "its raw maps are not there any more; bring them back, or take it out of the list"
    notes = {} if finished else _NOTES  # what one task could not do another may have done since
    for ending, reason in notes.items():
        note = job.folder / "stages" / "predict" / f"{row.index}.{ending}"
        if note.is_file():
            why = next(iter(note.read_text(encoding="utf-8").splitlines()), "").rstrip(".")
            return reason + (why if reason.endswith(": ") else "")
    return "its map, which the list names, is not there any more" if named else "predict did not come to it"


def _again(job: Job, records: RunRecords) -> list[str]:
    """What goes on with predict: the job file, if predict was run by that."""
    if by_job_file(job, "predict"):
        return ["isonet2 run job.yaml"]
    given = job.predict.model_dump(exclude_defaults=True) if job.predict else {}
    trained = records.facts("refine").get("networks") or records.facts("denoise").get("networks", ())
    if "model" not in given:
        given |= zip(("model", "model2"), trained, strict=False)
    return [command(job, "predict", given), f"isonet2 report {shlex.quote(job.star_file)}"]


def by_job_file(job: Job, stage: str) -> bool:
    """Whether job.yaml in the folder has the settings that a stage was run with, or those of one that has not run."""
    with suppress(UserError):
        there, ran = (getattr(one, stage) for one in (load_job(job.folder / "job.yaml"), job))
        unset = {"batch_size"}  # a run fills it in
        return there is not None and (ran is None or there.model_dump(exclude=unset) == ran.model_dump(exclude=unset))
    return False


def command(job: Job, stage: str, given: Mapping[str, Any]) -> str:
    """The command line of a stage with these settings."""
    flags = [f"--{name} {shlex.quote(written(value))}" for name, value in given.items()]
    return " ".join([f"isonet2 {stage} {shlex.quote(job.star_file)}", *flags])

"""What to run next, where more of it would help: a sentence and a command line each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from isonet2.job.models import Job
from isonet2.job.settings import written
from isonet2.report.judgement import Judged
from isonet2.report.records import RunRecords
from isonet2.report.unfinished import by_job_file, command


class Step(NamedTuple):
    """What for, and the command line."""

    text: str
    command: str


def next_steps(
    job: Job, records: RunRecords, tomograms: Sequence[Judged], convergence: Mapping[str, Mapping[str, Any]]
) -> list[Step]:
    """More epochs for each training that still learned, and two networks where one cannot tell what fills the wedge.

    `job`: with the settings of all stages that ran; `convergence`: by the name of a course, its state and sentence.
    """
    steps = []
    learning = {"learning", "perhaps"}
    stages = [course.stage for course in records.courses if convergence.get(course.name, {}).get("state") in learning]
    for stage in dict.fromkeys(stages):
        if section := job.trainings.get(stage):
            text = f"More epochs of {stage}, twice as many:"
            steps.append(_step(job, stage, text, {"epochs": 2 * section.epochs}))
    trained = job.refine is not None and any(course.stage == "refine" for course in records.courses)
    verdicts = [one.judgement.verdicts.get("missing wedge") for one in tomograms]
    if trained and job.refine and not job.refine.split_halves and any(v and v.state == "unknown" for v in verdicts):
        text = "To learn how much of the wedge is supported, two networks, each on one half of the specimen:"
        steps.append(_step(job, "refine", text, {"split_halves": True}))
    return steps


def _step(job: Job, stage: str, text: str, changes: Mapping[str, Any]) -> Step:
    """By the job file if the stage was run by that, which also predicts and reports."""
    if by_job_file(job, stage):
        settings = [f"--set {stage}.{name}={written(value)}" for name, value in changes.items()]
        return Step(text, " ".join(["isonet2 run job.yaml", *settings]))
    given = job.trainings[stage].model_dump(exclude_defaults=True) | dict(changes)
    return Step(f"{text.removesuffix(':')}; then predict and report again:", command(job, stage, given))

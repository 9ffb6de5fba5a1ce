"""How long a training will take, where that can be said: by the rate that the same one had in this folder."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from isonet2 import log
from isonet2.job.models import Job
from isonet2.job.plan import Plan
from isonet2.job.resolved import resolved_job
from isonet2.report.records import read_records

_DAMAGED = (OSError, ValueError, KeyError, TypeError, StopIteration, ZeroDivisionError)


def training_time(job: Job, plan: Plan) -> str:
    """How long the last training of a job takes, from its first step on, and by which rate; empty without a training.

    A rate counts for the same network, cubes, batch and ranks. It is that of the machine where it was measured.
    """
    if plan.training_steps is None or plan.batch_size is None:
        return ""
    stage, training = list(job.trainings.items())[-1]
    earlier = resolved_job(job.folder)
    with suppress(*_DAMAGED):
        record = next(record for record in read_records(job).stages if record.stage == stage and record.finished)
        facts = record.facts
        alike = (
            earlier is not None
            and _cost(job, stage) == _cost(earlier, stage)
            and f"_{training.arch}_{training.cube_size}_" in facts["networks"][0]
            and getattr(training, "method", None) in (None, facts["method"])
            and (plan.batch_size, plan.ranks) == (facts["batch_size"], record.ranks)
        )
        if alike:
            seconds = plan.training_steps * plan.batch_size / facts["samples_per_s"]
            rate = f"{facts['samples_per_s']:.3g} cubes/s that it had here before ({facts['precision']})"
            return f"{log.duration(seconds)}, by the {rate}"
    return "not known before it has run here once; isonet2 status says what is left"


def _cost(job: Job, stage: str) -> tuple[Any, ...]:
    """What the time of a step depends on, besides what the name of the network says."""
    training = job.trainings[stage]
    part = (training.CTF_mode, training.mixed_precision, training.acc_batches, job.resources.threads_per_rank)
    return training.shape, training.pretrained_model, *part

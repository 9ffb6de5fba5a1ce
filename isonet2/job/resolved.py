"""resolved.yaml: every setting of the runs in a folder, and what the first of them fixed for the others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from isonet2.errors import UserError
from isonet2.job.load import dump_job, load_job
from isonet2.job.models import STAGES, Job


def resolved_job(folder: Path) -> Job | None:
    """The job as an earlier run in this folder wrote it down; None if there was none, or one of another version."""
    path = folder / "resolved.yaml"
    try:
        return load_job(path) if path.exists() else None
    except UserError:
        return None


def fixed_batch_sizes(job: Job, earlier: Job | None, ranks: int) -> dict[str, int]:
    """The batch size of each training: as asked for, or as it was at the first start, or two cubes a rank."""
    then = earlier.trainings if earlier else {}
    return {
        name: training.batch_size or (then[name].batch_size if name in then else None) or 2 * ranks
        for name, training in job.trainings.items()
    }


def with_batch_sizes(job: Job, sizes: Mapping[str, int]) -> Job:
    """The same job with these."""
    sections = {name: job.trainings[name].model_copy(update={"batch_size": size}) for name, size in sizes.items()}
    return job.model_copy(update=sections)


def resolved_text(job: Job, earlier: Job | None) -> str:
    """The job with every value written out. `earlier`: stages that it lacks are kept from there."""
    return dump_job(with_stages_of(earlier, job))


def with_stages_of(earlier: Job | None, job: Job) -> Job:
    """The job with the stages of an earlier one that it lacks."""
    absent = {name: getattr(earlier, name, None) for name in STAGES if getattr(job, name) is None}
    return job.model_copy(update=absent)

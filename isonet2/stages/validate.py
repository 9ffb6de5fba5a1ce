"""validate: a job against its inputs and this machine, before any work. Reads headers only, and needs no torch."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from isonet2.data.acquired import check_phases
from isonet2.data.choice import maps_for, method_of
from isonet2.data.inputs import missing_inputs, unusable_outputs
from isonet2.data.listing import list_tomograms
from isonet2.data.sources import Choice, any_maps, map_in, sources_of
from isonet2.errors import UserError
from isonet2.io.mrc import read_header
from isonet2.io.pairing import TOMOGRAMS, list_files
from isonet2.io.star import TomogramRow, file_in_column, read_star, select_rows
from isonet2.job.models import Deconv, Extract, Job, MakeMask, Predict, PrepareStar, Simulate
from isonet2.job.plan import Plan, TomogramFacts, in_words, make_plan, too_thin, training_bytes
from isonet2.job.preparing import unit_of_defocus
from isonet2.parallel.machine import core_count, gpu_count, memory_bytes
from isonet2.report.pace import training_time

_SHOWN = 30  # mistakes: a wrong folder name makes one for each tomogram


def validate(job: Job) -> Plan:
    """The plan of a job whose inputs were found good. UserError with a line for each mistake.

    What earlier stages of the same job will make need not be there yet.
    """
    mistakes: list[str] = []
    doubts: list[str] = []
    missing = missing_inputs(job) | unusable_outputs(job)
    listed = not any(key.startswith(("prepare_star.", "star_file")) for key in missing)
    tomograms = _tomograms(job, mistakes, doubts) if listed else None
    mistakes += missing.values()
    if mistakes:
        mistakes += too_thin(job, tomograms or [])
        mistakes = list(dict.fromkeys(mistakes))
        more = [f"… and {len(mistakes) - _SHOWN} more"] if len(mistakes) > _SHOWN else []
        raise UserError("\n".join(mistakes[:_SHOWN] + more))
    plan = make_plan(job, tomograms)
    _check_room(job, plan)
    warnings = (*doubts, *plan.warnings, *_beyond_machine(job, plan))
    return replace(plan, training_time=training_time(job, plan), tomogram_indices=_predicted(job), warnings=warnings)


def _predicted(job: Job) -> tuple[int, ...] | None:
    """The tomograms that predict takes; None while they are not listed."""
    star = job.path(job.star_file)
    if job.predict is None or not star.exists():
        return None
    return tuple(row.index for row in select_rows(read_star(star), job.predict.tomo_idx))


@contextmanager
def _collecting(mistakes: list[str]) -> Iterator[None]:
    """Put a UserError raised inside on the list, and go on behind the block."""
    try:
        yield
    except UserError as error:
        mistakes.append(str(error))


def _tomograms(job: Job, mistakes: list[str], doubts: list[str]) -> list[TomogramFacts] | None:
    """Those that the stages will work on; None if they are not there yet, or nothing reads them."""
    rows: list[TomogramRow] = []
    with _collecting(mistakes):
        if job.prepare_star:
            rows = _rows_to_come(job, job.prepare_star, doubts)
        elif job.deconv or job.make_mask or job.extract or job.trainings or job.predict:
            rows = read_star(job.path(job.star_file))
    if not rows:
        return None
    doubts += _other_units(rows)
    chosen = _chosen(job, rows, mistakes)
    _check_ctf(job, chosen, rows, mistakes)
    choices: list[Choice] = []
    for training in job.trainings.values():
        with _collecting(mistakes):
            choices.append(maps_for(method_of(training, chosen), training))
    cut, facts = {row.index for row in chosen}, []
    for row in rows:
        with _collecting(mistakes):
            facts.append(_facts(job, row, choices if row.index in cut else [], cut=row.index in cut))
    return facts


def _other_units(rows: Sequence[TomogramRow]) -> Iterator[str]:
    """A defocus in µm or nm makes every CTF wrong, and silently."""
    found = [row for row in rows if unit_of_defocus(row.defocus_angstrom)[0] != "Å"]
    for row in found[:1]:
        value, more = row.defocus_angstrom, f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        unit, factor = unit_of_defocus(value)
        yield f"defocus {value:g} of {row.name}{more} looks like {unit}: give it in Å, as in {factor * value:g}"


def _check_ctf(job: Job, chosen: list[TomogramRow], rows: list[TomogramRow], mistakes: list[str]) -> None:
    """What corrects the CTF has to know the defocus, and what the list says of the phases."""
    correcting = {"deconv": job.deconv} | {name: each for name, each in job.trainings.items() if each.CTF_mode}
    for name, section in correcting.items():
        if section is not None:
            with _collecting(mistakes):
                concerned = select_rows(rows, job.deconv.tomo_idx) if section is job.deconv else chosen
                if unknown := [row for row in concerned if row.defocus_angstrom <= 0]:
                    more = f" (and of {len(unknown) - 1} more)" if len(unknown) > 1 else ""
                    mistakes.append(
                        f"{name}: rlnDefocus of {unknown[0].name}{more} is {unknown[0].defocus_angstrom:g}: it has to "
                        "be the underfocus at 0° in Å, as in 30000, by prepare_star's defocus or in the list"
                    )
                check_phases(chosen, f"{name}.phaseflipped", phaseflipped=section.phaseflipped)


def _chosen(job: Job, rows: list[TomogramRow], mistakes: list[str]) -> list[TomogramRow]:
    """The rows that cubes are cut from, once every choice of tomograms was looked at."""
    previews = [str(training.prev_tomo_idx) for training in job.trainings.values() if training.with_preview]
    choices = (
        job.deconv or MakeMask(),
        job.make_mask or MakeMask(),
        job.predict or Predict(),
        job.extract or Extract(),
    )
    chosen = rows
    for choice in (*previews, *(section.tomo_idx for section in choices)):  # that of extract comes last, and stays
        with _collecting(mistakes):
            chosen = select_rows(rows, choice)
    return chosen


def _rows_to_come(job: Job, section: PrepareStar, doubts: list[str]) -> list[TomogramRow]:
    """What prepare_star is going to list; nothing if simulate makes it first."""
    folders = [folder for folder in (section.full, section.even, section.odd) if folder is not None]
    there = [folder for folder in folders if not _made_before(job, folder)]
    if len(there) < len(folders):
        for folder in there:
            list_files(job.path(folder), TOMOGRAMS)
        return []
    rows = list_tomograms(job, section, doubts.append)
    if section.create_average:
        rows = [replace(row, tomogram=row.half1) for row in rows]  # the average will have the same shape
    return rows


def _facts(job: Job, row: TomogramRow, choices: Sequence[Choice], *, cut: bool) -> TomogramFacts:
    """Shape and samples, from the headers. UserError for files that are missing, cannot be read or do not fit."""
    if job.deconv:
        row = replace(row, deconvolved=row.tomogram or row.half1)  # it will have the same shape
    if job.make_mask:
        read_header(job.path(_masked_file(row, job.make_mask)))
        row = replace(row, mask=None)  # it will be made anew
    if job.predict and not job.trainings:
        column = job.predict.input_column
        choices = [map_in(column) if column else any_maps]
    if not choices:
        choices = [any_maps]
    source, *_ = [sources_of([row], job.path, choice)[0] for choice in choices]
    return TomogramFacts(row.name, source.shape, source.number if cut else 0)


def _masked_file(row: TomogramRow, section: MakeMask) -> str:
    """The file that make_mask reads."""
    column = section.input_column
    file = file_in_column(row, column) if column else row.deconvolved or row.tomogram or row.half1
    if file is None:
        raise UserError(f"make_mask.input_column: {column} of {row.name} is empty: choose another column")
    return file


def _made_before(job: Job, folder: str) -> bool:
    """Whether simulate of this job makes the folder."""
    if job.simulate is None:
        return False
    return job.path(folder).resolve().is_relative_to(job.path(job.simulate.output_dir).resolve())


def _check_room(job: Job, plan: Plan) -> None:
    """UserError if a disk has less room than its folders still need: what lies in them counts as theirs."""
    needs = (
        *((each.output_dir, training_bytes(each)) for each in job.trainings.values() if plan.training_bytes),
        ((job.simulate or Simulate()).output_dir, plan.simulation_bytes),
        ((job.make_mask or MakeMask()).output_dir, plan.mask_bytes),
        ((job.extract or Extract()).cache_dir, plan.cache_bytes),
        ((job.deconv or Deconv()).output_dir, plan.deconvolution_bytes),
        ((job.predict or Predict()).output_dir, plan.prediction_bytes),
    )
    owed: dict[Path, int] = defaultdict(int)
    for name, needed in needs:
        owed[job.path(name)] += needed or 0
    missing: dict[int, int] = defaultdict(int)
    for folder, needed in owed.items():
        there = next(parent for parent in (folder, *folder.parents) if parent.exists())
        disk, free = there.stat().st_dev, shutil.disk_usage(there).free
        missing[disk] += max(0, needed - _size_bytes(folder))
        if missing[disk] > free:
            raise UserError(
                f"{folder}: {in_words(missing[disk])} are needed on this disk and {in_words(free)} are free: "
                "make room, choose another folder, or cut fewer or smaller cubes"
            )


def _size_bytes(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # a run that goes on beside this removes files
                total += (Path(place) / name).stat().st_size
    return total


def _beyond_machine(job: Job, plan: Plan) -> Sequence[str]:
    """Where the job asks for more than this machine has. A login node says nothing about a job of several nodes."""
    here, doubts = job.resources.ranks_per_node, []
    if job.resources.nodes > 1:
        return []
    cores = here * (job.resources.threads_per_rank or 1)
    if cores > core_count():
        doubts.append(f"resources: {cores} cores are asked for, this machine gives {core_count()}")
    memory = here * max(
        plan.training_memory_bytes or 0, plan.prediction_memory_bytes or 0, plan.deconvolution_memory_bytes or 0
    )
    if gpu_count() == 0 and memory > memory_bytes():
        doubts.append(f"memory: {memory / 1e9:.1f} GB may be needed, this machine has {memory_bytes() / 1e9:.1f} GB")
    return doubts

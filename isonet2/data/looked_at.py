"""Which tomograms, and which of their maps, a check of a job looks at: those that the job is going to read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from isonet2 import __version__
from isonet2.data.acquired import optics_of, tilts_of
from isonet2.data.choice import maps_for, method_of
from isonet2.data.sources import Choice, any_maps, halves, map_in, one_map
from isonet2.errors import UserError
from isonet2.io.fingerprint import fingerprint
from isonet2.io.star import TomogramRow, select_rows
from isonet2.job.models import STAGES, Extract, Job


def rows_read(job: Job, rows: Sequence[TomogramRow], stages: Collection[str] = STAGES) -> list[TomogramRow]:
    """Those that one of these stages of the job selects by its tomo_idx; all, where none reads any."""
    named = {"deconv": job.deconv, "make_mask": job.make_mask, "predict": job.predict}
    choices = [section.tomo_idx for name, section in named.items() if section is not None and name in stages]
    cut = [name for name in ("extract", "denoise", "refine") if getattr(job, name) is not None and name in stages]
    if cut or not choices:
        choices.append((job.extract or Extract()).tomo_idx)
    wanted = {row.index for choice in choices for row in select_rows(rows, choice)}
    return [row for row in rows if row.index in wanted]


def maps_read(job: Job, rows: Sequence[TomogramRow], path: Callable[[str], Path]) -> Choice:
    """Of each tomogram the maps that a section reads, halves before others; what deconv is still to make is judged by
    what it is made of. Of a job that reads nothing both halves, or else the full tomogram."""
    choices: list[Choice] = []
    for training in job.trainings.values():
        with suppress(UserError):  # validate says it
            choices.append(maps_for(method_of(training, rows), training))
    if job.deconv is not None:
        choices.append(map_in(job.deconv.input_column) if job.deconv.input_column else _full)
    if job.predict is not None and not job.trainings:
        choices.append(map_in(job.predict.input_column) if job.predict.input_column else any_maps)
    if job.make_mask is not None and not choices:
        choices = [any_maps, _masked]

    def choice(row: TomogramRow) -> tuple[str, ...]:
        if job.deconv is not None:
            row = replace(row, deconvolved=row.tomogram or row.half1)
        read = [choose(row) for choose in choices or [any_maps]]
        there = [names for names in read if all(path(name).exists() for name in names)]
        return max(there or read, key=len)

    return choice


def _full(row: TomogramRow) -> tuple[str, ...]:
    """What deconv reads by itself."""
    return halves(row) if row.tomogram is None else one_map(row)


def _masked(row: TomogramRow) -> tuple[str, ...]:
    """What make_mask reads by itself."""
    return tuple(name for name in (row.deconvolved, row.tomogram, row.half1) if name is not None)[:1]


def names_read(row: TomogramRow, choice: Choice) -> list[str]:
    """The maps that are looked at; none where the list has not what is asked for."""
    try:
        return sorted(set(choice(row)))
    except UserError:
        return []


def keys_of(
    rows: Sequence[TomogramRow], path: Callable[[str], Path], choice: Choice, flipped: bool | None
) -> dict[str, str]:
    """By tomogram: what changes with what is declared of it and with its files, there or not."""

    def or_why_not(work: Callable[[], object]) -> str:
        try:
            return str(work())
        except UserError as error:
            return str(error)

    keys = {}
    for row in rows:
        content = [__version__, str(flipped), str(optics_of(row)), str(row.phases_flipped)]
        content += [or_why_not(partial(tilts_of, row, path))]
        content += [or_why_not(partial(fingerprint, path(name))) for name in names_read(row, choice)]
        keys[row.name] = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return keys

"""prepare_star: list tomograms, their halves and how they were taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from isonet2.data.listing import list_tomograms
from isonet2.io.fingerprint import fingerprint
from isonet2.io.mrc import open_volume, writing_mrc
from isonet2.io.pairing import COORDINATES, TILTS, TOMOGRAMS, list_files
from isonet2.io.star import TomogramRow, read_star, write_star
from isonet2.job.models import Job, PrepareStar
from isonet2.log import info, warn
from isonet2.parallel.collectives import on_first_rank
from isonet2.parallel.world import World


def inputs(job: Job) -> dict[str, Any]:
    """What the list depends on: the files in the folders that it is made from."""
    of_tomograms = dict.fromkeys(("full", "even", "odd", "mask_folder"), TOMOGRAMS)
    return {
        role: {path.name: fingerprint(path) for path in list_files(job.path(folder), suffixes)}
        for role, suffixes in (*of_tomograms.items(), ("coordinate_folder", COORDINATES), ("tilt_folder", TILTS))
        if (folder := getattr(_section(job), role)) is not None
    }


def run(job: Job, world: World) -> dict[str, Any]:
    """Write the STAR file, and the averages of halves if asked for. Rank 0 works. Memory: two planes.

    What an older file of that name says of masks, results and further columns is kept for the same tomograms.
    """
    return on_first_rank(world, lambda: _prepare(job, _section(job)))


def _section(job: Job) -> PrepareStar:
    assert job.prepare_star is not None
    return job.prepare_star


def _prepare(job: Job, section: PrepareStar) -> dict[str, Any]:
    rows = list_tomograms(job, section, warn)
    if section.create_average:
        rows = [_averaged(job, row) for row in rows]
    rows = _with_earlier_results(job, rows)
    write_star(job.path(job.star_file), rows)
    cubes = sum(row.number_subtomos for row in rows)
    info(f"prepare_star: {len(rows)} tomograms, {cubes} cubes to cut: {job.star_file}")
    averages = [row.tomogram for row in rows if section.create_average and row.tomogram is not None]
    return {
        "outputs": [job.star_file, *averages],
        "tomograms": len(rows),
        "pairs": sum(row.half1 is not None for row in rows),
        "pixel_sizes_angstrom": sorted({row.pixel_size_angstrom for row in rows}),
        "number_subtomos": cubes,
    }


def _averaged(job: Job, row: TomogramRow) -> TomogramRow:
    """Write the mean of the two halves beside the STAR file, as float32 whatever they are: the row with its name."""
    assert row.half1 is not None
    assert row.half2 is not None
    name = str(Path(job.star_file).parent / "average" / f"{row.name}.mrc")
    with (
        open_volume(job.path(row.half1)) as even,
        open_volume(job.path(row.half2)) as odd,
        writing_mrc(
            job.path(name), even.shape, header=even.header, pixel_size_angstrom=row.pixel_size_angstrom
        ) as average,
    ):
        for z in range(even.shape[0]):
            average.append((even[z : z + 1] + odd[z : z + 1]) / 2)
    return replace(row, tomogram=name)


def _with_earlier_results(job: Job, rows: Sequence[TomogramRow]) -> list[TomogramRow]:
    """The rows with what later stages or the user wrote into an older file, where a tomogram has the same files."""
    star = job.path(job.star_file)
    earlier = {(row.tomogram, row.half1, row.half2): row for row in read_star(star)} if star.exists() else {}
    return [
        replace(
            row,
            deconvolved=old.deconvolved,
            mask_boundary=old.mask_boundary,
            mask=row.mask or old.mask,
            corrected=old.corrected,
            denoised=old.denoised,
            extra=old.extra,
        )
        if (old := earlier.get((row.tomogram, row.half1, row.half2)))
        else row
        for row in rows
    ]

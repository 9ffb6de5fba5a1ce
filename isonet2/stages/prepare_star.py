"""prepare_star: list tomograms, their halves and how they were taken."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from isonet2.data.listing import Listed, files_listed, list_with_tilts, program_of
from isonet2.errors import UserError
from isonet2.io.atomic import write_text
from isonet2.io.fingerprint import fingerprint
from isonet2.io.mrc import open_volume, writing_mrc
from isonet2.io.pairing import COORDINATES, TILTS, TOMOGRAMS, list_files
from isonet2.io.series import text_of
from isonet2.io.star import TomogramRow, read_star, write_star
from isonet2.job.models import Job, PrepareStar
from isonet2.log import info, warn
from isonet2.parallel.collectives import on_first_rank
from isonet2.parallel.world import World
from isonet2.report.words import count

_LISTS_AT_ONCE = 8
_OUR_TILTS = "# tilts in degrees as isonet2 takes them: x' = x cos + z sin; excluded images are left out"


def inputs(job: Job) -> dict[str, Any]:
    """What the list depends on: the files in the folders that it is made from, or all that another program left."""
    section = _section(job)
    program = program_of(job, section)
    imported = {} if program is None else files_listed(job, section, program)
    of_tomograms = dict.fromkeys(("full", "even", "odd", "mask_folder"), TOMOGRAMS)
    if imported:
        del of_tomograms["full"]
    return {
        role: {path.name: fingerprint(path) for path in list_files(job.path(folder), suffixes)}
        for role, suffixes in (*of_tomograms.items(), ("coordinate_folder", COORDINATES), ("tilt_folder", TILTS))
        if (folder := getattr(section, role)) is not None
    } | ({"imported": {name: fingerprint(path) for name, path in imported.items()}} if imported else {})


def run(job: Job, world: World) -> dict[str, Any]:
    """Write the STAR file, and the averages of halves if asked for. Rank 0 works. Memory: two planes.

    What an older file of that name says of masks, results and further columns is kept for the same tomograms.
    """
    return on_first_rank(world, lambda: _prepare(job, _section(job)))


def _section(job: Job) -> PrepareStar:
    assert job.prepare_star is not None
    return job.prepare_star


def _prepare(job: Job, section: PrepareStar) -> dict[str, Any]:
    program = program_of(job, section)
    if program is not None:
        info(f"prepare_star: {program.path}: taken as {program.source} by {program.why} (--from names another)")
    listed = list_with_tilts(job, section, warn)
    _say_phases([each.row for each in listed], imported=program is not None)
    with ThreadPoolExecutor(_LISTS_AT_ONCE) as pool:  # each waits for the disk
        rows = list(pool.map(lambda each: _with_list(job, each), listed))
    if section.create_average:
        rows = [_averaged(job, row) for row in rows]
    rows = _with_earlier_results(job, rows)
    write_star(job.path(job.star_file), rows)
    cubes = sum(row.number_subtomos for row in rows)
    info(f"prepare_star: {count(len(rows), 'tomogram')}, {cubes} cubes to cut: {job.star_file}")
    averages = [row.tomogram for row in rows if section.create_average and row.tomogram is not None]
    lists = [row.tilt_file for row, each in zip(rows, listed, strict=True) if each.tilts_deg and row.tilt_file]
    return {
        "outputs": [job.star_file, *averages, *lists],
        "tomograms": len(rows),
        "pairs": sum(row.half1 is not None for row in rows),
        "pixel_sizes_angstrom": sorted({row.pixel_size_angstrom for row in rows}),
        "number_subtomos": cubes,
    }


def _say_phases(rows: Sequence[TomogramRow], *, imported: bool) -> None:
    """What is known of the CTF in the maps of another program, and what that means for later stages."""
    flipped = {row.phases_flipped for row in rows}
    if imported and True in flipped:
        info(
            "prepare_star: the tomograms are phase-flipped: deconv, and trainings with a CTF_mode, need --phaseflipped"
        )
    elif imported and None in flipped:
        info("prepare_star: the metadata do not say whether the CTF was corrected: if so, say --phaseflipped later on")


def _with_list(job: Job, listed: Listed) -> TomogramRow:
    """The row, once its tilts are written beside the STAR file. UserError if a file of the user's is in the way."""
    row = listed.row
    if not listed.tilts_deg:
        return row
    star = Path(job.star_file)
    name = str(star.with_name(f"{star.stem}_tilts") / f"{row.name}.tlt")
    path = job.path(name)
    if path.exists() and not text_of(path).startswith(_OUR_TILTS):
        raise UserError(f"{path}: is in the way of a list of tilts: move it, or make the list in another folder")
    write_text(path, "\n".join([_OUR_TILTS, *(f"{tilt:.6g}" for tilt in listed.tilts_deg), ""]))
    return replace(row, tilt_file=name)


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
            deconvolved=row.deconvolved or old.deconvolved,
            mask_boundary=row.mask_boundary or old.mask_boundary,
            mask=row.mask or old.mask,
            corrected=row.corrected or old.corrected,
            denoised=row.denoised or old.denoised,
            extra={**old.extra, **row.extra},
        )
        if (old := earlier.get((row.tomogram, row.half1, row.half2)))
        else row
        for row in rows
    ]

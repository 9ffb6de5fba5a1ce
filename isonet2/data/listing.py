"""The tomograms of some folders, or of another program, as rows of a list: found, paired by name, checked against each
other. No torch here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from isonet2.data.metadata import optics_of, tilts_of
from isonet2.data.window import Shape
from isonet2.errors import UserError
from isonet2.io.coordinates import points_inside, read_coordinates
from isonet2.io.foreign import Recognised, read_series, recognise
from isonet2.io.mrc import MrcHeader, read_header
from isonet2.io.pairing import COORDINATES, TILTS, TOMOGRAMS, one_for_each, pair_by_name
from isonet2.io.relion import LIST
from isonet2.io.series import Series
from isonet2.io.star import FILES, PHASES_FLIPPED, TomogramRow
from isonet2.io.tilts import read_tilts
from isonet2.job.models import Job, PrepareStar
from isonet2.job.plan import SAMPLES_BY_DEFAULT

_ROLES = {"full": "tomogram", "even": "half1", "odd": "half2"}


@dataclass(frozen=True)
class _Found:
    """One tomogram: its files by role (full, even, odd) as the STAR file names them, the header they share, and what is
    known about it."""

    name: str
    files: dict[str, str]
    header: MrcHeader
    series: Series


@dataclass(frozen=True)
class Listed:
    """A row, and the tilts to be written as its list of tilts, if it has none yet."""

    row: TomogramRow
    tilts_deg: tuple[float, ...]


def program_of(job: Job, section: PrepareStar) -> Recognised | None:
    """Which program left the tomograms; None for plain folders."""
    if not section.imports or section.full is None:
        return None
    found = recognise(job.path(section.full), section.source)
    return None if found.source == "folders" else found


def list_tomograms(job: Job, section: PrepareStar, warn: Callable[[str], None]) -> list[TomogramRow]:
    """The rows of the STAR file, as list_with_tilts finds them, before lists of tilts are written."""
    return [each.row for each in list_with_tilts(job, section, warn)]


def list_with_tilts(job: Job, section: PrepareStar, warn: Callable[[str], None]) -> list[Listed]:
    """The rows of the STAR file, of folders in the order of the names; averages that are to be made are not named yet.

    Of tomograms and masks only headers are read. UserError, in one line, for folders and files that are missing, have
    no partner or do not fit each other, and for settings that contradict them; `warn` is told what is doubtful, and
    what no metadata say.
    """
    program = program_of(job, section)
    found = _find(job, section) if program is None else _imported(job, section, program, warn)
    series = [tomogram.series for tomogram in found]
    sizes = _pixel_sizes(section, found, warn)
    optics = optics_of(section, series, warn, imported=program is not None)
    tilts = tilts_of(section, series, warn, imported=program is not None)
    masks = _masks(job, section, found)
    points = _coordinates(job, section, found)
    counts = _counts(job, section, found, points, warn)
    rows = [
        _row(job, n, tomogram, {"pixel_size_angstrom": size, **optic, **tilt.fields, "number_subtomos": count})
        for n, (tomogram, size, optic, tilt, count) in enumerate(zip(found, sizes, optics, tilts, counts, strict=True))
    ]
    given: list[dict[str, Any]] = [
        {"mask": mask, "coordinates": point} for mask, point in zip(masks, points, strict=True)
    ]
    return [
        Listed(
            replace(_named(job, row), **{name: file for name, file in files.items() if file is not None}), tilt.listed
        )
        for row, files, tilt in zip(rows, given, tilts, strict=True)
    ]


def _row(job: Job, number: int, found: _Found, fields: Mapping[str, Any]) -> TomogramRow:
    """The row of a tomogram; what IsoNet2's own list says is kept, but for `fields`."""
    files = {_ROLES[role]: name for role, name in found.files.items()}
    values: dict[str, Any] = {**files, **fields, "extra": _extra(job, found.series)}
    if found.series.row is not None:
        return replace(found.series.row, **{"tilt_file": None, **values})
    return TomogramRow(index=number + 1, **values)


def _named(job: Job, row: TomogramRow) -> TomogramRow:
    """The row with the whole paths in it named as the job does."""
    files: dict[str, Any] = {
        name: job.name(Path(file)) for name in FILES if (file := getattr(row, name)) and Path(file).is_absolute()
    }
    return replace(row, **files)


def files_listed(job: Job, section: PrepareStar, program: Recognised) -> dict[str, Path]:
    """Every file that the rows of another program depend on, by its name."""
    series = read_series(program, lambda _: None, pixel_size_angstrom=_asked(section))
    return {str(path): path for each in series for path in (*each.files.values(), *each.metadata)}


def _asked(section: PrepareStar) -> float | None:
    return None if section.pixel_size == "auto" else section.pixel_size


def _extra(job: Job, series: Series) -> dict[str, str]:
    """The further columns of a row."""
    flipped = {} if series.phases_flipped is None else {PHASES_FLIPPED: str(int(series.phases_flipped))}
    of_list = {} if series.relion_list is None else {LIST: job.name(series.relion_list)}
    return {**(series.row.extra if series.row else {}), **of_list, **flipped}


def _imported(job: Job, section: PrepareStar, program: Recognised, warn: Callable[[str], None]) -> list[_Found]:
    """The tomograms of another program, in its order. UserError if the files of one differ in shape, and if our list
    would take the place of another one."""
    if job.path(job.star_file).resolve() == program.path.resolve():
        raise UserError(f"{program.path}: is never changed: name the list that is to be made by --star_name")
    found = []
    for series in read_series(program, warn, pixel_size_angstrom=_asked(section)):
        first, *others = series.files.values()
        header = read_header(first)
        for other in others:
            _check_shape(other, header.shape, first)
        if section.create_average and ("full" in series.files or "even" not in series.files):
            raise UserError(
                "prepare_star.create_average: is for tomograms that have halves and no average; leave it out"
            )
        files = {role: job.name(path) for role, path in series.files.items()}
        found.append(_Found(series.name, files, header, series))
    return found


def _find(job: Job, section: PrepareStar) -> list[_Found]:
    """The tomograms of folders in the order of their names. UserError if the files of one differ in shape."""
    if section.full and section.create_average:
        raise UserError("prepare_star.create_average: the averages would take the place of full; leave one of them out")
    given = {role: name for role in ("full", "even", "odd") if (name := getattr(section, role)) is not None}
    pairs = pair_by_name({role: job.path(folder) for role, folder in given.items()})
    lists: Sequence[Path | None] = [None] * len(pairs)
    if section.tilt_folder is not None:
        lists = one_for_each(list(pairs), job.path(section.tilt_folder), TILTS, word="tilts")
    found = []
    for (name, paths), tilts in zip(pairs.items(), lists, strict=True):
        first, *others = paths.values()
        header = read_header(first)
        for other in others:
            _check_shape(other, header.shape, first)
        files = {role: str(Path(given[role]) / path.name) for role, path in paths.items()}
        series = Series(name=name, files=paths)
        if tilts is not None:
            series = replace(series, metadata=(tilts,), tilts_deg=read_tilts(tilts))
        found.append(_Found(name, files, header, series))
    return found


def _check_shape(path: Path, shape: Shape, like: Path) -> None:
    own = read_header(path).shape
    if own != shape:
        sizes = ["×".join(map(str, size)) for size in (own, shape)]
        raise UserError(f"{path}: {sizes[0]} voxels (z, y, x), but {like} has {sizes[1]}; they must have one shape")


def _pixel_sizes(section: PrepareStar, found: Sequence[_Found], warn: Callable[[str], None]) -> list[float]:
    """The size that the user gave, or the metadata, or those of the headers (6 digits: they are quotients of float32).

    `warn` is told of headers that say otherwise.
    """
    in_headers = [float(f"{tomogram.header.pixel_size_angstrom[2]:.6g}") for tomogram in found]
    said = [_asked(section) or _said(tomogram.series) or size for tomogram, size in zip(found, in_headers, strict=True)]
    unset = [tomogram.name for tomogram, size in zip(found, said, strict=True) if size in (0.0, 1.0)]
    if unset and section.pixel_size == "auto":
        raise UserError(f"prepare_star.pixel_size: the header of {unset[0]} (of {len(unset)}) has none; give it in Å")
    other = [
        (used, size)
        for used, size in zip(said, in_headers, strict=True)
        if size not in (0.0, 1.0) and abs(size / used - 1) > 0.01
    ]
    if other:
        used, size = other[0]
        warn(f"prepare_star: pixel_size {used:g} Å is used, though {len(other)} headers say otherwise ({size:g} Å)")
    return said


def _said(series: Series) -> float | None:
    return series.row.pixel_size_angstrom if series.row else series.pixel_size_angstrom


def _masks(job: Job, section: PrepareStar, found: Sequence[_Found]) -> list[str | None]:
    if section.mask_folder is None:
        return [None] * len(found)
    names = [tomogram.name for tomogram in found]
    paths = one_for_each(names, job.path(section.mask_folder), TOMOGRAMS, word="mask")
    for tomogram, path in zip(found, paths, strict=True):
        _check_shape(path, tomogram.header.shape, Path(next(iter(tomogram.files.values()))))
    return [str(Path(section.mask_folder) / path.name) for path in paths]


def _coordinates(job: Job, section: PrepareStar, found: Sequence[_Found]) -> list[str | None]:
    if section.coordinate_folder is None:
        return [None] * len(found)
    names = [tomogram.name for tomogram in found]
    paths = one_for_each(names, job.path(section.coordinate_folder), COORDINATES, word="coords")
    return [str(Path(section.coordinate_folder) / path.name) for path in paths]


def _counts(
    job: Job,
    section: PrepareStar,
    found: Sequence[_Found],
    coordinates: Sequence[str | None],
    warn: Callable[[str], None],
) -> list[int]:
    """Cubes to cut from each tomogram: its points where there are any, else as asked for, else a share."""
    rows = [tomogram.series.row for tomogram in found]
    if section.number_subtomos == "auto" and all(rows):
        counts = [row.number_subtomos for row in rows if row]
    elif section.number_subtomos == "auto":
        counts = _shared_out(SAMPLES_BY_DEFAULT, [math.prod(tomogram.header.shape) for tomogram in found])
    else:
        counts = [section.number_subtomos] * len(found)
    return [
        count if name is None else _points_inside(job.path(name), tomogram.name, tomogram.header.shape, warn)
        for count, name, tomogram in zip(counts, coordinates, found, strict=True)
    ]


def _shared_out(total: int, volumes: Sequence[int]) -> list[int]:
    """Whole shares in proportion to `volumes`, at least 1 each; together `total`, or 1 each where that is more."""
    exact = total * np.array(volumes) / sum(volumes)
    shares = np.ones(len(volumes), np.int64)
    for _ in range(total - len(volumes)):
        shares[np.argmax(exact - shares)] += 1
    return [int(share) for share in shares]


def _points_inside(path: Path, tomogram: str, shape: Shape, warn: Callable[[str], None]) -> int:
    inside = points_inside(read_coordinates(path, tomogram), shape)
    if not inside.any():
        raise UserError(
            f"{path}: none of its {len(inside)} points lies in the tomogram; they should be x y z in pixels"
        )
    if not inside.all():
        warn(f"prepare_star: {path}: {(~inside).sum()} of {len(inside)} points lie outside the tomogram: left out")
    return int(inside.sum())

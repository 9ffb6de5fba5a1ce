"""The tomograms of some folders as rows of a list: found, paired by name, checked against each other. No torch here."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from isonet2.data.window import Shape
from isonet2.errors import UserError
from isonet2.io.coordinates import points_inside, read_coordinates
from isonet2.io.mrc import MrcHeader, read_header
from isonet2.io.pairing import COORDINATES, TILTS, TOMOGRAMS, one_for_each, pair_by_name
from isonet2.io.star import TomogramRow
from isonet2.io.tilts import read_tilts
from isonet2.job.models import Job, PrepareStar
from isonet2.job.plan import SAMPLES_BY_DEFAULT
from isonet2.job.preparing import TILT_MAX, TILT_MIN, TILT_STEP
from isonet2.physics.tilts import median_step

_SAME_TILT_DEG = 0.5  # the alignment of a series may turn all of it by so much


@dataclass(frozen=True)
class _Found:
    """One tomogram: its files by role (full, even, odd) as the STAR file names them, and the header they share."""

    name: str
    files: dict[str, str]
    header: MrcHeader


def list_tomograms(job: Job, section: PrepareStar, warn: Callable[[str], None]) -> list[TomogramRow]:
    """The rows of the STAR file, in the order of the tomograms' names; averages that are to be made are not named yet.

    Of tomograms and masks only headers are read. UserError, in one line, for folders and files that are missing, have
    no partner or do not fit each other, and for settings that contradict them; `warn` is told what is doubtful.
    """
    found = _find(job, section)
    sizes = _pixel_sizes(section, found, warn)
    defocus = _one_for_each("defocus", section.defocus, len(found))
    tilts = _tilts(job, section, found)
    masks = _masks(job, section, found)
    points = _coordinates(job, section, found)
    counts = _counts(job, section, found, points, warn)
    return [
        TomogramRow(
            index=n + 1,
            tomogram=tomogram.files.get("full"),
            half1=tomogram.files.get("even"),
            half2=tomogram.files.get("odd"),
            pixel_size_angstrom=sizes[n],
            defocus_angstrom=defocus[n],
            voltage_kv=section.voltage,
            cs_mm=section.cs,
            amplitude_contrast=section.ac,
            **tilts[n],
            mask=masks[n],
            coordinates=points[n],
            number_subtomos=counts[n],
        )
        for n, tomogram in enumerate(found)
    ]


def _find(job: Job, section: PrepareStar) -> list[_Found]:
    """The tomograms in the order of their names. UserError if the files of one differ in shape."""
    if section.full and section.create_average:
        raise UserError("prepare_star.create_average: the averages would take the place of full; leave one of them out")
    given = {role: name for role in ("full", "even", "odd") if (name := getattr(section, role)) is not None}
    found = []
    for name, paths in pair_by_name({role: job.path(folder) for role, folder in given.items()}).items():
        first, *others = paths.values()
        header = read_header(first)
        for other in others:
            _check_shape(other, header.shape, first)
        found.append(_Found(name, {role: str(Path(given[role]) / path.name) for role, path in paths.items()}, header))
    return found


def _check_shape(path: Path, shape: Shape, like: Path) -> None:
    own = read_header(path).shape
    if own != shape:
        sizes = ["×".join(map(str, size)) for size in (own, shape)]
        raise UserError(f"{path}: {sizes[0]} voxels (z, y, x), but {like} has {sizes[1]}; they must have one shape")


def _pixel_sizes(section: PrepareStar, found: Sequence[_Found], warn: Callable[[str], None]) -> list[float]:
    """The size that the user gave, or those of the headers (6 digits: they are quotients of float32)."""
    in_headers = [float(f"{tomogram.header.pixel_size_angstrom[2]:.6g}") for tomogram in found]
    unset = [tomogram.name for tomogram, size in zip(found, in_headers, strict=True) if size in (0.0, 1.0)]
    if section.pixel_size == "auto":
        if unset:
            raise UserError(
                f"prepare_star.pixel_size: the header of {unset[0]} (of {len(unset)}) has none; give it in Å"
            )
        return in_headers
    given = section.pixel_size
    other = [size for size in in_headers if size not in (0.0, 1.0) and abs(size / given - 1) > 0.01]
    if other:
        warn(
            f"prepare_star: pixel_size {given:g} Å is used, though {len(other)} headers say otherwise ({other[0]:g} Å)"
        )
    return [given] * len(found)


def _one_for_each(option: str, values: Sequence[float], count: int) -> list[float]:
    if len(values) not in (1, count):
        raise UserError(f"prepare_star.{option}: {len(values)} values for {count} tomograms; give one, or one for each")
    return list(values) * (count if len(values) == 1 else 1)


def _tilts(job: Job, section: PrepareStar, found: Sequence[_Found]) -> list[dict[str, Any]]:
    """The fields of each row that say how it was tilted: from its list of tilts, or as the user said."""
    lows = _one_for_each("tilt_min", section.tilt_min or (TILT_MIN,), len(found))
    highs = _one_for_each("tilt_max", section.tilt_max or (TILT_MAX,), len(found))
    if section.tilt_folder is None:
        step = section.tilt_step or TILT_STEP
        return [
            {"tilt_min_deg": low, "tilt_max_deg": high, "tilt_step_deg": step}
            for low, high in zip(lows, highs, strict=True)
        ]
    paths = one_for_each([tomogram.name for tomogram in found], job.path(section.tilt_folder), TILTS, word="tilts")
    listed = [read_tilts(path) for path in paths]
    for path, tilts, low, high in zip(paths, listed, lows, highs, strict=True):
        if section.tilt_min:
            _check_tilt("tilt_min", low, min(tilts), path)
        if section.tilt_max:
            _check_tilt("tilt_max", high, max(tilts), path)
    return [
        {
            "tilt_file": str(Path(section.tilt_folder) / path.name),
            "tilt_min_deg": min(tilts),
            "tilt_max_deg": max(tilts),
            "tilt_step_deg": float(f"{median_step(tilts):.6g}"),  # a difference of decimal fractions
        }
        for path, tilts in zip(paths, listed, strict=True)
    ]


def _check_tilt(option: str, given: float, listed: float, path: Path) -> None:
    if abs(given - listed) > _SAME_TILT_DEG:
        raise UserError(f"prepare_star.{option}: {given:g}, but {path} says {listed:g}; correct one, or leave it out")


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
    if section.number_subtomos == "auto":
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

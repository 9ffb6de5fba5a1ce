"""Where particles are: lists of points as text, RELION particle STAR files and IMOD models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isonet2.errors import UserError
from isonet2.io.atomic import existing_file
from isonet2.io.imod import read_contours
from isonet2.io.star_text import read_loops

_LABELS = ("rlnCoordinateZ", "rlnCoordinateY", "rlnCoordinateX")
_TOMOGRAM = ("rlnTomoName", "rlnMicrographName")  # RELION's words for where a particle is
Points = NDArray[np.float64]


def read_coordinates(path: Path, tomogram: str) -> Points:
    """(n, 3): z, y, x of every point in voxels, the centre of the first voxel at 0. UserError if there is none.

    By suffix: .star (RELION: rlnCoordinateX/Y/Z; where it names several tomograms, the rows of this one), .mod (IMOD:
    every point of every contour), else text with x y z in the first three columns, separated by spaces or commas.
    """
    suffix = path.suffix.lower()
    points = _from_star(path, tomogram) if suffix == ".star" else _READERS.get(suffix, _from_text)(path)
    if not len(points) or not np.isfinite(points).all():
        raise UserError(f"{path}: no points, or some that are not numbers; it should list x y z in pixels")
    return points


def points_inside(points: Points, shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    """(n,): which points (n, 3) of z, y, x fall into a voxel of a volume of this shape."""
    inside: NDArray[np.bool_] = np.all((points >= -0.5) & (points < np.array(shape) - 0.5), axis=1)
    return inside


def _from_text(path: Path) -> Points:
    try:
        lines = existing_file(path, what="coordinates").read_text(encoding="utf-8").replace(",", " ").split("\n")
        points = [[float(number) for number in line.split()[:3]] for line in lines if line.split("#")[0].strip()]
        return np.array(points, np.float64).reshape(len(points), 3)[:, ::-1]
    except ValueError:
        raise UserError(f"{path}: not a list of points: each line should hold x y z in pixels") from None


def _from_star(path: Path, tomogram: str) -> Points:
    for columns, everywhere in read_loops(path):
        if set(_LABELS) <= set(columns):
            order = [columns.index(label) for label in _LABELS]
            table = _of_one(path, columns, everywhere, tomogram)
            try:
                return np.array([[float(cells[i]) for i in order] for cells in table]).reshape(-1, 3)
            except ValueError as error:
                raise UserError(f"{path}: a coordinate is not a number ({error})") from None
    raise UserError(f"{path}: no block has the columns {', '.join(_LABELS)}")


def _of_one(
    path: Path, columns: Sequence[str], table: Sequence[Sequence[str]], tomogram: str
) -> Sequence[Sequence[str]]:
    """The rows that name the tomogram, or a file that is called so; all, where there is one name at most: a list of one
    tomogram may call it as it likes."""
    naming = [columns.index(label) for label in _TOMOGRAM if label in columns]
    if all(len({row[i] for row in table}) < 2 for i in naming):
        return table
    found = [row for row in table if any(tomogram in (row[i], Path(row[i]).stem) for i in naming)]
    if not found:
        names = sorted({row[naming[0]] for row in table})
        some = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        raise UserError(
            f"{path}: has points of {some}, and none of {tomogram}: {columns[naming[0]]} should name it or its file"
        )
    return found


def _from_model(path: Path) -> Points:
    points = [points for _, points in read_contours(path)]
    return np.concatenate([np.empty((0, 3)), *points])[:, ::-1] - (0.0, 0.5, 0.5)


_READERS = {".mod": _from_model}

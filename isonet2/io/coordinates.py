"""Where particles are: lists of points as text, RELION particle STAR files and IMOD models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isonet2.errors import UserError
from isonet2.io.atomic import existing_file
from isonet2.io.imod import read_contours
from isonet2.io.star import read_loops

_LABELS = ("rlnCoordinateZ", "rlnCoordinateY", "rlnCoordinateX")
Points = NDArray[np.float64]


def read_coordinates(path: Path) -> Points:
    """(n, 3): z, y, x of every point in voxels, the centre of the first voxel at 0. UserError if there is none.

    By suffix: .star (RELION: rlnCoordinateX/Y/Z), .mod (IMOD: every point of every contour), else text with x y z in
    the first three columns, separated by spaces or commas.
    """
    points = _READERS.get(path.suffix.lower(), _from_text)(path)
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


def _from_star(path: Path) -> Points:
    for columns, table in read_loops(path):
        if set(_LABELS) <= set(columns):
            order = [columns.index(label) for label in _LABELS]
            try:
                return np.array([[float(cells[i]) for i in order] for cells in table]).reshape(-1, 3)
            except ValueError as error:
                raise UserError(f"{path}: a coordinate is not a number ({error})") from None
    raise UserError(f"{path}: no block has the columns {', '.join(_LABELS)}")


def _from_model(path: Path) -> Points:
    points = [points for _, points in read_contours(path)]
    return np.concatenate([np.empty((0, 3)), *points])[:, ::-1] - (0.0, 0.5, 0.5)


_READERS = {".star": _from_star, ".mod": _from_model}

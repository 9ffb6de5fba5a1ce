"""Where cubes are cut: drawn in proportion to the mask, a plane at a time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from isonet2.data.window import Readable, Shape

Corners = npt.NDArray[np.int64]


def draw_corners(shape: Shape, mask: Readable | None, *, number: int, side: int, rng: np.random.Generator) -> Corners:
    """Int64 (number, 3): first voxels (z, y, x) of cubes of `side`, by rising z.

    Their centres are drawn with a probability proportional to `mask` (z, y, x) among those whose cube lies inside the
    volume; where none of these is masked, among all, and the cubes are pushed inside. Along an axis shorter than a
    cube, the cube is centred. Raises ValueError if the mask is empty. Memory: a few planes.
    """
    allowed = [_centres(size, side) for size in shape]
    weights = _plane_weights(mask, allowed)
    if weights.sum() <= 0:
        allowed = [range(size) for size in shape]
        weights = _plane_weights(mask, allowed)
    if weights.sum() <= 0:
        raise ValueError("the mask is empty")
    planes = np.sort(rng.choice(np.array(allowed[0]), size=number, p=weights / weights.sum()))
    centres = np.empty((number, 3), np.int64)
    for z in np.unique(planes):
        here = planes == z
        centres[here] = _centres_in_plane(mask, int(z), allowed[1], allowed[2], int(here.sum()), rng)
    return corners_of(centres, shape, side)


def corners_of(centres: npt.NDArray[np.int64], shape: Shape, side: int) -> Corners:
    """Int64 (n, 3): first voxels of the cubes around `centres` (n, 3), pushed inside the volume or centred on it."""
    size = np.array(shape)
    return np.where(size >= side, np.clip(centres - side // 2, 0, np.maximum(size - side, 0)), (size - side) // 2)


def _centres(size: int, side: int) -> range:
    return range(side // 2, size - side + side // 2 + 1) if size >= side else range(size)


def _centres_in_plane(
    mask: Readable | None, z: int, rows: range, columns: range, number: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    if mask is None:
        places = rng.integers(len(rows) * len(columns), size=number)
    else:
        running = np.cumsum(_plane(mask, z, rows, columns), dtype=np.float64)
        places = np.searchsorted(running, rng.random(number) * running[-1], side="right")
    y, x = np.divmod(places, len(columns))
    return np.stack([np.full(number, z), y + rows.start, x + columns.start], axis=1)


def _plane_weights(mask: Readable | None, allowed: list[range]) -> npt.NDArray[np.float64]:
    if mask is None:
        return np.ones(len(allowed[0]))
    return np.array([_plane(mask, z, allowed[1], allowed[2]).sum(dtype=np.float64) for z in allowed[0]])


def _plane(mask: Readable, z: int, rows: range, columns: range) -> npt.NDArray[np.float32]:
    box = mask[slice(z, z + 1), slice(rows.start, rows.stop), slice(columns.start, columns.stop)]
    return np.maximum(box, 0)

"""A volume as overlapping tiles whose weights add up to one everywhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from isonet2.data.window import Shape

Weights = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Tile:
    """One tile along one axis: its first voxel, and the weight (side,) of each of its voxels in the result."""

    start: int
    weight: Weights


def tile_axis(size: int, *, side: int, padding_factor: float) -> list[Tile]:
    """Tiles of `side` that cover 0…size−1, evenly spaced, at most side / padding_factor apart.

    Where two tiles meet, the outer quarter of the overlap on either side has no weight, since a network knows least
    at its edges; in between, the weights cross over as raised cosines. At the edges of the volume, and only there, a
    tile counts up to its own edge. The weights of all tiles add up to one at every voxel. An axis shorter than `side`
    has one tile, centred on it.
    """
    if size <= side:
        start = (size - side) // 2
        weight = np.zeros(side, np.float32)
        weight[-start : size - start] = 1
        return [Tile(start, weight)]
    stride = max(1, round(side / padding_factor))
    count = 1 + -(-(size - side) // stride)
    starts = [(size - side) * n // (count - 1) for n in range(count)]
    ramp = _ramp(side - stride)
    total = np.zeros(size)
    windows = []
    for n, start in enumerate(starts):
        window = np.ones(side)
        if n > 0:
            window[: len(ramp)] = ramp
        if n < count - 1:
            window[-len(ramp) :] *= ramp[::-1]
        windows.append(window)
        total[start : start + side] += window
    return [
        Tile(start, (window / total[start : start + side]).astype(np.float32))
        for start, window in zip(starts, windows, strict=True)
    ]


def _ramp(overlap: int) -> npt.NDArray[np.float64]:
    guard = overlap // 4
    rise = max(1, overlap - 2 * guard)
    return np.concatenate([np.zeros(guard), 0.5 - 0.5 * np.cos(np.pi * (np.arange(rise) + 0.5) / rise)])


@dataclass(frozen=True)
class Tiling:
    """The tiles of a volume, as the product of those of its axes. A row is all tiles with one place along z."""

    shape: Shape
    z: tuple[Tile, ...]
    y: tuple[Tile, ...]
    x: tuple[Tile, ...]

    def planes_of_row(self, row: int) -> range:
        """The z planes of the volume to which the tiles of this row contribute."""
        tile = self.z[row]
        counts = np.flatnonzero(tile.weight)
        return range(tile.start + int(counts[0]), tile.start + int(counts[-1]) + 1)


def tile_volume(shape: Shape, *, side: int, padding_factor: float) -> Tiling:
    """The tiling of a (z, y, x) volume by cubes of `side`; see `tile_axis`."""
    z, y, x = (tuple(tile_axis(size, side=side, padding_factor=padding_factor)) for size in shape)
    return Tiling(shape, z, y, x)

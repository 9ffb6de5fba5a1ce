"""A trained network over whole tomograms: rows of blended tiles, each row the same bytes whoever computes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from isonet2.data.tiles import Tile, Tiling
from isonet2.data.window import Readable, read_window
from isonet2.models.compute import Compute
from isonet2.physics.acquisition import Tilts
from isonet2.physics.fourier import filtered, frequencies
from isonet2.physics.normalise import Normalisation
from isonet2.physics.wedge import measured_region

_HALF_TURN = (-3, -1)  # about y
Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Predictor:
    """A network in evaluation mode, and how tiles go through it."""

    network: nn.Module
    compute: Compute
    cube_size: int
    tile_batch: int
    apply_mw_x1: bool
    within_nyquist: bool = False
    """Whether to leave out what lies beyond the sphere, of which networks that fill the wedge have learned nothing."""
    average_turns: bool = False
    """Whether to take the mean with the prediction of the tile turned by 180° about y, where its wedge is the same."""

    def row(
        self,
        volume: Readable,
        tiling: Tiling,
        row: int,
        *,
        normalisation: Normalisation,
        tilts_deg: Tilts,
    ) -> Array:
        """Float32 (planes, y, x), in network units: what one row of tiles adds to `tiling.planes_of_row(row)`.

        Rows overlap; the sum of all is the prediction. Tiles go in batches of one size, the last one padded, and are
        added in their order, so that no byte depends on who computes which row. Memory: the row and one batch.
        """
        z, planes = tiling.z[row], tiling.planes_of_row(row)
        result = np.zeros((len(planes), *tiling.shape[1:]), np.float32)
        wedge = measured_region([self.cube_size] * 3, tilts_deg).to(self.compute.device) if self.apply_mw_x1 else None
        places = [(y, x) for y in tiling.y for x in tiling.x]
        for batch in _batches(places, self.tile_batch):
            corners = [(z.start, y.start, x.start) for y, x in batch]
            tiles = [normalisation.to_network(read_window(volume, corner, self.cube_size)) for corner in corners]
            for tile, (y, x) in zip(self._through(tiles, wedge), batch, strict=False):
                _add(result, tile, (z, y, x), planes)
        return result

    def _through(self, tiles: list[Array], wedge: Tensor | None) -> Array:
        """Float32 (tile_batch, s, s, s): the tiles, empty ones behind them, through the network."""
        batch = np.zeros((self.tile_batch, 1, *tiles[0].shape), np.float32)
        batch[: len(tiles), 0] = tiles
        with torch.inference_mode(), self.compute.precision():
            x = torch.from_numpy(batch).to(self.compute.device)
            if wedge is not None:
                x = filtered(x, wedge)
            y = self.network(self.compute.lay_out(x)).float()
            if self.average_turns:
                y = (y + self.network(self.compute.lay_out(x.flip(_HALF_TURN))).float().flip(_HALF_TURN)) / 2
            if self.within_nyquist:
                y = filtered(y, _nyquist_sphere(self.cube_size).to(y.device))
        found: Array = y[:, 0].cpu().numpy()
        return found


@lru_cache(maxsize=2)
def _nyquist_sphere(side: int) -> Tensor:
    """Bool (side, side, side//2+1)."""
    return frequencies((side, side, side)).square().sum(-1) <= 0.25


def _batches(places: Sequence[tuple[Tile, Tile]], size: int) -> Iterator[Sequence[tuple[Tile, Tile]]]:
    for first in range(0, len(places), size):
        yield places[first : first + size]


def _add(result: Array, tile: Array, axes: tuple[Tile, Tile, Tile], planes: range) -> None:
    """Add a weighted tile to the planes and to those rows and columns of it that the volume has."""
    z, y, x = axes
    weighted = tile * (z.weight[:, None, None] * y.weight[:, None] * x.weight)
    inside = []
    for axis, size in ((y, result.shape[1]), (x, result.shape[2])):
        inside.append((max(0, axis.start), min(size, axis.start + len(axis.weight)), axis.start))
    (y0, y1, ys), (x0, x1, xs) = inside
    result[:, y0:y1, x0:x1] += weighted[
        planes.start - z.start : planes.stop - z.start, y0 - ys : y1 - ys, x0 - xs : x1 - xs
    ]


def rows_of_each(
    maps: Sequence[Readable],
    predictors: Sequence[Predictor],
    tiling: Tiling,
    row: int,
    *,
    normalisation: Normalisation,
    tilts_deg: Tilts,
) -> list[Array]:
    """One row of each of the halves, or of one map by each of two networks: the first half by the first network and the
    second by the second, if there are as many."""
    return [
        predictors[n % len(predictors)].row(
            maps[n % len(maps)], tiling, row, normalisation=normalisation, tilts_deg=tilts_deg
        )
        for n in range(max(len(maps), len(predictors)))
    ]


def mean_of(rows: Sequence[Array]) -> Array:
    """Of the halves, the prediction."""
    mean: Array = sum(rows[1:], rows[0]) / np.float32(len(rows))
    return mean


class Planes(Protocol):
    """What one row of tiles adds: a plane (y, x) for each of `tiling.planes_of_row(row)`, counted from 0."""

    def __getitem__(self, plane: int, /) -> Array: ...


def add_rows(tiling: Tiling, rows: Sequence[Planes]) -> Iterator[Array]:
    """The planes (y, x) of the prediction, one after the other: for each, the sum over the rows that reach it.

    Two or three planes are in memory at a time, if `rows` read theirs when asked.
    """
    for plane in range(tiling.shape[0]):
        total = np.zeros(tiling.shape[1:], np.float32)
        for row, part in enumerate(rows):
            planes = tiling.planes_of_row(row)
            if plane in planes:
                total += part[plane - planes.start]
        yield total

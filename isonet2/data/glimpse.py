"""A few boxes and planes of a tomogram: what the checks look at, however large it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from isonet2.data.window import Array, Shape
from isonet2.io.mrc import MrcHeader, Volume, open_volume

SIDE = 96
"""Of a box, where the tomogram is no thinner; as many boxes as fit side by side, at most MOST along y and x."""
MOST = 3
PLANES = 12
_CONSTANT = 0.02  # share of a box that one value may fill: beyond, its edge would be seen instead of the specimen


@dataclass(frozen=True)
class Glimpse:
    """Boxes float32 (z, y, x) of each map, in the same places, and planes (y, x) of each map, evenly spread over z.

    `corners` are the first voxels (z, y, x) of the boxes, `heights` the z of the planes.
    """

    headers: tuple[MrcHeader, ...]
    corners: tuple[tuple[int, int, int], ...]
    boxes: tuple[tuple[Tensor, ...], ...]
    heights: tuple[int, ...]
    planes: tuple[tuple[Array, ...], ...]

    @property
    def apart(self) -> float:
        """How many of the pairs there would be without overlap."""
        side = self.boxes[0][0].shape[-1]
        shares = [
            (last - first + side) / (side * len(starts))
            for starts in ({y for _, y, _ in self.corners}, {x for _, _, x in self.corners})
            for first, last in [(min(starts), max(starts))]
        ]
        return len(self.pairs) * min(1.0, shares[0]) * min(1.0, shares[1])

    @property
    def pairs(self) -> list[tuple[Tensor, Tensor | None]]:
        """The boxes of both maps beside each other; of a single map, it and nothing. Half empty boxes are left out, as
        long as others remain."""
        first, second = self.boxes[0], self.boxes[1] if len(self.boxes) > 1 else (None,) * len(self.boxes[0])
        full = [box for box in range(len(first)) if not _half_empty(first[box])] or list(range(len(first)))
        return [(first[box], second[box]) for box in full]


def glimpse(paths: Sequence[Path]) -> Glimpse:
    """Of maps of one shape. UserError for files that cannot be read, and where a voxel that is looked at is no number.

    Memory: MOST² boxes and PLANES planes of each map, and SIDE rows of SIDE planes, whatever their size.
    """
    headers, boxes, planes = [], [], []
    for path in paths:
        with open_volume(path) as volume:
            corners, heights = places(volume.shape)
            headers.append(volume.header)
            boxes.append(_boxes(volume, corners))
            planes.append(tuple(volume[z : z + 1][0] for z in heights))
    return Glimpse(tuple(headers), corners, tuple(boxes), heights, tuple(planes))


def places(shape: Shape) -> tuple[tuple[tuple[int, int, int], ...], tuple[int, ...]]:
    """Where to look in a volume of this shape: corners of boxes, at the middle of z, and heights of planes."""
    depth, side = box_shape(shape)[:2]
    rows, columns = (_starts(size, side) for size in shape[1:])
    corners = tuple(((shape[0] - depth) // 2, y, x) for y in rows for x in columns)
    heights = sorted({round(z) for z in np.linspace(0, shape[0] - 1, PLANES)})
    return corners, tuple(heights)


def box_shape(shape: Shape) -> Shape:
    """(z, y, x) of the boxes in a volume of this shape."""
    side = min(SIDE, *shape[1:])
    return min(SIDE, shape[0]), side, side


def _starts(size: int, side: int) -> list[int]:
    count = min(MOST, math.ceil(size / side))
    return sorted({round(start) for start in np.linspace(0, size - side, count)}) if count > 1 else [(size - side) // 2]


def _boxes(volume: Volume, corners: Sequence[tuple[int, int, int]]) -> tuple[Tensor, ...]:
    """Strip by strip, since what is read of a plane are whole rows."""
    depth, height, width = box_shape(volume.shape)
    found, strip, above = [], np.empty(0, np.float32), -1
    for z, y, x in corners:
        if y != above:
            strip, above = volume[z : z + depth, y : y + height], y
        found.append(_without_blanks(torch.from_numpy(strip[:, :, x : x + width].copy())))
    return tuple(found)


def _without_blanks(box: Tensor) -> Tensor:
    """With the mean of the rest in planes, rows and columns of one value: their edge would be seen in all spectra."""
    blank = torch.zeros(box.shape, dtype=torch.bool)
    for others in ((1, 2), (0, 2), (0, 1)):
        blank |= box.amin(others, keepdim=True) == box.amax(others, keepdim=True)
    return torch.where(blank, box[~blank].mean(), box) if blank.any() and not blank.all() else box


def _half_empty(box: Tensor) -> bool:
    """Whether neighbours along x are equal, as in padding, in more of it than a specimen could explain."""
    flat = (box[..., 4:] == box[..., :-4]) & (box[..., 1:-3] == box[..., :-4]) & (box[..., 2:-2] == box[..., :-4])
    return float(flat.float().mean()) > _CONSTANT

"""Boxes of a volume, also where they reach over its edges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Shape = tuple[int, int, int]


class Readable(Protocol):
    """A (z, y, x) volume that is read in boxes: one on disk, or an array."""

    @property
    def shape(self) -> Shape: ...

    def __getitem__(self, box: tuple[slice, slice, slice], /) -> Array: ...


@dataclass(frozen=True)
class Strip:
    """The rows first…last−1 (y) of a volume, as a volume."""

    volume: Readable
    rows: tuple[int, int]

    @property
    def shape(self) -> Shape:
        return self.volume.shape[0], self.rows[1] - self.rows[0], self.volume.shape[2]

    def __getitem__(self, box: tuple[slice, slice, slice], /) -> Array:
        z, y, x = box
        start, stop, _ = y.indices(self.shape[1])
        return self.volume[z, slice(start + self.rows[0], stop + self.rows[0]), x]


def read_window(volume: Readable, corner: tuple[int, int, int], side: int) -> Array:
    """Float32 (side, side, side): the cube with its first voxel at `corner` (z, y, x), mirrored beyond the edges."""
    inside = tuple(
        slice(max(0, start), min(start + side, size)) for start, size in zip(corner, volume.shape, strict=True)
    )
    z, y, x = inside
    part = volume[z, y, x]
    beyond = [(s.start - start, start + side - s.stop) for s, start in zip(inside, corner, strict=True)]
    return part if part.shape == (side, side, side) else np.pad(part, beyond, mode="symmetric")

"""Volumes that are made where they are read: averaged, filtered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch import Tensor

from isonet2.data.window import Array, Readable, Shape
from isonet2.physics.acquisition import Optics
from isonet2.physics.ctf import halo_voxels, phase_flip_gain
from isonet2.physics.fourier import inverse, transform

_STEP = 8  # so that boxes of almost one size have one gain


class Averaged:
    """The mean of (z, y, x) volumes of one shape."""

    def __init__(self, volumes: Sequence[Readable]) -> None:
        self._volumes = volumes
        self.shape: Shape = volumes[0].shape

    def __getitem__(self, box: tuple[slice, slice, slice], /) -> Array:
        """Float32: the voxels of `box`."""
        first, *others = (volume[box] for volume in self._volumes)
        for other in others:
            first = first + other
        return first / np.float32(len(self._volumes))


class Filtered:
    """A (z, y, x) volume whose boxes are read with a halo around them, filtered, and cropped.

    Beyond its edges the volume is mirrored. `gain(shape)` is float32 (z, y, x//2+1) for boxes of that shape; it is kept
    for each shape, of which there are few. A halo as wide as the filter reaches makes the boxes parts of one whole.
    Memory: about 16 bytes for each voxel of the largest box with its halo.
    """

    def __init__(self, volume: Readable, gain: Callable[[Sequence[int]], Tensor], halo: int) -> None:
        self._volume, self._gain, self._halo = volume, gain, halo
        self._gains: dict[tuple[int, ...], Tensor] = {}
        self.shape: Shape = volume.shape

    def __getitem__(self, box: tuple[slice, slice, slice], /) -> Array:
        """Float32: the voxels of `box`, which is cut off at the edges."""
        asked = [range(*part.indices(size)) for part, size in zip(box, self.shape, strict=True)]
        window = [self._widened(part) for part in asked]
        shape = tuple(len(part) for part in window)
        if shape not in self._gains:
            self._gains[shape] = self._gain(shape)
        spectrum = transform(torch.from_numpy(self._read(window)))
        spectrum *= self._gains[shape]
        z, y, x = (slice(self._halo, self._halo + len(part)) for part in asked)
        result: Array = np.ascontiguousarray(inverse(spectrum, shape).numpy()[z, y, x])
        return result

    def _widened(self, part: range) -> range:
        """With at least the halo on both sides, in a size that suits an FFT."""
        side = next_fast_len(-(-(len(part) + 2 * self._halo) // _STEP) * _STEP)
        return range(part.start - self._halo, part.start - self._halo + side)

    def _read(self, window: Sequence[range]) -> Array:
        """The voxels of a box that may reach beyond the edges: there the volume is mirrored."""
        inside = [range(max(0, part.start), min(part.stop, n)) for part, n in zip(window, self.shape, strict=True)]
        z, y, x = (slice(part.start, part.stop) for part in inside)
        beyond = [(own.start - part.start, part.stop - own.stop) for own, part in zip(inside, window, strict=True)]
        return np.pad(self._volume[z, y, x], beyond, mode="symmetric")


def phase_flip_of(optics: Optics) -> Callable[[Readable], Readable]:
    """What flips the phases of a volume as it is read."""
    return lambda volume: Filtered(volume, partial(phase_flip_gain, optics=optics), halo_voxels(optics))

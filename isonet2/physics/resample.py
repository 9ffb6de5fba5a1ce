"""Another number of voxels for the same field of view, by cropping or padding its Fourier transform."""

from __future__ import annotations

import torch
from torch import Tensor


def even_size(size: int, pixel_size_angstrom: float, wanted_angstrom: float) -> int:
    """The even number of voxels, at least 2, with which `size` voxels come closest to the wanted pixel size."""
    return max(2, 2 * round(size * pixel_size_angstrom / wanted_angstrom / 2))


def resampled(volume: Tensor, size: int, axis: int) -> Tensor:
    """`volume` (any shape) with `size` samples along `axis` instead of n: a periodic signal, band-limited.

    Waves of less than half a cycle for each of the fewer samples keep amplitude and phase, the rest is left out; so the
    mean is kept. At exactly half a cycle a cosine is kept, as its two components become one, or one becomes two. The
    first sample stays where it is. Memory: the transforms of both.
    """
    before = volume.shape[axis]
    spectrum = torch.fft.rfft(volume, dim=axis).movedim(axis, -1)
    fewer = min(before, size)
    kept = torch.zeros(*spectrum.shape[:-1], size // 2 + 1, dtype=spectrum.dtype)
    kept[..., : fewer // 2 + 1] = spectrum[..., : fewer // 2 + 1]
    if fewer % 2 == 0 and size != before:
        kept[..., fewer // 2] *= 2.0 if size < before else 0.5
    result: Tensor = torch.fft.irfft(kept, n=size, dim=-1).movedim(-1, axis)
    return result * (size / before)

"""Real Fourier transforms of volumes: unshifted, the last axis halved."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

_AXES = (-3, -2, -1)
_EXACT = torch.float64
_CORNER = 0.87  # beyond √3/2, the largest |k|
_SAMPLES = 2**18


def transform(volume: Tensor) -> Tensor:
    """(..., z, y, x) real → (..., z, y, x//2+1) complex, zero frequency at [..., 0, 0, 0]."""
    spectrum: Tensor = torch.fft.rfftn(volume, dim=_AXES)
    return spectrum


def inverse(spectrum: Tensor, shape: Sequence[int]) -> Tensor:
    """(..., z, y, x//2+1) complex → (..., z, y, x) real; `shape` ends in z, y, x."""
    volume: Tensor = torch.fft.irfftn(spectrum, s=tuple(shape[-3:]), dim=_AXES)
    return volume


def filtered(volume: Tensor, gain: Tensor) -> Tensor:
    """`volume` (..., z, y, x) with every Fourier component multiplied by the real `gain` (..., z, y, x//2+1)."""
    return inverse(transform(volume) * gain, volume.shape)


def frequencies(shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """Float64 (z, y, x//2+1, 3): the vector (kz, ky, kx) of each component, in cycles per voxel."""
    z, y, x = shape[-3:]
    axes = (torch.fft.fftfreq(z, dtype=_EXACT), torch.fft.fftfreq(y, dtype=_EXACT), torch.fft.rfftfreq(x, dtype=_EXACT))
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).to(device)


def multiplicity(shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """Float32 (x//2+1,): how many components of the full transform each column of the half one stands for (1 or 2)."""
    x = shape[-1]
    counts = torch.full((x // 2 + 1,), 2.0, device=device)
    counts[0] = 1
    if x % 2 == 0:
        counts[-1] = 1
    return counts


def radial_gain(shape: Sequence[int], gain: Callable[[Tensor], Tensor]) -> Tensor:
    """Float32 (z, y, x//2+1): `gain` of each component's |k| in cycles per voxel, which it is given in float64.

    Interpolated between 2¹⁸ values of |k|, since a CTF of each component takes longer than the transforms: for one that
    turns 50 times up to Nyquist within 1e-6, at a kink within 2e-4. A jump belongs behind this.
    """
    z, y, x = shape[-3:]
    along_z = torch.fft.fftfreq(z, dtype=_EXACT).square()
    in_plane = torch.fft.fftfreq(y, dtype=_EXACT).square()[:, None] + torch.fft.rfftfreq(x, dtype=_EXACT).square()
    table = gain(torch.linspace(0, _CORNER, _SAMPLES + 1, dtype=_EXACT)).float()
    values = torch.empty(z, y, x // 2 + 1)
    for plane in range(z // 2 + 1):  # those of −kz are the same
        place = (along_z[plane] + in_plane).sqrt() * (_SAMPLES / _CORNER)
        below = place.long()
        values[plane] = values[-plane] = torch.lerp(table[below], table[below + 1], (place - below).float())
    return values

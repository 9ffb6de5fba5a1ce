"""Real Fourier transforms of volumes: unshifted, the last axis halved."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_AXES = (-3, -2, -1)
_EXACT = torch.float64


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

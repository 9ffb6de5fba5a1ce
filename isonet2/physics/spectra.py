"""Power spectra of a few boxes of a tomogram, from which the checks read its wedge, its rings and its noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from isonet2.physics.fourier import frequencies, multiplicity, transform

INDEPENDENT = 1.5**3
"""Components of a windowed box for each independent one: the noise bandwidth of a Hann window, on three axes."""


@dataclass(frozen=True)
class Spectra:
    """Means over boxes of one shape, (z, y, x//2+1), zero frequency at [0, 0, 0]: |A|², |B|² (float64), A B*, and the
    cosine of the difference of their phases.

    Of a single map A and B are one, and `halves` is false. `boxes`: as many as these would be without overlap.
    """

    shape: tuple[int, int, int]
    boxes: float
    power_a: Tensor
    power_b: Tensor
    cross: Tensor
    cosine: Tensor
    halves: bool

    @property
    def power(self) -> Tensor:
        """The mean of both maps."""
        return (self.power_a + self.power_b) / 2

    def signal(self) -> Tensor:
        """What both maps share: Re A B*. Of a single map its power."""
        return self.cross.real

    def noise(self) -> Tensor:
        """What they do not share: |A − B|²/2. Of a single map nothing."""
        return self.power - self.cross.real


def spectra_of(pairs: Sequence[tuple[Tensor, Tensor | None]], boxes: float | None = None) -> Spectra:
    """From boxes float32 (z, y, x) of one shape: of one half and of the other, or of the one map there is (None).

    `boxes`: how many of them there would be without overlap, if they overlap.
    """
    shape = pairs[0][0].shape
    z, y, x = (int(side) for side in shape)
    total_a, total_b = torch.zeros(z, y, x // 2 + 1, dtype=torch.float64), torch.zeros(z, y, x // 2 + 1).double()
    cross, cosine = torch.zeros(z, y, x // 2 + 1, dtype=torch.complex128), torch.zeros(z, y, x // 2 + 1).double()
    for first, second in pairs:
        A = windowed_transform(first)
        B = A if second is None else windowed_transform(second)
        total_a += A.abs().square()
        total_b += B.abs().square()
        product = A * B.conj()
        cross += product
        cosine += product.real / product.abs().clamp_min(1e-30)
    count = len(pairs)
    return Spectra(
        shape=(z, y, x),
        boxes=boxes or count,
        power_a=total_a / count,
        power_b=total_b / count,
        cross=cross / count,
        cosine=cosine / count,
        halves=pairs[0][1] is not None,
    )


def windowed_transform(box: Tensor) -> Tensor:
    """(z, y, x) → complex (z, y, x//2+1), of the box less its mean under a Hann window on each axis."""
    result = box - box.mean()
    for axis, side in enumerate(box.shape):
        window = torch.hann_window(side + 2, periodic=False, dtype=box.dtype)[1:-1]
        result = result * window.view([-1 if a == axis else 1 for a in range(3)])
    return transform(result)


@dataclass(frozen=True)
class Radial:
    """Means over shells, float64 (shells,): their middle in cycles per voxel, what was averaged, the cosine of the
    difference of phases, and how many independent components there were in all boxes."""

    frequency: Tensor
    signal: Tensor
    noise: Tensor
    cosine: Tensor
    independent: Tensor

    @property
    def correlation(self) -> Tensor:
        """Fourier shell correlation of the two maps."""
        return self.signal / (self.signal + self.noise).clamp_min(1e-300)


def radial(spectra: Spectra, region: Tensor) -> Radial:
    """Shell by shell within `region`, bool (z, y, x//2+1); shells are one component of the longest side wide."""
    k = frequencies(spectra.shape).square().sum(-1).sqrt()
    count = max(spectra.shape) // 2
    index = (k * 2 * count).round().long()
    inside = region & (index > 0) & (index <= count)
    weight = multiplicity(spectra.shape).double().expand(index.shape)[inside]

    def summed(values: Tensor) -> Tensor:
        total = torch.zeros(count + 1, dtype=torch.float64)
        return total.index_add_(0, index[inside], values[inside] * weight)[1:]

    number = summed(torch.ones(index.shape, dtype=torch.float64))
    frequency = torch.arange(1, count + 1, dtype=torch.float64) / (2 * count)
    filled = number > 0
    per = number[filled]
    return Radial(
        frequency[filled],
        summed(spectra.signal())[filled] / per,
        summed(spectra.noise())[filled] / per,
        summed(spectra.cosine)[filled] / per,
        per * spectra.boxes / (2 * INDEPENDENT),  # of a component and its opposite only one is free
    )


def near_xz(spectra: Spectra) -> Tensor:
    """Float64 (z, x): log10 of the power near ky = 0, zero frequency at [z//2, x//2]."""
    y = spectra.shape[1]
    half = spectra.power[:, [0, 1, 2, y - 2, y - 1]].mean(1).clamp_min(1e-30).log10()
    left = half[:, 1:].flip(1).flip(0).roll(1, 0)
    return torch.cat([left, half], 1).roll(spectra.shape[0] // 2, 0)

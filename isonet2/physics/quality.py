"""How good is a map? Correlations and shell correlations in the measured region and inside the missing wedge."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from isonet2.physics.acquisition import Tilts
from isonet2.physics.fourier import frequencies, inverse, multiplicity, transform
from isonet2.physics.wedge import measured_region

_TAPER = 0.1  # of each side, at each end


def tapered(volume: Tensor) -> Tensor:
    """(z, y, x) less its mean, brought to zero at the edges by a raised cosine: no cross of edges in the spectrum."""
    result = volume - volume.mean()
    for axis, side in enumerate(volume.shape):
        width = max(1, round(_TAPER * side))
        ramp = 0.5 - 0.5 * torch.cos(torch.pi * (torch.arange(width, device=volume.device) + 0.5) / width)
        window = torch.ones(side, device=volume.device)
        window[:width], window[-width:] = ramp, ramp.flip(0)
        result = result * window.view([-1 if a == axis else 1 for a in range(3)])
    return result


def correlation(a: Tensor, b: Tensor) -> float:
    """Pearson's correlation of two maps of one shape, in real space."""
    a, b = a.double() - a.double().mean(), b.double() - b.double().mean()
    return float((a * b).sum() / (a.square().sum() * b.square().sum()).sqrt().clamp_min(1e-30))


def region_correlation(a: Tensor, b: Tensor, region: Tensor) -> float:
    """Correlation of two maps (z, y, x), edges tapered, over the Fourier components in `region` (z, y, x//2+1)."""
    cross, power_a, power_b = _moments(a, b)
    return float(cross[region].sum() / (power_a[region].sum() * power_b[region].sum()).sqrt().clamp_min(1e-30))


def shell_correlation(a: Tensor, b: Tensor, region: Tensor) -> tuple[Tensor, Tensor]:
    """Fourier shell correlation of two maps (z, y, x) within `region`, edges tapered.

    Returns the middle of each shell in cycles per voxel, up to ½, and the correlation there; NaN where the region has
    no component. Shells are one component of the shortest side wide. Source: Harauz & van Heel, Optik 73 (1986).
    """
    index, count = _shells(a.shape)
    region = region & (index < count)
    totals = []
    for moment in _moments(a, b):
        totals.append(torch.zeros(count, dtype=torch.float64).index_add_(0, index[region], moment[region]))
    cross, power_a, power_b = totals
    fsc = cross / (power_a * power_b).sqrt()  # 0/0 is NaN: nothing was there
    return torch.arange(count) / (2.0 * (count - 1)), fsc


def best_radial_filter(volume: Tensor, truth: Tensor, region: Tensor) -> Tensor:
    """The map (z, y, x) that one real gain for each shell, fitted to the truth, makes of `volume` within `region`.

    The least-squares gain is Re⟨X T*⟩ / ⟨|X|²⟩; outside the region the result is empty. The yardstick for what no
    method without a prior can beat.
    """
    index, _ = _shells(volume.shape)
    weight = multiplicity(volume.shape)
    spectrum, true = transform(volume - volume.mean()), transform(truth - truth.mean())
    count = int(index.max()) + 1
    cross, power = torch.zeros(count), torch.zeros(count)
    cross.index_add_(0, index[region], ((spectrum * true.conj()).real * weight)[region])
    power.index_add_(0, index[region], (spectrum.abs().square() * weight)[region])
    gain = (cross / power.clamp_min(1e-30))[index] * region
    return inverse(spectrum * gain, volume.shape)


def compare_with_truth(volume: Tensor, truth: Tensor, tilts_deg: Tilts) -> dict[str, float]:
    """Correlation of a map with the truth: `cc` of the whole maps, `cc_measured` in the measured region, `cc_wedge`
    inside the missing wedge; the latter two within Nyquist, without the mean, edges tapered."""
    inside, outside = measured_and_missing(volume.shape, tilts_deg)
    return {
        "cc": correlation(volume, truth),
        "cc_measured": region_correlation(volume, truth, inside),
        "cc_wedge": region_correlation(volume, truth, outside),
    }


def measured_and_missing(shape: Sequence[int], tilts_deg: Tilts) -> tuple[Tensor, Tensor]:
    """Bool (z, y, x//2+1) twice: the measured region and the missing wedge, both within Nyquist, without the mean."""
    within = frequencies(shape).square().sum(-1) <= 0.25
    within[0, 0, 0] = False
    inside = measured_region(shape, tilts_deg) & within
    return inside, within & ~inside


def wedge_power_ratio(volume: Tensor, tilts_deg: Tilts) -> float:
    """Mean power inside the missing wedge over mean power in the measured region, shell by shell, then averaged.

    0 where the wedge is empty, about 1 where it is filled as strongly as the rest.
    """
    inside, outside = measured_and_missing(volume.shape, tilts_deg)
    index, count = _shells(volume.shape)
    _, power, _ = _moments(volume, volume)
    weight = multiplicity(volume.shape).double().expand(power.shape)
    means = []
    for region in (outside, inside):
        total = torch.zeros(count, dtype=torch.float64).index_add_(0, index[region], power[region])
        number = torch.zeros(count, dtype=torch.float64).index_add_(0, index[region], weight[region])
        means.append(total / number)
    return float((means[0] / means[1]).nanmean())


def _moments(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Float64 (z, y, x//2+1) each: Re A B*, |A|², |B|², every component weighted by how often it occurs."""
    A, B = transform(tapered(a)), transform(tapered(b))
    weight = multiplicity(a.shape).double()
    return (A * B.conj()).real * weight, A.abs().square() * weight, B.abs().square() * weight


def _shells(shape: torch.Size) -> tuple[Tensor, int]:
    """Int64 (z, y, x//2+1): the shell of each component; and the number of shells up to Nyquist."""
    half = min(shape) // 2
    index = (frequencies(shape).square().sum(-1).sqrt() * 2 * half).round().long()
    return index, half + 1


Region = Callable[[Tensor], Tensor]
"""Which components belong to it: frequency vectors (..., 3) = (kz, ky, kx) in cycles per voxel → bool (...)."""


def cone(axis: int, half_angle_deg: float) -> Region:
    """What lies within an angle of one of the axes z, y, x (0, 1, 2), on both sides of the origin."""
    least = math.cos(math.radians(half_angle_deg))
    return lambda k: k[..., axis].abs() >= least * k.square().sum(-1).sqrt() - 1e-9


def shell_correlations(a: Tensor, b: Tensor, regions: Mapping[str, Region]) -> tuple[Tensor, dict[str, Tensor]]:
    """Fourier shell correlations of two maps (z, y, x) within each of the regions; see `shell_correlation`.

    Edges are left as they are. The middle of each shell in cycles per voxel, and by region the correlation there.
    Memory: the two transforms, twice the two maps, and a few planes in float64.
    """
    A, B = transform(a), transform(b)
    count = min(a.shape) // 2 + 1
    along_z = torch.fft.fftfreq(a.shape[0], dtype=torch.float64)
    in_plane, weight = frequencies((1, *a.shape[1:]))[0], multiplicity(a.shape).double()
    totals = {name: torch.zeros(3, count, dtype=torch.float64) for name in regions}
    for z in range(a.shape[0]):
        k = in_plane.clone()
        k[..., 0] = along_z[z]
        index = (k.square().sum(-1).sqrt() * 2 * (count - 1)).round().long()
        moments = torch.stack([(A[z] * B[z].conj()).real, A[z].abs().square(), B[z].abs().square()]) * weight
        for name, region in regions.items():
            inside = region(k) & (index < count)
            totals[name].index_add_(1, index[inside], moments[:, inside])
    curves = {name: cross / (power_a * power_b).sqrt() for name, (cross, power_a, power_b) in totals.items()}
    return torch.arange(count) / (2.0 * (count - 1)), curves

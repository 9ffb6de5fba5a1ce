"""How near a map comes to the truth, in the numbers of the quality table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from phantoms import Tomogram
from torch import Tensor

from isonet2.physics.acquisition import Tilts
from isonet2.physics.quality import (
    best_radial_filter,
    compare_with_truth,
    correlation,
    measured_and_missing,
    shell_correlation,
    wedge_power_ratio,
)

_FIRST_SHELL = 3  # coarser ones hold few components, and say more of the ice than of particles


def tilts_of(tomogram: Tomogram) -> Tilts:
    """Its range of tilts, as intervals."""
    return ((tomogram.tilt_min, tomogram.tilt_max),)


def linear(raw: Tensor, truth: Tensor, tomogram: Tomogram) -> Tensor:
    """What the best linear radial filter makes of a raw map (z, y, x); the wedge stays empty."""
    inside, _ = measured_and_missing(raw.shape, tilts_of(tomogram))
    return best_radial_filter(raw, truth, inside)


def measures(volume: Tensor, truth: Tensor, tomogram: Tomogram, pixel_size_angstrom: float) -> dict[str, float]:
    """Of one map (z, y, x): correlations, resolutions in Å, and the amplitude in the wedge over that of the truth."""
    tilts = tilts_of(tomogram)
    found = compare_with_truth(volume, truth, tilts)
    found["particles"] = particle_correlation(volume, truth, tomogram.particles)
    for name, region in zip(("measured", "wedge"), measured_and_missing(volume.shape, tilts), strict=True):
        frequency, fsc = shell_correlation(volume, truth, region)
        for threshold in (0.5, 0.143):
            found[f"resolution_{name}_{threshold}"] = resolution(frequency / pixel_size_angstrom, fsc, threshold)
    found["filled"] = float(np.sqrt(wedge_power_ratio(volume, tilts) / wedge_power_ratio(truth, tilts)))
    return found


def particle_correlation(volume: Tensor, truth: Tensor, particles: Sequence[Sequence[float]]) -> float:
    """Mean over the particles (z, y, x, radius in voxels) of the correlation in the sphere around each, a voxel wider
    than the particle; particles whose sphere reaches out of the map are left out."""
    found = []
    for *centre, radius in particles:
        low = [int(np.floor(c - radius - 1)) for c in centre]
        high = [int(np.ceil(c + radius + 1)) + 1 for c in centre]
        if min(low) < 0 or any(end > side for end, side in zip(high, volume.shape, strict=True)):
            continue
        box = tuple(slice(start, end) for start, end in zip(low, high, strict=True))
        axes = [torch.arange(start, end) - c for start, end, c in zip(low, high, centre, strict=True)]
        z, y, x = torch.meshgrid(*axes, indexing="ij")
        sphere = z**2 + y**2 + x**2 <= (radius + 1) ** 2
        found.append(correlation(volume[box][sphere], truth[box][sphere]))
    return float(np.mean(found))


def resolution(frequency: Tensor, fsc: Tensor, threshold: float) -> float:
    """1/k where a shell correlation, from the third shell on, first falls to the threshold, between two shells; the
    third shell itself if it is below, the last if none is. Shells without a component (NaN) are passed over."""
    there = torch.isfinite(fsc) & (torch.arange(len(fsc)) >= _FIRST_SHELL)
    k, values = frequency[there].tolist(), fsc[there].tolist()
    below = next((n for n, value in enumerate(values) if value < threshold), None)
    if below is None:
        return 1 / k[-1]
    if below == 0:
        return 1 / k[0]
    share = (values[below - 1] - threshold) / (values[below - 1] - values[below])
    return 1 / (k[below - 1] + share * (k[below] - k[below - 1]))


def mean(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Over the tomograms of a set."""
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}

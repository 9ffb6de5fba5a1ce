"""Between a tomogram on disk (protein dark) and what a network sees (protein bright, mean 0, standard deviation 1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SLAB = 64
"""Planes in the middle of a tomogram that its mean and standard deviation are taken from."""

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Normalisation:
    """The affine map of one tomogram, shared by its halves: network = −(file − mean) / std."""

    mean: float
    std: float

    def to_network(self, volume: Array) -> Array:
        """Float32, any shape: inverted and standardised."""
        return ((self.mean - volume) / self.std).astype(np.float32, copy=False)

    def to_file(self, volume: Array) -> Array:
        """Float32, any shape: exactly what `to_network` did, undone."""
        return (self.mean - volume * self.std).astype(np.float32, copy=False)


def central_slab(planes: int, slab: int = SLAB) -> tuple[int, int]:
    """First plane and the one after the last of the middle `slab` of `planes`, or of all if there are fewer."""
    first = max(0, (planes - slab) // 2)
    return first, min(planes, first + slab)


def percentile_normalisation(halves: Sequence[Iterable[Array]]) -> Normalisation:
    """IsoNet2's for its method isonet2: of the inverted map the 5th percentile becomes 0 and the 95th becomes 1.

    From the planes (y, x) of the central slabs of maps that share it. Raises ValueError as `measure_normalisation`
    does. Memory: one voxel in four along y and x.
    """
    values = np.concatenate([plane[..., ::2, ::2].ravel() for planes in halves for plane in planes])
    low, high = np.percentile(values, (5, 95)).tolist()
    return _checked(Normalisation(mean=high, std=high - low))


def measure_normalisation(halves: Sequence[Iterable[Array]]) -> Normalisation:
    """From the planes (y, x) of the central slabs of the halves of one tomogram: their common mean, and the square root
    of the mean of the halves' variances.

    In float64, since the sum of squares of float16 or of large values overflows. Raises ValueError if a slab is
    constant or not finite. Memory: one plane.
    """
    moments = [_moments(planes) for planes in halves]
    mean = float(np.mean([m for m, _ in moments]))
    std = float(np.sqrt(np.mean([variance for _, variance in moments])))
    return _checked(Normalisation(mean=mean, std=std))


def _checked(found: Normalisation) -> Normalisation:
    if not np.isfinite([found.mean, found.std]).all():
        raise ValueError("it has voxels that are not numbers (NaN or infinite)")
    if found.std == 0:
        raise ValueError("it is constant")
    return found


def _moments(planes: Iterable[Array]) -> tuple[float, float]:
    """Mean and variance of all voxels of planes of one size: within the planes, and between them."""
    means, variances = zip(*((p.mean(dtype=np.float64), p.var(dtype=np.float64)) for p in planes), strict=True)
    return float(np.mean(means)), float(np.mean(variances) + np.var(means))

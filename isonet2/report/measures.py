"""What the report measures in a tomogram: slices, the xz power spectrum, shell correlations and resolutions.

Nothing here reads more than three planes and the middle CROP³ voxels of a volume, however large it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from isonet2.physics.acquisition import Tilts
from isonet2.physics.quality import measured_and_missing, shell_correlation

Array = npt.NDArray[np.float32]
CROP = 192
PLANES = ("xy", "xz", "yz")


class Volume(Protocol):
    """Something of three axes (z, y, x) that gives float32 arrays for slices: a file, an array, a mean of both."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, index: tuple[slice, slice, slice], /) -> Array: ...


@dataclass(frozen=True)
class Mean:
    """The average of volumes of one shape, made where it is looked at."""

    parts: Sequence[Volume]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.parts[0].shape

    def __getitem__(self, index: tuple[slice, slice, slice], /) -> Array:
        total = sum(np.asarray(part[index], dtype=np.float32) for part in self.parts)
        return np.asarray(total / np.float32(len(self.parts)), dtype=np.float32)


@dataclass(frozen=True)
class ShellCurve:
    """Fourier shell correlation: float (shells,) each; frequency in cycles per Å, NaN where a shell is empty."""

    frequency: npt.NDArray[np.float64]
    fsc: npt.NDArray[np.float64]

    def resolution_angstrom(self, threshold: float) -> float:
        """Where the curve falls below `threshold` for two shells in a row, linearly between shells.

        Infinite if it starts below; the Nyquist resolution if it never falls below. Shells without data do not count.
        """
        filled = np.isfinite(self.fsc) & (self.frequency > 0)
        frequency, fsc = self.frequency[filled], self.fsc[filled]
        below = fsc < threshold
        both = below & np.append(below[1:], True)
        if not both.any():
            return float(1 / frequency[-1]) if frequency.size else math.inf
        shell = int(np.argmax(both))
        if shell == 0:
            return math.inf
        share = (fsc[shell - 1] - threshold) / (fsc[shell - 1] - fsc[shell])
        return float(1 / (frequency[shell - 1] + share * (frequency[shell] - frequency[shell - 1])))


def curve_of(cycles_per_voxel: torch.Tensor, fsc: torch.Tensor, pixel_size_angstrom: float) -> ShellCurve:
    """Of a shell correlation (shells,) as it is measured in voxels."""
    return ShellCurve(cycles_per_voxel.double().numpy() / pixel_size_angstrom, fsc.double().numpy())


ShellCurves = dict[str, ShellCurve]
"""By region: "measured", where the tilts measured, and "wedge", inside the missing wedge."""


def middle(volume: Volume, side: int = CROP) -> Array:
    """The middle of a volume (z, y, x), at most `side` voxels on each axis."""
    spans = [slice(max(0, (n - side) // 2), max(0, (n - side) // 2) + min(n, side)) for n in volume.shape]
    return np.asarray(volume[spans[0], spans[1], spans[2]], dtype=np.float32)


def middle_planes(volume: Volume) -> dict[str, Array]:
    """The planes through the middle: "xy" (y, x), "xz" (z, x), "yz" (z, y)."""
    z, y, x = (slice(n // 2, n // 2 + 1) for n in volume.shape)
    everything = slice(None)
    return {
        "xy": np.asarray(volume[z, everything, everything], dtype=np.float32)[0],
        "xz": np.asarray(volume[everything, y, everything], dtype=np.float32)[:, 0],
        "yz": np.asarray(volume[everything, everything, x], dtype=np.float32)[:, :, 0],
    }


def power_spectrum_xz(volume: Array) -> npt.NDArray[np.float64]:
    """(z, y, x) → (kz, kx): log10 of the power of the xz planes, averaged over y; zero frequency at [z//2, x//2].

    Each plane less its mean, under a Hann window, so that the edges draw no cross.
    """
    z, _, x = volume.shape
    window = np.outer(np.hanning(z + 2)[1:-1], np.hanning(x + 2)[1:-1])
    power = np.zeros((z, x))
    for plane in np.moveaxis(volume, 1, 0):
        power += np.abs(np.fft.fft2((plane - plane.mean()) * window)) ** 2
    logarithm: npt.NDArray[np.float64] = np.log10(np.fft.fftshift(power) / volume.shape[1] + 1e-30)
    return logarithm


def shell_curves(a: Array, b: Array, *, pixel_size_angstrom: float, tilts_deg: Tilts) -> ShellCurves:
    """Shell correlations of two maps (z, y, x) in both regions."""
    first, second = torch.from_numpy(a), torch.from_numpy(b)
    curves = {}
    for name, region in zip(("measured", "wedge"), measured_and_missing(first.shape, tilts_deg), strict=True):
        curves[name] = curve_of(*shell_correlation(first, second, region), pixel_size_angstrom)
    return curves


def round_length_nm(width_nm: float) -> float:
    """The longest of 1, 2, 5, 10, … nm that is at most a third of `width_nm`: the length of a scale bar."""
    power = 10.0 ** math.floor(math.log10(width_nm / 3))
    return next(step * power for step in (5.0, 2.0, 1.0) if step * power <= width_nm / 3 * (1 + 1e-9))

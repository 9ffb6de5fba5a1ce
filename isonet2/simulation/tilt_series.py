"""Projection of a specimen that repeats itself along x and y, and weighted back-projection; nothing is interpolated.

Beam along z at 0°, tilt axis y: the image at tilt θ has the axes y and x' = x cos θ + z sin θ. A periodic specimen has
only the frequencies kx = n/(x pixels), and by the slice theorem the image holds them at s = kx / cos θ, where kz =
kx tan θ. So, column by column of kx, projection is a small matrix along z, and back-projection its adjoint, weighted.
Source: Radermacher, Weighted back-projection methods, in Electron Tomography (2006).

A series is complex64 (x//2+1, tilts, y): the Fourier transform of its images, zero frequency at [0, :, 0].
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor


def tilt_angles_deg(tilt_min: float, tilt_max: float, tilt_step: float) -> NDArray[np.float64]:
    """From `tilt_min` in steps of `tilt_step`, as far as `tilt_max`."""
    count = math.floor((tilt_max - tilt_min) / tilt_step + 1e-6) + 1
    return tilt_min + tilt_step * np.arange(count, dtype=np.float64)


def project(volume: Tensor, tilts_deg: NDArray[np.float64]) -> Tensor:
    """The series of `volume` (z, y, x): integrals along the beam, in voxels."""
    depth, _, width = volume.shape
    columns = torch.fft.rfft2(volume).permute(2, 0, 1).contiguous()
    slant = torch.from_numpy(1 / np.cos(np.radians(tilts_deg))).float()  # a tilted specimen is thicker
    return torch.bmm(_waves(depth, width, tilts_deg).conj(), columns) * slant[:, None]


def white_noise(shape: tuple[int, int, int], tilts_deg: NDArray[np.float64], sigma: float, rng: Generator) -> Tensor:
    """A series of independent Gaussian noise, `sigma` in each pixel, for a volume of `shape` (z, y, x)."""
    _, height, width = shape
    series = torch.empty((width // 2 + 1, len(tilts_deg), height), dtype=torch.complex64)
    for number, tilt in enumerate(np.radians(tilts_deg)):
        image = torch.from_numpy(rng.standard_normal((height, width), dtype=np.float32))
        # One period of the specimen covers only cos θ of the detector's pixels, so its transform averages over fewer.
        series[:, number] = torch.fft.rfft2(image).T * (sigma / math.sqrt(math.cos(tilt)))
    return series


def back_project(
    series: Tensor, shape: tuple[int, int, int], tilts_deg: NDArray[np.float64], tilt_step_deg: float
) -> Tensor:
    """The volume float32 of `shape` (z, y, x) whose measured frequencies are those of the series.

    r-weighting: an image stands for the part of Fourier space between its neighbours, step × |kx| / cos² θ wide along
    kz; where all images fall into one Fourier voxel, at kx = 0, together they stand for that voxel.
    """
    depth, height, width = shape
    cos = np.cos(np.radians(tilts_deg))
    step = math.radians(tilt_step_deg)
    narrowest = 1 / (depth * np.sum(step / cos**2))
    kx = np.maximum(np.fft.rfftfreq(width), narrowest)
    weight = torch.from_numpy(kx[:, None] * step / cos).to(torch.complex64)  # the other 1/cos is in the series
    columns = torch.bmm(_waves(depth, width, tilts_deg).transpose(1, 2), series * weight[..., None])
    volume: Tensor = torch.fft.irfft2(columns.permute(1, 2, 0), s=(height, width))
    return volume.contiguous()


def _waves(depth: int, width: int, tilts_deg: NDArray[np.float64]) -> Tensor:
    """Complex64 (width//2+1, tilts, depth): exp(2πi kx tan θ z), z from the tilt axis; 0 beyond an image's Nyquist."""
    kx = np.fft.rfftfreq(width)[:, None]
    theta = np.radians(tilts_deg)
    seen = kx <= 0.5 * np.cos(theta) + 1e-9
    z = np.arange(depth) - depth // 2
    waves = seen[..., None] * np.exp(2j * np.pi * (kx * np.tan(theta))[..., None] * z)
    return torch.from_numpy(waves.astype(np.complex64))

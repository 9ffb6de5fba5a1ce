"""Deconvolution of the CTF by a Wiener-like filter, whose signal-to-noise ratio is an assumption about tomograms.

Source: the deconvolution of Warp, Tegunov & Cramer, Nat Methods 16:1146 (2019), with IsoNet2's exponent, a third of
Warp's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from isonet2.physics.acquisition import Optics
from isonet2.physics.ctf import clipped_ctf, ctf_of
from isonet2.physics.fourier import radial_gain

WIDEST_HALO = 160
_LEFT = 0.01  # of the result, from beyond the halo
_RADII = 2**14  # half a voxel apart


@dataclass(frozen=True)
class Wiener:
    """What is assumed of the signal: how fast it falls below the noise, how strong it is, and where it begins.

    `highpassnyquist` is a share of Nyquist.
    """

    snrfalloff: float
    deconvstrength: float
    highpassnyquist: float


def wiener_gain(
    shape: Sequence[int],
    optics: Optics,
    wiener: Wiener,
    *,
    flipped: bool = False,
    clip_first_peak_mode: int = 0,
    bfactor_angstrom2: float = 0.0,
) -> Tensor:
    """Float32 (z, y, x//2+1), zero frequency, where it is 0, at [0, 0, 0]: W = CTF·snr / (1 + CTF²·snr).

    Of phase-flipped data CTF means |CTF|. The CTF is that of `ctf_gain`.
    """
    values = clipped_ctf(optics, clip_first_peak_mode, bfactor_angstrom2)
    result = radial_gain(shape, lambda k: _gain(values(k), signal_to_noise(k, wiener, optics.pixel_size_angstrom)))
    return result.abs() if flipped else result


def _gain(transfer: Tensor, snr: Tensor) -> Tensor:
    return transfer * snr / (1 + transfer.square() * snr)


def signal_to_noise(k: Tensor, wiener: Wiener, pixel_size_angstrom: float) -> Tensor:
    """The ratio assumed at each |k| in cycles per voxel; with f = 2|k|, at most 1, the share of Nyquist:

    exp(−f·snrfalloff·100/pixel) · 10^deconvstrength · (1 − cos(π·min(1, f/highpassnyquist))), pixel in Å.
    """
    f = (2 * k).clamp(max=1)
    highpass = 1 - torch.cos(math.pi * (f / wiener.highpassnyquist).clamp(max=1))
    falloff = torch.exp(-f * wiener.snrfalloff * 100 / pixel_size_angstrom)
    return falloff * 10**wiener.deconvstrength * highpass


def wiener_halo_voxels(optics: Optics, wiener: Wiener, *, flipped: bool = False) -> int:
    """How many voxels around a box have to be known to deconvolve it as a part of the whole; 160 at most, so perhaps
    not enough.

    At least 0.8 of the period at which the high-pass has risen, or slow gradients would be lost differently in each
    box; and so many that what the filter brings from farther away is less than 1 % rms of the result in noise whose
    amplitude falls as 1/k: of this a face of the box sees half, its inside little. The kernel of a radial filter G is
    h(r) = (2/r) ∫ k G(k) sin(2πkr) dk, a sine transform, of which the part beyond each radius is looked at. Above
    Nyquist G fades out, or its end would ring.
    """
    k = torch.linspace(0, 1, _RADII + 1, dtype=torch.float64)[1:-1]
    fades = torch.cos(math.pi / 2 * ((k - 0.5) / 0.5).clamp(min=0)).square()
    transfer = ctf_of(optics, k).abs() if flipped else ctf_of(optics, k)
    moved = _sine_transform(k * fades * _gain(transfer, signal_to_noise(k, wiener, optics.pixel_size_angstrom)))
    radius = torch.arange(1, _RADII) / 2
    whole = _pink_power(moved, k)
    halos = range(math.ceil(1.6 / wiener.highpassnyquist), WIDEST_HALO, 8)
    enough = (halo for halo in halos if _pink_power(moved * (radius > halo), k) < _LEFT**2 * whole)
    return next(enough, WIDEST_HALO)


def _sine_transform(values: Tensor) -> Tensor:
    """The discrete sine transform (type I, n values to n); its own inverse but for a factor."""
    zero = values.new_zeros(1)
    odd = torch.fft.rfft(torch.cat([zero, values, zero, -values.flip(0)]))
    transformed: Tensor = -odd.imag[1:-1]
    return transformed


def _pink_power(moved: Tensor, k: Tensor) -> Tensor:
    """What a kernel, given as the sine transform of k·G, leaves of noise whose power falls as 1/k²: ∫ (k·G)²/k² dk."""
    return (_sine_transform(moved) / (k + 0.01)).square().sum()

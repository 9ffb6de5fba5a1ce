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
from isonet2.physics.ctf import clipped_ctf, reach_voxels
from isonet2.physics.fourier import radial_gain


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

    def gain(k: Tensor) -> Tensor:
        transfer, snr = values(k), signal_to_noise(k, wiener, optics.pixel_size_angstrom)
        return transfer * snr / (1 + transfer.square() * snr)

    result = radial_gain(shape, gain)
    return result.abs() if flipped else result


def signal_to_noise(k: Tensor, wiener: Wiener, pixel_size_angstrom: float) -> Tensor:
    """The ratio assumed at each |k| in cycles per voxel; with f = 2|k|, at most 1, the share of Nyquist:

    exp(−f·snrfalloff·100/pixel) · 10^deconvstrength · (1 − cos(π·min(1, f/highpassnyquist))), pixel in Å.
    """
    f = (2 * k).clamp(max=1)
    highpass = 1 - torch.cos(math.pi * (f / wiener.highpassnyquist).clamp(max=1))
    falloff = torch.exp(-f * wiener.snrfalloff * 100 / pixel_size_angstrom)
    return falloff * 10**wiener.deconvstrength * highpass


def wiener_halo_voxels(optics: Optics, wiener: Wiener) -> int:
    """How many voxels around a box have to be known to deconvolve it as a part of the whole; at most 160.

    The high-pass rings farthest: its cosine has risen at k = highpassnyquist/2, whose period is 2/highpassnyquist
    voxels. 0.8 of a period leave 0.1 to 0.3 % rms of white noise, 0.4 to 0.8 % where amplitudes fall as 1/k and 0.9 to
    1.2 % as 1/k² (5 to 15 Å per pixel, 2 to 6 µm). To it comes the reach of the defocus.
    """
    return min(160, math.ceil(1.6 / wiener.highpassnyquist + reach_voxels(optics)))

"""The defocus that the zeros of the CTF in a power spectrum speak for, whatever the metadata say.

What the two halves share has the radial spectrum E(k)·CTF²(k), E being smooth; so, for each defocus of a grid, a smooth
E ≥ 0 is fitted (non-negative least squares on Gaussians), and the misfits are compared with each other and with that of
no CTF at all. A single map has a second smooth term, its noise. A zero can only be seen where there is signal on both
sides of it: a defocus whose second ring holds none is not in question.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from isonet2.physics.acquisition import Optics
from isonet2.physics.ctf import ctf_of
from isonet2.physics.spectra import Radial

Array = npt.NDArray[np.float64]

DEFOCI_ANGSTROM = np.geomspace(4e3, 2e5, 150)
_ITERATIONS = 300
_WIDTHS = np.geomspace(0.03, 1.0, 8)  # of the Gaussians that make E, in cycles per voxel
_LOWEST = 0.06  # cycles per voxel; below, thickness and gradients of the ice rule
_UNEVEN = 0.15  # a specimen's own spectrum strays from a smooth one by so much
_UNEVEN_NOISE = 0.03
_SIGNAL = 5.0  # standard deviations
_CLEAR = 40.0  # of χ²
_BLUR = ((-1.0, 0.1), (-0.5, 0.2), (0.0, 0.4), (0.5, 0.2), (1.0, 0.1))  # of a Hann window, in components


@dataclass(frozen=True)
class FoundRings:
    """What the rings say.

    `best_angstrom` (lowest, best, highest) is the range of defoci that fit, None if no ring can be seen; `gain` by how
    much χ² is lower with it than without a CTF; `declared_gain` the same of the declared defocus, None where its zero
    cannot be seen. `reach` is the highest frequency with signal, in cycles per voxel. `noise_dip` is the noise at the
    declared first zero over that beside it, None where it lies beyond Nyquist or there is one map.
    """

    best_angstrom: tuple[float, float, float] | None
    gain: float
    declared_gain: float | None
    reach: float
    noise_dip: float | None

    @property
    def seen(self) -> bool:
        """Whether there are rings at all, beyond what an uneven specimen could make."""
        return self.best_angstrom is not None and self.gain > _CLEAR


def find_rings(radial: Radial, declared: Optics, *, halves: bool) -> FoundRings:
    """From shells of the measured region; only `defocus_angstrom` of what was declared is in question."""
    frequency, signal, noise, number = (
        part.numpy()[radial.frequency.numpy() >= _LOWEST]
        for part in (radial.frequency, radial.signal, radial.noise, radial.independent)
    )
    if not halves:
        noise = np.zeros_like(signal)
    sigma = _sigma(signal, noise, number, halves=halves)
    significant = signal > 4 * _counting_sigma(signal, noise, number) if halves else np.ones_like(signal, dtype=bool)
    reach = _reach(frequency, significant)

    def misfit(rings: Array) -> float:
        return _misfit(rings, frequency, signal, sigma, halves=halves)

    def seen(optics: Optics) -> bool:
        return _zero_can_be_seen(optics, frequency, signal, noise, number, halves=halves)

    fits: dict[float, float] = {}
    without = [misfit(np.ones_like(frequency))]
    for defocus in DEFOCI_ANGSTROM:
        optics = replace(declared, defocus_angstrom=float(defocus))
        rings = _rings(frequency, optics, radial)
        without.append(misfit(_without_zeros(rings)))
        if seen(optics):
            fits[float(defocus)] = misfit(rings)
        else:
            without.append(misfit(rings))
    none = min(without)
    declared_gain = None
    if declared.defocus_angstrom > 0 and seen(declared):
        declared_gain = none - misfit(_rings(frequency, declared, radial))
    best, gain = None, 0.0
    if fits:
        chosen = min(fits, key=lambda defocus: fits[defocus])
        gain = none - fits[chosen]
        allowed = fits[chosen] + 9 * max(1.0, fits[chosen] / max(1, len(frequency) - len(_WIDTHS)))
        fitting = [defocus for defocus, value in fits.items() if value <= allowed]
        best = (min(fitting), chosen, max(fitting))
    dip = _noise_dip(declared, frequency, noise) if halves else None
    return FoundRings(best, gain, declared_gain, reach, dip)


def first_zeros(optics: Optics, count: int = 2) -> list[float]:
    """Where the CTF is zero, in cycles per voxel, the first `count` of them up to ½; none without an underfocus."""
    if optics.defocus_angstrom <= 0:
        return []
    k = torch.linspace(0, 0.5, 4001, dtype=torch.float64)
    values = ctf_of(optics, k)
    places = (values[:-1] * values[1:] < 0).nonzero()[:count, 0]
    return [float(k[place] + (k[place + 1] - k[place]) / 2) for place in places]


def _rings(frequency: Array, optics: Optics, radial: Radial) -> Array:
    """CTF², as blurred as a window blurs it."""
    step = float(radial.frequency[1] - radial.frequency[0])
    values = np.zeros_like(frequency)
    for shift, weight in _BLUR:
        values += weight * ctf_of(optics, torch.from_numpy(frequency + shift * step)).square().numpy()
    return values


def _without_zeros(rings: Array) -> Array:
    """The rise to the first maximum alone."""
    peak = _first_peak(rings)
    return np.where(np.arange(len(rings)) < peak, rings, rings[peak])


def _first_peak(rings: Array) -> int:
    falls = np.diff(rings) < 0
    return int(np.argmax(falls)) if falls.any() else len(rings) - 1


def _misfit(rings: Array, frequency: Array, signal: Array, sigma: Array, *, halves: bool) -> float:
    """χ² of the best smooth E ≥ 0 (and noise) with these rings."""
    from scipy.optimize import nnls

    smooth = np.exp(-(frequency[:, None] ** 2) / (2 * _WIDTHS**2))
    basis = smooth * rings[:, None]
    if not halves:
        basis = np.hstack([basis, smooth[:, 3:], frequency[:, None] * smooth[:, 3:]])
    weighted = basis / sigma[:, None]
    weighted /= np.linalg.norm(weighted, axis=0).clip(1e-300)
    target = signal / sigma
    try:
        return float(nnls(weighted, target, maxiter=_ITERATIONS)[1] ** 2)
    except RuntimeError:  # it turns in circles: no fit
        return float(target @ target)


def _counting_sigma(signal: Array, noise: Array, number: Array) -> Array:
    """Of the mean of Re A B* over so many components, for signal and noise that are Gaussian."""
    positive = signal.clip(0)
    return np.asarray(np.sqrt((positive**2 + positive * noise + noise**2 / 2) / number.clip(1)))


def _sigma(signal: Array, noise: Array, number: Array, *, halves: bool) -> Array:
    uneven = _UNEVEN if halves else _UNEVEN_NOISE
    level = np.convolve(np.pad(signal.clip(0), 2, mode="edge"), np.ones(5) / 5, mode="valid")
    return np.asarray(np.hypot(_counting_sigma(signal, noise, number), uneven * level) + 1e-9 * np.abs(signal).max())


def _reach(frequency: Array, significant: npt.NDArray[np.bool_]) -> float:
    """The highest frequency around which most shells have signal."""
    share = np.convolve(np.pad(significant.astype(float), 2, mode="edge"), np.ones(5) / 5, mode="valid")
    return float(frequency[share >= 0.6].max(initial=0.0))


def _zero_can_be_seen(
    optics: Optics, frequency: Array, signal: Array, noise: Array, number: Array, *, halves: bool
) -> bool:
    """Whether there is signal beyond the first zero, up to the second or ½, and enough shells before it."""
    zeros = first_zeros(optics)
    if not zeros or zeros[0] < 2 * _LOWEST:
        return False
    end = zeros[1] if len(zeros) > 1 else 0.5
    span = end - zeros[0]
    beyond = (frequency > zeros[0] + 0.2 * span) & (frequency < end - 0.2 * span * (len(zeros) > 1))
    if beyond.sum() < 3:
        return False
    if not halves:
        return True
    error = np.sqrt((_counting_sigma(signal, noise, number)[beyond] ** 2).sum())
    return bool(signal[beyond].sum() > _SIGNAL * error)


def _noise_dip(optics: Optics, frequency: Array, noise: Array) -> float | None:
    """The noise at the first zero over the geometric mean of that on both sides, well within the rings."""
    zeros = first_zeros(optics)
    if not zeros or zeros[0] > 0.45 or zeros[0] < 2 * _LOWEST:
        return None
    before, at, after = (float(np.interp(share * zeros[0], frequency, noise)) for share in (0.8, 1.0, 1.15))
    return at / math.sqrt(before * after) if before > 0 and after > 0 else None

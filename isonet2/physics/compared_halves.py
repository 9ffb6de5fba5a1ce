"""How two half tomograms relate: signal in common, noise of their own, in one place, of one sign."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d

from isonet2.physics.fourier import frequencies, inverse, multiplicity
from isonet2.physics.spectra import INDEPENDENT, Radial, Spectra, windowed_transform

_LOW = (0.02, 0.12)  # cycles per voxel: where any tomogram has signal
_OCTAVES = ((0.02, 0.04), (0.04, 0.08), (0.08, 0.16))
_MEDIUM, _UPPER, _TOP = (0.10, 0.30), (0.20, 0.30), (0.40, 0.48)
_MOST = 1 - 1e-6
_SKEWED, _SKEW_SIGMAS = 0.15, 4.0
_SIGMAS, _PLAIN, _PLAIN_SIGMAS, _SHIFTED = 5.0, 0.3, 3.0, 8.0


@dataclass(frozen=True)
class ComparedHalves:
    """Correlations are Fourier shell correlations in the measured region, shells weighed by their components.

    `low` at low frequency; `medium`; `top` near Nyquist. `sigmas` is how significant what is shared at low frequency
    is: the mean cosine of the difference of phases, over its standard deviation, in the octave where that is largest;
    `against` the same where it is lowest, far below 0 where one is the other's negative.
    `fall` is signal over noise, FSC/(1 − FSC), at 0.25 cycles per voxel over that near Nyquist: about 1 where what is
    shared is noise; None where nothing is. `noise_fall` is the noise at 0.25 cycles per voxel over that at 0.1, `ratio`
    the power of the first half over that of the second. `shift` (z, y, x) in voxels moves the second half onto the
    first; `here` and `there` are the phase correlations without it and with it, `shift_sigmas`
    their difference in standard deviations of chance.
    """

    low: float
    sigmas: float
    against: float
    medium: float
    top: float
    fall: float | None
    noise_fall: float
    ratio: float
    shift: tuple[int, int, int]
    here: float
    there: float
    shift_sigmas: float

    @property
    def shifted(self) -> bool:
        """Whether one has to be moved onto the other. The highest of a million values of chance is at 5."""
        return self.shift != (0, 0, 0) and self.shift_sigmas > _SHIFTED and self.there > 1.5 * self.here

    @property
    def related(self) -> bool:
        """Whether they have anything in common, as they lie."""
        return self.negative or self.sigmas > (_SIGMAS if self.low < _PLAIN else _PLAIN_SIGMAS)

    @property
    def negative(self) -> bool:
        """Whether what one has the other has with the other sign."""
        return self.low < -_PLAIN and self.against < -_SIGMAS


def compare_halves(spectra: Spectra, radial: Radial) -> ComparedHalves:
    """From the spectra of boxes of both halves; `radial` is of their measured region."""
    upper, top = (_mean(radial, radial.correlation, band) for band in (_UPPER, _TOP))
    shift, here, there, shift_sigmas = _shift(spectra)
    sigmas = [_sigmas(radial, octave) for octave in _OCTAVES]
    return ComparedHalves(
        low=_mean(radial, radial.correlation, _LOW),
        sigmas=max(sigmas),
        against=min(sigmas),
        medium=_mean(radial, radial.correlation, _MEDIUM),
        top=top,
        fall=upper / (1 - upper) * (1 - top) / top if 0.05 < top < _MOST and 0 < upper < _MOST else None,
        noise_fall=noise_fall(radial, radial.noise),
        ratio=float(spectra.power_a.sum() / spectra.power_b.sum().clamp_min(1e-300)),
        shift=shift,
        here=here,
        there=there,
        shift_sigmas=shift_sigmas,
    )


def _sigmas(radial: Radial, band: tuple[float, float]) -> float:
    """Phases that have nothing to do with each other have a cosine of variance ½, however strong some of them are."""
    inside = (radial.frequency >= band[0]) & (radial.frequency <= band[1])
    return _mean(radial, radial.cosine, band) * math.sqrt(2 * float(radial.independent[inside].sum()))


def noise_fall(radial: Radial, power: Tensor) -> float:
    """`power` (shells,) around 0.25 cycles per voxel over that around 0.1."""
    return _mean(radial, power, _UPPER) / max(_mean(radial, power, (0.08, 0.12)), 1e-300)


def _mean(radial: Radial, values: Tensor, band: tuple[float, float]) -> float:
    """Of (shells,) within a band, each weighed by its components."""
    inside = (radial.frequency >= band[0]) & (radial.frequency <= band[1])
    number = radial.independent[inside]
    return float((number * values[inside]).sum() / number.sum().clamp_min(1e-300))


def _shift(spectra: Spectra) -> tuple[tuple[int, int, int], float, float, float]:
    """Where the phase correlation at low frequency peaks, its value in the middle and there (−1 to 1), and how many
    standard deviations of chance the one is above the other."""
    k = frequencies(spectra.shape).square().sum(-1).sqrt()
    band = (k >= _LOW[0]) & (k <= 2 * _LOW[1])
    whitened = spectra.cross * band / (spectra.power_a * spectra.power_b).sqrt().clamp_min(1e-300)
    peaks = inverse(whitened, spectra.shape)
    peaks = peaks / inverse(band.to(whitened), spectra.shape)[0, 0, 0].clamp_min(1e-300)
    place = peaks.argmax()
    ends = [int(n) for n in torch.unravel_index(place, peaks.shape)]
    z, y, x = (end - side if end > side // 2 else end for end, side in zip(ends, spectra.shape, strict=True))
    here, there = float(peaks[0, 0, 0]), float(peaks.flatten()[place])
    number = float((band * multiplicity(spectra.shape)).sum()) * spectra.boxes / (2 * INDEPENDENT)
    return (z, y, x), here, there, (there - here) * math.sqrt(2 * number)


@dataclass(frozen=True)
class Skewness:
    """Of density at low resolution, with its standard deviation over blocks: negative where protein is dark."""

    value: float
    sigma: float

    @property
    def seen(self) -> bool:
        """Whether it is there for certain: noise has none."""
        return abs(self.value) >= max(_SKEWED, _SKEW_SIGMAS * self.sigma)


def skewness(pairs: list[tuple[Tensor, Tensor | None]]) -> Skewness:
    """From boxes (z, y, x) of both halves, whose independent noise drops out of ⟨a²b⟩; or of a single map.

    Averaged over 4³ voxels, less the mean of a neighbourhood three times as wide, so that no gradient counts.
    """
    blocks, variances = [], []
    for first, second in pairs:
        a = _local(first)
        b = a if second is None else _local(second)
        third, square = (a * b * (a + b) / 2), a * b
        middle = [side // 2 for side in third.shape]
        for z in (slice(None, middle[0]), slice(middle[0], None)):
            for y in (slice(None, middle[1]), slice(middle[1], None)):
                for x in (slice(None, middle[2]), slice(middle[2], None)):
                    blocks.append(third[z, y, x].mean())
                    variances.append(square[z, y, x].mean())
    scale = float(torch.stack(variances).mean().clamp_min(1e-30)) ** 1.5
    values = torch.stack(blocks).double() / scale
    return Skewness(float(values.mean()), float(values.std()) / math.sqrt(len(values)))


def _local(box: Tensor) -> Tensor:
    smooth = avg_pool3d(box[None], 4)[0]
    wide = avg_pool3d(smooth[None], 3, stride=1, padding=1, count_include_pad=False)
    wide = avg_pool3d(wide, 3, stride=1, padding=1, count_include_pad=False)[0]
    return smooth - wide


def signature(box: Tensor, *, least: float = _LOW[0], most: float = _LOW[1]) -> Tensor:
    """Complex (n,): the low frequencies of a box, of length 1, to be compared with those of another map there."""
    A = windowed_transform(box)
    k = frequencies(box.shape).square().sum(-1).sqrt()
    values = A[(k >= least) & (k <= most)]
    # Each as strong as the next, or the largest scale would speak for all.
    values = values / values.abs().clamp_min(1e-30)
    return values / math.sqrt(len(values))

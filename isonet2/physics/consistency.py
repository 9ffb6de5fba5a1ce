"""Does a prediction keep to what was measured, and is there anything in its wedge that two predictions agree on?

With halves a = s + n_a and b = s + n_b of one signal and independent noise, a prediction from half a is, by shell,

    f(a) = g s + h n_a + r,    r uncorrelated with s and with n_a,

and all of it can be measured, since b shares nothing with f(a) but the signal: S = ⟨a b*⟩ is the power of s,
N = ½⟨|a|² + |b|²⟩ − S that of the noise, ⟨f(a) b*⟩ = g S, ⟨f(a) a*⟩ = g S + h N. The rest r is neither signal nor
noise: what was invented or distorted. A perfect prediction has FSC(s, b) = √FSC(a, b), the most that the noise of b
allows (Frank & Al-Ali, Nature 256:376 (1975); Rosenthal & Henderson, J Mol Biol 333:721 (2003)), so that
FSC(f(a), b)/√FSC(a, b) estimates FSC(f(a), s), the correlation with a signal that nobody has seen without noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from isonet2.physics.fourier import filtered, frequencies, multiplicity, transform
from isonet2.physics.quality import tapered

LEAST_FSC = 0.143
"""Shells in which the halves agree less say nothing about a prediction."""
_TINY = 1e-30


@dataclass(frozen=True)
class Consistency:
    """Of a prediction with the other half.

    By shell, float64 (shells,): `found`, FSC(f(a), b), and `allowed`, √FSC(a, b). Means over the shells in which the
    halves agree, better than noise can, NaN if there are none: `share` of the allowed FSC, `kept`, the amplitude g of
    the signal, and of the power of the prediction what is `noise` and what is `neither`.
    """

    found: Tensor
    allowed: Tensor
    share: float
    kept: float
    noise: float
    neither: float


def consistency(
    predictions: tuple[Tensor, Tensor],
    halves: tuple[Tensor, Tensor],
    measured: Tensor,
    *,
    transfer: Tensor | None = None,
    flip: Tensor | None = None,
) -> Consistency:
    """Of f(a), f(b) with b, a, all (z, y, x), edges tapered, within `measured` (z, y, x//2+1).

    `transfer`, the CTF, is put on the predictions, and `flip`, its sign, on the halves; gains are (z, y, x//2+1).
    Predictions that saw both halves carry the noise of b too: of these `share` is the most that it can be, and the
    rest does not hold.
    """
    A, B = (_spectrum(half, flip) for half in halves)
    P, Q = (_spectrum(prediction, transfer) for prediction in predictions)
    shells = _Shells(halves[0].shape, measured)
    signal, power_a, power_b = shells.sum(A, B), shells.sum(A, A), shells.sum(B, B)
    power_p, power_q = shells.sum(P, P), shells.sum(Q, Q)
    across, own = (shells.sum(P, B) + shells.sum(Q, A)) / 2, (shells.sum(P, A) + shells.sum(Q, B)) / 2
    noise, power = (power_a + power_b) / 2 - signal, (power_p + power_q) / 2
    agreement = signal / (power_a * power_b).sqrt()
    allowed = agreement.clamp_min(0).sqrt()
    found = across / (power * (power_a + power_b) / 2).sqrt()
    least = (3 * (2 / shells.count).sqrt()).clamp_min(LEAST_FSC)  # three times what noise does, k and −k being one
    weight = torch.where(agreement >= least, shells.count * allowed, 0.0)

    def mean(values: Tensor) -> float:
        return float((weight * torch.where(weight > 0, values, 0.0)).sum() / weight.sum())

    of_signal = across.clamp_min(0).square() / (signal * power)  # what has the wrong sign follows no signal
    of_noise = (own - across).square() / (noise.clamp_min(_TINY) * power)
    return Consistency(
        found=found,
        allowed=allowed,
        share=mean(found / allowed),
        kept=mean(across / signal),
        noise=mean(of_noise),
        neither=mean(1 - of_signal - of_noise),
    )


def wedge_filling(a: Tensor, b: Tensor, measured: Tensor, missing: Tensor) -> Tensor:
    """Float64 (shells,): mean power of two maps (z, y, x), edges tapered, in the wedge over that in the measured
    region; NaN where a shell has no component in one of them."""
    A, B = _spectrum(a, None), _spectrum(b, None)
    means = []
    for region in (missing, measured):
        shells = _Shells(a.shape, region)
        means.append((shells.sum(A, A) + shells.sum(B, B)) / shells.count)
    return means[0] / means[1]


def _spectrum(volume: Tensor, gain: Tensor | None) -> Tensor:
    """Filtered before the edges are tapered, so that the taper takes what the filter has carried over them."""
    volume = volume.double()
    return transform(tapered(volume if gain is None else filtered(volume, gain)))


class _Shells:
    """The shells of `shell_correlation` within a region; `count`: components of the full transform in each."""

    def __init__(self, shape: torch.Size, region: Tensor) -> None:
        half = min(shape) // 2
        index = (frequencies(shape).square().sum(-1).sqrt() * 2 * half).round().long()
        self._inside = region & (index <= half)
        self._index, self._shells = index[self._inside], half + 1
        self._weight = multiplicity(shape).double().expand(index.shape)[self._inside]
        self.count = self._total(torch.ones_like(self._weight))

    def sum(self, A: Tensor, B: Tensor) -> Tensor:
        """Float64 (shells,): Σ Re A B*."""
        return self._total((A[self._inside] * B[self._inside].conj()).real)

    def _total(self, values: Tensor) -> Tensor:
        total = torch.zeros(self._shells, dtype=torch.float64)
        return total.index_add_(0, self._index, values * self._weight)

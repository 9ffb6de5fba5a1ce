"""Whether the phases beyond the first zero of the CTF have been flipped: the sign of a third moment tells.

Density is positive and lumpy, so components whose frequencies add up to zero have phases that do so too, on average
(the triplet relation of direct methods; Hauptman & Karle, 1953). For what lies below the first zero, L, and between it
and the second, H, the mean of L²H then has the sign of that of L³: if the CTF has not turned H around. With two halves
their noise drops out of both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from isonet2.physics.acquisition import Optics
from isonet2.physics.found_rings import first_zeros
from isonet2.physics.fourier import filtered, frequencies

_LOWEST = 0.03  # cycles per voxel
_MARGIN = 0.1  # of the first zero, on both sides, where there is no signal
_NARROWEST = 0.03  # cycles per voxel: a band of signal
_BLOCKS = (3, 6, 6)  # of a box, z, y and x


def flipped_sigmas(pairs: Sequence[tuple[Tensor, Tensor | None]], optics: Optics) -> float | None:
    """How many standard deviations speak for flipped phases (above 0) or for phases as they were taken (below).

    From boxes float32 (z, y, x) of both halves, or of one map (None). None where the declared defocus has no zero below
    Nyquist, or no signal can be seen on either side of it. The spread is that over blocks of the boxes.
    """
    zeros = first_zeros(optics)
    if not zeros:
        return None
    low = (_LOWEST, (1 - _MARGIN) * zeros[0])
    high = ((1 + _MARGIN) * zeros[0], zeros[1] if len(zeros) > 1 else 0.5)
    if min(low[1] - low[0], high[1] - high[0]) < _NARROWEST:
        return None
    k = frequencies(pairs[0][0].shape).square().sum(-1).sqrt()
    bands = [((k >= start) & (k < end)).float() for start, end in (low, high)]
    across: list[Tensor] = []
    along: list[Tensor] = []
    for first, second in pairs:
        below, beyond = ([filtered(box, band) for box in (first, second) if box is not None] for band in bands)
        square = below[0] * below[-1]
        powers = [_block_means(part[0].square() + part[-1].square()) / 2 for part in (below, beyond)]
        scale = (powers[0] * powers[1].sqrt()).clamp_min(1e-30)  # or the few blocks full of specimen would speak alone
        across.append(_block_means(square * (beyond[0] + beyond[-1]) / 2) / scale)
        along.append(_block_means(square * (below[0] + below[-1]) / 2))
    sign = math.copysign(1.0, float(torch.cat(along).mean()))
    values = torch.cat(across).double() * sign
    return float(values.mean() / (values.std() / math.sqrt(len(values))).clamp_min(1e-300))


def _block_means(volume: Tensor) -> Tensor:
    sizes = [max(1, side // parts) for side, parts in zip(volume.shape, _BLOCKS, strict=True)]
    blocks = volume.unfold(0, sizes[0], sizes[0]).unfold(1, sizes[1], sizes[1]).unfold(2, sizes[2], sizes[2])
    return blocks.mean((3, 4, 5)).flatten()

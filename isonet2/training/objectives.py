"""What is minimised: one function for each method, in a table.

f = network; a, b = halves; M = measured region, RM = the rotated one; R = rotation, one for each sample.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from isonet2.data.dataset import Batch
from isonet2.physics.fourier import inverse, multiplicity, transform
from isonet2.physics.rotation import is_cube_rotation, rotate
from isonet2.physics.wedge import rotated_wedges

Network = Callable[[Tensor], Tensor]


class Losses(NamedTuple):
    """Of each sample (B,): what is minimised, and its two parts before mw_weight."""

    total: Tensor
    measured: Tensor
    wedge: Tensor


@dataclass(frozen=True)
class Weighing:
    """How an error becomes a number."""

    loss_func: str
    mw_weight: float


def isonet2_n2n(student: Network, teacher: Network, batch: Batch, weighing: Weighing) -> Losses:
    """Missing wedge and noise at once, from two halves (IsoNet2, bioRxiv 2025.12.09.693325).

    The teacher fills the wedge of both halves; one is rotated, loses a wedge again, and the student finds the other,
    rotated. The loss counts the components that were measured in the rotated data, M·RM and (1−M)·RM: nothing is
    learned from what the teacher invented. mw_weight ≤ 0: all components count, as in IsoNet2.
    """
    count, side, device = len(batch.half1), batch.half1.shape[-1], batch.half1.device
    unturned = torch.eye(3).expand(count, 3, 3)
    M = rotated_wedges(side, batch.tilt_range_deg, unturned, device).repeat(2, 1, 1, 1, 1)
    RM = rotated_wedges(side, batch.tilt_range_deg, batch.rotation, device).repeat(2, 1, 1, 1, 1)
    turned, inside, seen = _rotated(_filled(teacher, batch, M), batch)
    found = student(inverse(transform(turned) * M, turned.shape))
    error = inside * (found - turned.roll(count, dims=0))  # half 1 finds half 2, and half 2 half 1
    distance = DISTANCES[weighing.loss_func]

    def mean(of: Tensor) -> Tensor:
        each = (seen * distance(of)).sum((1, 2, 3, 4)) / seen.sum((1, 2, 3, 4)).clamp_min(1)
        return each.view(2, count).mean(0)

    spectrum = transform(error)
    measured = mean(inverse(spectrum * (M & RM), error.shape))
    wedge = mean(inverse(spectrum * (~M & RM), error.shape))
    total = measured + weighing.mw_weight * wedge if weighing.mw_weight > 0 else mean(error)
    return Losses(total, measured, wedge)


def _filled(teacher: Network, batch: Batch, M: Tensor) -> Tensor:
    """(2B, 1, s, s, s): both halves, their wedge filled with the teacher's estimate and noise.

    The noise brings the independent power of the filled region up to that of the measured one: per component,
    p = ½⟨|F(a − b)|²⟩ over M less q = ½⟨|F(â − b̂)|²⟩ over the rest.
    """
    halves = torch.cat([batch.half1, batch.half2])
    with torch.no_grad():
        spectrum = transform(halves)
        estimate = teacher(inverse(spectrum * M, halves.shape))
        guess = transform(estimate)
        count = len(batch.half1)
        measured = _mean_power(spectrum[:count] - spectrum[count:], M[:count]) / 2
        guessed = _mean_power(guess[:count] - guess[count:], ~M[:count]) / 2
        missing = (measured - guessed).clamp_min(0).repeat(2)
        white = transform(torch.cat([batch.noise[:, :1], batch.noise[:, 1:]]))  # ⟨|F|²⟩ = voxels
        amplitude = (missing / halves[0].numel()).sqrt()
        return inverse(torch.where(M, spectrum, guess + amplitude.view(-1, 1, 1, 1, 1) * white), halves.shape)


def _mean_power(spectrum: Tensor, region: Tensor) -> Tensor:
    """(B,): ⟨|F|²⟩ over `region` (B, 1, z, y, x//2+1), every component of the full transform counted once."""
    weight = region * multiplicity((2 * (region.shape[-1] - 1),), region.device).to(spectrum.real.dtype)
    over = (1, 2, 3, 4)
    return (weight * spectrum.abs().square()).sum(over) / weight.sum(over)


def _rotated(volumes: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Both halves turned (2B, 1, s, s, s); where they have data, since a turned cube has none in its corners; and how
    much each voxel counts: the mask, turned too."""
    count = len(batch.half1)
    turned = [rotate(volume, batch.rotation[n % count]) for n, volume in enumerate(volumes)]
    inside, seen = [], []
    for rotation, mask in zip(batch.rotation, batch.mask, strict=True):
        whole = torch.ones_like(mask)
        inside.append(whole if is_cube_rotation(rotation) else (rotate(whole, rotation) > 0.99).to(mask))
        seen.append(rotate(mask, rotation) * inside[-1])
    return torch.stack(turned), torch.stack(inside).repeat(2, 1, 1, 1, 1), torch.stack(seen).repeat(2, 1, 1, 1, 1)


def _huber(error: Tensor) -> Tensor:
    return torch.nn.functional.huber_loss(error, torch.zeros_like(error), reduction="none")


DISTANCES: dict[str, Callable[[Tensor], Tensor]] = {"L2": torch.square, "L1": torch.abs, "Huber": _huber}
OBJECTIVES: dict[str, Callable[[Network, Network, Batch, Weighing], Losses]] = {"isonet2-n2n": isonet2_n2n}

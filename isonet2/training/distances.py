"""How far what was found is from what was wanted: a number for each sample, within a region of Fourier space."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from isonet2.physics.fourier import frequencies, inverse, multiplicity, transform

Distance = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
"""(found, target, seen, region) → (N,): found, target and seen, how much a voxel counts, are (N, 1, s, s, s), region is
bool (N, 1, s, s, s//2+1) or None for all of Fourier space."""

_OVER = (1, 2, 3, 4)


def _voxelwise(
    cost: Callable[[Tensor], Tensor], found: Tensor, target: Tensor, seen: Tensor, region: Tensor | None
) -> Tensor:
    """The mean cost of the error, filtered by the region first and then weighed."""
    error = found - target
    if region is not None:
        error = inverse(transform(error) * region, error.shape)
    return (seen * cost(error)).sum(_OVER) / seen.sum(_OVER).clamp_min(1)


def _huber(error: Tensor) -> Tensor:
    return functional.huber_loss(error, torch.zeros_like(error), reduction="none")


def fsc_loss(found: Tensor, target: Tensor, seen: Tensor, region: Tensor | None) -> Tensor:
    """1 − the Fourier shell correlation, averaged over shells up to Nyquist, each by how much the region holds."""
    shell_of, shells, weight = shells_of(found.shape[-1], found.device)
    weight = (weight if region is None else weight * region).expand(len(found), 1, *shell_of.shape)
    F, T = transform(found * seen), transform(target * seen)
    sums = []
    for part in ((F * T.conj()).real, F.abs().square(), T.abs().square(), torch.ones_like(weight)):
        total = torch.zeros(len(found), shells, dtype=part.dtype, device=part.device)
        sums.append(total.index_add(1, shell_of.flatten(), (part * weight).flatten(1)))
    cross, power, wanted, count = sums
    fsc = cross / (power * wanted).clamp_min(1e-12).sqrt()
    return 1 - (fsc * count).sum(1) / count.sum(1).clamp_min(1)


def shells_of(side: int, device: torch.device) -> tuple[Tensor, int, Tensor]:
    """Of the components of a cube (side, side, side//2+1): the shell of each, one component wide; how many shells there
    are; and how often each component occurs, 0 for the mean and beyond Nyquist."""
    radius = frequencies((side, side, side), device).square().sum(-1).sqrt() * side
    shell = radius.round().long()
    within = (shell > 0) & (shell <= side // 2)
    return shell * within, side // 2 + 1, within * multiplicity((side,), device)


DISTANCES: dict[str, Distance] = {
    "L2": partial(_voxelwise, torch.square),
    "L1": partial(_voxelwise, torch.abs),
    "Huber": partial(_voxelwise, _huber),
    "FSC": fsc_loss,
}

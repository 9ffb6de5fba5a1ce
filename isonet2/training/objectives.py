"""What is minimised: one function for each method, in a table.

f = network; a, b = the two halves in either order, or twice the one map; M = measured region, RM = the rotated one;
R = rotation, one for each sample; C = what the CTF does to a map, W = the Wiener filter of a target, both 1 where they
are not wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from isonet2.data.dataset import Batch
from isonet2.physics.fourier import filtered, frequencies, inverse, multiplicity, transform
from isonet2.physics.rotation import is_cube_rotation, rotate
from isonet2.physics.wedge import rotated_wedges
from isonet2.training.ctf_use import CtfUse
from isonet2.training.distances import DISTANCES

Network = Callable[[Tensor], Tensor]


class Losses(NamedTuple):
    """Of each sample (B,): what is minimised, and its two parts before mw_weight."""

    total: Tensor
    measured: Tensor
    wedge: Tensor


@dataclass(frozen=True)
class Recipe:
    """What the settings make of a method."""

    ctf: CtfUse
    loss_func: str = "L2"
    mw_weight: float = 2.0
    apply_mw_x1: bool = True
    noise_mode: str = "nofilter"


def n2n(student: Network, teacher: Network, batch: Batch, recipe: Recipe, noise_level: float) -> Losses:
    """Noise2Noise (arXiv 1803.04189): ℓ(C f(a), W b); nothing is learned about the wedge."""
    a, inside, seen = _rotated(batch.maps[:, :1], batch)
    b, _, _ = _rotated(batch.maps[:, -1:], batch)
    found, target = _through(recipe.ctf.of_output(batch), student(a)), _through(recipe.ctf.of_target(batch), b)
    whole = DISTANCES[recipe.loss_func](found * inside, target * inside, seen, None)
    return Losses(whole, whole, torch.zeros_like(whole))


def isonet2(student: Network, teacher: Network, batch: Batch, recipe: Recipe, noise_level: float) -> Losses:
    """Missing wedge, and noise too if there are halves (IsoNet2, bioRxiv 2025.12.09.693325).

    The teacher fills the wedge of a; it is rotated, loses a wedge again, and the student finds b, rotated. The loss
    counts the components that were measured in the rotated data, M·RM and (1−M)·RM: nothing is learned from what the
    teacher invented. mw_weight ≤ 0: all components count, as in IsoNet2, and b is filled too. One map alone is its own
    other half, and learns to lose the noise that is added to it, noise_level standard deviations.
    """
    a, b = batch.maps[:, :1], batch.maps[:, -1:]
    side, device = a.shape[-1], a.device
    M = rotated_wedges(side, batch.tilts_deg, torch.eye(3).expand(len(a), 3, 3), device)
    RM = rotated_wedges(side, batch.tilts_deg, batch.rotation, device)
    wedge = M if recipe.apply_mw_x1 else torch.ones_like(M)
    a = _filled(teacher, a, batch.noise[:, :1], batch, M, wedge, recipe)
    if recipe.mw_weight <= 0:
        b = _filled(teacher, b, batch.noise[:, 1:], batch, M, wedge, recipe)
    (a, inside, seen), (b, _, _) = _rotated(a, batch), _rotated(b, batch)
    given = transform(a)
    if noise_level > 0:
        given = given + noise_level * _shaped_noise(batch, M, recipe.noise_mode)
    found = _through(recipe.ctf.of_output(batch), student(inverse(given * wedge, a.shape))) * inside
    target = _through(recipe.ctf.of_target(batch), b) * inside
    distance = DISTANCES[recipe.loss_func]
    measured, missing = distance(found, target, seen, M & RM), distance(found, target, seen, ~M & RM)
    whole = measured + recipe.mw_weight * missing if recipe.mw_weight > 0 else distance(found, target, seen, None)
    return Losses(whole, measured, missing)


def _filled(
    teacher: Network, volumes: Tensor, noise: Tensor, batch: Batch, M: Tensor, wedge: Tensor, recipe: Recipe
) -> Tensor:
    """(B, 1, s, s, s): `volumes`, their wedge filled with the teacher's estimate and noise.

    The noise has the independent power of the measured region, p = ½⟨|F(a − b)|²⟩ over M: what the teacher's estimate
    has left of its own is little beside that. Of one map alone nobody knows it: none is added.
    """
    with torch.no_grad():
        spectrum = transform(volumes)
        guess = transform(teacher(inverse(spectrum * wedge, volumes.shape)))
        if (C := recipe.ctf.in_fill(batch)) is not None:
            guess = guess * C
        if batch.maps.shape[1] == 2:
            power = _mean_power(transform(batch.maps[:, :1] - batch.maps[:, 1:]), M) / 2
            amplitude = (power / volumes[0].numel()).sqrt()  # of white noise ⟨|F|²⟩ = voxels
            guess = guess + amplitude.view(-1, 1, 1, 1, 1) * transform(noise)
        return inverse(torch.where(M, spectrum, guess), volumes.shape)


def _shaped_noise(batch: Batch, M: Tensor, mode: str) -> Tensor:
    """The spectrum of noise of unit variance within M, as back-projection of white projections leaves it.

    A back-projected slice counts 1/r times, r the distance to the tilt axis, and its ramp filter r times, so that the
    power goes with r; a Hamming window softens the ramp towards Nyquist. nofilter: white.
    """
    k = frequencies(batch.noise.shape, batch.noise.device)
    radius = torch.hypot(k[..., 0], k[..., 2]).to(batch.noise.dtype)
    window = {"nofilter": torch.ones_like(radius), "ramp": radius.sqrt()}
    window["hamming"] = radius.sqrt() * (0.54 + 0.46 * torch.cos(2 * torch.pi * radius))
    spectrum = transform(batch.noise[:, :1]) * (window[mode] * M)
    return spectrum / inverse(spectrum, batch.noise.shape).std(dim=(1, 2, 3, 4), keepdim=True)


def _through(gain: Tensor | None, volumes: Tensor) -> Tensor:
    """Filtered, or as they are."""
    return volumes if gain is None else filtered(volumes, gain)


def _mean_power(spectrum: Tensor, region: Tensor) -> Tensor:
    """(B,): ⟨|F|²⟩ over `region` (B, 1, z, y, x//2+1), every component of the full transform counted once."""
    weight = region * multiplicity((2 * (region.shape[-1] - 1),), region.device).to(spectrum.real.dtype)
    over = (1, 2, 3, 4)
    return (weight * spectrum.abs().square()).sum(over) / weight.sum(over)


def _rotated(volumes: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """The volumes (B, 1, s, s, s) turned; where they have data, since a turned cube has none in its corners; and how
    much each voxel counts: the mask, turned too."""
    turned, inside, seen = [], [], []
    for volume, rotation, mask in zip(volumes, batch.rotation, batch.mask, strict=True):
        turned.append(rotate(volume, rotation))
        whole = torch.ones_like(mask)
        inside.append(whole if is_cube_rotation(rotation) else (rotate(whole, rotation) > 0.99).to(mask))
        seen.append(rotate(mask, rotation) * inside[-1])
    return torch.stack(turned), torch.stack(inside), torch.stack(seen)


Objective = Callable[[Network, Network, Batch, Recipe, float], Losses]
OBJECTIVES: dict[str, Objective] = {"n2n": n2n, "isonet2": isonet2, "isonet2-n2n": isonet2}

"""What is minimised: one function for each method, in a table.

f = network; a, b = halves, or twice the one map; M = measured region, RM = the rotated one; R = rotation, one for each
sample; C = what the CTF does to a map, W = the Wiener filter of a target, both 1 where they are not wanted.
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
from isonet2.training.distances import DISTANCES, Distance

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
    """Noise2Noise (arXiv 1803.04189): ½[ℓ(C f(a), W b) + ℓ(C f(b), W a)]; nothing is learned about the wedge."""
    turned, inside, seen = _rotated(_stacked(batch.maps), batch)
    found = _through(recipe.ctf.of_output(batch), student(turned), batch)
    target = _through(recipe.ctf.of_target(batch), turned, batch).roll(len(batch.maps), dims=0)
    return _losses(DISTANCES[recipe.loss_func], found * inside, target * inside, seen, None, batch, recipe)


def isonet2(student: Network, teacher: Network, batch: Batch, recipe: Recipe, noise_level: float) -> Losses:
    """Missing wedge, and noise too if there are halves (IsoNet2, bioRxiv 2025.12.09.693325).

    The teacher fills the wedge of both halves; one is rotated, loses a wedge again, and the student finds the other,
    rotated. The loss counts the components that were measured in the rotated data, M·RM and (1−M)·RM: nothing is
    learned from what the teacher invented. mw_weight ≤ 0: all components count, as in IsoNet2. One map alone is its own
    other half, and learns to lose the noise that is added to it, noise_level standard deviations.
    """
    count, side, device = len(batch.maps), batch.maps.shape[-1], batch.maps.device
    M = _per_map(rotated_wedges(side, batch.tilts_deg, torch.eye(3).expand(count, 3, 3), device), batch)
    RM = _per_map(rotated_wedges(side, batch.tilts_deg, batch.rotation, device), batch)
    wedge = M if recipe.apply_mw_x1 else torch.ones_like(M)
    turned, inside, seen = _rotated(_filled(teacher, batch, M, wedge, recipe), batch)
    given = transform(turned)
    if noise_level > 0:
        given = given + noise_level * _shaped_noise(batch, M, recipe.noise_mode)
    found = _through(recipe.ctf.of_output(batch), student(inverse(given * wedge, turned.shape)), batch)
    target = _through(recipe.ctf.of_target(batch), turned.roll(count, dims=0), batch)  # half 1 finds 2, and 2 finds 1
    regions = (M & RM, ~M & RM)
    return _losses(DISTANCES[recipe.loss_func], found * inside, target * inside, seen, regions, batch, recipe)


def _losses(
    distance: Distance,
    found: Tensor,
    target: Tensor,
    seen: Tensor,
    regions: tuple[Tensor, Tensor] | None,
    batch: Batch,
    recipe: Recipe,
) -> Losses:
    """The distance in both regions, or everywhere; the mean over the maps of a sample."""

    def mean(region: Tensor | None) -> Tensor:
        return distance(found, target, seen, region).view(batch.maps.shape[1], -1).mean(0)

    if regions is None:
        whole = mean(None)
        return Losses(whole, whole, torch.zeros_like(whole))
    measured, wedge = (mean(region) for region in regions)
    total = measured + recipe.mw_weight * wedge if recipe.mw_weight > 0 else mean(None)
    return Losses(total, measured, wedge)


def _filled(teacher: Network, batch: Batch, M: Tensor, wedge: Tensor, recipe: Recipe) -> Tensor:
    """(H·B, 1, s, s, s): all maps, their wedge filled with the teacher's estimate and noise.

    The noise brings the independent power of the filled region up to that of the measured one: per component,
    p = ½⟨|F(a − b)|²⟩ over M less q = ½⟨|F(C â − C b̂)|²⟩ over the rest. Of one map nobody knows it: none is added.
    """
    volumes = _stacked(batch.maps)
    with torch.no_grad():
        spectrum = transform(volumes)
        guess = transform(teacher(inverse(spectrum * wedge, volumes.shape)))
        if (C := recipe.ctf.in_fill(batch)) is not None:
            guess = guess * _per_map(C, batch)
        if batch.maps.shape[1] == 2:
            count = len(batch.maps)
            measured = _mean_power(spectrum[:count] - spectrum[count:], M[:count]) / 2
            guessed = _mean_power(guess[:count] - guess[count:], ~M[:count]) / 2
            amplitude = (
                (measured - guessed).clamp_min(0) / volumes[0].numel()
            ).sqrt()  # of white noise ⟨|F|²⟩ = voxels
            guess = guess + amplitude.repeat(2).view(-1, 1, 1, 1, 1) * transform(_stacked(batch.noise))
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
    spectrum = transform(_stacked(batch.noise)) * (window[mode] * M)
    noise = inverse(spectrum, batch.noise.shape)
    return spectrum / noise.std(dim=(1, 2, 3, 4), keepdim=True)


def _through(gain: Tensor | None, volumes: Tensor, batch: Batch) -> Tensor:
    """All maps filtered, or as they are."""
    return volumes if gain is None else filtered(volumes, _per_map(gain, batch))


def _stacked(maps: Tensor) -> Tensor:
    """(B, H, s, s, s) → (H·B, 1, s, s, s): first all first halves."""
    return maps.transpose(0, 1).reshape(-1, 1, *maps.shape[2:])


def _per_map(of_samples: Tensor, batch: Batch) -> Tensor:
    """(B, 1, …) → (H·B, 1, …)."""
    return of_samples.repeat(batch.maps.shape[1], 1, 1, 1, 1)


def _mean_power(spectrum: Tensor, region: Tensor) -> Tensor:
    """(B,): ⟨|F|²⟩ over `region` (B, 1, z, y, x//2+1), every component of the full transform counted once."""
    weight = region * multiplicity((2 * (region.shape[-1] - 1),), region.device).to(spectrum.real.dtype)
    over = (1, 2, 3, 4)
    return (weight * spectrum.abs().square()).sum(over) / weight.sum(over)


def _rotated(volumes: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """All maps turned (H·B, 1, s, s, s); where they have data, since a turned cube has none in its corners; and how
    much each voxel counts: the mask, turned too."""
    count = len(batch.maps)
    turned = [rotate(volume, batch.rotation[n % count]) for n, volume in enumerate(volumes)]
    inside, seen = [], []
    for rotation, mask in zip(batch.rotation, batch.mask, strict=True):
        whole = torch.ones_like(mask)
        inside.append(whole if is_cube_rotation(rotation) else (rotate(whole, rotation) > 0.99).to(mask))
        seen.append(rotate(mask, rotation) * inside[-1])
    return torch.stack(turned), _per_map(torch.stack(inside), batch), _per_map(torch.stack(seen), batch)


Objective = Callable[[Network, Network, Batch, Recipe, float], Losses]
OBJECTIVES: dict[str, Objective] = {"n2n": n2n, "isonet2": isonet2, "isonet2-n2n": isonet2}

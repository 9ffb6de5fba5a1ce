"""From the tilts of a series to the region of Fourier space that they measure. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from isonet2.physics.acquisition import Tilts

_SAME_DEG = 0.1  # images closer than this were meant to be at one tilt
_GAP = 1.5  # steps: between neighbours farther apart at least one tilt is missing


def median_step(tilts_deg: Sequence[float]) -> float:
    """The step of a series, in degrees, whatever the order of its tilts; those taken twice do not count."""
    tilts = sorted(tilts_deg)
    same = min(_SAME_DEG, (tilts[-1] - tilts[0]) / (2 * len(tilts)))  # less than the largest step, however fine
    return median(b - a for a, b in pairwise(tilts) if b - a > same)


def intervals_of(tilts_deg: Sequence[float]) -> Tilts:
    """The measured region of a list of two or more different tilts: rising intervals, from the first tilt to the last.

    An image stands for the part of Fourier space halfway to its neighbours (as in back-projection's weights), so the
    region ends half a step away from the tilts on both sides of a gap. At the outside it ends at the first and the
    last tilt themselves, as M of science.md and every tilt_min and tilt_max do: a list without gaps is a plain range.
    """
    tilts, half = sorted(tilts_deg), median_step(tilts_deg) / 2
    gaps = [(a + half, b - half) for a, b in pairwise(tilts) if b - a > _GAP * 2 * half]
    lows, highs = [tilts[0], *(high for _, high in gaps)], [*(low for low, _ in gaps), tilts[-1]]
    return tuple(zip(lows, highs, strict=True))

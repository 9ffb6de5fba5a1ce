"""Where the missing wedge lies in a power spectrum, whatever the metadata say: its axes, its edges, and how sure.

Of a tilt series one fan of directions around the tilt axis is measured, and the rest is nearly empty. For each of the
three axes the logarithm of the power, less the mean of its shell, is averaged by the angle around that axis; the arc
that splits it best in two levels (the largest variance between them: Otsu, IEEE Trans SMC 9:62, 1979, on a circle) is
the candidate, and the axis that explains most is the tilt axis. The edges are then where the power is half of what it
is just inside: a blur of the spectrum, as by a window, does not move them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from isonet2.physics.fourier import frequencies

_LOWEST = 0.06  # cycles per voxel; below there is specimen thickness, ice gradient and the window itself
_SHELLS = 24
_BINS = 90  # of 2°
_STEP = 180 / _BINS
_BANDS = ((0.10, 0.20), (0.20, 0.30), (0.30, 0.40), (0.40, 0.50))
_AXIS_ORDER = {0: (1, 2), 1: (0, 2), 2: (1, 0)}
"""For each tilt axis: the two others, the one that the angle is 90° at, and the one that it is 0° at."""
_TURNS_DEG = range(-30, 31, 5)
_EVERY = 3  # components of which the turn of the axis is fitted
_CONTRAST_OF_A_BAND = 1.0  # below, a band says nothing of edges


@dataclass(frozen=True)
class FoundWedge:
    """The best fan of measured directions.

    tilt_axis and beam_axis count z, y, x as 0, 1, 2; angles are in degrees, as a tilt of science.md's convention if
    these are y and z. `contrast` is the mean log power inside less that outside; `explained`, for each of the three
    axes, the share of the variance that its best fan accounts for. `spread_deg` is the standard deviation of each edge
    over bands of frequency, and at least what a box of this size can tell; `bands` how many bands have a wedge.
    `turned_deg` is the angle from y to the tilt axis, towards x, to 5°; 0 for other tilt axes.
    """

    tilt_axis: int
    beam_axis: int
    low_deg: float
    high_deg: float
    spread_deg: float
    contrast: float
    explained: tuple[float, float, float]
    bands: int
    turned_deg: float
    angles_deg: Tensor
    profile: Tensor
    """Float64 (90,): the power at each of `angles_deg` over that of the middle of the fan, as a mean of the bands."""


def find_wedge(power: Tensor, shape: Sequence[int]) -> FoundWedge:
    """From the power spectrum (z, y, x//2+1) of boxes of `shape`, zero frequency at [0, 0, 0]."""
    k = frequencies(shape)
    radius = k.square().sum(-1).sqrt()
    inside = (radius > _LOWEST) & (radius <= 0.5)
    k, radius = k[inside], radius[inside]
    level = power[inside].clamp_min(1e-300)
    level = level / _shell_mean(level, radius)
    logarithm = level.clamp_min(1e-12).log()
    logarithm = logarithm - _shell_mean(logarithm, radius)
    variance = float(logarithm.square().mean())
    arcs = [_best_arc(logarithm, _angle_bins(k, axis)) for axis in range(3)]
    explained = [between / max(variance, 1e-300) for *_, between in arcs]
    axis = max(range(3), key=lambda a: explained[a])
    start, length, contrast, _ = arcs[axis]
    centre = _around(-90 + _STEP * (start + length / 2))
    beam, other = _AXIS_ORDER[axis]
    if abs(centre) > 45:  # the fan is centred on what was taken for the beam: the other one is it
        beam = other
    low, high, spread, bands, profile = _edges(level, k, radius, axis, start, length, shape)
    angles = -90 + _STEP * (torch.arange(_BINS, dtype=torch.float64) + 0.5)
    return FoundWedge(axis, beam, low, high, spread, contrast, (explained[0], explained[1], explained[2]), bands,
                      _turn(logarithm, k) if axis == 1 else 0.0, angles, profile)  # fmt: skip


def fan(shape: Sequence[int], wedge: FoundWedge, *, within_deg: float) -> Tensor:
    """Bool (z, y, x//2+1): the components no farther than `within_deg` from the middle of the fan, and in it."""
    k = frequencies(shape)
    middle = (wedge.low_deg + wedge.high_deg) / 2
    distance = (_angle(k.flatten(0, 2), wedge.tilt_axis).view(k.shape[:3]) - middle + 90).remainder(180) - 90
    within = distance.abs() <= min(within_deg, (wedge.high_deg - wedge.low_deg) / 2)
    return within & (k.square().sum(-1) <= 0.25)


def _turn(logarithm: Tensor, k: Tensor) -> float:
    """The direction of the tilt axis in xy whose best fan explains most."""
    logarithm, k = logarithm[::_EVERY], k[::_EVERY]

    def explained(turn_deg: int) -> float:
        z, y, x = k.unbind(1)
        turn = math.radians(turn_deg)
        turned = torch.stack([z, x * math.sin(turn) + y * math.cos(turn), x * math.cos(turn) - y * math.sin(turn)], 1)
        return _best_arc(logarithm, _angle_bins(turned, 1))[-1]

    return float(max(_TURNS_DEG, key=explained))


def _shell_mean(values: Tensor, radius: Tensor) -> Tensor:
    """Of each component: the mean of the shell that it lies in."""
    index = ((radius - _LOWEST) / (0.5 - _LOWEST) * _SHELLS).long().clamp(0, _SHELLS - 1)
    total = torch.zeros(_SHELLS, dtype=torch.float64).index_add_(0, index, values)
    return (total / torch.bincount(index, minlength=_SHELLS).clamp_min(1))[index]


def _angle(k: Tensor, axis: int) -> Tensor:
    """Degrees in [−90, 90]: the direction (n, 3) of each component around this axis."""
    beam, across = _AXIS_ORDER[axis]
    sign = torch.where(k[:, across] < 0, -1.0, 1.0).double()
    return torch.rad2deg(torch.atan2(k[:, beam] * sign, k[:, across].abs()))


def _angle_bins(k: Tensor, axis: int) -> Tensor:
    return ((_angle(k, axis) + 90) / _STEP).long().clamp(0, _BINS - 1)


def _best_arc(values: Tensor, bins: Tensor) -> tuple[int, int, float, float]:
    """First bin and length of the arc of higher values that splits them best, the difference, the variance between."""
    number = torch.bincount(bins, minlength=_BINS).double()
    total = torch.zeros(_BINS, dtype=torch.float64).index_add_(0, bins, values)
    sums = torch.cat([torch.zeros(1), torch.cat([total, total]).cumsum(0)])
    counts = torch.cat([torch.zeros(1), torch.cat([number, number]).cumsum(0)])
    starts = torch.arange(_BINS)[:, None]
    lengths = torch.arange(5, _BINS - 2)[None]
    n_in = (counts[starts + lengths] - counts[starts]).clamp_min(1)
    n_out = (number.sum() - n_in).clamp_min(1)
    s_in = sums[starts + lengths] - sums[starts]
    difference = s_in / n_in - (total.sum() - s_in) / n_out
    between = torch.where(difference > 0, n_in * n_out * difference.square() / number.sum() ** 2, 0.0)
    best = int(between.argmax())
    start, length = divmod(best, lengths.shape[1])
    return start, int(lengths[0, length]), float(difference[start, length]), float(between.flatten()[best])


def _edges(
    level: Tensor, k: Tensor, radius: Tensor, axis: int, start: int, length: int, shape: Sequence[int]
) -> tuple[float, float, float, int, Tensor]:
    """Where the arc's power ends: low, high, their spread, the number of bands, and the mean profile."""
    bins = _angle_bins(k, axis)
    beam, across = _AXIS_ORDER[axis]
    around = (k[:, beam].square() + k[:, across].square()).sqrt()
    found, profiles = [], []
    for low, high in _BANDS:
        chosen = (around >= low) & (around < high)
        number = torch.bincount(bins[chosen], minlength=_BINS).double()
        total = torch.zeros(_BINS, dtype=torch.float64).index_add_(0, bins[chosen], level[chosen])
        profile = _without_gaps(total / number, number)
        turned = profile.roll(-start)
        middle = turned[length // 4 : length - length // 4].median()
        turned = turned / middle.clamp_min(1e-300)
        profiles.append(turned.roll(start))
        outside = float(turned[length + 2 : _BINS - 2].mean()) if length + 4 < _BINS else 1.0
        if outside < math.exp(-_CONTRAST_OF_A_BAND):
            found.append((_crossing(turned, length, -1), _crossing(turned, length, 1)))
    finest = math.degrees(1 / (0.3 * min(shape[beam], shape[across])))  # a component, at a medium frequency
    if not found:
        low_deg, high_deg = -90 + _STEP * start, -90 + _STEP * (start + length)
        return *_turned(low_deg, high_deg), 2 * finest, 0, torch.stack(profiles).mean(0)
    edges = torch.tensor(found, dtype=torch.float64)
    spread = float(edges.std(0).max()) if len(found) > 1 else 2 * finest
    low_deg, high_deg = (float(-90 + _STEP * (start + edge)) for edge in edges.median(0).values)
    return *_turned(low_deg, high_deg), max(spread, finest / 2), len(found), torch.stack(profiles).mean(0)


def _crossing(turned: Tensor, length: int, way: int) -> float:
    """In bins from the arc's first edge: where, at that end of it, the profile falls to half of what it is just inside.

    Not of what it is in the middle: weights and the dose may have dimmed the high tilts.
    """
    edge = float(length) if way > 0 else 0.0
    for _ in range(2):
        inside = [round(edge - 0.5 - way * bins) % _BINS for bins in range(3, 3 + max(3, min(6, length // 4)))]
        half = float(turned[inside].mean()) / 2
        place = inside[-1] if way > 0 else inside[-1] - _BINS * (inside[-1] > _BINS // 2)
        for _ in range(_BINS // 3):
            here, there = float(turned[place % _BINS]), float(turned[(place + way) % _BINS])
            if there < half <= here:
                edge = place + 0.5 + way * (here - half) / (here - there)
                break
            place += way
    return edge


def _without_gaps(profile: Tensor, number: Tensor) -> Tensor:
    """Empty bins take the value of the nearest filled one."""
    filled = (number > 0).nonzero()[:, 0]
    if len(filled) == 0:
        return torch.ones(_BINS, dtype=torch.float64)
    distance = (torch.arange(_BINS)[:, None] - filled[None]).abs()
    return profile[filled[torch.minimum(distance, _BINS - distance).argmin(1)]]


def _around(angle_deg: float) -> float:
    """The same direction within (−90, 90]."""
    return angle_deg - 180 * math.ceil((angle_deg - 90) / 180)


def _turned(low_deg: float, high_deg: float) -> tuple[float, float]:
    """The same fan, its middle within (−90, 90]."""
    middle = (low_deg + high_deg) / 2
    by = _around(middle) - middle
    return low_deg + by, high_deg + by

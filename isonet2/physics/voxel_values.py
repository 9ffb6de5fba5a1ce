"""What the numbers of a map are like: their range, plateaus and clipped ends, empty planes, beads and edges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d

Plane = npt.NDArray[np.float32]

_RUN = 8  # equal neighbours along x make a plateau
_BAND = 4  # voxels of an edge
_BEAD = 8.0  # robust standard deviations
_ROUNDING = 1e-3  # of differences of neighbours: float16 has less
_APART = 3  # rows that are compared: enough of them
_FRAME = 8  # this part of a plane, on each side, may be padding
_BEYOND = 3.0  # times as far as the outermost percent


@dataclass(frozen=True)
class Values:
    """Of the planes that were looked at. Shares are of 1.

    `empty` planes hold one value; `flat` is the share of voxels within runs of equal ones in the other planes, and
    `blank` that of rows and columns of one value; `at_least` and `at_most` the share that has exactly the lowest and
    the highest value in the middle of the other rows and columns. `step` is how close two
    values of the mean's size can lie in the file's type, over the standard deviation. `edge_shift` and
    `edge_spread` compare the worst of the four edges with strips inside: how far off its mean is, in standard
    deviations, and the ratio of its standard deviation.
    """

    least: float
    most: float
    mean: float
    std: float
    planes: int
    empty: tuple[int, ...]
    flat: float
    blank: float
    at_least: float
    at_most: float
    step: float
    edge_shift: float
    edge_spread: float


def measure_values(planes: Sequence[Plane], heights: Sequence[int], *, mode: int) -> Values:
    """From planes float32 (y, x), of which one at least is not empty, and their z; `mode` is MRC's."""
    empty = tuple(z for z, plane in zip(heights, planes, strict=True) if np.ptp(plane) == 0)
    full = [plane for plane in planes if np.ptp(plane) > 0]
    least, most = (float(end([end(plane) for plane in full])) for end in (np.min, np.max))
    mean = float(np.mean([plane.mean(dtype=np.float64) for plane in full]))
    std = math.sqrt(np.mean([np.square(plane - mean, dtype=np.float64).mean() for plane in full]))
    level = max(abs(mean), std)
    step = (
        1.0
        if mode in (0, 1, 6)
        else float(np.spacing(np.float16(min(level, 6e4)) if mode == 12 else np.float32(level)))
    )
    filled = [plane[np.ptp(plane, axis=1) > 0][:, np.ptp(plane, axis=0) > 0] for plane in full]
    middles = [plane[_middle(plane.shape[0]), _middle(plane.shape[1])] for plane in filled if plane.size] or full
    shifts, spreads = zip(*(_worst_edge(plane) for plane in full), strict=True)
    return Values(
        least, most, mean, std, len(planes), empty,
        flat=float(np.mean([_flat_share(plane) for plane in full])),
        blank=1 - sum(plane.size for plane in filled) / sum(plane.size for plane in full),
        at_least=float(np.mean([(plane == least).mean() for plane in middles])),
        at_most=float(np.mean([(plane == most).mean() for plane in middles])),
        step=step / std,
        edge_shift=float(np.median(shifts)),
        edge_spread=float(np.median(spreads)),
    )  # fmt: skip


def _middle(side: int) -> slice:
    return slice(side // _FRAME, side - side // _FRAME)


def _flat_share(plane: Plane) -> float:
    """The share of voxels that begin a run of equal ones along x."""
    if plane.shape[1] <= _RUN:
        return 0.0
    equal = plane[:, 1:] == plane[:, :-1]
    runs = np.lib.stride_tricks.sliding_window_view(equal, _RUN - 1, axis=1).all(axis=2)
    return float(runs.mean())


def _worst_edge(plane: Plane) -> tuple[float, float]:
    """How far the outermost strips are off, beyond what strips inside are among themselves."""
    if min(plane.shape) < 6 * _BAND:
        return 0.0, 1.0
    std = float(plane.std()) or 1.0
    shifts, spreads = [0.0], [1.0]
    for strips in (plane, plane.T):
        middle = float(strips.mean())
        starts = range(_BAND, strips.shape[0] - 2 * _BAND + 1, max(_BAND, strips.shape[0] // 12))
        inside = [strips[start : start + _BAND] for start in starts]
        usual = max(abs(float(strip.mean()) - middle) for strip in inside)
        typical = float(np.median([strip.std() for strip in inside])) or 1.0
        for edge in (strips[:_BAND], strips[-_BAND:]):
            shifts.append(max(0.0, abs(float(edge.mean()) - middle) - usual) / std)
            spreads.append(float(edge.std()) / typical)
    return max(shifts), max(spreads, key=lambda ratio: abs(np.log(max(ratio, 1e-6))))


def bead_share(boxes: Sequence[Tensor]) -> tuple[float, float]:
    """Of boxes (z, y, x), averaged over 2³ voxels: the share of the variance that lies in voxels far darker than the
    rest (8 robust standard deviations, and three times as far as the darkest percent), and of far brighter ones."""
    values = torch.cat([avg_pool3d(box[None], 2).flatten() for box in boxes])
    values = values - values.median()
    sigma = 1.4826 * values.abs().median()
    if float(sigma) == 0:
        return 0.0, 0.0
    total = values.square().sum().clamp_min(1e-30)
    ends = torch.quantile(values[:: max(1, len(values) // 1_000_000)], torch.tensor([0.01, 0.99])).tolist()
    low, high = min(-_BEAD * float(sigma), _BEYOND * ends[0]), max(_BEAD * float(sigma), _BEYOND * ends[1])
    dark, bright = (float(values[far].square().sum() / total) for far in (values < low, values > high))
    return dark, bright


def same_but_for_scale(some: Sequence[Plane], others: Sequence[Plane]) -> bool:
    """Whether planes of two maps differ by a factor above 0 and an offset, and by rounding.

    Differences of neighbours along x are compared, so that no gradient counts, and medians of these, so that no edge of
    a blank region does.
    """
    one, two = (
        np.concatenate([np.diff(plane[::_APART].astype(np.float64), axis=1).ravel() for plane in planes])
        for planes in (some, others)
    )
    counted = (one != 0) | (two != 0)
    one, two = one[counted], two[counted]
    if not len(one) or (size := float(np.median(np.abs(one)))) == 0:
        return False
    rest = float(np.median(np.abs(two - one * (float(np.median(np.abs(two))) / size))))
    rounding = max(float(np.spacing(np.float32(np.median(np.abs(planes[0]))))) for planes in (some, others))
    return rest <= max(_ROUNDING * float(np.median(np.abs(two))), 2 * rounding)

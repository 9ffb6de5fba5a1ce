"""The tilts of each program have the sign that its volumes show: a point, put together from its projections as the
program's own source does it, lies in the wedge of what prepare_star lists.

IMOD's tilt: x cos θ - row · sin θ (its negative of the sine); rotx reverses the rows as it makes planes of them, flipyz
does not. AreTomo3: x cos θ + z sin θ, rows reversed before they are kept, and once more by -FlipVol 1. So the .tlt of
the usual Etomo volume, and the .aln of -FlipVol 1, mean here what they mean in RELION and, negated, in Warp.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from left_by_others import (
    FLIPYZ,
    ROTX,
    aretomo_aln,
    aretomo_folder,
    imod_folder,
    listed,
    relion_project,
    tilt_star,
    warp_folder,
    warp_xml,
)

from isonet2.data.acquired import tilts_of
from isonet2.physics.wedge import measured_region

TILTS = tuple(range(-30, 61, 3))
SIDE = 48


def point(tilts: Sequence[float], sign: int) -> np.ndarray:
    """(z, x): a point, back-projected along x' = x cos θ + sign · z sin θ."""
    z, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    lines = [np.exp(-((x * np.cos(t) + sign * z * np.sin(t)) ** 2) / 2) for t in np.deg2rad(tilts)]
    return np.sum(lines, axis=0)


def share_inside(plane: np.ndarray, intervals: Any) -> float:
    """Of the power of a plane (z, x) without its mean, the share in the wedge of these tilts."""
    power = torch.fft.rfftn(torch.from_numpy(plane)[:, None, :]).abs().square()
    power[0, 0, 0] = 0
    inside = power * measured_region((SIDE, 1, SIDE), intervals)
    return float(inside.sum() / power.sum())


def of_imod(folder: Path, label: str) -> None:
    imod_folder(folder, com="", labels=[label])
    (folder / "TS01.mrc").unlink()  # the tilt series, of another length
    (folder / "TS01.tlt").write_text("\n".join(map(str, TILTS)))


def of_aretomo(folder: Path, flip: int) -> None:
    aretomo_folder(folder, FlipVol=flip)
    raw = f"80 64 {len(TILTS)}"
    (folder / "Position_1.aln").write_text(aretomo_aln(dict(enumerate(map(float, TILTS), start=1)), raw=raw))


def of_warp(folder: Path) -> None:
    warp_folder(folder, xml=warp_xml([float(tilt) for tilt in TILTS]))


def of_relion(folder: Path) -> None:
    relion_project(folder, ["TS_01"])
    series = folder / "AlignTiltSeries/job005/tilt_series/TS_01.star"
    series.write_text(tilt_star({float(tilt): (4e4, 4e4) for tilt in TILTS}))


@pytest.mark.parametrize(
    ("make", "arguments", "sign", "reversals"),
    [
        (of_imod, (FLIPYZ,), -1, 0),
        (of_imod, (ROTX,), -1, 1),
        (of_aretomo, (2,), 1, 1),
        (of_aretomo, (1,), 1, 2),
        (of_warp, (), -1, 0),
        (of_relion, (), 1, 0),
    ],
)
def test_the_wedge_of_the_list_is_that_of_the_volume(
    tmp_path: Path, make: Any, arguments: tuple[Any, ...], sign: int, reversals: int
) -> None:
    make(tmp_path, *arguments)
    (row,) = listed(tmp_path, ".")
    volume = point(TILTS, sign)
    for _ in range(reversals):
        volume = volume[::-1].copy()
    intervals = tilts_of(row, lambda name: tmp_path / name)
    mirrored = tuple((-high, -low) for low, high in reversed(intervals))
    assert share_inside(volume, intervals) > 0.9
    assert share_inside(volume, mirrored) < share_inside(volume, intervals) - 0.1

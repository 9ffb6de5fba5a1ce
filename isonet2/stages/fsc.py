"""fsc: how far two maps agree, by frequency, by direction, inside and outside the missing wedge.

In the wedge, and so around z, maps that no network has filled hold only what their edges leak into it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from isonet2.data.acquired import tilts_of
from isonet2.data.sources import halves
from isonet2.errors import UserError
from isonet2.io.atomic import replacing, write_text
from isonet2.io.mrc import open_volume, read_header
from isonet2.io.star import read_star, select_rows
from isonet2.job.tools import Fsc
from isonet2.log import info
from isonet2.physics.acquisition import Tilts
from isonet2.physics.quality import Region, cone, shell_correlations, tapered
from isonet2.physics.wedge import measured
from isonet2.report import words
from isonet2.report.measures import ShellCurve, curve_of
from isonet2.report.plots import AXES, COLOURS, TEXT, fsc_figure

THRESHOLDS = (0.5, 0.143)
_LINES = {
    "all": (TEXT, "-"),
    "measured": (COLOURS["measured"], "-"),
    "wedge": (COLOURS["wedge"], "-"),
    **{axis: (AXES[axis], "--") for axis in "xyz"},
}
_DPI = 150


@dataclass(frozen=True)
class Pair:
    """Two maps to compare, and how they were taken; no tilts: nobody said."""

    name: str
    maps: tuple[Path, Path]
    mask: Path | None
    pixel_size_angstrom: float
    tilts_deg: Tilts | None


@dataclass(frozen=True)
class Agreement:
    """The curves of one pair, by region: all, measured and wedge (where tilts are known), and around x, y and z."""

    pair: Pair
    curves: dict[str, ShellCurve]

    def resolutions(self) -> dict[str, dict[str, float]]:
        """By region and threshold, in Å: where the curve falls below it; infinite where it never is above."""
        return {
            name: {str(threshold): curve.resolution_angstrom(threshold) for threshold in THRESHOLDS}
            for name, curve in self.curves.items()
        }

    def __str__(self) -> str:
        """Resolutions for people: a line for each region."""
        finest = 2 * self.pair.pixel_size_angstrom
        lines = [f"{self.pair.name:<24}  {'FSC 0.5':>10}  {'FSC 0.143':>10}"]
        for name, found in self.resolutions().items():
            cells = "  ".join(f"{words.resolution(value, finest):>10}" for value in found.values())
            lines.append(f"  {name:<22}  {cells}")
        return "\n".join(lines)


def fsc(section: Fsc) -> list[Agreement]:
    """Write NAME_fsc.csv and NAME_fsc.png for each pair, and fsc.json with all resolutions: what was found, in order.

    Edges are tapered. Memory: 20 bytes a voxel of the largest map.
    """
    pairs = list(_pairs(section))
    for pair in pairs:
        _check(pair)
    found = []
    folder = Path(section.output_dir)
    for number, pair in enumerate(pairs, start=1):
        agreement = Agreement(pair, _curves(pair, section.cone))
        _write_curves(agreement, folder)
        found.append(agreement)
        info(f"fsc: {pair.name}: {number} of {len(pairs)}")
    summary = {agreement.pair.name: _finite(agreement.resolutions()) for agreement in found}
    write_text(folder / "fsc.json", json.dumps({"resolution_angstrom": summary}, indent=1) + "\n")
    return found


def _pairs(section: Fsc) -> Iterator[Pair]:
    if section.map2 is None:
        for row in select_rows(read_star(Path(section.map1)), section.tomo_idx):
            first, second = (Path(name) for name in halves(row))
            if section.with_mask and row.mask is None:
                raise UserError(f"{section.map1}: {row.name} has no mask: run make_mask, or leave out with_mask")
            mask = Path(row.mask) if section.with_mask and row.mask is not None else None
            yield Pair(row.name, (first, second), mask, row.pixel_size_angstrom, tilts_of(row, Path))
        return
    maps = (Path(section.map1), Path(section.map2))
    size = section.pixel_size or read_header(maps[0]).pixel_size_angstrom[2]
    if size == 0:
        raise UserError(f"{maps[0]}: its header has no pixel size: give it as --pixel_size")
    low, high = section.tilt_min, section.tilt_max
    tilts = ((low, high),) if low is not None and high is not None else None
    yield Pair(maps[0].stem, maps, Path(section.mask) if section.mask else None, size, tilts)


def _check(pair: Pair) -> None:
    """UserError if a file is missing, or has another shape than the first."""
    first, *others = (path for path in (*pair.maps, pair.mask) if path is not None)
    shape = read_header(first).shape
    for other in others:
        found = read_header(other).shape
        if found != shape:
            raise UserError(f"{other}: {words.size(found)} voxels (z, y, x), but {first.name} has {words.size(shape)}")


def _curves(pair: Pair, half_angle_deg: float) -> dict[str, ShellCurve]:
    with ExitStack() as stack:
        volumes = [stack.enter_context(open_volume(path)) for path in pair.maps]
        a, b = (tapered(torch.from_numpy(volume[:, :, :])) for volume in volumes)
    weight = None
    if pair.mask is not None:
        with open_volume(pair.mask) as mask:
            weight = torch.from_numpy(mask[:, :, :])
    return curves_of(a, b, weight, pair.pixel_size_angstrom, pair.tilts_deg, half_angle_deg)


def curves_of(
    a: Tensor, b: Tensor, weight: Tensor | None, pixel_size_angstrom: float, tilts_deg: Tilts | None, cone_deg: float
) -> dict[str, ShellCurve]:
    """Of two maps (z, y, x) with tapered edges, which are multiplied by the weight in place: the curves by region."""
    if weight is not None:
        a *= weight
        b *= weight
    frequency, found = shell_correlations(a, b, _regions(tilts_deg, cone_deg))
    return {name: curve_of(frequency, fsc, pixel_size_angstrom) for name, fsc in found.items()}


def _regions(tilts_deg: Tilts | None, half_angle_deg: float) -> dict[str, Region]:
    """All within Nyquist, without the mean; of these what was measured, the wedge, and cones around the axes."""
    regions: dict[str, Region] = {"all": _within}
    if tilts_deg is not None:
        tilts = torch.tensor(tilts_deg, dtype=torch.float64)
        regions["measured"] = lambda k: _within(k) & measured(k, tilts)
        regions["wedge"] = lambda k: _within(k) & ~measured(k, tilts)
    for axis, name in ((2, "x"), (1, "y"), (0, "z")):
        regions[name] = _both(_within, cone(axis, half_angle_deg))
    return regions


def _within(k: Tensor) -> Tensor:
    squares = k.square().sum(-1)
    return (squares > 0) & (squares <= 0.25)


def _both(one: Region, other: Region) -> Region:
    return lambda k: one(k) & other(k)


def _write_curves(agreement: Agreement, folder: Path) -> None:
    curves = agreement.curves
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["cycles_per_angstrom", "resolution_angstrom", *curves])
    frequency = next(iter(curves.values())).frequency
    for n in range(1, len(frequency)):
        values = (float(curve.fsc[n]) for curve in curves.values())
        table.writerow([f"{frequency[n]:.6g}", f"{1 / frequency[n]:.6g}", *(f"{value:.5f}" for value in values)])
    write_text(folder / f"{agreement.pair.name}_fsc.csv", text.getvalue())
    figure = fsc_figure([(name, curve, *_LINES[name]) for name, curve in curves.items()])
    with replacing(folder / f"{agreement.pair.name}_fsc.png") as part:
        figure.savefig(part, format="png", dpi=_DPI)


def _finite(resolutions: dict[str, dict[str, float]]) -> dict[str, dict[str, float | None]]:
    """For JSON, which has no infinity: null where the maps agree nowhere."""
    return {
        name: {threshold: value if value < float("inf") else None for threshold, value in found.items()}
        for name, found in resolutions.items()
    }

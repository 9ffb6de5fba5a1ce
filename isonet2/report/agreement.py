"""How far to believe a tomogram: does its prediction keep to the data, do the halves agree, does it fit the truth?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from matplotlib.figure import Figure

from isonet2.physics.quality import cone, shell_correlations, tapered
from isonet2.report import words
from isonet2.report.images import data_uri, figure_png
from isonet2.report.judgement import Judged, Judgement
from isonet2.report.measures import ShellCurve, ShellCurves, curve_of, middle
from isonet2.report.plots import AXES, COLOURS, fsc_figure
from isonet2.report.tomogram import Comparison, Scores, TomogramVolumes

_DPI = 150
_HALF_ANGLE_DEG = 30.0
_THRESHOLDS = (0.5, 0.143)
_SCORES = {"cc": "whole", "cc_measured": "measured", "cc_wedge": "wedge"}


@dataclass(frozen=True)
class Picture:
    """A plot as a data URI, and what it shows in words."""

    title: str
    uri: str
    alt: str


@dataclass(frozen=True)
class Table:
    """A table of words."""

    title: str
    header: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Agreement:
    """Plots and tables."""

    pictures: list[Picture]
    tables: list[Table]


def picture(title: str, figure: Figure, alt: str) -> Picture:
    """One plot for the page."""
    return Picture(title, data_uri(figure_png(figure, dpi=_DPI)), alt)


def agreement_of(volumes: TomogramVolumes, judged: Judged, comparison: Comparison | None) -> Agreement:
    """All that can be shown of the volumes that exist."""
    halves, against_truth = judged.halves, comparison.curves if comparison else {}
    named = {
        **{f"{name} halves{_kinship(volumes, name)}": curves for name, curves in halves.items()},
        **{f"{name} against the truth": curves for name, curves in against_truth.items()},
    }
    groups = {
        "Prediction and data": _data_lines(judged.judgement),
        "The two halves": _lines(halves),
        "The two predictions, by direction": _directions(volumes),
        "Map and truth": _lines(against_truth),
    }
    pictures = [_picture(title, volumes.row.name, lines) for title, lines in groups.items() if lines]
    tables = [score_table(comparison.scores)] if comparison else []
    if named:
        tables.append(_resolution_table(named, volumes.row.pixel_size_angstrom))
    return Agreement(pictures, tables)


def score_table(scores: Scores) -> Table:
    """Correlations with the truth, a row for each map."""
    rows = [[name, *(words.correlation(score[key]) for key in _SCORES)] for name, score in scores.items()]
    return Table("Correlation with the truth", ["map", *_SCORES.values()], rows)


def verdict_table(tomograms: Sequence[Judged]) -> Table:
    """What is to be believed of each tomogram that has a prediction."""
    regions = ("measured region", "missing wedge")
    rows = [
        [one.name, *(one.judgement.verdicts[region].headline for region in regions)]
        for one in tomograms
        if one.judgement.verdicts
    ]
    return Table("What is to be believed of each tomogram", ["tomogram", *regions], rows)


def _kinship(volumes: TomogramVolumes, name: str) -> str:
    return f" ({volumes.origin.kinship})" if name == "predicted" else ""


_Line = tuple[str, ShellCurve, str, str]


def _lines(group: dict[str, ShellCurves]) -> list[_Line]:
    """Raw is dashed, what the network made is solid; the colour is the region."""
    return [
        (f"{name}, {place}", curve, COLOURS[place], "--" if name == "raw" else "-")
        for name, curves in group.items()
        for place, curve in curves.items()
    ]


def _data_lines(judgement: Judgement) -> list[_Line]:
    """What was reached is solid, what could be reached dotted."""
    return [(label, c, COLOURS["measured"], ":" if n else "-") for n, (label, c) in enumerate(judgement.curves.items())]


def _directions(volumes: TomogramVolumes) -> list[_Line]:
    """Of the predicted halves, within 30° of each axis: z lies in the wedge, y is the tilt axis."""
    if volumes.predicted is None:
        return []
    a, b = (tapered(torch.from_numpy(middle(volume))) for volume in volumes.predicted)
    cones = {name: cone(axis, _HALF_ANGLE_DEG) for axis, name in enumerate(AXES)}
    frequency, found = shell_correlations(a, b, cones)
    pixel = volumes.row.pixel_size_angstrom
    return [(f"along {name}", curve_of(frequency, fsc, pixel), AXES[name], "-") for name, fsc in found.items()]


def _picture(title: str, tomogram: str, lines: list[_Line]) -> Picture:
    alt = f"Fourier shell correlations of {tomogram}: {'; '.join(label for label, *_ in lines)}"
    return picture(f"{title}, Fourier shell correlation", fsc_figure(lines), alt)


def _resolution_table(named: dict[str, ShellCurves], pixel_size_angstrom: float) -> Table:
    columns = [(place, threshold) for place in COLOURS for threshold in _THRESHOLDS]
    rows = []
    for name, curves in named.items():
        found = [
            words.resolution(curves[place].resolution_angstrom(threshold), 2 * pixel_size_angstrom)
            if place in curves
            else "–"
            for place, threshold in columns
        ]
        rows.append([name, *found])
    header = ["pair of maps", *(f"{place}, {threshold}" for place, threshold in columns)]
    return Table("Resolution at which two maps stop agreeing: FSC below 0.5 and below 0.143", header, rows)

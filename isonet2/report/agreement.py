"""How far to believe a tomogram: do its halves agree, and, where the truth is known, does it agree with the truth?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from matplotlib.figure import Figure

from isonet2.report import words
from isonet2.report.images import data_uri, figure_png
from isonet2.report.measures import ShellCurves, middle
from isonet2.report.plots import COLOURS, DARK, LIGHT, Ink, fsc_figure
from isonet2.report.tomogram import Comparison, Scores, TomogramVolumes, curves_of

SAME_NETWORK = "same network, not independent"
_DPI = 150
_THRESHOLDS = (0.5, 0.143)
_SCORES = {"cc": "whole", "cc_measured": "measured", "cc_wedge": "wedge"}


@dataclass(frozen=True)
class Picture:
    """A plot for a light and for a dark page, as data URIs, and what it shows in words."""

    title: str
    light: str
    dark: str
    alt: str


@dataclass(frozen=True)
class Table:
    """A table of words."""

    title: str
    header: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Agreement:
    """Plots and tables, and the curves of the predicted halves: empty if these were not kept."""

    pictures: list[Picture]
    tables: list[Table]
    predicted: ShellCurves


def picture(title: str, draw: Callable[[Ink], Figure], alt: str) -> Picture:
    """One plot, drawn for both grounds."""
    light, dark = (data_uri(figure_png(draw(ink), dpi=_DPI)) for ink in (LIGHT, DARK))
    return Picture(title, light, dark, alt)


def agreement_of(volumes: TomogramVolumes, comparison: Comparison | None) -> Agreement:
    """All that can be said with the volumes that exist."""
    halves = _halves(volumes)
    against_truth = comparison.curves if comparison else {}
    named = {
        **{_half_label(name): curves for name, curves in halves.items()},
        **{f"{name} against the truth": curves for name, curves in against_truth.items()},
    }
    pictures = [
        _picture(title, volumes.row.name, group)
        for title, group in (("The two halves", halves), ("Map and truth", against_truth))
        if group
    ]
    tables = [score_table(comparison.scores)] if comparison else []
    if named:
        tables.append(_resolution_table(named, volumes.row.pixel_size_angstrom))
    return Agreement(pictures, tables, halves.get("predicted", {}))


def score_table(scores: Scores) -> Table:
    """Correlations with the truth, a row for each map."""
    rows = [[name, *(words.correlation(score[key]) for key in _SCORES)] for name, score in scores.items()]
    return Table("Correlation with the truth", ["map", *_SCORES.values()], rows)


def _halves(volumes: TomogramVolumes) -> dict[str, ShellCurves]:
    """Of the raw halves in the measured region alone: their wedge holds only what the edges leak into it."""
    halves = {}
    if volumes.halves is not None:
        halves["raw"] = {"measured": curves_of(volumes.row, *map(middle, volumes.halves))["measured"]}
    if volumes.predicted is not None:
        halves["predicted"] = curves_of(volumes.row, *map(middle, volumes.predicted))
    return halves


def _half_label(name: str) -> str:
    return f"{name} halves" + (f" ({SAME_NETWORK})" if name == "predicted" else "")


def _picture(title: str, tomogram: str, group: dict[str, ShellCurves]) -> Picture:
    """Raw is dashed, what the network made is solid; the colour is the region."""
    lines = [
        (f"{name}, {place}", curve, COLOURS[place], "--" if name == "raw" else "-")
        for name, curves in group.items()
        for place, curve in curves.items()
    ]
    alt = f"Fourier shell correlations of {tomogram}: {'; '.join(label for label, *_ in lines)}"
    return picture(f"{title}, Fourier shell correlation", partial(fsc_figure, lines), alt)


def _resolution_table(named: dict[str, ShellCurves], pixel_size_angstrom: float) -> Table:
    columns = [(place, threshold) for place in COLOURS for threshold in _THRESHOLDS]
    rows = []
    for name, curves in named.items():
        found = [
            words.resolution(curves[place].resolution_angstrom(threshold), 2 * pixel_size_angstrom)
            if place in curves
            else "empty"
            for place, threshold in columns
        ]
        rows.append([name, *found])
    header = ["pair of maps", *(f"{place}, {threshold}" for place, threshold in columns)]
    return Table("Resolution at which two maps stop agreeing: FSC below 0.5 and below 0.143", header, rows)

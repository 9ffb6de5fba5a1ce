"""How far to believe a tomogram: does its prediction keep to the data, do the halves agree, does it fit the truth?"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from matplotlib.figure import Figure

from isonet2.physics.consistency import LEAST_FSC, Consistency, consistency, measured_and_missing, wedge_filling
from isonet2.report import words
from isonet2.report.images import data_uri, figure_png
from isonet2.report.measures import ShellCurve, ShellCurves, middle
from isonet2.report.plots import COLOURS, DARK, LIGHT, Ink, fsc_figure
from isonet2.report.support import Compared, Verdict, data_verdict, wedge_verdict
from isonet2.report.tomogram import Comparison, Scores, TomogramVolumes, curves_of

_DPI = 150
_THRESHOLDS = (0.5, 0.143)
_SCORES = {"cc": "whole", "cc_measured": "measured", "cc_wedge": "wedge"}
_REFERENCE = {"halves": "the other half", "mean": "the halves", "one map": "its input"}


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
    """Plots and tables; by region what is to be believed, empty without a prediction; `share`: of the agreement with
    the other half that noise allows, NaN where nobody can tell; the curves of the predicted halves, if they were kept.
    """

    pictures: list[Picture]
    tables: list[Table]
    verdicts: dict[str, Verdict]
    share: float
    predicted: ShellCurves


def picture(title: str, draw: Callable[[Ink], Figure], alt: str) -> Picture:
    """One plot, drawn for both grounds."""
    light, dark = (data_uri(figure_png(draw(ink), dpi=_DPI)) for ink in (LIGHT, DARK))
    return Picture(title, light, dark, alt)


def agreement_of(volumes: TomogramVolumes, comparison: Comparison | None) -> Agreement:
    """All that can be said with the volumes that exist."""
    halves, against_truth = _halves(volumes), comparison.curves if comparison else {}
    named = {
        **{f"{name} halves{_kinship(volumes, name)}": curves for name, curves in halves.items()},
        **{f"{name} against the truth": curves for name, curves in against_truth.items()},
    }
    groups = {"The two halves": _lines(halves), "Map and truth": _lines(against_truth)}
    verdicts, share = {}, math.nan
    if volumes.result is not None:
        compared = _compared(volumes)
        found = _consistency(volumes)
        share = found.share if compared == "halves" else math.nan
        free = volumes.origin.ctf.CTF_mode == "wiener"
        verdicts["measured region"] = data_verdict(found, compared, gain_is_free=free)
        verdicts["missing wedge"] = _wedge_verdict(volumes, halves, one_map=compared == "one map")
        groups = {"Prediction and data": _data_lines(volumes, found, compared), **groups}
    pictures = [_picture(title, volumes.row.name, lines) for title, lines in groups.items() if lines]
    tables = [score_table(comparison.scores)] if comparison else []
    if named:
        tables.append(_resolution_table(named, volumes.row.pixel_size_angstrom))
    return Agreement(pictures, tables, verdicts, share, halves.get("predicted", {}))


def score_table(scores: Scores) -> Table:
    """Correlations with the truth, a row for each map."""
    rows = [[name, *(words.correlation(score[key]) for key in _SCORES)] for name, score in scores.items()]
    return Table("Correlation with the truth", ["map", *_SCORES.values()], rows)


def _compared(volumes: TomogramVolumes) -> Compared:
    if volumes.given[0] is volumes.given[1]:
        return "one map"
    return "halves" if volumes.predicted is not None else "mean"


def _consistency(volumes: TomogramVolumes) -> Consistency:
    """Of the middle of the predictions with that of what the network read, passed through the CTF and the wedge."""
    assert volumes.result is not None
    predictions = volumes.predicted or (volumes.result, volumes.result)
    P, Q, a, b = (torch.from_numpy(middle(volume)) for volume in (*predictions, *volumes.given))
    measured, _ = measured_and_missing(a.shape, volumes.tilts_deg)
    transfer, flip = (of(a.shape, volumes.optics) for of in (volumes.origin.transfer, volumes.origin.flip))
    return consistency((P, Q), (a, b), measured, transfer=transfer, flip=flip)


def _wedge_verdict(volumes: TomogramVolumes, halves: dict[str, ShellCurves], *, one_map: bool) -> Verdict:
    filling = np.zeros(0)
    if volumes.predicted is not None:
        a, b = (torch.from_numpy(middle(volume)) for volume in volumes.predicted)
        filling = wedge_filling(a, b, *measured_and_missing(a.shape, volumes.tilts_deg)).numpy()
    data_limit = halves["raw"]["measured"].resolution_angstrom(LEAST_FSC) if "raw" in halves else 0.0
    return wedge_verdict(
        halves.get("predicted", {}), filling, volumes.origin, one_map=one_map, data_limit_angstrom=data_limit
    )


def _halves(volumes: TomogramVolumes) -> dict[str, ShellCurves]:
    """Of the raw halves in the measured region alone: their wedge holds only what the edges leak into it."""
    halves = {}
    if volumes.halves is not None:
        halves["raw"] = {"measured": curves_of(volumes, *map(middle, volumes.halves))["measured"]}
    if volumes.predicted is not None:
        halves["predicted"] = curves_of(volumes, *map(middle, volumes.predicted))
    return halves


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


def _data_lines(volumes: TomogramVolumes, found: Consistency, compared: Compared) -> list[_Line]:
    """The FSC of the prediction with what was measured, and, where the halves tell, the most that noise allows."""
    frequency = np.arange(len(found.found)) / (2 * (len(found.found) - 1) * volumes.row.pixel_size_angstrom)
    lines = [(f"with {_REFERENCE[compared]}", ShellCurve(frequency, found.found.numpy()), COLOURS["measured"], "-")]
    if compared != "one map":
        lines.append(("allowed by noise", ShellCurve(frequency, found.allowed.numpy()), COLOURS["measured"], ":"))
    return lines


def _picture(title: str, tomogram: str, lines: list[_Line]) -> Picture:
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

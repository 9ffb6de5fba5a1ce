"""Figures, through matplotlib's object-oriented interface: nothing here has a global state or needs a display."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from isonet2.report.images import contrast, grey, spectrum_contrast
from isonet2.report.measures import (
    PLANES,
    ShellCurve,
    Volume,
    middle,
    middle_planes,
    power_spectrum_xz,
    round_length_nm,
)
from isonet2.report.words import tilts

TEXT, _FAINT = "#22272e", "#c9ced6"
COLOURS = {"measured": "#2f7fd1", "wedge": "#d9730d"}  # told apart by all eyes
AXES = {"z": "#c2386b", "y": "#2a9d57", "x": "#7a52c7"}
PREVIEW_DPI = 110
_WIDTH_INCH = 11.0
_HELD_OUT = "val_"  # what the keys of held-out cubes begin with
_PARTS = {
    "measured": "its part in what the tilts measured: noise removal",
    "wedge": "its part in the missing wedge: filling it",
}


def new_figure(width_inch: float, height_inch: float) -> Figure:
    """An empty figure that draws into memory."""
    figure = Figure(figsize=(width_inch, height_inch), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def loss_figure(lines: Iterable[Mapping[str, Any]]) -> Figure:
    """The loss by epoch, from the lines of metrics.jsonl: all of it, and its parts in the measured region and the
    wedge, if it has both, each on an axis of its own; dashed on cubes that were held out. The first epoch, in which
    the loss falls most, may lie above what is drawn."""
    epochs = [line for line in lines if line.get("kind") == "epoch"]
    parts = {"loss": ("loss: what training makes small", TEXT)}
    if any(line.get("loss_wedge") for line in epochs):
        parts |= {f"loss_{place}": (_PARTS[place], colour) for place, colour in COLOURS.items()}
    figure = new_figure(3.7, 1.3 + 1.2 * len(parts))
    grid = figure.subplots(len(parts), sharex=True, squeeze=False)[:, 0]
    for axes, (key, (title, colour)) in zip(grid, parts.items(), strict=True):
        late = []
        for name, style in ((key, "-"), (f"{_HELD_OUT}{key}", "--")):
            x, y = _by_epoch(epochs, name)
            label = "held-out cubes" if style == "--" else "training cubes"
            if x.size:
                axes.plot(x, y, style, color=colour, label=label, marker="o" if x.size < 30 else "", markersize=3)
            late += y[1 if x.size > 2 else 0 :].tolist()
        if late:
            margin = 0.1 * (max(late) - min(late)) or 0.1 * abs(max(late))
            axes.set_ylim(min(late) - margin, max(late) + margin)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _dress(axes, "", "")
        axes.set_title(title, fontsize=8, color=TEXT, loc="left")
    grid[-1].set_xlabel("epoch (all training cubes once)", color=TEXT, fontsize=9)
    figure.supylabel("loss (no unit; less is better)", color=TEXT, fontsize=9)
    if len(grid[0].lines) > 1:
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8, labelcolor=TEXT, frameon=False)
    return figure


def epoch_figure(
    lines: Sequence[Mapping[str, Any]],
    parts: Mapping[str, tuple[str, str | None]],
    y_label: str,
) -> Figure:
    """Numbers by epoch, from lines of metrics.jsonl; `parts`: the label and colour (None: that of text) of each key.

    What was measured on held-out cubes is dashed. The y axis starts at zero.
    """
    labels = sum(bool(label) for label, _ in parts.values())
    figure = new_figure(3.7, 2.5 + 0.2 * (labels if labels > 1 else 0))
    axes = figure.add_subplot()
    smallest = np.inf
    for key, (label, colour) in parts.items():
        x, y = _by_epoch(lines, key)
        style = "--" if key.startswith(_HELD_OUT) else "-"
        marker = "o" if x.size < 30 else ""
        axes.plot(x, y, style, color=colour or TEXT, label=label or None, marker=marker, markersize=3)
        smallest = min(smallest, y.min(initial=np.inf))
    axes.set_ylim(min(0, smallest), 1.05 * axes.get_ylim()[1])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _dress(axes, "epoch (all training cubes once)", y_label)
    if labels > 1:
        figure.legend(loc="outside lower center", fontsize=8, labelcolor=TEXT, frameon=False)
    return figure


def fsc_figure(curves: Sequence[tuple[str, ShellCurve, str, str]]) -> Figure:
    """Shell correlations: (label, curve, colour, style) each, with the lines 0.5 and 0.143; x is labelled in Å."""
    figure = new_figure(3.7, 3.0)
    axes = figure.add_subplot()
    for label, curve, colour, style in curves:
        filled = np.isfinite(curve.fsc) & (curve.frequency > 0)
        axes.plot(curve.frequency[filled], curve.fsc[filled], style, color=colour, label=label)
    nyquist = max(float(curve.frequency[-1]) for _, curve, _, _ in curves)
    for threshold in (0.5, 0.143):
        axes.axhline(threshold, color=_FAINT, linewidth=1)
        axes.text(nyquist, threshold, f" {threshold}", color=TEXT, fontsize=7, va="center")
    ticks = np.linspace(0, nyquist, 6)[1:]
    axes.set_xticks(ticks, [f"{1 / tick:.3g}" for tick in ticks])
    axes.set_xlim(0, nyquist)
    axes.set_ylim(-0.1, 1.03)
    _dress(axes, "resolution (Å)", "correlation")
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, labelcolor=TEXT, frameon=False)
    return figure


def slices_figure(
    path: Path,
    volumes: Mapping[str, Volume],
    *,
    pixel_size_angstrom: float,
    tilts_deg: tuple[float, float],
    title: str = "",
    dpi: int = PREVIEW_DPI,
) -> None:
    """Write a PNG to `path`: a row for each volume, of xy, xz above yz (z and y upwards) and the xz power spectrum.

    Volumes (z, y, x) of one shape, all planes at one scale; black and white are the 1st and 99th percentile of the
    planes of a row. The lines in the spectrum are the ends of the measured region, its edge is Nyquist.
    """
    z, y, x = next(iter(volumes.values())).shape
    bar_nm = round_length_nm(min(x, y) * pixel_size_angstrom / 10)
    wide, tall = max(x, y), max(y, 2 * z)
    row_inch = _WIDTH_INCH * tall / (x + wide + tall) + 0.25
    figure = new_figure(_WIDTH_INCH, len(volumes) * row_inch + 0.2 + 0.3 * bool(title))
    grid = figure.add_gridspec(len(volumes), 3, width_ratios=(x, wide, tall))
    rows = []
    for number in range(len(volumes)):
        part = z + 0.08 * tall  # with the room that its name takes
        stack = grid[number, 1].subgridspec(3, 1, height_ratios=(part, part, max(tall - 2 * part, 1e-3)))
        places = (grid[number, 0], stack[0], stack[1], grid[number, 2])
        rows.append([figure.add_subplot(place) for place in places])
    for row, (name, volume) in zip(rows, volumes.items(), strict=True):
        planes = middle_planes(volume)
        low, high = contrast(*planes.values())
        for axes, plane in zip(row, PLANES, strict=False):
            axes.imshow(grey(planes[plane], low, high), cmap="gray", vmin=0, vmax=255, origin="lower",
                        interpolation="hanning")  # fmt: skip
            _draw_scale_bar(axes, planes[plane].shape, bar_nm, pixel_size_angstrom)
        _draw_spectrum(row[3], power_spectrum_xz(middle(volume)), tilts_deg)
        for axes in row[1:3]:
            axes.set_xlim(-0.5, wide - 0.5)  # or the shorter of the two would be larger
        row[0].set_ylabel(name, fontsize=11)
        for axes, plane in zip(row, (*PLANES, "power spectrum, xz"), strict=True):
            axes.set_title(plane, fontsize=9)
    rows[-1][3].set_xlabel(f"lines: declared tilts {tilts(*tilts_deg)}", color=COLOURS["wedge"], fontsize=9)
    for axes in chain.from_iterable(rows):
        axes.set(xticks=(), yticks=(), anchor="N")
        axes.spines[:].set_visible(False)
    if title:
        figure.suptitle(title, fontsize=11)
    figure.savefig(path, format="png", dpi=dpi)


def wedge_border(tilt_deg: float) -> tuple[float, float]:
    """The point (kx, kz), ½ cycle per voxel from the middle, that a tilt measures; so does the point opposite."""
    angle = np.deg2rad(tilt_deg)
    return float(np.cos(angle) / 2), float(np.sin(angle) / 2)


def _draw_spectrum(axes: Axes, logarithm: npt.NDArray[np.float64], tilts_deg: tuple[float, float]) -> None:
    image, box = grey(logarithm, *spectrum_contrast(logarithm)), (-0.5, 0.5, -0.5, 0.5)
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, origin="lower", extent=box, aspect="equal",
                interpolation="hanning")  # fmt: skip
    for tilt_deg in tilts_deg:
        kx, kz = wedge_border(tilt_deg)
        axes.plot((-kx, kx), (-kz, kz), color=COLOURS["wedge"], linewidth=1.5)


def _draw_scale_bar(axes: Axes, shape: tuple[int, ...], length_nm: float, pixel_size_angstrom: float) -> None:
    """White, with a dark edge, at the bottom left of a plane (rows, columns)."""
    rows, columns = shape
    margin = 0.04 * columns
    halo = [withStroke(linewidth=2, foreground="black")]
    x = (margin, margin + length_nm * 10 / pixel_size_angstrom)
    axes.plot(x, (margin, margin), color="white", linewidth=3, solid_capstyle="butt",
              path_effects=[withStroke(linewidth=4.5, foreground="black")])  # fmt: skip
    axes.annotate(f"{length_nm:g} nm", (margin, margin), (0, 4), textcoords="offset points", color="white",
                  fontsize=9, fontweight="bold", path_effects=halo)  # fmt: skip
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(-0.5, rows - 0.5))


def _by_epoch(lines: Iterable[Mapping[str, Any]], key: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The epochs that have a finite number under `key`, and these numbers."""
    pairs = [(line["epoch"], line[key]) for line in lines if isinstance(line.get(key), int | float)]
    table = np.array([pair for pair in pairs if np.isfinite(pair[1])], dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _dress(axes: Axes, x_label: str, y_label: str) -> None:
    """Labels, grid and frame."""
    axes.set_xlabel(x_label, color=TEXT, fontsize=9)
    axes.set_ylabel(y_label, color=TEXT, fontsize=9)
    axes.tick_params(colors=TEXT, labelsize=8, which="both")
    axes.grid(color=_FAINT, linewidth=0.5)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(TEXT)

"""What the checks saw in one tomogram, as one picture: its wedge, twice, its rings, and its halves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from isonet2.physics.found_rings import first_zeros
from isonet2.report.findings import Evidence, degrees, micrometres
from isonet2.report.images import grey, spectrum_contrast
from isonet2.report.plots import COLOURS, TEXT, new_figure, wedge_border

_GREY, _FAINT = "#8a929d", "#c9ced6"
_FAINTEST = 1e-4  # of the highest power that is drawn


def check_figure(evidence: Evidence, spectrum_xz: Tensor) -> Figure:
    """Four panels; `spectrum_xz` (kz, kx) is log10 of the power, zero frequency in the middle.

    Declared is orange, measured is blue.
    """
    figure = new_figure(11.0, 3.2)
    panels = figure.subplots(1, 4, width_ratios=(1.0, 1.25, 1.25, 1.25))
    _draw_spectrum(panels[0], evidence, spectrum_xz)
    _draw_angles(panels[1], evidence)
    _draw_rings(panels[2], evidence)
    _draw_halves(panels[3], evidence)
    figure.suptitle(f"{evidence.name}: declared (orange) and measured (blue)", fontsize=10)
    return figure


def _draw_spectrum(axes: Axes, evidence: Evidence, spectrum: Tensor) -> None:
    logarithm = spectrum.numpy()
    box = (-0.5, 0.5, -0.5, 0.5)
    image = grey(logarithm, *spectrum_contrast(logarithm))
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, origin="lower", extent=box, aspect="equal")
    wedge = evidence.wedge
    lines = [(tilt, "wedge", "-") for tilt in evidence.declared_deg]
    if (wedge.tilt_axis, wedge.beam_axis) == (1, 0) and wedge.bands:
        lines += [(tilt, "measured", "--") for tilt in (wedge.low_deg, wedge.high_deg)]
    for tilt_deg, colour, style in lines:
        kx, kz = wedge_border(tilt_deg)
        axes.plot((-kx, kx), (-kz, kz), style, color=COLOURS[colour], linewidth=1.4)
    axes.set_xlim(-0.5, 0.5)
    axes.set_ylim(-0.5, 0.5)
    axes.set_title("power, xz", fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])


def _draw_angles(axes: Axes, evidence: Evidence) -> None:
    wedge = evidence.wedge
    axes.semilogy(wedge.angles_deg.numpy(), wedge.profile.clamp_min(_FAINTEST).numpy(), color=TEXT, linewidth=1.2)
    for tilt in evidence.declared_deg:
        axes.axvline(tilt, color=COLOURS["wedge"], linewidth=1.4)
    for tilt in (wedge.low_deg, wedge.high_deg):
        axes.axvline((tilt + 90) % 180 - 90, color=COLOURS["measured"], linewidth=1.4, linestyle="--")
    axes.set_xlim(-90, 90)
    axes.set_xticks((-90, -60, -30, 0, 30, 60, 90))
    axes.set_title(
        f"power by angle around {'zyx'[wedge.tilt_axis]}: {degrees(wedge.low_deg, wedge.high_deg)}", fontsize=9
    )
    _dress(axes, "tilt (°)")


def _draw_rings(axes: Axes, evidence: Evidence) -> None:
    radial, optics = evidence.radial, evidence.optics
    frequency = radial.frequency.numpy()
    signal = radial.signal.numpy()
    floor = signal.max() * 1e-7
    axes.semilogy(frequency, np.where(signal > floor, signal, np.nan), color=TEXT, linewidth=1.2,
                  label="signal" if evidence.halves else "power")  # fmt: skip
    if evidence.halves:
        axes.semilogy(frequency, radial.noise.clamp_min(floor).numpy(), color=_GREY, linewidth=1.2, label="noise")
    zeros = first_zeros(optics, count=6)
    for zero in zeros:
        axes.axvline(zero, color=COLOURS["wedge"], linewidth=1.0)
    best = evidence.rings.best_angstrom
    if best is not None and evidence.rings.seen:
        for zero in first_zeros(replace(optics, defocus_angstrom=best[1]), count=6):
            axes.axvline(zero, color=COLOURS["measured"], linewidth=1.0, linestyle="--")
    title = f"zeros of {micrometres(optics.defocus_angstrom)}" if zeros else "no declared zero within Nyquist"
    axes.set_title(f"rings: {title}", fontsize=9)
    axes.legend(fontsize=7, frameon=False)
    _in_angstrom(axes, optics.pixel_size_angstrom)


def _draw_halves(axes: Axes, evidence: Evidence) -> None:
    if evidence.halves is None:
        axes.axis("off")
        axes.text(0.5, 0.5, "a single map:\nno halves to compare", ha="center", va="center", fontsize=9)
        return
    axes.plot(evidence.radial.frequency.numpy(), evidence.radial.correlation.numpy(), color=COLOURS["measured"])
    axes.axhline(0, color=_FAINT, linewidth=1)
    axes.set_ylim(-0.25, 1.03)
    axes.set_title("correlation of the halves", fontsize=9)
    _in_angstrom(axes, evidence.optics.pixel_size_angstrom)


def _in_angstrom(axes: Axes, pixel_angstrom: float) -> None:
    ticks = np.linspace(0, 0.5, 6)[1:]
    axes.set_xticks(ticks, [f"{pixel_angstrom / tick:.3g}" for tick in ticks])
    axes.set_xlim(0, 0.5)
    _dress(axes, "resolution (Å)")


def _dress(axes: Axes, x_label: str) -> None:
    axes.set_xlabel(x_label, fontsize=8)
    axes.tick_params(labelsize=7, which="both")
    axes.grid(color=_FAINT, linewidth=0.4)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)

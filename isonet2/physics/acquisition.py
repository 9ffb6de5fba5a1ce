"""How a tomogram was taken: the tilts that were measured and the optics that took them. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

Tilts = tuple[tuple[float, float], ...]
"""Intervals (lowest, highest) of measured tilts, in degrees."""


@dataclass(frozen=True)
class Optics:
    """What the contrast transfer function depends on; Δf > 0 is underfocus."""

    pixel_size_angstrom: float
    defocus_angstrom: float
    voltage_kv: float
    cs_mm: float
    amplitude_contrast: float

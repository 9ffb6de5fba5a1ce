"""Numbers as a reader likes them."""

from __future__ import annotations

import math
from typing import Any


def duration(seconds: float) -> str:
    """ "0.42 s", "12 s", "5 min 40 s", "3 h 05 min"."""
    if seconds < 10:
        return f"{seconds:.2g} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def resolution(angstrom: float, nyquist_angstrom: float) -> str:
    """ "38 Å"; a dash where nothing agrees; "≤ 30 Å" where all agrees up to Nyquist."""
    if math.isinf(angstrom):
        return "–"
    if angstrom <= nyquist_angstrom * (1 + 1e-6):
        return f"≤ {nyquist_angstrom:.3g} Å"
    return f"{angstrom:.3g} Å"


def correlation(value: float) -> str:
    """Two decimals; a dash for what is not a number."""
    return f"{value:.2f}" if math.isfinite(value) else "–"


def size(shape: tuple[int, ...]) -> str:
    """ "72 × 128 × 128"."""
    return " × ".join(str(side) for side in shape)


def memory(gigabytes: list[float]) -> str:
    """The range over the ranks: "0.8 GB", "0.8–1.2 GB"; a dash if nobody measured."""
    if not gigabytes:
        return "–"
    low, high = f"{min(gigabytes):.2g}", f"{max(gigabytes):.2g}"
    return f"{high} GB" if low == high else f"{low}–{high} GB"


def fact(value: Any) -> str:
    """Any JSON value on one line: four digits of a number, a list with commas."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(fact(item) for item in value)
    if isinstance(value, dict):
        return "; ".join(f"{key} {fact(item)}" for key, item in value.items())
    return str(value)


def count(number: int, noun: str) -> str:
    """ "1 tomogram", "2,000 tomograms"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def tilts(tilt_min_deg: float, tilt_max_deg: float) -> str:
    """ "−60° to 60°", with a real minus."""
    return f"{tilt_min_deg:g}° to {tilt_max_deg:g}°".replace("-", "−")

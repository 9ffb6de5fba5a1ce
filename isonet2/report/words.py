"""Numbers as a reader likes them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

_LISTED = 12  # a job may have a thousand tomograms
_NAMED = 4


def resolution(angstrom: float, nyquist_angstrom: float) -> str:
    """As in 38 Å; a dash where nothing agrees; ≤ 30 Å where all agrees up to Nyquist."""
    if math.isinf(angstrom):
        return "–"
    if angstrom <= nyquist_angstrom * (1 + 1e-6):
        return f"≤ {nyquist_angstrom:.3g} Å"
    return f"{angstrom:.3g} Å"


def correlation(value: float) -> str:
    """Two decimals; a dash for what is not a number."""
    return f"{value:.2f}" if math.isfinite(value) else "–"


def percent(share: float) -> str:
    """As in 83 %; never below 0 or above 100."""
    return f"{100 * min(max(share, 0), 1):.0f} %"


def uncapitalised(sentence: str) -> str:
    """As it reads after a colon."""
    return sentence[:1].lower() + sentence[1:]


def size(shape: tuple[int, ...]) -> str:
    """As in 72 × 128 × 128."""
    return " × ".join(str(side) for side in shape)


def gigabytes(value: float) -> str:
    """As in 0.82 GB, 3.1 GB, 120 GB."""
    return f"{value:.0f} GB" if value >= 10 else f"{value:.2g} GB"


def memory_range(values: list[float]) -> str:
    """The least and the most of the ranks: 0.8 GB to 1.2 GB; a dash if nobody measured."""
    if not values:
        return "–"
    low, high = gigabytes(min(values)), gigabytes(max(values))
    return high if low == high else f"{low} to {high}"


def fact(value: Any) -> str:
    """Any JSON value on one line: four digits of a number, the first twelve of a long list."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return _listed([fact(item) for item in value])
    if isinstance(value, dict):
        return _listed([f"{key} {fact(item)}" for key, item in value.items()])
    return str(value)


def _listed(items: list[str]) -> str:
    more = f"; and {len(items) - _LISTED} more" if len(items) > _LISTED else ""
    return "; ".join(items[:_LISTED]) + more


def count(number: int, noun: str) -> str:
    """As in 1 tomogram, 2,000 tomograms."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def named(names: Sequence[str]) -> str:
    """As in t1, t2 and 7 more."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def tilts(tilt_min_deg: float, tilt_max_deg: float) -> str:
    """As in −60° to 60°, with a real minus."""
    return f"{tilt_min_deg:g}° to {tilt_max_deg:g}°".replace("-", "−")

"""The wedge in the data against the declared tilts: is there one, around which axis, of which sign and width."""

from __future__ import annotations

import math
from collections.abc import Iterator

from isonet2.report.findings import Evidence, Finding, degrees

_AXES = "zyx"
_NO_WEDGE, _WEDGE = 0.7, 1.5  # of the contrast, in powers of e
_CLEAR = 0.6  # share of the explained variance that the second best axis may have
_TOLERANCE_DEG, _CERTAIN_DEG = 5.0, 12.0
_TURNED_DEG = 5.0
_SIGMAS, _CERTAIN_SIGMAS = 3.0, 5.0
_TURNS = {
    (0, 1): "y and z are exchanged, as IMOD's tilt leaves them: trimvol -rx IN OUT, or exchange these axes",
    (2, 0): "turn it by 90° around z, so that the tilt axis is y",
    (0, 2): "bring the beam (now x) to z and the tilt axis (now z) to y",
    (1, 2): "turn it by 90° around y, so that the beam is z",
    (2, 1): "bring the beam (now y) to z and the tilt axis (now x) to y",
}


def wedge_findings(evidence: Evidence) -> Iterator[Finding]:
    """One of the axes and, where these are right, one of the tilts."""
    wedge, name = evidence.wedge, evidence.name
    clear = sorted(wedge.explained)[1] < _CLEAR * max(wedge.explained)
    contrast = f"the power falls by 10^{wedge.contrast / math.log(10):.1f} into the wedge"
    axes = f"tilt axis {_AXES[wedge.tilt_axis]}, beam {_AXES[wedge.beam_axis]} ({contrast})"
    if wedge.contrast < _NO_WEDGE:
        yield Finding(
            name,
            "wedge",
            "doubt",
            f"none is missing: the power differs by less than a factor of {math.exp(_NO_WEDGE):.0f} between directions",
            "give the reconstruction itself, not one that was corrected, denoised or filled before",
        )
    elif wedge.contrast < _WEDGE or not clear or not wedge.bands:
        yield Finding(
            name,
            "wedge",
            "cannot tell",
            f"no clear wedge; perhaps {axes}; two tilt axes, a strong filter or few planes would look like this",
        )
    elif (wedge.tilt_axis, wedge.beam_axis) != (1, 0):
        yield Finding(
            name, "wedge", "error", f"{axes}; they should be y and z", _TURNS[wedge.tilt_axis, wedge.beam_axis]
        )
    elif abs(wedge.turned_deg) > _TURNED_DEG:
        yield Finding(
            name,
            "wedge",
            "doubt",
            f"the tilt axis lies {wedge.turned_deg:.0f}° off y, towards x ({contrast})".replace("-", "−"),
            "reconstruct with the right angle of the tilt axis, or turn the map around z by that",
        )
    else:
        yield Finding(name, "wedge", "fine", axes)
        yield _tilts(evidence)


def _tilts(evidence: Evidence) -> Finding:
    wedge, (low, high) = evidence.wedge, evidence.declared_deg
    seen = (
        f"{degrees(wedge.low_deg, wedge.high_deg)} measured (±{wedge.spread_deg:.0f}°), {degrees(low, high)} declared"
    )
    off = max(abs(wedge.low_deg - low), abs(wedge.high_deg - high))
    mirrored = max(abs(wedge.low_deg + high), abs(wedge.high_deg + low))
    tolerance = max(_TOLERANCE_DEG, _SIGMAS * wedge.spread_deg)
    if off - mirrored > tolerance and mirrored < tolerance:
        certain = off - mirrored > _CERTAIN_SIGMAS * wedge.spread_deg
        return Finding(
            evidence.name,
            "tilts",
            "error" if certain else "doubt",
            f"{seen}: the sign of the tilts is turned",
            _set(-high, -low, evidence),
        )
    if off > tolerance:
        certain = off > max(_CERTAIN_DEG, _CERTAIN_SIGMAS * wedge.spread_deg) and wedge.bands > 2
        return Finding(
            evidence.name,
            "tilts",
            "error" if certain else "doubt",
            seen,
            _set(*_nearest(evidence, tolerance), evidence),
        )
    return Finding(evidence.name, "tilts", "fine", seen)


def _nearest(evidence: Evidence, tolerance: float) -> tuple[float, float]:
    """The declared tilts, but for the ends that are off."""
    measured = evidence.wedge.low_deg, evidence.wedge.high_deg
    ends = zip(measured, evidence.declared_deg, strict=True)
    low, high = (round(seen) if abs(seen - declared) > tolerance else declared for seen, declared in ends)
    return low, high


def _set(low: float, high: float, evidence: Evidence) -> str:
    gaps = "" if len(evidence.tilts_deg) == 1 else " (and look at rlnTiltFile)"
    by_list = "prepare_star: tilt_min and tilt_max, one value for each tomogram"
    return f"set rlnTiltMin {low:g} and rlnTiltMax {high:g} in its row ({by_list}){gaps}"

"""check.json: what was found of tomograms, so that nothing is looked at twice as long as nothing changes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from isonet2.io.atomic import write_text
from isonet2.log import warn
from isonet2.report.findings import Evidence, Finding

RECORD = "check.json"


def known_findings(path: Path, keys: Mapping[str, str]) -> list[Finding] | None:
    """What was found before of these tomograms, if nothing has changed of any."""
    try:
        content = json.loads(path.read_text())
        findings = [Finding(**found) for found in content["findings"] if found["tomogram"] in keys]
        return findings if keys.items() <= content["keys"].items() else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write_record(
    path: Path, findings: Sequence[Finding], found: Sequence[Evidence | Finding], keys: Mapping[str, str]
) -> None:
    """All findings, what was measured of each tomogram, and keys. A folder that cannot be written to is warned of."""
    measured = {
        one.name: {
            "boxes": one.boxes,
            "tilts_deg": [round(one.wedge.low_deg, 2), round(one.wedge.high_deg, 2)],
            "tilts_spread_deg": round(one.wedge.spread_deg, 2),
            "wedge_contrast": round(one.wedge.contrast, 3),
            "tilt_axis": "zyx"[one.wedge.tilt_axis],
            "tilt_axis_turned_deg": one.wedge.turned_deg,
            "beam_axis": "zyx"[one.wedge.beam_axis],
            "defocus_angstrom": one.rings.best_angstrom,
            "correlation_of_halves": one.halves and round(one.halves.low, 4),
            "skewness": [round(one.skewness.value, 3), round(one.skewness.sigma, 3)],
            "picture": f"{one.name}.png",
        }
        for one in found
        if isinstance(one, Evidence)
    }
    content = {"keys": dict(keys), "findings": [finding.as_dict() for finding in findings], "measured": measured}
    try:
        write_text(path, json.dumps(content, indent=1) + "\n")
    except OSError as error:
        warn(f"check: {path} could not be written: {error}")

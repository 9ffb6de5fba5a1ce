"""check.json: what was found of tomograms, so that nothing is looked at twice as long as nothing changes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from isonet2.io.atomic import write_text
from isonet2.log import warn
from isonet2.report.findings import Evidence, Finding

FOLDER, RECORD = "check", "check.json"


@dataclass(frozen=True)
class Checked:
    """What was found of tomograms, when (seconds), what stands for their maps and metadata, and their pictures."""

    findings: list[Finding]
    written: float
    keys: dict[str, str]
    pictures: dict[str, Path]


def read_record(path: Path) -> Checked | None:
    """None where there is nothing, or what another version wrote."""
    try:
        content = json.loads(path.read_text())
        return Checked(
            findings=[Finding(**found) for found in content["findings"]],
            written=path.stat().st_mtime,
            keys=dict(content["keys"]),
            pictures={name: path.parent / found["picture"] for name, found in content["measured"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def known_findings(path: Path, keys: Mapping[str, str]) -> list[Finding] | None:
    """What was found before of these tomograms, if nothing has changed of any."""
    record = read_record(path)
    if record is None or not keys.items() <= record.keys.items():
        return None
    return [finding for finding in record.findings if finding.tomogram in keys]


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

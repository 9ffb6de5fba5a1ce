"""Lists of tilts, as IMOD and those who follow it write them: .tlt, .rawtlt, .txt with one angle a line."""

from __future__ import annotations

from pathlib import Path

from isonet2.errors import UserError
from isonet2.io.atomic import existing_file


def read_tilts(path: Path) -> tuple[float, ...]:
    """The tilts in degrees, in the order of the file. UserError if it holds anything else, or no two different ones."""
    try:
        lines = existing_file(path, what="tilt list").read_text(encoding="utf-8").split("\n")
        tilts = tuple(float(text) for line in lines if (text := line.split("#")[0].strip()))
    except ValueError:
        raise UserError(f"{path}: not a list of tilts: each line should hold one angle in degrees") from None
    wrong = [tilt for tilt in tilts if not -90 <= tilt <= 90]  # also what is not a number
    if wrong:
        raise UserError(f"{path}: {wrong[0]:g} is not a tilt: each line should hold one angle from -90 to 90 degrees")
    if not tilts or max(tilts) - min(tilts) < 1:
        raise UserError(f"{path}: {len(tilts)} tilts within 1°, which measure no region; list all tilts of the series")
    return tilts

"""Lists of tilts, as IMOD and those who follow it write them: .tlt, .rawtlt, .txt with one angle a line.

AreTomo's _TLT.txt, and what it takes as -AngFile, say behind it when the image was taken: 1 for the first, then 2.
"""

from __future__ import annotations

from pathlib import Path

from isonet2.errors import UserError
from isonet2.io.atomic import existing_file


def read_tilts(path: Path) -> tuple[float, ...]:
    """The tilts in degrees, in the order of the file. UserError if it holds anything else, or no two different ones."""
    try:
        lines = existing_file(path, what="tilt list").read_text(encoding="utf-8-sig").split("\n")
        rows = [[float(text) for text in texts] for line in lines if (texts := line.split("#")[0].split())]
    except ValueError:
        rows = [[]]
    order = sorted(row[1] for row in rows if len(row) > 1)
    if [] in rows or (order and order not in (list(range(len(rows))), list(range(1, len(rows) + 1)))):
        raise UserError(f"{path}: not a list of tilts: each line should hold one angle in degrees")
    tilts = tuple(row[0] for row in rows)
    wrong = [tilt for tilt in tilts if not -90 <= tilt <= 90]  # also what is not a number
    if wrong:
        raise UserError(f"{path}: {wrong[0]:g} is not a tilt: each line should hold one angle from -90 to 90 degrees")
    if not tilts or max(tilts) - min(tilts) < 1:
        raise UserError(f"{path}: {len(tilts)} tilts within 1°, which measure no region; list all tilts of the series")
    return tilts

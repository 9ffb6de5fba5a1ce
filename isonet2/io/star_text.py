"""The text of STAR files: blocks of labels and cells.

It is read and written here without a library: starfile turns o'brien into o"brien and drops what follows a #, and
needs pandas.
"""

from __future__ import annotations

import re
from pathlib import Path

from isonet2.errors import UserError
from isonet2.io.atomic import existing_file

Loop = tuple[list[str], list[list[str]]]

_TOKEN = re.compile(r"""\s*(?:'(.*?)'(?=\s|$)|"(.*?)"(?=\s|$)|(\S+))""")


def read_loops(path: Path) -> list[Loop]:
    """Every block of a STAR file: its labels (without the underscore) and its rows of cells, all as text.

    A block without loop_, one label and one value a line, is one row.
    """
    try:
        text = existing_file(path, what="STAR file").read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a STAR file, which is text in UTF-8") from None
    loops: list[Loop] = []
    looped = False
    for number, line in enumerate(text.split("\n"), start=1):
        cells = [cell for cell, _ in cells_of(line)]
        if not cells or cells == ["loop_"]:
            looped = looped or bool(cells)
        elif cells[0].startswith("data_") and len(cells) == 1:
            loops.append(([], []))
            looped = False
        elif not loops:
            raise UserError(f"{path}:{number}: not a STAR file: {cells[0]!r} before any data_ block")
        elif not looped and len(cells) == 2 and cells[0].startswith("_"):
            labels, rows = loops[-1]
            loops[-1] = ([*labels, cells[0][1:]], [[*(rows[0] if rows else ()), cells[1]]])
        elif line.lstrip().startswith("_") and not loops[-1][1]:
            loops[-1][0].append(cells[0][1:])
        elif len(cells) == len(loops[-1][0]):
            loops[-1][1].append(cells)
        else:
            columns = len(loops[-1][0])
            raise UserError(f"{path}:{number}: {len(cells)} values for {columns} columns; quote what holds a space")
    return loops


def cells_of(line: str) -> list[tuple[str, slice]]:
    """The cells of a line up to a comment, without their quotes, and where each lies in it, with them."""
    cells = []
    for match in _TOKEN.finditer(line):
        if match[3] is not None and match[3].startswith("#"):
            break
        text = next(text for text in match.groups() if text is not None)
        cells.append((text, slice(match.end() - len(match[0].lstrip()), match.end())))
    return cells


def quoted(cell: str, path: Path) -> str:
    """A cell as it is written into the STAR file `path`. UserError if it cannot be."""
    spellings = [f'"{cell}"', f"'{cell}'"]
    if not cell.startswith(("_", "data_", "loop_", "'", '"')):  # a quote might end at a later one
        spellings.insert(0, cell)
    for text in spellings:
        if [found for found, _ in cells_of(text)] == [cell]:
            return text
    raise UserError(f"{path}: {cell!r} cannot be written into a STAR file; rename it")

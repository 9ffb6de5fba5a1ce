"""Command files of IMOD (tilt.com, ctfcorrection.com): a keyword and its value a line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from isonet2.errors import UserError
from isonet2.io.series import text_of

_KEYWORDS = {
    **{
        name: name
        for name in ("TILTFILE", "OFFSET", "EXCLUDELIST", "INCLUDE", "THICKNESS", "IMAGEBINNED", "INPUTPROJECTIONS",
                     "PARALLEL", "ROTATEBY90", "VOLTAGE", "SPHERICALABERRATION", "AMPLITUDECONTRAST")
    },
    **{"EXCLUDELIST2": "EXCLUDELIST", "CS": "SPHERICALABERRATION", "AMPCONTRAST": "AMPLITUDECONTRAST"},
}  # fmt: skip


def command_of(path: Path) -> dict[str, list[str]]:
    """{KEYWORD: its values, "" if it has none} of those that tell something; nothing if there is no such file.

    What follows a # is a comment; IMOD takes a keyword by its first letters, as long as they fit no other one.
    """
    found: dict[str, list[str]] = {}
    if path.is_file():
        for line in text_of(path).split("\n"):
            words = line.split("#")[0].split(maxsplit=1)
            if words and words[0] == "DONE":  # below it unused lines are parked
                break
            if words and (keyword := _keyword(words[0].upper())):
                found.setdefault(keyword, []).append(words[1].strip() if len(words) == 2 else "")
    return found


def views_of(lists: Sequence[str], path: Path) -> set[int]:
    """Of lists as in 1,3-5 the numbers. UserError, with the `path` they are from, for other text."""
    views: set[int] = set()
    for part in re.split(r"[,\s]+", " ".join(lists).strip()):
        ends = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if ends:
            views.update(range(int(ends[1]), int(ends[2] or ends[1]) + 1))
        elif part not in ("", "/"):
            raise UserError(f"{path}: {part!r} is no list of views, as in 1,3-5")
    return views


def _keyword(word: str) -> str | None:
    if word in _KEYWORDS:
        return _KEYWORDS[word]
    fitting = {keyword for name, keyword in _KEYWORDS.items() if name.startswith(word)}
    return fitting.pop() if len(fitting) == 1 and len(word) > 1 else None

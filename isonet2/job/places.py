"""Where a value of a job was given, so that what is wrong with it can be said there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

Where = tuple[str, ...]  # in the job: ("seed",) or ("refine", "epochs"); () is the whole


class Place(NamedTuple):
    """Where a value was given: its line, by which mistakes are sorted, what to call that, and the key's full name."""

    line: int
    origin: str
    key: str = ""

    def __str__(self) -> str:
        return f"{self.origin}: {self.key}" if self.key else self.origin


def nearest(path: Where, places: Mapping[Where, Place]) -> Place:
    """That of the value, else of its section, else of the whole."""
    while path not in places:
        path = path[:-1]
    return places[path]


def placed(mistakes: str, places: Mapping[Where, Place]) -> str:
    """Lines about a job; those that begin with a key of it, as in `prepare_star.even: …`, then say where that is given.

    A place without a key, such as a flag, stands for the key; a section or a file before it.
    """
    return "\n".join(_placed(line, places) for line in mistakes.split("\n"))


def _placed(line: str, places: Mapping[Where, Place]) -> str:
    name = line.split(maxsplit=1)[0].rstrip(":") if line.strip() else ""
    where = tuple(name.split("."))
    if where[:1] not in places and where not in places:
        return line
    place = nearest(where, places)
    if where in places and not place.key:
        return f"{place}: {line.removeprefix(name).lstrip(': ')}"
    return f"{place.origin}: {line}"

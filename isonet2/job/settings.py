"""A setting as people meet it: name, sentence, unit, default and what it needs, read off the models."""

from __future__ import annotations

import re
import types
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from isonet2.job.models import Job, Section

Kind = Literal["value", "switch", "list", "pairs"]

_NEEDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    tuple[float, ...]: "a number or a list of numbers",
    tuple[int, ...]: "a whole number or a list of whole numbers",
    tuple[str, ...]: "a text or a list of texts",
    tuple[int, int, int]: "three whole numbers, as in 96,192,192",
}
_LIMITS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


@dataclass(frozen=True)
class Setting:
    """One field of a section: `needs` says what a value has to be.

    As a flag a `value` takes one argument, a `switch` may stand alone, a `list` is 1,2,3 or 1 2 3, `pairs` are a=b c=d.
    """

    name: str
    sentence: str
    needs: str = "a text"
    default: Any = None
    unit: str | None = None
    aliases: tuple[str, ...] = ()
    positional: bool = False
    kind: Kind = "value"

    @property
    def is_text(self) -> bool:
        """Whatever is written is meant literally: 010 stays 010."""
        return self.needs in (_NEEDS[str], _NEEDS[tuple[str, ...]])

    @property
    def default_text(self) -> str:
        """As one would write it; empty where the sentence says what happens without it."""
        return "" if self.default is None else written(self.default)

    @property
    def explained(self) -> str:
        """The sentence with the unit."""
        return f"{self.sentence} [{self.unit}]" if self.unit else self.sentence


def written(value: Any) -> str:
    """A value as one writes it in a job file or behind a flag."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    if isinstance(value, list | tuple):
        return ",".join(written(item) for item in value)
    return str(value)


@cache
def settings_of(section: type[Section]) -> tuple[Setting, ...]:
    """The settings of a section in the order of its class; for Job, those that stand outside the sections."""
    return tuple(_setting(name, field) for name, field in section.model_fields.items() if _section(field) is None)


@cache
def sections() -> dict[str, type[Section]]:
    """The job's sections by name, in the order in which they run."""
    found = {name: _section(field) for name, field in Job.model_fields.items()}
    return {name: section for name, section in found.items() if section is not None}


def by_spelling(settings: Iterable[Setting]) -> dict[str, Setting]:
    """Every setting under its name and under its other spellings."""
    return {spelling: setting for setting in settings for spelling in (setting.name, *setting.aliases)}


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)`: the known word with these initials, else one that begins so, else the closest; or
    nothing."""
    words = [each for each in known if len(each) > 1]
    short = [each for each in words if len(word) > 1 and "".join(re.findall(r"(?:^|_)(\w)", each)) == word.lower()]
    begun = [each for each in words if len(word) > 2 and each.lower().startswith(word.lower())]
    close = [*short, *begun, *get_close_matches(word, words, n=1)]
    return f" (did you mean '{close[0]}'?)" if close else ""


def _setting(name: str, field: FieldInfo) -> Setting:
    extra = field.json_schema_extra
    assert isinstance(extra, dict), f"{name} is not made with option()"
    annotation: Any = field.annotation
    lists = get_origin(annotation) is tuple
    return Setting(
        name=name,
        sentence=field.description or "",
        needs=_needs(annotation, field.metadata),
        default=field.default,
        unit=extra["unit"],  # type: ignore[arg-type]
        aliases=tuple(extra["aliases"]),  # type: ignore[arg-type]
        positional=bool(extra["positional"]),
        kind="switch" if annotation is bool else "list" if lists else "value",
    )


def _section(field: FieldInfo) -> type[Section] | None:
    for candidate in (field.annotation, *get_args(field.annotation)):
        if isinstance(candidate, type) and issubclass(candidate, Section):
            return candidate
    return None


def _needs(annotation: Any, metadata: Sequence[Any]) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _needs(inner[0], [*metadata, *inner[1:]])
    if origin in (Union, types.UnionType):
        return " or ".join(_needs(part, metadata) for part in inner if part is not type(None))
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}" if len(inner) > 1 else str(inner[0])
    return _NEEDS[annotation] + _limits(metadata)


def _limits(metadata: Sequence[Any]) -> str:
    """` ≥ 1`, or ` > 0 and ≤ 100`, from annotated-types' limits, also inside pydantic's Field()."""
    single = [limit for item in metadata for limit in getattr(item, "metadata", [item])]
    texts = [
        f"{sign} {getattr(item, name):g}" for item in single for name, sign in _LIMITS.items() if hasattr(item, name)
    ]
    return " " + " and ".join(texts) if texts else ""

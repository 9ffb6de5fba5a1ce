"""The job file: strict YAML 1.2 (or JSON) to a Job, and back. Every mistake is reported, each with its line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from isonet2.errors import UserError
from isonet2.job.models import STAGES, Job, Section
from isonet2.job.places import Place, Where, nearest
from isonet2.job.settings import Setting, by_spelling, did_you_mean, sections, settings_of, written

_TAG = "tag:yaml.org,2002:"
_CORE = {  # YAML 1.2, core schema, without .inf and .nan, which no setting takes
    "null": (r"~|null|Null|NULL|", ["", *"~nN"]),
    "bool": (r"true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", [*"-+0123456789"]),
    "float": (r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", [*"-+.0123456789"]),
}
_CONVERT: dict[str, Callable[[str], Any]] = {
    f"{_TAG}null": lambda text: None,
    f"{_TAG}bool": lambda text: text.lower() == "true",
    f"{_TAG}int": lambda text: int(text, 0) if text[:2] in ("0o", "0x") else int(text),
    f"{_TAG}float": float,
    f"{_TAG}str": str,
}


class _CoreLoader(yaml.SafeLoader):
    """Scalars as in YAML 1.2, where PyYAML reads 1.1: 1e-4 is a number; 010 is ten; no and 12:00:00 are text."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (PyYAML's own name and type)


for _name, (_pattern, _first) in _CORE.items():
    _CoreLoader.add_implicit_resolver(f"{_TAG}{_name}", re.compile(rf"(?:{_pattern})$"), _first)


def load_job(path: Path | str, overrides: Sequence[str] = ()) -> Job:
    """The job of a file, changed by `overrides` such as `refine.epochs=20`; relative paths start at the file's folder.

    Raises UserError with one line for each mistake.
    """
    draft = _drafted(path, overrides)
    return make_job(draft.values, draft.places, draft.mistakes).in_folder(Path(path).parent.absolute())


def places_in(path: Path | str, overrides: Sequence[str] = ()) -> Mapping[Where, Place]:
    """Where the sections and keys of a job that loads are given: in which line of the file, or which override."""
    return _drafted(path, overrides).places


def _drafted(path: Path | str, overrides: Sequence[str]) -> _Draft:
    draft = _Draft(name=str(path))
    try:
        root = yaml.compose(_read(Path(path)), Loader=_CoreLoader)
    except yaml.YAMLError as error:
        raise UserError(_syntax_mistake(error, str(path))) from None
    if isinstance(root, yaml.MappingNode):
        draft.read(root, Job, ())
    elif root is not None:
        draft.mistakes.append((Place(1, f"{path}:1"), "needs sections, such as 'refine:'"))
    for number, override in enumerate(overrides):
        draft.override(override, line=10**9 + number)
    if not draft.mistakes and not set(STAGES) & set(draft.values):
        draft.mistakes.append((Place(1, str(path)), f"nothing to do: it needs a section, one of {', '.join(STAGES)}"))
    return draft


def dump_job(job: Job) -> str:
    """The job as YAML with every value written out; `load_job` makes the same job of it."""
    values = job.model_dump(mode="json")
    return yaml.safe_dump(
        {name: value for name, value in values.items() if value is not None}, sort_keys=False, allow_unicode=True
    )


def make_job(
    values: Mapping[str, Any], places: Mapping[Where, Place], mistakes: Sequence[tuple[Place, str]] = ()
) -> Job:
    """The job of `values` (sections as dictionaries), or one UserError with `mistakes` and all that pydantic finds.

    `places` says where each value, each section and, under (), the whole comes from.
    """
    job, errors = _validated(values)
    if errors:
        # What several settings have to agree on is only looked at where each of them is right.
        errors += _validated(_without(values, errors))[1]
    found = [*mistakes, *(sentence for error in errors for sentence in _sentences(error, values, places))]
    if job is None or found:
        found.sort(key=lambda mistake: mistake[0].line)
        raise UserError("\n".join(dict.fromkeys(f"{place}: {sentence}" for place, sentence in found)))
    return job


def sorted_out(values: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Settings from Python, as in {"seed": 1, "refine": {"iterations": 5}}, under the names of the models.

    One UserError for all that is wrong with them, each line beginning with `origin`. A section may be a model of it;
    None is one that does not run.
    """
    draft = _Draft(name=origin)
    draft.take(values, Job, ())
    make_job(draft.values, draft.places, draft.mistakes)
    return draft.values


class _Draft:
    """What was read so far: values for the models, where each came from, and what is wrong."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.values: dict[str, Any] = {}
        self.places: dict[Where, Place] = {(): Place(0, name)}
        self.mistakes: list[tuple[Place, str]] = []

    def read(self, node: yaml.MappingNode, section: type[Section], path: Where) -> None:
        """Take over a mapping of the file: the whole of it, or one section."""
        for key, value in node.value:
            line = key.start_mark.line + 1
            place = Place(line, f"{self.name}:{line}", ".".join((*path, str(key.value))))
            self._add(section, path, str(key.value), value, place)

    def take(self, values: Mapping[str, Any], section: type[Section], path: Where) -> None:
        """Take over a dictionary of values: the whole job, or one section."""
        settings, inner = by_spelling(settings_of(section)), sections() if section is Job else {}
        for key, value in values.items():
            where = (*path, settings[key].name if key in settings else key)
            place = Place(0, self.name, ".".join((*path, key)))
            if key not in settings and key not in inner:
                self.mistakes.append((place, "unknown key" + _suggestion(key, [*settings, *inner], values)))
            elif where in self.places:
                self.mistakes.append((place, f"given twice, before as {self.places[where].key}"))
            else:
                self.places[where] = place
                target = self.values[path[0]] if path else self.values
                target[where[-1]] = {} if key in inner and isinstance(value, Mapping) else value
                if key in inner and isinstance(value, Mapping):
                    self.take(value, inner[key], where)
                elif key in inner and not isinstance(value, Section | None):
                    self.mistakes.append((place, "needs its settings as a dictionary; {} for the defaults"))
                    del self.values[key]

    def override(self, text: str, *, line: int) -> None:
        """Take over `section.key=value`, whatever the file says; `section=` adds a section as it comes, and
        `section=null` leaves it out."""
        place = Place(line, f"--set {text}")
        key, equals, value = text.partition("=")
        *head, last = key.split(".")
        if not equals or len(head) > 1:
            self.mistakes.append((place, "needs the form section.key=value"))
            return
        if head and head[0] not in sections():
            self.mistakes.append((place, f"unknown section{did_you_mean(head[0], sections())}"))
            return
        try:
            node = yaml.compose(value, Loader=_CoreLoader) or yaml.ScalarNode(f"{_TAG}null", "")
        except yaml.YAMLError:
            self.mistakes.append((place, f"{value} is not YAML: put it in quotes"))
            return
        if not head and last in sections() and value.strip() and node.tag == f"{_TAG}null":
            self.values.pop(last, None)
            self.places = {where: given for where, given in self.places.items() if where[:1] != (last,)}
            return
        section = sections()[head[0]] if head else Job
        self._forget(section, (*head, last))
        if head:
            self.places.setdefault((head[0],), place)
        self._add(section, tuple(head), last, node, place)

    def _forget(self, section: type[Section], where: Where) -> None:
        setting = by_spelling(settings_of(section)).get(where[-1])
        if setting:
            self.places.pop((*where[:-1], setting.name), None)

    def _add(self, section: type[Section], path: Where, key: str, node: yaml.Node, place: Place) -> None:
        settings = by_spelling(settings_of(section))
        inner = sections() if section is Job else {}
        if key not in settings and key not in inner:
            self.mistakes.append((place, "unknown key" + _suggestion(key, [*settings, *inner], self.values)))
            return
        where = (*path, settings[key].name if key in settings else key)
        if where in self.places:
            self.mistakes.append((place, f"given twice, before at {self.places[where]}"))
            return
        self.places[where] = place
        if key in settings:
            target = self.values.setdefault(path[0], {}) if path else self.values
            target[where[-1]] = self._value(node, settings[key], place)
            return
        self.values.setdefault(key, {})
        if isinstance(node, yaml.MappingNode):
            self.read(node, inner[key], where)
        elif node.tag != f"{_TAG}null":
            self.mistakes.append((place, "needs its settings on lines of their own below it, each as 'name: value'"))

    def _value(self, node: yaml.Node, setting: Setting, place: Place) -> Any:
        """Text as it is written where text is needed, else what YAML 1.2 says; true is no number."""
        if node.tag == f"{_TAG}seq" and all(isinstance(item, yaml.ScalarNode) for item in node.value):
            return [self._value(item, setting, place) for item in node.value]
        if not isinstance(node, yaml.ScalarNode) or node.tag not in _CONVERT:
            self.mistakes.append((place, f"needs {setting.needs}, without nesting or tags"))
            return setting.default
        if node.tag == f"{_TAG}null":
            return None
        if setting.is_text or (node.tag == f"{_TAG}bool" and setting.kind != "switch"):
            return node.value
        try:
            return _CONVERT[node.tag](node.value)
        except ValueError:
            return node.value


def _read(path: Path) -> str:
    if path.is_dir():
        raise UserError(f"{path}: is a folder: name the job file, as in {path / 'job.yaml'}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UserError(f"{path}: cannot be read as a job file: {reason}") from None
    # In JSON a tab is only ever white space between values; YAML does not take it there.
    return text.replace("\t", " ") if path.suffix == ".json" else text


def _syntax_mistake(error: yaml.YAMLError, name: str) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f"{name}:{error.problem_mark.line + 1}: this is not YAML: {error.problem}"
    return f"{name}: this is not YAML: {str(error).splitlines()[0]}"


def _suggestion(key: str, known: Sequence[str], given: Mapping[str, Any]) -> str:
    """The section that the key belongs to, rather one of those given, and not the one for trying out; else a close
    name."""
    likely = sorted(sections().items(), key=lambda item: (item[0] not in given, item[0] == "simulate"))
    home = [f"{name}.{key}" for name, section in likely if key in by_spelling(settings_of(section))]
    return f" (did you mean '{home[0]}'?)" if home else did_you_mean(key, known)


def _validated(values: Mapping[str, Any]) -> tuple[Job | None, list[ErrorDetails]]:
    try:
        return Job.model_validate(values), []
    except ValidationError as error:
        return None, error.errors()


def _without(values: Mapping[str, Any], errors: Sequence[ErrorDetails]) -> dict[str, Any]:
    """The values but for those that are wrong by themselves."""
    wrong = {error["loc"][:2] for error in errors if error["type"] != "value_error"}
    return {
        name: {key: inner for key, inner in value.items() if (name, key) not in wrong}
        if isinstance(value, Mapping)
        else value
        for name, value in values.items()
        if (name,) not in wrong
    }


def _sentences(
    error: ErrorDetails, values: Mapping[str, Any], places: Mapping[Where, Place]
) -> Iterator[tuple[Place, str]]:
    """One of pydantic's findings in plain English. (All that it has against one value make the same sentence.)"""
    where = tuple(str(part) for part in error["loc"][:2])
    if error["type"] == "value_error":
        section_place = nearest(where, places)
        for message in str(error["ctx"]["error"]).splitlines():
            # The rules about several settings start with the name of the one to change.
            named = tuple(message.split(maxsplit=1)[0].rstrip(":").split("."))
            yield places.get((*where, *named), section_place)._replace(key=section_place.key), message
        return
    section = sections().get(where[0], Job)
    path = where[:1] if section is Job else where
    setting = by_spelling(settings_of(section))[path[-1]]
    value = values[path[0]] if section is Job else values[path[0]][path[1]]
    yield nearest(path, places), f"got {_shown(value)}, needs {setting.needs}"


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    return f"'{value}'" if isinstance(value, str) else written(value)

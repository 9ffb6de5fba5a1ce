"""The JSON Schema of job files, made from the models, so that editors complete keys, explain them and mark mistakes.

Keys and limits are the loader's. Where the loader is lenient, the schema wants what a job file should say: a number
without quotes, true and not yes. What several settings have to agree on is left to `isonet2 validate`.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

from isonet2.job.models import STAGES, Job, Section
from isonet2.job.option import Absent
from isonet2.job.settings import Setting, sections, settings_of

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_NUMBER = "[-+]?[0-9.]+([eE][-+]?[0-9]+)?"
_NUMBERS = {"type": "string", "pattern": rf"^[\[(]?\s*{_NUMBER}([\s,]+{_NUMBER})*\s*[\])]?$"}  # 96,192,192
_NONE = {"type": "string", "pattern": "^[Nn][Oo][Nn][Ee]$"}  # as IsoNet2's users write it
_TEXT = ["string", "number", "boolean"]  # a folder may be called 010, or true
_NOT_OF_VALUES = ("title", "description", "default", "unit", "aliases", "positional")

Schema = dict[str, Any]


def job_schema() -> Schema:
    """Draft 2020-12, of a job file that has been read as YAML 1.2 or JSON."""
    found = Job.model_json_schema()
    kinds = sections()
    return {
        "$schema": _DRAFT,
        "title": "isonet2 job file",
        "description": "A section that is there is a stage that runs.",
        "type": "object",
        **_keys(found, Job, {name: {"$ref": f"#/$defs/{name}"} for name in kinds}),
        "anyOf": [{"required": [stage]} for stage in STAGES],
        "$defs": {name: _section(found["$defs"][kind.__name__], kind) for name, kind in kinds.items()},
    }


def _section(given: Schema, section: type[Section]) -> Schema:
    """Its settings; or nothing, where all of them are as by default."""
    sentence = " ".join((section.__doc__ or "").split())
    return {"description": sentence, "type": ["object", "null"], **_keys(given, section, {})}


def _keys(given: Schema, section: type[Section], inner: Schema) -> Schema:
    """Every setting under each of its spellings, one of them at a time, and what is `inner`; nothing else."""
    properties: Schema = {}
    alone: Schema = {}
    for setting in settings_of(section):
        absent = Absent in section.model_fields[setting.name].metadata
        value = _value(given["properties"][setting.name], setting, absent=absent)
        for spelling in (setting.name, *setting.aliases):
            note = "" if spelling == setting.name else f"{setting.name}: "
            properties[spelling] = {"description": note + setting.explained, **value}
        for one, other in combinations((setting.name, *setting.aliases), 2):
            alone.setdefault(one, {"properties": {}})["properties"][other] = False
    return {"properties": properties | inner, "additionalProperties": False, "dependentSchemas": alone}


def _value(given: Schema, setting: Setting, *, absent: bool) -> Schema:
    """What pydantic says of a value, and whatever else a person may write for it."""
    kept = {key: value for key, value in given.items() if key not in _NOT_OF_VALUES}
    choices = [choice for each in kept.get("anyOf", [kept]) for choice in _written(each)] + ([_NONE] if absent else [])
    value = choices[0] if len(choices) == 1 else {"anyOf": choices}
    default = setting.default
    return value if default is None else {**value, "default": list(default) if isinstance(default, tuple) else default}


def _written(choice: Schema) -> list[Schema]:
    """A list may be a single value, or text if it is of numbers; text may look like something else."""
    if choice.get("type") == "array" and "items" in choice:
        single = _written(choice["items"])
        return [{"type": "array", "items": single[0]}, *single, *([] if single[0]["type"] == _TEXT else [_NUMBERS])]
    if choice.get("type") == "array":
        return [choice, _NUMBERS]
    free = choice.get("type") == "string" and not {"enum", "const", "pattern"} & set(choice)
    return [{"type": _TEXT}] if free else [choice]

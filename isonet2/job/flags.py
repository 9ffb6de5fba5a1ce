"""Command-line flags made from settings, in every spelling that IsoNet2's users have in their scripts; and their help.

Not argparse: a bare boolean before a positional, a list before one, a negative number in exponent form, `-`/`_` either
way and an en dash pasted from a document would each need a pass over the arguments first, and that pass is this parser.
"""

from __future__ import annotations

import re
import textwrap
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from isonet2 import log
from isonet2.errors import UserError
from isonet2.job.load import make_job
from isonet2.job.models import Job, Resources
from isonet2.job.option import WithoutEffect
from isonet2.job.places import Place, Where
from isonet2.job.settings import Kind, Setting, by_spelling, did_you_mean, sections, settings_of

_DASHES = "-–—"  # with the en and em dash that word processors make of two hyphens
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_TRUTH = dict.fromkeys(("true", "yes", "on", "1"), True) | dict.fromkeys(("false", "no", "off", "0"), False)
_NCPUS = {"deconv": ("ncpus", "ncpu")}  # where IsoNet2's processes are our threads
_OF_RESOURCES: dict[str, Where] = {"threads": ("resources", "threads_per_rank"), "gpuID": ("resources", "gpuID")}
_IDLE = {  # options of IsoNet and IsoNet2 that mean nothing here; each a switch, a number, or a level
    "save_slices": "the report shows slices of every map",
    "correct_between_tilts": "gaps between tilts are those of a tilt list (prepare_star --tilt_folder)",
    "start_bt_size": "gaps between tilts are those of a tilt list (prepare_star --tilt_folder)",
    "compile_model": "networks run as they are",
    "random_rotation": "cubes are always rotated",
    "log_level": "all that matters is said",
    "remove_intermediate": "cache/ may be deleted when all is done",
    "preprocessing_ncpus": "threads counts for all of a stage",
    "normalize_percentile": "a map's own mean and spread normalise it",
}
_SHARED = {  # what of the job outside its sections each stage reads
    "simulate": ("seed", "threads"),
    "prepare_star": ("star_file",),
    "deconv": ("star_file", "threads"),
    "make_mask": ("star_file", "threads"),
    "extract": ("star_file", "seed", "threads"),
    "denoise": ("star_file", "seed", "threads", "gpuID"),
    "refine": ("star_file", "seed", "threads", "gpuID"),
    "predict": ("star_file", "threads", "gpuID"),
    "report": ("star_file",),
}


def stage_settings(stage: str) -> tuple[Setting, ...]:
    """What `isonet2 STAGE` takes: positionals first, then the stage's own, then what belongs to the whole job."""
    resources = by_spelling(settings_of(Resources))
    aliases = ("threads_per_rank", *_NCPUS.get(stage, ()))
    threads = replace(resources["threads_per_rank"], name="threads", aliases=aliases)
    shared = [setting for setting in (*settings_of(Job), threads, resources["gpuID"]) if setting.name in _SHARED[stage]]
    if stage == "prepare_star":  # here the position belongs to the folder of tomograms
        shared = [replace(setting, positional=False) for setting in shared]
    first = [setting for setting in shared if setting.positional]
    return (*first, *settings_of(sections()[stage]), *(setting for setting in shared if setting not in first))


def job_from_flags(stage: str, arguments: Sequence[str], warn: Callable[[str], None] = log.warn) -> Job:
    """The job of one stage that `isonet2 STAGE arguments…` asks for. UserError with a line for each mistake.

    Options without effect are left out, with a warning: scripts written for IsoNet2 go on.
    """
    given = parse_flags(_without_idle(arguments, stage, warn), stage_settings(stage))
    own = {setting.name for setting in settings_of(sections()[stage])}
    values: dict[str, Any] = {stage: {}}
    places: dict[Where, Place] = {(): Place(0, stage)}
    for name, value in given.items():
        where = (stage, name) if name in own else _OF_RESOURCES.get(name, (name,))
        target = values.setdefault(where[0], {}) if len(where) > 1 else values
        target[where[-1]] = value
        places[where] = Place(0, f"--{name}")
    while idle := _without_effect(values):
        for key, reason in idle.items():
            name = key.rpartition(".")[2]
            warn(f"--{name} has no effect and is left out: {reason}")
            del values[stage][name]
    return make_job(values, places)


def _without_idle(arguments: Sequence[str], stage: str, warn: Callable[[str], None]) -> list[str]:
    """The arguments without those options of IsoNet and IsoNet2 that mean nothing here; `warn` is told of each."""
    known = {spelling.replace("-", "_") for spelling in by_spelling(stage_settings(stage))}
    kept: list[str] = []
    queue = deque(arguments)
    while queue:
        token = queue.popleft()
        name = token.lstrip(_DASHES).partition("=")[0].replace("-", "_")
        if not _is_option(token) or name in known or name not in _IDLE:
            kept.append(token)
            continue
        words = {*_TRUTH, "none", "info", "debug"}
        if "=" not in token and queue and (queue[0].lower() in words or _is_number(queue[0])):
            queue.popleft()
        warn(f"--{name} has no effect here and is left out: {_IDLE[name]}")
    return kept


def _without_effect(values: Mapping[str, Any]) -> Mapping[str, str]:
    """The options that do nothing beside the others, and why; none as long as some are mistakes."""
    try:
        Job.model_validate(values)
    except ValidationError as error:
        for found in error.errors():
            if isinstance(cause := found.get("ctx", {}).get("error"), WithoutEffect):
                return cause.reasons
    return {}


def parse_flags(arguments: Sequence[str], settings: Iterable[Setting]) -> dict[str, Any]:
    """The value of each setting given: text; of a list, joined by commas; of a switch, a bool; of `pairs`, a list.

    UserError with a line for each unknown option, missing value and surplus argument.
    """
    settings = tuple(settings)
    known = {spelling.replace("-", "_"): setting for spelling, setting in by_spelling(settings).items()}
    given: dict[str, Any] = {}
    free: list[str] = []
    mistakes: list[str] = []
    queue = deque(arguments)
    while queue:
        token = queue.popleft()
        if token == "--":
            free += queue
            break
        if _is_option(token):
            mistakes += _read_option(token, queue, known, given)
        else:
            free.append(token)
    open_positions = [setting.name for setting in settings if setting.positional and setting.name not in given]
    given.update(zip(open_positions, free, strict=False))
    known_ones = f" (by position: {', '.join(each.name for each in settings if each.positional)})"
    mistakes += [
        f"unexpected argument '{surplus}'{known_ones if open_positions else ''}"
        for surplus in free[len(open_positions) :]
    ]
    if mistakes:
        raise UserError("\n".join(mistakes))
    return given


def _read_option(token: str, queue: deque[str], known: Mapping[str, Setting], given: dict[str, Any]) -> list[str]:
    """Put into `given` what an option says, its values taken from the queue; what is wrong with it."""
    spelling, equals, value = token.lstrip(_DASHES).partition("=")
    setting = known.get(spelling.replace("-", "_"))
    if setting is None:
        while queue and not _is_option(queue[0]):  # most likely its values
            queue.popleft()
        names = sorted(known, key=lambda each: known[each].name != each)  # before other spellings
        hint = did_you_mean(spelling.replace("-", "_"), names).replace("'", "'--", 1)
        return [f"unknown option {_flag(spelling)}{hint}"]
    values = [value] if equals else _take(queue, setting)
    if not values:
        return [f"{_flag(spelling)}: a value is missing, it needs {setting.needs}"]
    if values[0].lower() == "none" and "none" not in setting.needs:
        given.pop(setting.name, None)  # IsoNet2's scripts write the default as a word
    elif setting.kind == "pairs":
        given.setdefault(setting.name, []).extend(values)
    elif setting.kind == "switch":
        given[setting.name] = _TRUTH.get(values[0].lower(), values[0])
    else:
        given[setting.name] = ",".join(values)
    return []


def help_page(title: str, examples: Sequence[str], settings: Iterable[Setting], *, width: int) -> str:
    """What `--help` prints: what the command is for, examples, then each option with its unit, limits and default."""
    settings = tuple(settings)
    lines = [*textwrap.wrap(title, width), "", "Examples:", *(f"  {example}" for example in examples)]
    for heading, positional in (("By position, or by name:", True), ("Options:", False)):
        chosen = [setting for setting in settings if setting.positional == positional]
        if chosen:
            lines += ["", heading, *(line for setting in chosen for line in _explained(setting, width))]
    older = [_flag(alias) for setting in settings for alias in setting.aliases if len(alias) > 1]
    notes = "Dashes and underscores are the same, --option=value is --option value, a switch may stand alone."
    if older:
        notes += f" Other spellings: {', '.join(older)}."
    return "\n".join([*lines, "", *textwrap.wrap(notes, width, break_on_hyphens=False)])


def _explained(setting: Setting, width: int) -> list[str]:
    spellings = [setting.name, *(alias for alias in setting.aliases if len(alias) == 1)]
    head = "  " + ", ".join(_flag(spelling) for spelling in spellings)
    facts = [f"default {setting.default_text}"] if setting.default_text else []
    if not setting.is_text and setting.kind != "switch":
        facts.append(setting.needs)
    text = f"{setting.explained} ({'; '.join(facts)})" if facts else setting.explained
    text = re.sub(r"([≥>≤<]) ", "\\1\N{NO-BREAK SPACE}", text)
    column = " " * 26
    fits = len(head) < len(column) - 1
    indent = head.ljust(len(column)) if fits else column
    lines = textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=column, break_on_hyphens=False)
    return [*([] if fits else [head]), *(line.replace("\N{NO-BREAK SPACE}", " ") for line in lines)]


def _flag(spelling: str) -> str:
    return f"--{spelling}" if len(spelling) > 1 else f"-{spelling}"


def _is_number(token: str) -> bool:
    """Also a list such as [1,-2e4], or a part of one."""
    parts = [part for part in re.split(r"[\[\](),]", token) if part]
    return bool(parts) and all(_NUMBER.fullmatch(part) for part in parts)


def _is_option(token: str) -> bool:
    return token.startswith(tuple(_DASHES)) and token.strip(_DASHES) != "" and not _is_number(token)


def _take(queue: deque[str], setting: Setting) -> list[str]:
    """The arguments that belong to an option: for a list as many as look like its items; a switch may stand alone."""
    taken: list[str] = []
    while queue and not _is_option(queue[0]) and _belongs(queue[0], setting.kind, len(taken)):
        taken.append(queue.popleft())
    return taken or ["true"] * (setting.kind == "switch")


def _belongs(token: str, kind: Kind, before: int) -> bool:
    if kind == "switch":
        return before == 0 and token.lower() in _TRUTH
    return before == 0 or (kind == "list" and _is_number(token)) or (kind == "pairs" and "=" in token)

"""The verbs of the command line: one for each stage, each tool, and for jobs."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from isonet2 import log
from isonet2.errors import UserError
from isonet2.job.container import inside_image
from isonet2.job.examples import EXAMPLES, run_command
from isonet2.job.flags import job_from_flags, parse_flags, stage_settings
from isonet2.job.load import load_job, places_in
from isonet2.job.models import STAGES, Job, Section
from isonet2.job.places import Place, Where, placed
from isonet2.job.plan import Plan, plan_table
from isonet2.job.reference import markdown_reference
from isonet2.job.schema import job_schema
from isonet2.job.settings import Setting, did_you_mean, sections, settings_of
from isonet2.job.tools import TOOLS, tool_from_flags
from isonet2.parallel.launchers import detect, is_first_rank

_JOB = Setting("job", "the job file, YAML or JSON", default="job.yaml", positional=True)
_SET = Setting("set", "change the job: section.key=value, as often as you like", "section.key=value", kind="pairs")
_RESTART = Setting("restart", "do every stage again, also those that are done", "true or false", False, kind="switch")
_FORCE = Setting("force", "go on where check is certain that something is wrong", "true or false", False, kind="switch")
_STAGES = Setting("stages", "only these, once those before them are done", "names, as in extract,refine")
_TOMOGRAM = Setting(
    "tomogram", "predict this one alone, by its index in the STAR file: for arrays of a scheduler", "a whole number"
)
_JSON = Setting("json", "as JSON, for scripts", "true or false", False, kind="switch")
_RUN = Setting("run", "the folder of the run, or its job file", default=".", positional=True)
_FULL = Setting("full", "write all keys, not only those that are changed most", "true or false", False, kind="switch")
_FOLDER = Setting("folder", "where the tomograms are, and job.yaml will be", default=".", positional=True)


@dataclass(frozen=True)
class Command:
    """A verb: the line about it, examples, what it takes, and what it does with the arguments that follow it."""

    summary: str
    examples: tuple[str, ...]
    settings: tuple[Setting, ...]
    act: Callable[[Sequence[str]], None]


def commands() -> dict[str, Command]:
    stages = {
        stage: Command(
            summary=_summary(sections()[stage]),
            examples=EXAMPLES[stage],
            settings=stage_settings(stage),
            act=partial(_run_stage, stage),
        )
        for stage in STAGES
    }
    tools = {
        name: Command(_summary(tool), EXAMPLES[name], settings_of(tool), partial(_run_tool, name))
        for name, tool in TOOLS.items()
    }
    return {
        "run": Command(
            "Do what a job file says, stage by stage; what is done already is skipped.",
            (
                "isonet2 run job.yaml",
                "isonet2 run job.yaml --set refine.epochs=20 --set resources.threads_per_rank=8",
                "torchrun --standalone --nproc-per-node 2 -m isonet2 run job.yaml",
            ),
            (_JOB, _SET, _RESTART, _STAGES, _TOMOGRAM, _FORCE),
            _run,
        ),
        "validate": Command(
            "Check a job file and its inputs in a second, and show the plan: stages, steps, memory, disk.",
            ("isonet2 validate job.yaml", "isonet2 validate job.yaml --set refine.cube_size=64"),
            (_JOB, _SET),
            _validate,
        ),
        "plan": Command(
            "Show what a job will do, for people or, as JSON, for scripts.",
            ("isonet2 plan job.yaml --json",),
            (_JOB, _SET, _JSON),
            _plan,
        ),
        "init": Command(
            "Write a commented job file for the tomograms found in a folder.",
            ("isonet2 init tomoset", "isonet2 init tomoset --full"),
            (_FOLDER, _FULL),
            _init,
        ),
        **stages,
        **tools,
        "status": Command(
            "Say how far a run is, from its files alone. Exit codes: 0 all is well, 1 failed or dead, 75 stopped.",
            ("isonet2 status tomoset", "isonet2 status tomoset/job.yaml --json"),
            (_RUN, _JSON),
            _status,
        ),
        "schema": Command(
            "Print the JSON schema of job files, for editors: name it in # yaml-language-server: $schema=FILE, line 1.",
            ("isonet2 schema > isonet2.schema.json",),
            (),
            _schema,
        ),
        "reference": Command(
            "Print all sections and keys of the job file as Markdown.", ("isonet2 reference",), (), _reference
        ),
    }


def _summary(section: type[Section]) -> str:
    return " ".join((section.__doc__ or "").split())


def _warn(message: str) -> None:
    if is_first_rank(os.environ):
        print(f"isonet2: warning: {message}", file=sys.stderr)


def _file_and_changes(given: dict[str, Any]) -> tuple[str, list[str]]:
    return given.get("job", _JOB.default), given.get("set", [])


def _load(given: dict[str, Any]) -> Job:
    return load_job(*_file_and_changes(given))


@contextmanager
def _placing(places: Callable[[], Mapping[Where, Place]]) -> Iterator[None]:
    """Say of a mistake in the inputs where the job names them."""
    try:
        yield
    except UserError as error:
        raise UserError(placed(str(error), places())) from None


def _plan_of(given: dict[str, Any]) -> Plan:
    from isonet2.stages.validate import validate

    job = _load(given)
    with _placing(lambda: places_in(*_file_and_changes(given))):
        return validate(job)


def _is_on(given: dict[str, Any], switch: str) -> bool:
    if not isinstance(given.get(switch, False), bool):
        raise UserError(f"--{switch}: got '{given[switch]}', needs true or false")
    return bool(given.get(switch))


def _run_stage(stage: str, arguments: Sequence[str]) -> None:
    flags = {(stage, setting.name): Place(0, f"--{setting.name}") for setting in stage_settings(stage)}
    with _placing(lambda: flags | {("star_file",): Place(0, "--star_file")}):
        job = _checked(job_from_flags(stage, arguments, _warn))
    from isonet2.pipeline import run  # which imports torch: after the mistakes are found

    run(job, always=True)


def _run(arguments: Sequence[str]) -> None:
    given = parse_flags(arguments, (_JOB, _SET, _RESTART, _STAGES, _TOMOGRAM, _FORCE))
    restart = _is_on(given, "restart")
    job = _load(given)
    stages = _stages(given["stages"], job) if "stages" in given else None
    index = _tomogram(given["tomogram"], stages) if "tomogram" in given else None
    if index is not None and restart:
        raise UserError("--tomogram is one of many: begin anew with --restart and all of them")
    if job.container and not inside_image(os.environ):
        _warn("container: this runs outside of the image; launch/run.sh and slurm/submit.sh start it inside")
    with _placing(lambda: places_in(*_file_and_changes(given))):
        _checked(job)
    if index is None:
        from isonet2.pipeline import run  # which imports torch: after the mistakes are found

        run(job, restart=restart, stages=stages, force=_is_on(given, "force"))
    else:
        from isonet2.pipeline import predict_tomogram

        predict_tomogram(job, index)


def _stages(given: str, job: Job) -> list[str]:
    names = given.split(",")
    there = [name for name in STAGES if getattr(job, name) is not None]
    for name in names:
        if name not in there:
            raise UserError(
                f"--stages: '{name}' is none of this job's stages{did_you_mean(name, there)}: {', '.join(there)}"
            )
    return names


def _tomogram(given: str, stages: list[str] | None) -> int:
    if stages != ["predict"]:
        raise UserError("--tomogram goes with --stages predict")
    if not given.isdecimal():
        raise UserError(f"--tomogram: got '{given}', needs a whole number")
    return int(given)


def _checked(job: Job) -> Job:
    """The job, once its inputs were looked at. UserError for what is wrong with them.

    Several ranks leave that to the pipeline: one that ended before the others met it would leave them waiting.
    """
    from isonet2.stages.validate import validate

    if detect(os.environ).size == 1:
        for warning in validate(job).warnings:
            _warn(warning)
    return job


def _validate(arguments: Sequence[str]) -> None:
    given = parse_flags(arguments, (_JOB, _SET))
    plan = _plan_of(given)
    print(f"{given.get('job', _JOB.default)}: no mistakes found\n\n{plan_table(plan)}")


def _plan(arguments: Sequence[str]) -> None:
    given = parse_flags(arguments, (_JOB, _SET, _JSON))
    plan = _plan_of(given)
    print(json.dumps(plan.as_dict(), indent=2) if _is_on(given, "json") else plan_table(plan))


def _init(arguments: Sequence[str]) -> None:
    from isonet2.stages.init import init
    from isonet2.stages.validate import validate

    given = parse_flags(arguments, (_FOLDER, _FULL))
    path = init(Path(given.get("folder", _FOLDER.default)), full=_is_on(given, "full"))
    print(f"{path}: written. Look through it, then: {run_command(path)}\n")
    print(plan_table(validate(load_job(path))))


def _run_tool(name: str, arguments: Sequence[str]) -> None:
    section = tool_from_flags(TOOLS[name], arguments)
    if not is_first_rank(os.environ):  # one does it: there is nothing to share
        return
    log.start_logging(rank=0)
    for result in getattr(importlib.import_module(f"isonet2.stages.{name}"), name)(section):
        print(result)


def _status(arguments: Sequence[str]) -> None:
    from isonet2.stages.status import status

    given = parse_flags(arguments, (_RUN, _JSON))
    for text in status(given.get("run", _RUN.default), as_json=_is_on(given, "json")):
        print(text, flush=True)


def _schema(arguments: Sequence[str]) -> None:
    parse_flags(arguments, ())
    print(json.dumps(job_schema(), indent=1, ensure_ascii=False))


def _reference(arguments: Sequence[str]) -> None:
    parse_flags(arguments, ())
    print(markdown_reference())

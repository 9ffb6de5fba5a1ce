"""The command line: a mistake is one line and exit 64, and --help says how."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from isonet2 import __version__
from isonet2.commands import commands
from isonet2.errors import Interrupted, IsonetError, UserError
from isonet2.io.atomic import naming_full_disks
from isonet2.job.examples import run_command
from isonet2.job.flags import help_page
from isonet2.job.settings import did_you_mean
from isonet2.parallel.launchers import is_first_rank

_OF_THIS_FOLDER = ("validate", "plan", "init", "report", "watch", "status", "schema", "reference")
"""Commands that look around, or say what is known: they take the current folder, where others are to be told."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` (by default the process's) names; the exit code: 0 done, 64 the user's mistake."""
    for stream in (sys.stdout, sys.stderr):
        getattr(stream, "reconfigure", lambda **_: None)(errors="replace")  # Å in a locale that has none
    try:
        with naming_full_disks(Path.cwd()):
            return _dispatch(sys.argv[1:] if argv is None else list(argv))
    except IsonetError as error:
        return _fail(error)
    except (PermissionError, FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        return _fail(UserError(f"{error.filename2 or error.filename}: {error.strerror}"))
    except BrokenPipeError:  # isonet2 refine --help | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return _fail(Interrupted("interrupted; the same command goes on from what is finished"))


def _fail(error: IsonetError) -> int:
    if str(error) and is_first_rank(os.environ):  # what was shown already is not said again
        print(f"isonet2: {error}", file=sys.stderr)
    return error.exit_code


def _dispatch(arguments: list[str]) -> int:
    if not arguments:
        print(_overview(), file=sys.stderr)
        return UserError.exit_code
    verb, *rest = arguments
    if verb == "help" and rest:
        _dispatch([*rest, "--help"])
    elif verb in ("-h", "-help", "--help", "help"):
        print(_overview())
    elif verb in ("-V", "-v", "--version", "version"):
        print(f"isonet2 {__version__}")
    elif (name := verb.replace("-", "_")) not in commands():
        raise UserError(f"unknown command '{verb}'{did_you_mean(name, commands())}; isonet2 --help lists them all")
    elif {"-h", "-help", "--help"} & set(rest):
        command = commands()[name]
        settings = command.settings
        if name not in _OF_THIS_FOLDER:  # alone it is not enough, so that one is to be given
            settings = tuple(replace(each, default=None) if each.positional else each for each in settings)
        print(help_page(f"isonet2 {name}: {command.summary}", command.examples, settings, width=_width()))
    elif not rest and name not in _OF_THIS_FOLDER:
        examples = "\n  ".join(commands()[name].examples)
        raise UserError(f"{name}: needs arguments, as in\n  {examples}\nisonet2 {name} --help lists its options")
    else:
        commands()[name].act(rest)
    return 0


def _overview() -> str:
    width, indent = _width(), " " * 16
    lines = [
        "isonet2: fills the missing wedge of cryo-electron tomograms and denoises them.",
        "",
        "From a folder of half tomograms to corrected ones:",
        "  isonet2 init tomoset                 look around, write tomoset/job.yaml",
        "  isonet2 validate tomoset/job.yaml    check it, show what it will need",
        *_beside(run_command("tomoset/job.yaml"), "do it; after an interruption, go on"),
        "",
        "Commands (each has its own --help):",
    ]
    for name, command in commands().items():
        lines += textwrap.wrap(command.summary, width, initial_indent=f"  {name}".ljust(16), subsequent_indent=indent)
    return "\n".join([*lines, "", "Exit codes: 0 done, 64 mistake in job or option, 70 wrong ranks, 75 interrupted."])


def _beside(command: str, text: str) -> list[str]:
    """A command and what it does, below it where it is too long."""
    line, column = f"  {command:<35}  ", " " * 39
    return [line + text] if len(line) == len(column) else [line.rstrip(), column + text]


def _width() -> int:
    return max(40, min(100, shutil.get_terminal_size().columns))

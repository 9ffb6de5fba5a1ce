"""watch: the run as it goes on: renewed in place on a terminal, elsewhere a line whenever something is new."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import FrameType
from typing import TextIO

from isonet2.job.tools import Watch
from isonet2.report.screen import Look, change, has_unicode, page, raise_how_it_ended
from isonet2.report.status import Status, read_status

_OVER = ("done", "stopped", "failed")  # what a run does not leave by itself
_WAITS = "waits for a run to begin here; Ctrl-C ends this"
_NEWS_PERCENT = 10  # of a stage, for a line in a log
_LOOK_S = 0.2  # at the terminal's size, while nothing else happens
# The other screen of a terminal, without cursor, lines cut and not broken; and back.
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[H", "\x1b[?7h\x1b[?25h\x1b[?1049l"


def watch(section: Watch) -> list[str]:
    """Show the run until it ends, or Ctrl-C. UserError if there is none; Interrupted or IsonetError, whose sentence was
    shown, if it was stopped or failed."""
    read_status(section.run)
    stream = sys.stdout
    unicode = has_unicode(stream.encoding, os.environ) and not section.ascii
    with suppress(KeyboardInterrupt):
        if stream.isatty():
            with _other_screen(stream):
                last = _renewed(section, stream, unicode=unicode)
            stream.write("\n".join(_drawn(last, unicode=unicode)) + "\n")
        else:
            last = _told(section, stream)
        raise_how_it_ended(last, sentence="")
    return []


def _renewed(section: Watch, stream: TextIO, *, unicode: bool) -> Status:
    """Draw until the run is over: how it ended."""
    for found in _looks(section, until=lambda size: size != _size()):
        lines = _drawn(found, unicode=unicode, fit=True)
        stream.write("\x1b[H" + "\n".join(f"{line}\x1b[K" for line in lines) + "\x1b[J")
        stream.flush()
        last = found
    return last


def _drawn(found: Status, *, unicode: bool, fit: bool = False) -> list[str]:
    width, height = _size()
    look = Look(width, height if fit else None, unicode=unicode, colours="NO_COLOR" not in os.environ)
    return page(found, look)


def _size() -> os.terminal_size:
    """Of the terminal as it is now; LINES and COLUMNS may be those of another time."""
    try:
        return os.get_terminal_size(sys.stdout.fileno())
    except (OSError, ValueError):  # there is none
        return os.terminal_size((80, 24))


def _told(section: Watch, stream: TextIO) -> Status:
    """A line for what is new until the run is over: how it ended."""
    said = ""
    for found in _looks(section):
        if (news := change(found, percent=_NEWS_PERCENT)) != said:
            stream.write(f"{time.strftime('%H:%M:%S')} {change(found)}\n")
            stream.flush()
            said = news
    return found


def _looks(section: Watch, until: Callable[[os.terminal_size], bool] = lambda _: False) -> Iterator[Status]:
    """The run, every so often, or when `until` (of the terminal's size before) is true; at last when it is over."""
    while True:
        size = _size()
        found = read_status(section.run)
        yield found if found.started else replace(found, sentence=found.sentence or _WAITS)
        if found.state in _OVER:
            return
        again = time.monotonic() + section.every
        while time.monotonic() < again and not until(size):
            time.sleep(min(_LOOK_S, section.every))


@contextmanager
def _other_screen(stream: TextIO) -> Iterator[None]:
    """What was there before comes back afterwards, also after SIGTERM."""

    def leave(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, leave)
    stream.write(_ENTER)
    try:
        yield
    finally:
        stream.write(_LEAVE)
        stream.flush()
        signal.signal(signal.SIGTERM, before)

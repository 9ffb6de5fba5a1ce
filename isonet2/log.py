"""What a person reads while the program works: lines on stderr, a bar on a terminal, a line every 30 s in a log."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

_LOGGER = logging.getLogger("isonet2")
_FORMAT = logging.Formatter("%(asctime)s %(levelname).1s %(message)s", datefmt="%H:%M:%S")
EVERY_S = 30.0
TELL_S = 10.0
Item = TypeVar("Item")


def info(message: str) -> None:
    """One plain line, at most one per event that a user cares about."""
    _last.at_s, _last.line = time.monotonic(), message
    _LOGGER.info(message)


def warn(message: str) -> None:
    """One line about something that works but is probably not what the user meant."""
    _LOGGER.warning(message)


def duration(seconds: float) -> str:
    """As in 0.42 s, 12 s, 5 min 40 s, 3 h 05 min."""
    if seconds < 10:
        return f"{seconds:.2g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


@contextmanager
def signs_of_life(*, show: bool) -> Iterator[None]:
    """While the block runs, a line whenever 30 s have passed without one, but for a terminal. `show`: see progress."""
    if not show or sys.stderr.isatty():
        yield
        return
    over, began = threading.Event(), time.monotonic()
    _last.at_s = began

    def watch() -> None:
        said = _last.at_s
        while not over.wait(EVERY_S / 30):
            now = time.monotonic()
            if now - max(said, _last.at_s) >= EVERY_S:
                said = now
                _LOGGER.info(f"still at work; {now - _last.at_s:.0f} s ago: {_last.line or 'begun'}")

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


@dataclass
class _Last:
    """What was said last, and when."""

    at_s: float = 0.0
    line: str = ""


_last = _Last()


@dataclass
class Work:
    """What this process is at: its stage, and how many units of that are done. Times are in seconds since 1970."""

    stage: str = ""
    began: float = 0.0
    unit: str = ""
    first: float = 0.0
    """Done before this run: what `done` began with at the time `counted`."""
    done: float = 0.0
    total: float = 0.0
    counted: float = 0.0
    moved: float = 0.0
    """When something was done last."""


_work = Work()
_news = threading.Event()


def turn_to(stage: str) -> None:
    """A stage has its turn: it may be done already, or fail before it begins."""
    vars(_work).update(vars(Work(stage, began=time.time(), moved=time.time())))
    _news.set()


def begin(stage: str, message: str) -> None:
    """A stage begins, which is one line."""
    turn_to(stage)
    info(message)


def expect(total: float, unit: str, *, first: float = 0.0) -> None:
    """The stage has so many units to do, `first` of which were done before."""
    now = time.time()
    vars(_work).update(unit=unit, first=first, done=first, total=total, counted=now, moved=now)
    _news.set()


def expects(unit: str) -> bool:
    """Whether the stage has more of these units to do."""
    return _work.unit == unit and _work.done < _work.total - 1e-6


def advance(units: float = 1.0) -> None:
    """So many more are done."""
    _work.done += units
    _work.moved = time.time()


@contextmanager
def telling(tell: Callable[[Work, bool], None]) -> Iterator[None]:
    """While the block runs, `tell(work, ended)` at once, every 10 s (sooner while a stage is young), when a stage or a
    count begins, and at the end.

    What goes wrong with a file there is nobody's concern: the work is more important.
    """
    over = threading.Event()
    vars(_work).update(vars(Work()))
    _news.clear()

    def told(*, ended: bool = False) -> None:
        with suppress(OSError):
            tell(_work, ended)

    def tell_on() -> None:
        while not over.is_set():
            _news.wait(min(TELL_S, max(1.0, time.time() - _work.began)))
            _news.clear()
            if not over.is_set():
                told()

    told()
    teller = threading.Thread(target=tell_on, daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        _news.set()
        teller.join()
        told(ended=True)


def complain(message: str, *, rank: int) -> None:
    """A line on stderr from a rank that is alone with its trouble, whatever its number."""
    print(f"isonet2 (rank {rank}): {message}", file=sys.stderr)


def start_logging(*, rank: int, file: Path | None = None) -> None:
    """Rank 0 talks to stderr; every rank writes its own `file` if one is given. Calling it again replaces both."""
    for handler in list(_LOGGER.handlers):
        _LOGGER.removeHandler(handler)
        with suppress(OSError):  # what found no room on the disk
            handler.close()
    _LOGGER.setLevel(logging.INFO)
    _LOGGER.propagate = False
    if rank == 0:
        _add(logging.StreamHandler(sys.stderr))
    else:
        _LOGGER.addHandler(logging.NullHandler())
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        _add(_LogFile(file))


class _LogFile(logging.FileHandler):
    """A log that a full disk does not make a traceback of each line."""

    def handleError(self, record: logging.LogRecord) -> None:
        """The work is more important."""


def _add(handler: logging.Handler) -> None:
    handler.setFormatter(_FORMAT)
    _LOGGER.addHandler(handler)


def progress(
    items: Iterable[Item], *, total: int, label: str, unit: str = "item", first: int = 0, show: bool = True
) -> Iterator[Item]:
    """Yield `items`, showing how far it is: tqdm's bar on a terminal, one plain line every 30 s elsewhere.

    `first` of the `total` were done before. `show` is false on ranks other than 0.
    """
    terminal = show and sys.stderr.isatty()
    if terminal:
        from tqdm import tqdm

        items = tqdm(items, total=total, initial=first, desc=label, unit=unit)
    expect(total, unit, first=first)
    started = said = time.monotonic()
    for done, item in enumerate(items, start=first + 1):
        yield item
        advance()
        now = time.monotonic()
        if show and not terminal and now - said >= EVERY_S and done < total:
            said = now
            left_s = (now - started) / (done - first) * (total - done)
            info(f"{label}: {done} of {total} {unit}s, {duration(left_s)} left")

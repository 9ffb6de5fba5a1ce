"""When to stop early: asked by a signal, by a file in the job's folder, or by the clock."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from isonet2.errors import LaunchError

SIGNALS = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)
STOP_AT = "ISONET2_STOP_AT"
_LOOK_S = 0.5  # a shared file system is not asked more often


class Stop:
    """Asked of one rank, by whatever means, it is asked of all: through `file`, which all of them see.

    `file` is that of the job's folder; `at` is in seconds since 1970. Without either nothing stops a run.
    """

    def __init__(self, file: Path | None = None, *, at: float | None = None) -> None:
        self._file, self._at = file, at
        self._signal: str | None = None
        self._looked, self._reason = -_LOOK_S, ""

    def reason(self) -> str:
        """Why to stop, in a few words; empty if nobody asked."""
        if not self._reason and (self._signal or time.monotonic() - self._looked >= _LOOK_S):
            self._looked = time.monotonic()
            self._reason = self._asked()
        return self._reason

    def _asked(self) -> str:
        if self._signal:
            self._tell(self._signal)
            return self._signal
        if self._file is not None and self._file.exists():
            return self._file.read_text(encoding="utf-8").strip() or f"the file {self._file}"
        if self._at is not None and time.time() >= self._at:
            self._tell("the time is over")
            return "the time is over"
        return ""

    def _tell(self, reason: str) -> None:
        """To the other ranks."""
        if self._file is not None:
            self._file.write_text(f"{reason}\n", encoding="utf-8")

    def forget(self) -> None:
        """It was obeyed: the same command goes on next time."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """While the block runs, signals are requests; a second SIGINT, from a person in a hurry, ends it at once."""
        if threading.current_thread() is not threading.main_thread():  # Python hears signals there alone
            yield
            return
        before = {number: signal.signal(number, self._hear) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._signal:
            raise KeyboardInterrupt
        self._signal = signal.Signals(number).name


def time_to_stop() -> float | None:
    """What ISONET2_STOP_AT says, in seconds since 1970. LaunchError if that is no number."""
    if STOP_AT not in os.environ:
        return None
    try:
        return float(os.environ[STOP_AT])
    except ValueError:
        raise LaunchError(f"{STOP_AT}='{os.environ[STOP_AT]}' is no number of seconds since 1970") from None

"""The numbers of metrics.jsonl for TensorBoard, where that is installed: `tensorboard --logdir isonet_maps`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from isonet2 import log
from isonet2.io.atomic import replacing

_PREFIX = "events.out.tfevents."
_VERSION = "brain.Event:2"


class Events:
    """The event file of one training; nothing happens without the package tensorboard.

    Written line by line and by no thread, since loader processes are forked from this one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def append(self, line: Mapping[str, Any]) -> None:
        """The numbers of one line, at its step."""
        if not _is_usable():
            return
        if not (found := self._files()):
            self.rewrite([line])
        else:
            with found[-1].open("ab") as file:
                _write(file, _event(line))

    def rewrite(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Only these lines, in a new file: TensorBoard reads it after those before, and then forgets what they said.

        Those stay, since a TensorBoard that is looking on gets stuck at a file that is gone.
        """
        if not _is_usable():
            return
        old = self._files()
        last = int(old[-1].name.removeprefix(_PREFIX).split(".")[0]) if old else 0
        path = self._folder / f"{_PREFIX}{max(int(time.time()), last + 1)}.isonet2"
        with replacing(path) as part, part.open("wb") as file:
            _write(file, {"file_version": _VERSION})
            _write(file, {"step": 0, "session_log": {"status": 1}})  # START: all from this step on is told anew
            for line in lines:
                _write(file, _event(line))

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob(f"{_PREFIX}*.isonet2"))


@cache
def _is_usable() -> bool:
    """Whether tensorboard is there; where it is and cannot be imported, a warning: no training ends by that."""
    if find_spec("tensorboard") is None:
        return False
    try:
        import tensorboard.compat.proto.event_pb2
        import tensorboard.summary.writer.record_writer  # noqa: F401
    except Exception as error:  # protobuf's versions fail in many ways
        log.warn(f"tensorboard is installed and cannot be used ({error}): no events are written for it")
        return False
    return True


def _event(line: Mapping[str, Any]) -> dict[str, Any]:
    numbers = {key: value for key, value in line.items() if isinstance(value, int | float) and key != "step"}
    values = [{"tag": f"{line['kind']}/{key}", "simple_value": value} for key, value in numbers.items()]
    return {"step": line["step"], "summary": {"value": values}}


def _write(file: IO[bytes], event: dict[str, Any]) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter

    RecordWriter(file).write(Event(wall_time=time.time(), **event).SerializeToString())

"""How far a run is, in a small file that it keeps, and that others read, without torch, perhaps on another machine."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from isonet2 import log
from isonet2.io.atomic import process_runs, write_text

if TYPE_CHECKING:  # which imports torch
    from isonet2.parallel.world import World

PROGRESS = "logs/progress.json"
DEAD_S = 300.0
"""A run that was silent for longer is taken for dead: it gives a sign of life every 10 s."""
_GONE_S = 3 * log.TELL_S  # the same, where its process is known not to be there any more


@contextmanager
def telling(path: Path, world: World) -> Iterator[None]:
    """While the block runs, rank 0 keeps in `path` where and how far it is; renewed every 10 s, which is a sign of
    life, and when a stage begins."""
    if world.rank > 0:
        yield
        return
    about = {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "ranks": world.size,
        "device": world.device,
        "started": time.time(),
    }

    def tell(work: log.Work, ended: bool) -> None:
        write_text(path, json.dumps({**about, "updated": time.time(), "ended": ended, **asdict(work)}) + "\n")

    with log.telling(tell):
        yield


@dataclass(frozen=True)
class Told:
    """What a run said of itself last."""

    host: str
    process: int
    ranks: int
    device: str
    started: float
    updated: float
    ended: bool
    work: log.Work
    file_time: float

    @staticmethod
    def read(path: Path) -> Told | None:
        """None where there is nothing, or what another version wrote."""
        try:
            given = json.loads(path.read_text(encoding="utf-8"))
            work = log.Work(**{name: given[name] for name in asdict(log.Work())})
            own = {name: given[name] for name in ("host", "process", "ranks", "device", "started", "updated", "ended")}
            return Told(**own, work=work, file_time=path.stat().st_mtime)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @property
    def silent_s(self) -> float:
        """By whichever clock is nearer: the writer's, or that of the file system."""
        return max(0.0, time.time() - max(self.updated, self.file_time))

    @property
    def lost(self) -> bool:
        """Whether it seems dead, though it said nothing of an end."""
        return not self.ended and (self.silent_s > DEAD_S or (self.silent_s > _GONE_S and self.gone))

    @property
    def gone(self) -> bool:
        """Whether this is the machine, and the process is not there any more."""
        return self.host == socket.gethostname() and not process_runs(f"{self.process}")

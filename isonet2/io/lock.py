"""One run in a folder at a time."""

from __future__ import annotations

import fcntl
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from isonet2 import log
from isonet2.errors import UserError


@contextmanager
def holding(folder: Path, *, together: bool = False) -> Iterator[None]:
    """`folder` belongs to this process while the block runs, or, `together`, to all those that share it.

    UserError, naming the holder, if it belongs to another.

    The kernel lets go of the lock when the process ends, however it ends.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".isonet2.lock"
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if together else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = path.read_text(encoding="utf-8").strip()
            raise UserError(
                f"{folder}: another run works here ({holder}); wait for it, or use another folder"
            ) from None
        except OSError as error:  # file systems without locks
            log.warn(f"{folder}: cannot be locked ({error.strerror}): take care that no second run works here")
        if not together or path.stat().st_size == 0:  # of those who share it, one name is enough
            file.truncate(0)
            started = datetime.now().astimezone().isoformat(timespec="seconds")
            file.write(f"process {os.getpid()} on {socket.gethostname()} since {started}: {' '.join(sys.argv)}\n")
            file.flush()
        yield
        if not together:
            file.truncate(0)

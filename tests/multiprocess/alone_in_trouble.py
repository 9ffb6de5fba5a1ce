"""Run by a launcher: rank 1 gets into trouble of the kind argv[1], while the others wait for it; a file says when."""

import os
import signal
import sys
from pathlib import Path

from isonet2.parallel.collectives import barrier, joined_world

with joined_world(threads=1, training=False) as world:
    barrier(world)
    if world.rank == 1:
        Path("trouble").touch()
        if sys.argv[1] == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise ValueError("alone")
    barrier(world)

"""What this machine has, asked without torch."""

from __future__ import annotations

import os
from pathlib import Path


def core_count() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


def memory_bytes() -> int:
    """The memory of the machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def gpu_count() -> int:
    """The NVIDIA GPUs that the driver shows."""
    return len(list(Path("/dev").glob("nvidia[0-9]*")))

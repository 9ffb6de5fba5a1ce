"""What this process may use of its machine, asked without torch: schedulers and containers give it a part."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_GROUPS, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def core_count() -> int:
    """The cores that this process may use: those it is bound to, or less where its control group has a quota."""
    bound = len(os.sched_getaffinity(0))
    quotas = [line.split() for line in _limits("cpu.max")]
    shares = [int(quota) / int(period) for quota, period in quotas if quota != "max"]
    return max(1, min([bound, *(math.floor(share) for share in shares)]))


def memory_bytes() -> int:
    """The memory that this process may take: that of the machine, or less where its control group has a limit."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *(int(limit) for limit in _limits("memory.max") if limit != "max")])


def gpu_count() -> int:
    """The NVIDIA GPUs that the driver shows."""
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def _limits(name: str) -> Iterator[str]:
    """What the control groups (version 2) that hold this process say under a name: its own, and those around it."""
    try:
        own = next(line[3:] for line in _OWN.read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return
    group = _GROUPS / own.lstrip("/")
    for folder in (group, *group.parents):
        if _GROUPS in (folder, *folder.parents) and (file := folder / name).is_file():
            yield file.read_text().strip()

"""How much memory a stage really took, and keeping it between the steps of a training."""

from __future__ import annotations

import ctypes
from pathlib import Path

import psutil
import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt(3)


def forget_peak(device: str) -> None:
    """Count peaks from here on, where the system lets us (Linux does)."""
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats(device)
    elif _CLEAR.exists():
        _CLEAR.write_text("5")  # resets VmHWM, proc(5)


def peak_memory_gb(device: str) -> float:
    """The most memory this process had since `forget_peak`, in GB: on the GPU, or resident in the host."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated(device) / 1e9
    if _STATUS.exists():
        peak = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(peak.split()[1]) * 1024 / 1e9
    return float(psutil.Process().memory_info().rss) / 1e9


def keep_freed_memory() -> None:
    """Let glibc keep up to 256 MiB of what this process frees, in blocks below 32 MiB, for the next step.

    By default every step of a training gives its activations back and faults them in again: 2,500 to 3,700 pages
    and 5 to 9 ms of 200 for unet-tiny with 2 cubes of 32³. Other C libraries are left as they are.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_TRIM_THRESHOLD, 256 << 20)
        library.mallopt(_MMAP_THRESHOLD, 32 << 20)

"""How much memory a stage really took."""

from __future__ import annotations

from pathlib import Path

import psutil
import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


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

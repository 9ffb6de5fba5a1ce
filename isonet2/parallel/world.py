"""Who am I among the ranks? The only place that reads how they were started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from isonet2.errors import LaunchError


@dataclass(frozen=True)
class World:
    """One rank among `size`; `local_rank` counts on its machine; `device` is torch's name of what it computes on."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    device: str = "cpu"


_TORCH_SET = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def detect_world(environment: Mapping[str, str], *, gpus: int) -> World:
    """The world that torchrun describes in `environment`, or a world of one.

    `gpus` is how many this process sees: the device is that of the local rank, or the only one. Raises LaunchError if
    torchrun's variables are incomplete or contradict each other.
    """
    present = [name for name in _TORCH_SET if name in environment]
    if "RANK" not in present and "WORLD_SIZE" not in present:
        return World(device=_device(0, gpus))
    missing = [name for name in _TORCH_SET if name not in environment]
    if missing:
        raise LaunchError(f"the launcher set {', '.join(present)} but not {', '.join(missing)}: start with torchrun")
    try:
        rank, size, local_rank = (int(environment[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    except ValueError as error:
        raise LaunchError(f"RANK, WORLD_SIZE and LOCAL_RANK must be numbers: {error}") from None
    if not 0 <= rank < size:
        raise LaunchError(f"RANK {rank} does not fit WORLD_SIZE {size}")
    return World(rank=rank, size=size, local_rank=local_rank, device=_device(local_rank, gpus))


def _device(local_rank: int, gpus: int) -> str:
    if gpus == 0:
        return "cpu"
    if gpus == 1:
        return "cuda:0"
    if local_rank >= gpus:
        raise LaunchError(f"local rank {local_rank} has no GPU of its own: this process sees {gpus}")
    return f"cuda:{local_rank}"


def share(total: int, *, rank: int, size: int) -> range:
    """The consecutive part of 0…total−1 that belongs to `rank`; parts differ by at most one."""
    return range(total * rank // size, total * (rank + 1) // size)


def share_by_cost(costs: Sequence[float], *, rank: int, size: int) -> list[int]:
    """The items of `rank`, in rising order: the costliest first to whoever has least (LPT), the same on every rank."""
    loads = [0.0] * size
    mine: list[int] = []
    for item in sorted(range(len(costs)), key=lambda i: (-costs[i], i)):
        target = min(range(size), key=lambda r: (loads[r], r))
        loads[target] += costs[item]
        if target == rank:
            mine.append(item)
    return sorted(mine)

"""Who am I among the ranks, and what of the work is mine?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from isonet2.errors import LaunchError
from isonet2.parallel.groups import Alone, Group
from isonet2.parallel.stopping import Stop

Item = TypeVar("Item")


@dataclass(frozen=True)
class World:
    """One rank among `size`; `local_rank` counts on its machine; `device` is torch's name of what it computes on.

    `group` reaches the other ranks; `stop` says whether this one was asked to stop early.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    device: str = "cpu"
    group: Group = field(default_factory=Alone)
    stop: Stop = field(default_factory=Stop, compare=False)


def device_of(local_rank: int, *, gpus: int, chosen: Sequence[int] | None = None) -> str:
    """torch's name of the device of this rank: that of its number among the `chosen` of the `gpus` it sees, by default
    all, or the only one of them. LaunchError if there is none."""
    ours = range(gpus) if chosen is None else chosen
    if gpus == 0:
        return "cpu"
    if missing := [gpu for gpu in ours if gpu >= gpus]:
        raise LaunchError(f"gpuID {missing[0]}: this process sees {gpus} GPU{'s' * (gpus > 1)}, numbered from 0")
    if len(ours) > 1 and local_rank >= len(ours):
        raise LaunchError(f"local rank {local_rank} has no GPU of its own: {len(ours)} are there for this job")
    return f"cuda:{ours[min(local_rank, len(ours) - 1)]}"


def gpu_doubts(chosen: Sequence[int] | None, world: World) -> list[str]:
    """What a choice of GPUs leaves without effect, in words."""
    if chosen is None:
        return []
    if world.device == "cpu":
        return ["gpuID has no effect: this process sees no GPU"]
    if len(chosen) > world.size:
        need = f"for {len(chosen)} set resources.ranks_per_node"
        return [f"gpuID: a rank takes one GPU, and there are {world.size} of them; {need}"]
    return []


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


def waves(items: Sequence[Item], parts: Sequence[int], *, least: int) -> Iterator[list[Item]]:
    """The items, in their order, in groups whose `parts` add up to at least `least`, but for the last one."""
    wave: list[Item] = []
    count = 0
    for item, more in zip(items, parts, strict=True):
        wave.append(item)
        count += more
        if count >= least:
            yield wave
            wave, count = [], 0
    if wave:
        yield wave

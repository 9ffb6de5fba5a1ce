"""What ranks do together: every function here is called by all of them, and is the identity in a world of one."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from isonet2.errors import IsonetError
from isonet2.parallel.world import World, detect_world, share_by_cost

Result = TypeVar("Result")
Item = TypeVar("Item")
_PATIENCE = datetime.timedelta(hours=2)  # other ranks may wait for the longest single tomogram


@contextmanager
def joined_world(threads: int | None = None) -> Iterator[World]:
    """The world of this process, its process group open while the block runs. `threads`: if not torch's default."""
    world = detect_world(os.environ, gpus=torch.cuda.device_count())
    if threads is not None:
        torch.set_num_threads(threads)
    if world.size == 1:
        yield world
        return
    if world.device != "cpu":
        torch.cuda.set_device(world.device)
    backend = "gloo" if world.device == "cpu" else "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, rank=world.rank, world_size=world.size, timeout=_PATIENCE)
    try:
        yield world
    finally:
        dist.destroy_process_group()


def barrier(world: World) -> None:
    """Nobody goes on before everybody is here."""
    all_gather(world, None)


def all_gather(world: World, value: Result) -> list[Result]:
    """The value of every rank, in rank order, on every rank. Values are pickled."""
    if world.size == 1:
        return [value]
    values: list[Result | None] = [None] * world.size
    dist.all_gather_object(values, value)
    return values  # type: ignore[return-value]


def all_sum(world: World, values: Tensor) -> Tensor:
    """The sum over the ranks; `values` itself is left as it is."""
    total = values.clone()
    if world.size > 1:
        dist.all_reduce(total)
    return total


def on_first_rank(world: World, work: Callable[[], Result]) -> Result:
    """`work()` of rank 0, for all: its result, or the error it raised, on every rank."""
    outcome: list[tuple[Result | None, Exception | None]] = [_attempt(work) if world.rank == 0 else (None, None)]
    if world.size > 1:
        dist.broadcast_object_list(outcome)  # a gather would take the room of one result for each rank, on each
        barrier(world)
    result, error = outcome[0]
    if error is not None:
        raise _shared(error)
    return result  # type: ignore[return-value]


def on_shared_items(
    world: World, items: Sequence[Item], costs: Sequence[float], work: Callable[[Item], Result]
) -> list[Result]:
    """`work(item)` for every item, shared out by cost: all results in the order of the items, on every rank.

    If an item fails, the other ranks finish theirs, and then all raise the first error.
    """

    def my_part() -> dict[int, Result]:
        return {i: work(items[i]) for i in share_by_cost(costs, rank=world.rank, size=world.size)}

    results: dict[int, Result] = {}
    for part, error in all_gather(world, _attempt(my_part)):
        if error is not None:
            raise _shared(error)
        results.update(part or {})
    return [results[i] for i in range(len(items))]


def _shared(error: Exception) -> Exception:
    if isinstance(error, IsonetError):
        error.on_every_rank = True
    return error


def _attempt(work: Callable[[], Result]) -> tuple[Result | None, Exception | None]:
    try:
        return work(), None
    except Exception as error:
        return None, error

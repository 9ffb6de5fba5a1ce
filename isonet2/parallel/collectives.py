"""What ranks do together: every function here is called by all of them, and is the identity in a world of one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from isonet2 import log
from isonet2.errors import Interrupted, IsonetError
from isonet2.parallel.groups import Group, joined_group
from isonet2.parallel.launchers import Ranks, detect
from isonet2.parallel.links import Links, linked
from isonet2.parallel.world import World, device_of, share_by_cost

Result = TypeVar("Result")
Item = TypeVar("Item")


@contextmanager
def joined_world(threads: int | None = None, gpus: Sequence[int] | None = None, *, training: bool) -> Iterator[World]:
    """The world of this process, in reach of the others while the block runs. `threads`: if not torch's default;
    `gpus`: if not all that are visible.

    LaunchError if the ranks were started in a way that does not let them work, or, with `training`, learn together.
    """
    ranks = detect(os.environ)
    if threads is not None:
        torch.set_num_threads(threads)
    with joined_group(ranks, training=training) as group, _links(group, ranks, training=training):
        world = World(ranks.rank, ranks.size, ranks.local_rank, group=group)
        visible = torch.cuda.device_count()
        device = on_every_rank(world, lambda: device_of(ranks.local_rank, gpus=visible, chosen=gpus))[ranks.rank]
        if device != "cpu":
            torch.cuda.set_device(device)
        yield replace(world, device=device)


def barrier(world: World) -> None:
    """Nobody goes on before everybody is here."""
    all_gather(world, None)


def all_gather(world: World, value: Result) -> list[Result]:
    """The value of every rank, in rank order, on every rank. Values are pickled."""
    return world.group.all_gather(value)


def all_sum(world: World, values: Tensor) -> Tensor:
    """The sum over the ranks; `values` itself is left as it is."""
    total = values.clone()
    if world.size > 1:
        add_up(total)
    return total


def add_up(values: Tensor) -> None:
    """Add up a few contiguous values over the ranks of torch's process group, in place; on CPUs in rank order."""
    if values.device.type == "cpu" and _LINKS:
        _LINKS[0].add_up(values)
    else:
        dist.all_reduce(values)


_LINKS: list[Links] = []
"""Those of torch's process group: there is one at a time, and who normalises a batch knows of no other."""


@contextmanager
def _links(group: Group, ranks: Ranks, *, training: bool) -> Iterator[None]:
    """Links among ranks that learn together, while the block runs."""
    if not training or ranks.size == 1:
        yield
        return
    if found := linked(group, rank=ranks.rank, size=ranks.size):
        _LINKS.append(found)
    else:
        log.warn("the ranks cannot reach rank 0 at MASTER_ADDR by a TCP connection of their own: training is slower")
    try:
        yield
    finally:
        while _LINKS:
            _LINKS.pop().close()


def anyone(world: World, flag: bool) -> bool:
    """Whether the flag is up on any rank; cheap enough for every step of a training."""
    return bool(all_sum(world, torch.tensor([float(flag)])).item())


def stop_if_asked(world: World, *, progress: str) -> None:
    """Interrupted, on every rank, if one of them was asked to stop. `progress` changes with what is already done."""
    reasons = [reason for reason in all_gather(world, world.stop.reason()) if reason]
    if reasons:
        raise _shared(Interrupted(f"stopped ({reasons[0]}); the same command goes on", progress=progress))


def on_first_rank(world: World, work: Callable[[], Result]) -> Result:
    """`work()` of rank 0, for all: its result, or the error it raised, on every rank."""
    # A gather would take the room of one result for each rank, on each.
    result, error = world.group.from_first(_attempt(work) if world.rank == 0 else (None, None))
    barrier(world)
    if error is not None:
        raise _shared(error)
    return result  # type: ignore[return-value]


def on_every_rank(world: World, work: Callable[[], Result]) -> list[Result]:
    """`work()` of every rank, in rank order: their results, or the first error, on every rank."""
    outcomes = all_gather(world, _attempt(work))
    for _, error in outcomes:
        if error is not None:
            raise _shared(error)
    return [result for result, _ in outcomes]  # type: ignore[misc]


def on_shared_items(
    world: World, items: Sequence[Item], costs: Sequence[float], work: Callable[[Item], Result], *, unit: str = ""
) -> list[Result]:
    """`work(item)` for every item, shared out by cost: all results in the order of the items, on every rank.

    If an item fails, the other ranks finish theirs, and then all raise the first error. If one was asked to stop, each
    finishes the item it is at, and all raise Interrupted. With a `unit` the items count in the progress of the stage,
    each that is done here for as many as this rank has a share of.
    """
    results: dict[int, Result] = {}
    if unit and not log.expects(unit):
        log.expect(len(items), unit)

    def my_part() -> None:
        mine = share_by_cost(costs, rank=world.rank, size=world.size)
        for i in mine:
            if world.stop.reason():
                break
            results[i] = work(items[i])
            if unit:
                log.advance(len(items) / len(mine))

    outcomes = all_gather(world, (results, _attempt(my_part)[1]))
    for part, error in outcomes:
        if error is not None:
            raise _shared(error)
        results.update(part)
    if len(results) < len(items):
        stop_if_asked(world, progress=f"{len(items) - len(results)} left")
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

"""Who has which share of the work, and which device."""

from __future__ import annotations

import pytest

from isonet2.errors import LaunchError
from isonet2.parallel.world import World, device_of, gpu_doubts, share, share_by_cost, waves


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("total", [0, 1, 6, 20])
def test_shares_are_whole_and_differ_by_at_most_one(total: int, size: int) -> None:
    parts = [share(total, rank=rank, size=size) for rank in range(size)]
    assert [item for part in parts for item in part] == list(range(total))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_shares_by_cost_are_whole_and_none_is_far_above_the_mean(size: int) -> None:
    costs = [9.0, 1.0, 1.0, 8.0, 2.0, 7.0, 2.0, 3.0]
    parts = [share_by_cost(costs, rank=rank, size=size) for rank in range(size)]
    assert sorted(item for part in parts for item in part) == list(range(len(costs)))
    loads = [sum(costs[item] for item in part) for part in parts]
    assert max(loads) <= 4 / 3 * max(sum(costs) / size, *costs)  # Graham's bound of LPT


def test_a_wave_ends_once_it_has_enough_parts() -> None:
    assert list(waves("abcdef", [3, 1, 5, 1, 1, 1], least=4)) == [["a", "b"], ["c"], ["d", "e", "f"]]
    assert list(waves("", [], least=4)) == []


@pytest.mark.parametrize(
    ("local_rank", "gpus", "chosen", "device"),
    [
        (3, 0, None, "cpu"),
        (3, 0, (1,), "cpu"),
        (3, 1, None, "cuda:0"),  # each rank was given one of its own
        (3, 4, None, "cuda:3"),
        (0, 4, (2, 3), "cuda:2"),
        (1, 4, (2, 3), "cuda:3"),
        (0, 4, (2,), "cuda:2"),
    ],
)
def test_a_rank_takes_the_gpu_of_its_number(
    local_rank: int, gpus: int, chosen: tuple[int, ...] | None, device: str
) -> None:
    assert device_of(local_rank, gpus=gpus, chosen=chosen) == device


@pytest.mark.parametrize(
    ("local_rank", "gpus", "chosen", "words"),
    [
        (4, 4, None, "local rank 4 has no GPU of its own: 4 are there"),
        (2, 4, (0, 1), "local rank 2 has no GPU of its own: 2 are there"),
        (0, 2, (2,), "gpuID 2: this process sees 2 GPUs, numbered from 0"),
    ],
)
def test_a_rank_without_a_gpu_is_told(local_rank: int, gpus: int, chosen: tuple[int, ...] | None, words: str) -> None:
    with pytest.raises(LaunchError, match=words):
        device_of(local_rank, gpus=gpus, chosen=chosen)


@pytest.mark.parametrize(
    ("chosen", "device", "size", "said"),
    [
        (None, "cpu", 1, None),
        ((0,), "cpu", 1, "gpuID has no effect: this process sees no GPU"),
        ((0, 2), "cuda:0", 2, None),
        (
            (0, 2),
            "cuda:0",
            1,
            "gpuID: a rank takes one GPU, and there are 1 of them; for 2 set resources.ranks_per_node",
        ),
    ],
)
def test_gpus_that_nobody_will_use_are_said(
    chosen: tuple[int, ...] | None, device: str, size: int, said: str | None
) -> None:
    assert gpu_doubts(chosen, World(size=size, device=device)) == ([] if said is None else [said])

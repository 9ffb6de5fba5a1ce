"""Training by several ranks is the training by one."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

RANKS = (1, 2, 3, 4)
Learned = dict[str, dict[str, torch.Tensor]]


@pytest.fixture(scope="module")
def learned(
    torchrun: Callable[..., subprocess.CompletedProcess[str]], tmp_path_factory: pytest.TempPathFactory
) -> list[Learned]:
    """What 1, 2, 3 and 4 ranks learn from the same samples."""
    folder: Path = tmp_path_factory.mktemp("learned")
    for ranks in RANKS:
        torchrun(ranks, "learn_together.py", str(folder / f"{ranks}.pt"))
    return [torch.load(folder / f"{ranks}.pt", weights_only=True) for ranks in RANKS]


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert torch.allclose(one["losses"], other["losses"], rtol=1e-5)
    for name, value in one.items():
        assert torch.allclose(value, other[name], rtol=1e-5, atol=1e-6), name


@pytest.mark.parametrize("way", ["whole", "without statistics"])
@pytest.mark.parametrize("ranks", RANKS[1:])
def test_several_ranks_learn_what_one_rank_learns(learned: list[Learned], ranks: int, way: str) -> None:
    """Also with uneven shares, 4 samples over 3 ranks: batch statistics and gradients are those of the whole batch."""
    assert len(learned[0][way]["losses"]) == 10
    assert_same(learned[ranks - 1][way], learned[0][way])


@pytest.mark.parametrize("ranks", RANKS[1:])
def test_ranks_without_samples_join_and_learn(learned: list[Learned], ranks: int) -> None:
    assert_same(learned[ranks - 1]["single"], learned[0]["single"])


@pytest.mark.parametrize("ranks", RANKS[1:])
def test_a_batch_has_the_same_parts_for_any_number_of_ranks(learned: list[Learned], ranks: int) -> None:
    assert_same(learned[ranks - 1]["parts"], learned[0]["parts"])
    assert not torch.allclose(learned[0]["parts"]["losses"], learned[0]["single"]["losses"])

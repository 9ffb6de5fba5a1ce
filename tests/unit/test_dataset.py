"""Which samples meet when, and that their randomness is theirs alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from isonet2.data.cache import CacheSettings, CubeCache
from isonet2.data.dataset import CubeDataset, Schedule, load_batches
from isonet2.data.extraction import extract
from isonet2.data.sources import Source
from isonet2.io.mrc import write_mrc
from isonet2.parallel.world import World


@pytest.fixture
def cache(tmp_path: Path) -> CubeCache:
    rng = np.random.default_rng(0)
    for name in ("even", "odd"):
        write_mrc(
            tmp_path / f"{name}.mrc", rng.standard_normal((24, 32, 32)).astype(np.float32), pixel_size_angstrom=10
        )
    source = Source("t", (tmp_path / "even.mrc", tmp_path / "odd.mrc"), None, None, (24, 32, 32), 10, 10.0, -60.0, 60.0)
    return CubeCache(extract([source], CacheSettings(16, 2, "float16", seed=1), tmp_path / "cache", World()).folder)


@given(
    samples=st.integers(8, 60),
    batch=st.integers(1, 8),
    parts=st.integers(1, 3),
    ranks=st.integers(1, 5),
    step=st.integers(0, 90),
)
def test_ranks_share_each_batch_whatever_their_number(
    samples: int, batch: int, parts: int, ranks: int, step: int
) -> None:
    parts = min(parts, batch)
    schedule = Schedule(samples, batch, parts, epochs=20, seed=5)
    step %= schedule.steps
    alone = [token for part in schedule.micro_batches(step, World()) for token in part]
    assert len(set(alone)) == batch
    shares = [schedule.micro_batches(step, World(rank=rank, size=ranks)) for rank in range(ranks)]
    for part in range(parts):
        together = [token for share in shares for token in share[part]]
        assert together == schedule.micro_batches(step, World())[part]
        sizes = [len(share[part]) for share in shares]
        assert max(sizes) - min(sizes) <= 1


def test_an_epoch_meets_no_sample_twice_and_epochs_differ_in_order() -> None:
    schedule = Schedule(samples=12, batch_size=4, acc_batches=1, epochs=2, seed=0)
    order = [token for step in range(schedule.steps) for token in schedule.micro_batches(step, World())[0]]
    assert sorted(order) == [(epoch, sample) for epoch in range(2) for sample in range(12)]
    assert [s for _, s in order[:12]] != [s for _, s in order[12:]]


def test_a_sample_is_the_same_whenever_it_is_drawn_and_another_in_another_epoch(cache: CubeCache) -> None:
    dataset = CubeDataset(cache, seed=1, random_rot_weight=0.5, with_mask=False)
    first, again, later = dataset[(0, 3)], dataset[(0, 3)], dataset[(1, 3)]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.noise, later.noise)
    other = CubeDataset(cache, seed=2, random_rot_weight=0.5, with_mask=False)[(0, 3)]
    assert not torch.equal(first.noise, other.noise)


def test_crops_move_within_the_margin(cache: CubeCache) -> None:
    dataset = CubeDataset(cache, seed=1, random_rot_weight=0.0, with_mask=False)
    stored = cache.read(0, with_mask=False)[0][0]
    places = set()
    for epoch in range(40):
        crop = dataset[(epoch, 0)].half1[0].numpy()
        for place in np.ndindex(5, 5, 5):
            z, y, x = place
            if (stored[z : z + 16, y : y + 16, x : x + 16] == crop).all():
                places.add(place)
    assert len(places) > 25
    assert {z for z, _, _ in places} == set(range(5))


def test_rotations_are_of_the_cube_unless_random_ones_are_asked_for(cache: CubeCache) -> None:
    exact = CubeDataset(cache, seed=1, random_rot_weight=0.0, with_mask=False)
    free = CubeDataset(cache, seed=1, random_rot_weight=1.0, with_mask=False)
    for sample in range(10):
        assert set(exact[(0, sample)].rotation.unique().tolist()) <= {-1.0, 0.0, 1.0}
        assert free[(0, sample)].rotation.abs().max() < 1


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_processes_change_nothing(cache: CubeCache, workers: int) -> None:
    dataset = CubeDataset(cache, seed=1, random_rot_weight=0.2, with_mask=False)
    schedule = Schedule(len(cache), 3, 1, epochs=2, seed=0)
    loaded = list(load_batches(dataset, schedule, World(), steps=range(2, 5), workers=workers))
    assert len(loaded) == 3
    for step, batch in zip(range(2, 5), loaded, strict=True):
        samples = [dataset[token] for token in schedule.micro_batches(step, World())[0]]
        assert torch.equal(batch.half1, torch.stack([sample.half1 for sample in samples]))
        assert torch.equal(batch.noise, torch.stack([sample.noise for sample in samples]))


def test_a_rank_with_nothing_to_do_gets_batches_of_none(cache: CubeCache) -> None:
    dataset = CubeDataset(cache, seed=1, random_rot_weight=0.0, with_mask=False)
    schedule = Schedule(len(cache), 1, 1, epochs=1, seed=0)
    idle = list(load_batches(dataset, schedule, World(rank=0, size=2), steps=range(2), workers=0))
    assert [len(batch.half1) for batch in idle] == [0, 0]
    assert idle[0].noise.shape == (0, 2, 16, 16, 16)

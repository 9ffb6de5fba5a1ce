"""Which samples meet when, and that their randomness is theirs alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from samples import source_of

from isonet2.data.cache import CacheSettings, CubeCache
from isonet2.data.dataset import CubeDataset, Schedule, held_out, load_batches
from isonet2.data.extraction import extract
from isonet2.io.mrc import write_mrc
from isonet2.parallel.world import World
from isonet2.physics.wedge import rotated_wedges, wedge_mask


@pytest.fixture
def cache(tmp_path: Path) -> CubeCache:
    rng = np.random.default_rng(0)
    for name in ("even", "odd"):
        write_mrc(
            tmp_path / f"{name}.mrc", rng.standard_normal((24, 32, 32)).astype(np.float32), pixel_size_angstrom=10
        )
    source = source_of((tmp_path / "even.mrc", tmp_path / "odd.mrc"), (24, 32, 32), number=10)
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
    schedule = Schedule(tuple(range(samples)), batch, parts, epochs=20, seed=5)
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
    schedule = Schedule(samples=tuple(range(12)), batch_size=4, acc_batches=1, epochs=2, seed=0)
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
    places, first = set(), []
    for epoch in range(40):
        crops = dataset[(epoch, 0)].maps.numpy()
        for place in np.ndindex(5, 5, 5):
            z, y, x = place
            found = [(stored[z : z + 16, y : y + 16, x : x + 16] == crop).all() for crop in crops]
            if any(found):
                places.add(place)
                first.append(found[0])
    assert len(places) > 25
    assert 10 < sum(first) < 30  # either half may come first
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
    schedule = Schedule(tuple(range(len(cache))), 3, 1, epochs=2, seed=0)
    loaded = list(load_batches(dataset, schedule, World(), steps=range(2, 5), workers=workers))
    assert len(loaded) == 3
    for step, batch in zip(range(2, 5), loaded, strict=True):
        samples = [dataset[token] for token in schedule.micro_batches(step, World())[0]]
        assert torch.equal(batch.maps, torch.stack([sample.maps for sample in samples]))
        assert torch.equal(batch.noise, torch.stack([sample.noise for sample in samples]))


def test_a_rank_with_nothing_to_do_gets_batches_of_none(cache: CubeCache) -> None:
    dataset = CubeDataset(cache, seed=1, random_rot_weight=0.0, with_mask=False)
    schedule = Schedule(tuple(range(len(cache))), 1, 1, epochs=1, seed=0)
    idle = list(load_batches(dataset, schedule, World(rank=0, size=2), steps=range(2), workers=0))
    assert [len(batch.maps) for batch in idle] == [0, 0]
    assert idle[0].noise.shape == (0, 2, 16, 16, 16)


def test_rotations_for_denoising_keep_the_wedge_where_it_is(cache: CubeCache) -> None:
    dataset = CubeDataset(cache, seed=1, with_mask=False, moves_wedge=False)
    wedge, turns = wedge_mask((16, 16, 16), -60, 60), set()
    for epoch in range(20):
        sample = dataset[(epoch, 0)]
        turns.add(tuple(sample.rotation.flatten().tolist()))
        assert torch.equal(rotated_wedges(16, sample.tilts_deg[None], sample.rotation[None])[0, 0], wedge)
    assert len(turns) == 4


@given(samples=st.integers(2, 500), share=st.floats(0.001, 0.5), seed=st.integers(0, 3))
def test_held_out_cubes_are_a_share_and_never_trained_on(samples: int, share: float, seed: int) -> None:
    trained, held = held_out(samples, share, seed=seed)
    assert sorted(trained + held) == list(range(samples))
    assert len(held) == round(share * samples)
    assert trained
    assert held_out(samples, share, seed=seed) == (trained, held)


def test_nothing_is_held_out_unless_asked_for() -> None:
    assert held_out(7, 0.0, seed=0) == (tuple(range(7)), ())


def test_only_the_samples_of_a_schedule_are_trained_on() -> None:
    schedule = Schedule(samples=(1, 4, 5, 9), batch_size=2, acc_batches=1, epochs=3, seed=0)
    met = {sample for step in range(schedule.steps) for _, sample in schedule.micro_batches(step, World())[0]}
    assert met == {1, 4, 5, 9}

"""Training samples: a cube of the cache, and all the randomness it meets, from (seed, epoch, sample) alone."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from isonet2.data.cache import CubeCache
from isonet2.parallel.stopping import SIGNALS
from isonet2.parallel.world import World, share
from isonet2.physics.acquisition import Tilts
from isonet2.physics.rotation import WEDGE_MOVING_ROTATIONS, Matrix, random_rotation, wedge_keeping_rotations

Token = tuple[int, int]
"""(epoch, sample)."""


class Batch(NamedTuple):
    """B training samples, the wedge of each along its own axes. B may be 0 on a rank with nothing to do."""

    maps: Tensor
    """(B, H, s, s, s), inverted and standardised: the halves (H = 2) in random order, or the one map."""
    mask: Tensor
    """(B, 1, s, s, s), 0…1; ones without mask_loss."""
    noise: Tensor
    """(B, 2, s, s, s), white, of unit variance: for what is given to the network, and for what it is to find."""
    tilts_deg: Tensor
    """(B, I, 2), intervals of measured tilts, NaN where a sample has fewer."""
    optics: Tensor
    """(B, 5), the fields of Optics."""
    rotation: Tensor
    """(B, 3, 3), acting on (z, y, x) vectors."""


class CubeDataset(Dataset[Batch]):
    """Samples of a cache by (epoch, sample): moved within their margin, with a rotation and noise of their own.

    Rotations move the missing wedge, a share of `random_rot_weight` of them to any angle; or all of them leave it where
    it is, for a network that is not to fill it.
    """

    def __init__(
        self, cache: CubeCache, *, seed: int, with_mask: bool, moves_wedge: bool = True, random_rot_weight: float = 0.0
    ) -> None:
        self.cache = cache
        self._seed = seed
        self._with_mask = with_mask
        self._moves_wedge = moves_wedge
        self._random_rot_weight = random_rot_weight
        self._intervals = max(len(shard["tilts_deg"]) for shard in cache.shards)

    def __getitem__(self, token: Token) -> Batch:
        epoch, sample = token
        rng = np.random.default_rng([self._seed, epoch, sample])
        cubes, shard = self.cache.read(sample, with_mask=self._with_mask)
        z, y, x = rng.integers(2 * self.cache.margin + 1, size=3)
        side = self.cache.cube_size
        crops = np.stack([cube[z : z + side, y : y + side, x : x + side] for cube in cubes])
        maps = torch.from_numpy(crops[rng.permutation(shard["maps"])])
        tilts = np.full((self._intervals, 2), np.nan)
        tilts[: len(shard["tilts_deg"])] = shard["tilts_deg"]
        rotation = self._rotation(rng, shard["tilts_deg"])
        noise = rng.standard_normal((2, side, side, side), dtype=np.float32)
        return Batch(
            maps=maps,
            mask=torch.from_numpy(crops[-1:]) if self._with_mask else torch.ones_like(maps[:1]),
            noise=torch.from_numpy(noise),
            tilts_deg=torch.from_numpy(tilts),
            optics=torch.tensor(list(shard["optics"].values()), dtype=torch.float64),
            rotation=torch.from_numpy(rotation),
        )

    def _rotation(self, rng: np.random.Generator, tilts_deg: Tilts) -> Matrix:
        if not self._moves_wedge:
            choices = wedge_keeping_rotations(tilts_deg)
        elif rng.random() < self._random_rot_weight:
            return random_rotation(rng)
        else:
            choices = WEDGE_MOVING_ROTATIONS
        return choices[rng.integers(len(choices))]


@dataclass(frozen=True)
class Schedule:
    """Which samples meet in which optimizer step: a permutation for each epoch, the same for any number of ranks."""

    samples: tuple[int, ...]
    """Numbers, in the cache, of those that are trained on."""
    batch_size: int
    acc_batches: int
    epochs: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        return len(self.samples) // self.batch_size

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    def micro_batches(self, step: int, world: World) -> list[list[Token]]:
        """The samples of this rank in one step (0, 1, … over all epochs), in `acc_batches` parts; some may be empty."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = _order(self.seed, epoch, len(self.samples))
        batch = [self.samples[n] for n in order[place * self.batch_size : (place + 1) * self.batch_size]]
        parts = []
        for part in range(self.acc_batches):
            whole = share(self.batch_size, rank=part, size=self.acc_batches)
            mine = share(len(whole), rank=world.rank, size=world.size)
            parts.append([(epoch, batch[whole[n]]) for n in mine])
        return parts


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, samples: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(samples)


def held_out(samples: int, share: float, *, seed: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Numbers of the samples that are trained on, and of those that never are, `share` of all, in rising order."""
    count = min(samples - 1, round(share * samples))
    held = set(np.random.default_rng([seed, samples]).permutation(samples)[:count].tolist())
    return tuple(n for n in range(samples) if n not in held), tuple(sorted(held))


class _Parts(Sampler[list[Token]]):
    """The micro-batches of one rank, one after the other."""

    def __init__(self, schedule: Schedule, world: World, steps: range) -> None:
        self._schedule, self._world, self._steps = schedule, world, steps

    def __iter__(self) -> Iterator[list[Token]]:
        for step in self._steps:
            yield from self._schedule.micro_batches(step, self._world)


def load_batches(
    dataset: CubeDataset, schedule: Schedule, world: World, *, steps: range, workers: int
) -> Iterator[Batch]:
    """The micro-batches of this rank for `steps`, in order, read ahead by `workers` processes."""
    loader = DataLoader(
        dataset,
        batch_sampler=_Parts(schedule, world, steps),
        collate_fn=collate_for(dataset.cache),
        num_workers=workers,
        worker_init_fn=_left_alone,
        pin_memory=world.device != "cpu",
        multiprocessing_context="spawn" if workers else None,  # a forked one would inherit MPI, NCCL and HDF5
    )
    return iter(loader)


def _left_alone(_worker: int) -> None:
    """Signals that ask the ranks to stop reach their helpers too, which have to serve them to the end."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def collate_for(cache: CubeCache) -> Callable[[Sequence[Batch]], Batch]:
    """Makes a batch of samples; of no samples, a batch of none."""
    return _Collate(cache.cube_size, cache.shards[0]["maps"])


@dataclass(frozen=True)
class _Collate:
    side: int
    maps: int

    def __call__(self, samples: Sequence[Batch]) -> Batch:
        if samples:
            return Batch(*(torch.stack(parts) for parts in zip(*samples, strict=True)))
        cube, exact = [self.side] * 3, torch.float64
        return Batch(
            maps=torch.empty(0, self.maps, *cube),
            mask=torch.empty(0, 1, *cube),
            noise=torch.empty(0, 2, *cube),
            tilts_deg=torch.empty(0, 1, 2, dtype=exact),
            optics=torch.empty(0, 5, dtype=exact),
            rotation=torch.empty(0, 3, 3, dtype=exact),
        )

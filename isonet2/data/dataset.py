"""Training samples: a cube of the cache, and all the randomness it meets, from (seed, epoch, sample) alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from isonet2.data.cache import CubeCache
from isonet2.parallel.world import World, share
from isonet2.physics.rotation import WEDGE_MOVING_ROTATIONS, random_rotation

Token = tuple[int, int]
"""(epoch, sample)."""


class Batch(NamedTuple):
    """B training samples, the wedge of each along its own axes. B may be 0 on a rank with nothing to do."""

    half1: Tensor
    """(B, 1, s, s, s), inverted and standardised."""
    half2: Tensor
    mask: Tensor
    """(B, 1, s, s, s), 0…1; ones without mask_loss."""
    noise: Tensor
    """(B, 2, s, s, s), white, of unit variance: one field for each half."""
    tilt_range_deg: Tensor
    """(B, 2)."""
    rotation: Tensor
    """(B, 3, 3), acting on (z, y, x) vectors."""


class CubeDataset(Dataset[Batch]):
    """Samples of a cache by (epoch, sample): moved within their margin, with a rotation and noise of their own."""

    def __init__(self, cache: CubeCache, *, seed: int, random_rot_weight: float, with_mask: bool) -> None:
        self.cache = cache
        self._seed = seed
        self._random_rot_weight = random_rot_weight
        self._with_mask = with_mask

    def __getitem__(self, token: Token) -> Batch:
        epoch, sample = token
        rng = np.random.default_rng([self._seed, epoch, sample])
        cubes, tilt_range_deg = self.cache.read(sample, with_mask=self._with_mask)
        z, y, x = rng.integers(2 * self.cache.margin + 1, size=3)
        side = self.cache.cube_size
        crops = [torch.from_numpy(cube[z : z + side, y : y + side, x : x + side].copy())[None] for cube in cubes]
        if rng.random() < self._random_rot_weight:
            rotation = random_rotation(rng)
        else:
            rotation = WEDGE_MOVING_ROTATIONS[rng.integers(len(WEDGE_MOVING_ROTATIONS))]
        noise = rng.standard_normal((2, side, side, side), dtype=np.float32)
        return Batch(
            half1=crops[0],
            half2=crops[1],
            mask=crops[2] if self._with_mask else torch.ones_like(crops[0]),
            noise=torch.from_numpy(noise),
            tilt_range_deg=torch.tensor(tilt_range_deg, dtype=torch.float64),
            rotation=torch.from_numpy(rotation),
        )


@dataclass(frozen=True)
class Schedule:
    """Which samples meet in which optimizer step: a permutation for each epoch, the same for any number of ranks."""

    samples: int
    batch_size: int
    acc_batches: int
    epochs: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        return self.samples // self.batch_size

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    def micro_batches(self, step: int, world: World) -> list[list[Token]]:
        """The samples of this rank in one step (0, 1, … over all epochs), in `acc_batches` parts; some may be empty."""
        epoch, place = divmod(step, self.steps_per_epoch)
        batch = _order(self.seed, epoch, self.samples)[place * self.batch_size : (place + 1) * self.batch_size]
        parts = []
        for part in range(self.acc_batches):
            whole = share(self.batch_size, rank=part, size=self.acc_batches)
            mine = share(len(whole), rank=world.rank, size=world.size)
            parts.append([(epoch, int(batch[whole[n]])) for n in mine])
        return parts


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, samples: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(samples)


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
        collate_fn=_Collate(dataset.cache.cube_size),
        num_workers=workers,
        pin_memory=world.device != "cpu",
        multiprocessing_context="spawn" if workers else None,  # a forked one would inherit MPI, NCCL and HDF5
    )
    return iter(loader)


@dataclass(frozen=True)
class _Collate:
    """Samples become a batch; no samples, a batch of none."""

    side: int

    def __call__(self, samples: Sequence[Batch]) -> Batch:
        if samples:
            return Batch(*(torch.stack(parts) for parts in zip(*samples, strict=True)))
        cube, noise = torch.empty(0, 1, *[self.side] * 3), torch.empty(0, 2, *[self.side] * 3)
        exact = torch.float64
        return Batch(cube, cube, cube, noise, torch.empty(0, 2, dtype=exact), torch.empty(0, 3, 3, dtype=exact))

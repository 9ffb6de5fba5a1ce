"""Run by torchrun: some steps in float64 for each of several ways to batch; rank 0 writes what came out to argv[1]."""

import sys

import numpy as np
import torch

from isonet2.data.dataset import Batch
from isonet2.job.architectures import ARCHITECTURES, UNetShape
from isonet2.job.models import Refine
from isonet2.parallel.collectives import joined_world
from isonet2.parallel.world import World, share
from isonet2.physics.rotation import WEDGE_MOVING_ROTATIONS
from isonet2.training.learner import Learner
from isonet2.training.setup import Setup

SIDE = 16
WAYS = {  # steps, batch_size, acc_batches, normalisation
    "whole": (10, 4, 1, "batch"),
    "single": (4, 1, 1, "batch"),
    "parts": (4, 4, 2, "batch"),
    "without statistics": (10, 4, 1, "none"),
}


# A smaller one in its place: tests have little time.
ARCHITECTURES["unet-tiny"] = UNetShape(channels=(8, 16, 32), convolutions=(1,))


def samples(step: int, numbers: list[int]) -> Batch:
    """Sample by sample, the same whoever asks."""
    cubes = [np.random.default_rng([step, n]).standard_normal((4, SIDE, SIDE, SIDE)) for n in numbers]
    block = torch.from_numpy(np.array(cubes).reshape(len(numbers), 4, SIDE, SIDE, SIDE))
    turns = np.array([WEDGE_MOVING_ROTATIONS[n % 20] for n in numbers]).reshape(-1, 3, 3)
    return Batch(
        maps=block[:, :2],
        mask=torch.ones_like(block[:, :1]),
        noise=block[:, 2:],
        tilts_deg=torch.tensor([[[-51.0, 60.0]]] * len(numbers), dtype=torch.float64).reshape(-1, 1, 2),
        optics=torch.zeros(len(numbers), 5, dtype=torch.float64),
        rotation=torch.from_numpy(turns),
    )


def learn(world: World, steps: int, batch_size: int, acc_batches: int, normalisation: str) -> dict[str, torch.Tensor]:
    """Losses and final weights."""
    refine = Refine(arch="unet-tiny", cube_size=SIDE, mixed_precision=False, normalisation=normalisation)
    learner = Learner(Setup(refine, "isonet2-n2n"), world, seed=1)
    losses = []
    for step in range(steps):
        parts = []
        for part in range(acc_batches):
            whole = share(batch_size, rank=part, size=acc_batches)
            mine = share(len(whole), rank=world.rank, size=world.size)
            parts.append(samples(step, [whole[n] for n in mine]))
        losses.append(learner.step(parts, batch_size=batch_size, learning_rate=1e-3))
    return {"losses": torch.stack(losses), **{name: v.clone() for name, v in learner.network.state_dict().items()}}


def main() -> None:
    torch.set_default_dtype(torch.float64)
    with joined_world(threads=1, training=True) as world:
        found = {name: learn(world, *how) for name, how in WAYS.items()}
        if world.rank == 0:
            torch.save(found, sys.argv[1])


main()

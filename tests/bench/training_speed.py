"""Training speed: two ranks that learn together against two processes that each learn alone, at the same time.

    python tests/bench/training_speed.py [ARCH] [CUBE_SIZE] [CUBES]       by default unet-tiny 32 2

CUBES are those of one rank in a step; a process has one thread. The ratio is what sharing gradients and batch
statistics costs; 1 would be nothing.
"""

import os
import subprocess
import sys
import time

import numpy as np
import torch

STEPS = 30
DEFAULTS = ("unet-tiny", "32", "2")


def steps_per_s(arch: str, side: int, cubes: int) -> float:
    """Optimizer steps a second; run by every rank."""
    from isonet2.data.dataset import Batch
    from isonet2.job.models import Refine
    from isonet2.parallel.collectives import barrier, joined_world
    from isonet2.physics.rotation import WEDGE_MOVING_ROTATIONS
    from isonet2.training.learner import Learner
    from isonet2.training.setup import Setup

    rng = np.random.default_rng(0)
    halves, noise = (torch.from_numpy(rng.standard_normal((cubes, 2, *[side] * 3), dtype=np.float32)) for _ in range(2))
    batch = Batch(
        maps=halves,
        mask=torch.ones_like(halves[:, :1]),
        noise=noise,
        tilts_deg=torch.tensor([[[-60.0, 60.0]]] * cubes, dtype=torch.float64),
        optics=torch.zeros(cubes, 5, dtype=torch.float64),
        rotation=torch.from_numpy(np.array(WEDGE_MOVING_ROTATIONS[:cubes])),
    )
    with joined_world(threads=1, training=True) as world:
        learner = Learner(Setup(Refine(arch=arch, cube_size=side), "isonet2-n2n"), world, seed=0)
        for step in range(STEPS + 3):
            if step == 3:
                barrier(world)
                began = time.monotonic()
            learner.step([batch], batch_size=cubes * world.size, learning_rate=1e-3)
        return STEPS / (time.monotonic() - began)


def started(command: list[str]) -> "subprocess.Popen[str]":
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def main() -> None:
    given = [word for word in sys.argv[1:] if word != "--rank"]
    arch, side, cubes = (*given, *DEFAULTS[len(given) :])
    if "--rank" in sys.argv:
        sys.stdout.write(f"{steps_per_s(arch, int(side), int(cubes))}\n")  # a line at once: two ranks share the pipe
        return
    mine = [__file__, "--rank", arch, side, cubes]
    ranks = started([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *mine])
    together = [float(line) for line in ranks.communicate()[0].split()]
    processes = [started([sys.executable, *mine]) for _ in range(2)]
    alone = [float(process.communicate()[0]) for process in processes]
    rates = f"steps a second of two ranks together {min(together):.2f}, of two alone {alone[0]:.2f} and {alone[1]:.2f}"
    print(f"{arch}, {cubes} cubes of {side}³ a rank: {rates}: ratio {min(together) / np.mean(alone):.2f}")


if __name__ == "__main__":
    main()

"""Tomograms and training samples that several tests begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isonet2.data.dataset import Batch
from isonet2.data.sources import Source
from isonet2.job.models import Refine, Training
from isonet2.physics.acquisition import Optics, Tilts
from isonet2.physics.rotation import WEDGE_MOVING_ROTATIONS
from isonet2.training.setup import Setup


def torch_set(rank: int, size: int) -> dict[str, str]:
    """What torchrun tells each of its processes."""
    return {
        "RANK": f"{rank}",
        "WORLD_SIZE": f"{size}",
        "LOCAL_RANK": f"{rank}",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "29500",
    }


def source_of(
    maps: tuple[Path, ...],
    shape: tuple[int, int, int],
    *,
    number: int,
    tilts_deg: Tilts = ((-60.0, 60.0),),
    **more: Any,
) -> Source:
    """A tomogram of these maps: at 10 Å a voxel, unmasked, in focus, unless `more` says otherwise."""
    optics = Optics(more.pop("pixel_size_angstrom", 10.0), more.pop("defocus_angstrom", 0.0), 300.0, 2.7, 0.1)
    fields = {"mask": None, "coordinates": None, "rows": (0, shape[1]), **more}
    return Source(name="t", maps=maps, shape=shape, number=number, optics=optics, tilts_deg=tilts_deg, **fields)


def batch_of(count: int, *, side: int = 16, maps: int = 2, seed: int = 0) -> Batch:
    """Samples of noise, each turned in another way."""
    rng = np.random.default_rng(seed)

    def cubes(channels: int) -> Tensor:
        return torch.from_numpy(rng.standard_normal((count, channels, side, side, side), dtype=np.float32))

    return Batch(
        maps=cubes(maps),
        mask=torch.ones(count, 1, side, side, side),
        noise=cubes(2),
        tilts_deg=torch.tensor([[[-60.0, 60.0]]] * count, dtype=torch.float64),
        optics=torch.tensor([[10.0, 0.0, 300.0, 2.7, 0.1]] * count, dtype=torch.float64),
        rotation=torch.from_numpy(np.array([WEDGE_MOVING_ROTATIONS[n] for n in range(count)])),
    )


def setup_of(section: Training | None = None, method: Any = "isonet2-n2n", **settings: Any) -> Setup:
    """A training by `method` with these settings of refine."""
    return Setup(section or Refine(**settings), method)

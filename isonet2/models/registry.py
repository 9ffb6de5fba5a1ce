"""From a network's name to the network."""

from __future__ import annotations

import torch
from torch import nn

from isonet2.job.architectures import ARCHITECTURES
from isonet2.models.unet import UNet


def build_network(arch: str, *, seed: int) -> nn.Module:
    """The network called `arch`, its weights drawn from `seed` alone. The state of torch's generator is not touched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet(ARCHITECTURES[arch])

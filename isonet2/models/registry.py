"""From the shape of a network to the network, and which parts of it learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch

from isonet2.job.architectures import NetworkShape
from isonet2.job.shapes import HSFormerShape, SCUNetShape, UNetShape, VTUNetShape
from isonet2.models.hsformer import HSFormer
from isonet2.models.network import Network
from isonet2.models.scunet import SCUNet
from isonet2.models.unet import UNet
from isonet2.models.vtunet import VTUNet

_NETWORKS: dict[type[NetworkShape], Callable[[Any], Network]] = {
    UNetShape: UNet,
    HSFormerShape: HSFormer,
    VTUNetShape: VTUNet,
    SCUNetShape: SCUNet,
}


def build_network(shape: NetworkShape, *, seed: int) -> Network:
    """The network of this shape, its weights drawn from `seed` alone. The state of torch's generator is not touched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _NETWORKS[type(shape)](shape)
    network.adds_input = shape.adds_input
    return network


def freeze(network: Network, what: Literal["encoder", "all_but_last"]) -> None:
    """Keep the way down, or all but the last convolution, as it is: weights, and statistics of normalisation."""
    kept = {
        "encoder": network.encoder(),
        "all_but_last": [part for part in network.children() if part is not network.last],
    }
    for part in kept[what]:
        part.requires_grad_(False).train(part.training)

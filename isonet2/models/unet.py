"""3-D U-Net (Çiçek et al., MICCAI 2016) in the form of IsoNet2's networks, from exchangeable building blocks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from isonet2.job.shapes import UNetShape
from isonet2.models.blocks import ACTIVATIONS, BLOCKS, AttentionGate, Unit, convolution
from isonet2.models.network import Network


class UNet(Network):
    """With `shape`'s blocks at each level; the grid is halved by strided, and doubled by transposed convolutions."""

    def __init__(self, shape: UNetShape) -> None:
        super().__init__()
        c, levels = shape.channels, range(len(shape.channels) - 1)
        parts = shape.normalisation, shape.activation

        def stack(inputs: int, outputs: int, count: int) -> nn.Module:
            return BLOCKS[shape.block](inputs, outputs, count, *parts)

        def up(inputs: int, outputs: int) -> nn.Module:
            return nn.Sequential(nn.ConvTranspose3d(inputs, outputs, 2, stride=2), ACTIVATIONS[shape.activation](False))

        self.first = nn.Conv3d(1, c[0], 3, padding=1)
        self.down_stacks = nn.ModuleList(stack(c[n], c[n], shape.stacks[n]) for n in levels)
        self.down = nn.ModuleList(
            Unit(convolution(c[n], c[n + 1], 2, shape.normalisation, stride=2), *parts) for n in levels
        )
        self.bottleneck = stack(c[-1], c[-1], 2)
        self.up = nn.ModuleList(up(c[n + 1], c[n]) for n in levels)
        self.up_stacks = nn.ModuleList(stack(2 * c[n], c[n], shape.stacks[n]) for n in levels)
        self.gates = nn.ModuleList(AttentionGate(c[n]) for n in levels if shape.attention)
        self.last = nn.Conv3d(c[0], 1, 3, padding=1)

    def encoder(self) -> Sequence[nn.Module]:
        return self.first, self.down_stacks, self.down, self.bottleneck

    def features(self, volume: Tensor) -> Tensor:
        x: Tensor = self.first(volume)
        skips = []
        for stack, down in zip(self.down_stacks, self.down, strict=True):
            x = stack(x)
            skips.append(x)
            x = down(x)
        x = self.bottleneck(x)
        for n in reversed(range(len(skips))):
            x = self.up[n](x)
            skip = self.gates[n](skips[n], x) if len(self.gates) else skips[n]
            x = self.up_stacks[n](torch.cat([skip, x], dim=1))
        return x

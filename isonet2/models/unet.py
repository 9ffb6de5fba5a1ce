"""3-D U-Net (Çiçek et al., MICCAI 2016) in the form of IsoNet2's networks: the input is added to the output."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from isonet2.job.architectures import UNetShape
from isonet2.models.normalisation import BatchNorm

_SLOPE = 0.01


class UNet(nn.Module):
    """(B, 1, s, s, s) → (B, 1, s, s, s); s is a multiple of `shape.divisor`."""

    def __init__(self, shape: UNetShape) -> None:
        super().__init__()
        c = shape.channels
        levels = range(len(c) - 1)
        self.first = nn.Conv3d(1, c[0], 3, padding=1)
        self.down_stacks = nn.ModuleList(_stack(c[n], c[n], shape.convolutions) for n in levels)
        self.down = nn.ModuleList(_unit(nn.Conv3d(c[n], c[n + 1], 2, stride=2, bias=False)) for n in levels)
        self.bottleneck = _stack(c[-1], c[-1], 2)
        self.up = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose3d(c[n + 1], c[n], 2, stride=2), nn.LeakyReLU(_SLOPE)) for n in levels
        )
        self.up_stacks = nn.ModuleList(_stack(2 * c[n], c[n], shape.convolutions) for n in levels)
        self.last = nn.Conv3d(c[0], 1, 3, padding=1)

    def forward(self, volume: Tensor) -> Tensor:
        x = self.first(volume)
        skips = []
        for stack, down in zip(self.down_stacks, self.down, strict=True):
            x = stack(x)
            skips.append(x)
            x = down(x)
        x = self.bottleneck(x)
        for stack, up in zip(reversed(self.up_stacks), reversed(self.up), strict=True):
            x = stack(torch.cat([skips.pop(), up(x)], dim=1))
        result: Tensor = volume + self.last(x)
        return result


def _stack(inputs: int, outputs: int, count: int) -> nn.Sequential:
    widths = [inputs, *[outputs] * count]
    convolutions = (nn.Conv3d(a, b, 3, padding=1, bias=False) for a, b in itertools.pairwise(widths))
    return nn.Sequential(*(_unit(convolution) for convolution in convolutions))


def _unit(convolution: nn.Conv3d) -> nn.Sequential:
    return nn.Sequential(convolution, BatchNorm(convolution.out_channels), nn.LeakyReLU(_SLOPE, inplace=True))

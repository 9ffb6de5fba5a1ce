"""SCUNet: a U-Net whose blocks split their channels between convolutions and attention in shifted windows.

After Zhang et al., arXiv 2203.13278, in 3-D: convolutions see what is near, windows what is alike. With fewer
blocks a level and smaller windows than its images have (the paper's: 4 blocks, 8 pixels).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from isonet2.job.shapes import SCUNetShape
from isonet2.models.network import Network
from isonet2.models.windows import TransformerBlock, to_tokens, to_volume


class SCUNet(Network):
    """The grid is halved by strided and doubled by transposed convolutions; skips are added, not concatenated."""

    def __init__(self, shape: SCUNetShape) -> None:
        super().__init__()
        c, levels = shape.channels, range(len(shape.channels) - 1)

        def stack(channels: int) -> nn.Module:
            return nn.Sequential(
                *(SwinConvBlock(channels, shape.window, shifted=k % 2 == 1) for k in range(shape.blocks))
            )

        self.first = nn.Conv3d(1, c[0], 3, padding=1, bias=False)
        self.down_stacks = nn.ModuleList(stack(c[n]) for n in levels)
        self.down = nn.ModuleList(nn.Conv3d(c[n], c[n + 1], 2, stride=2, bias=False) for n in levels)
        self.bottleneck = stack(c[-1])
        self.up = nn.ModuleList(nn.ConvTranspose3d(c[n + 1], c[n], 2, stride=2, bias=False) for n in levels)
        self.up_stacks = nn.ModuleList(stack(c[n]) for n in levels)
        self.last = nn.Conv3d(c[0], 1, 3, padding=1, bias=False)

    def encoder(self) -> Sequence[nn.Module]:
        return self.first, self.down_stacks, self.down, self.bottleneck

    def features(self, volume: Tensor) -> Tensor:
        x = self.first(volume)
        levels = [x]
        for stack, down in zip(self.down_stacks, self.down, strict=True):
            x = down(stack(x))
            levels.append(x)
        x = self.bottleneck(x)
        for stack, up in zip(reversed(self.up_stacks), reversed(self.up), strict=True):
            x = stack(up(x + levels.pop()))
        result: Tensor = x + levels.pop()
        return result


class SwinConvBlock(nn.Module):
    """(B, C, s, s, s) → the same: half of the channels through two convolutions, half through a transformer block.

    A 1³ convolution before mixes what they are given, one behind what they made; the input is added.
    """

    def __init__(self, channels: int, window: int, *, shifted: bool) -> None:
        super().__init__()
        half = channels // 2
        self.split = nn.Conv3d(channels, channels, 1)
        self.convolve = nn.Sequential(
            nn.Conv3d(half, half, 3, padding=1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv3d(half, half, 3, padding=1, bias=False),
        )
        self.attend = TransformerBlock(half, window, shifted=shifted)
        self.join = nn.Conv3d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        near, alike = self.split(x).chunk(2, dim=1)
        near = near + self.convolve(near)
        alike = to_volume(self.attend(to_tokens(alike)))
        result: Tensor = x + self.join(torch.cat([near, alike], dim=1))
        return result

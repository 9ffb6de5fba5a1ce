"""HSFormer: a hierarchical transformer of shifted windows on the way down, convolutions on the way up.

After Swin UNETR (Hatamizadeh et al., arXiv 2201.01266), for small cubes: smaller patches and windows; tokens skip
without residual blocks, which the deepest level lacks too; no instance normalisation.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from isonet2.job.shapes import HSFormerShape
from isonet2.models.blocks import Residual
from isonet2.models.network import Network
from isonet2.models.windows import PatchMerging, to_tokens, to_volume, transformer_blocks


class HSFormer(Network):
    """Patches of 2³ voxels become tokens; each level merges 2³ of them. Every level has a skip, the voxels have too."""

    def __init__(self, shape: HSFormerShape) -> None:
        super().__init__()
        c = shape.channels

        def convolutions(inputs: int, outputs: int) -> nn.Module:
            return Residual(inputs, outputs, 2, "none", "leaky_relu")

        self.voxels = convolutions(1, c[0])
        self.embed = nn.Conv3d(1, c[1], 2, stride=2)
        self.merge = nn.ModuleList(PatchMerging(c[n], c[n + 1]) for n in range(1, len(c) - 1))
        self.blocks = nn.ModuleList(transformer_blocks(width, shape.blocks, shape.window) for width in c[1:])
        self.normalise = nn.ModuleList(nn.LayerNorm(width) for width in c[1:])
        self.up = nn.ModuleList(nn.ConvTranspose3d(c[n + 1], c[n], 2, stride=2) for n in range(len(c) - 1))
        self.up_stacks = nn.ModuleList(convolutions(2 * c[n], c[n]) for n in range(len(c) - 1))
        self.last = nn.Conv3d(c[0], 1, 3, padding=1)

    def encoder(self) -> Sequence[nn.Module]:
        return self.voxels, self.embed, self.merge, self.blocks, self.normalise

    def features(self, volume: Tensor) -> Tensor:
        levels = [self.voxels(volume)]
        tokens = to_tokens(self.embed(volume))
        for n, (blocks, normalise) in enumerate(zip(self.blocks, self.normalise, strict=True)):
            tokens = blocks(self.merge[n - 1](tokens) if n else tokens)
            levels.append(to_volume(normalise(tokens)))
        x: Tensor = levels.pop()
        for up, stack in zip(reversed(self.up), reversed(self.up_stacks), strict=True):
            x = stack(torch.cat([levels.pop(), up(x)], dim=1))
        return x

"""VT-UNet: transformer blocks on the way down and on the way up, which also looks across at the way down.

After Peiris et al., arXiv 2111.13300, with smaller patches and windows. Left out are its Fourier features: both
attentions have a relative position bias here. The way up makes its own keys and values of the encoder's tokens. Added
are convolutions of the voxels and a long skip between them, as in SwinIR (arXiv 2108.10257): without, 60 steps on a
denoising task took nothing of the noise away, with them 3/4.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from isonet2.job.shapes import VTUNetShape
from isonet2.models.blocks import Residual
from isonet2.models.network import Network
from isonet2.models.windows import PatchMerging, WindowAttention, mixing, to_tokens, to_volume, transformer_blocks


class VTUNet(Network):
    """Patches of 2³ voxels become tokens; each level merges 2³ of them on the way down and expands them on the way up.

    The features of the voxels are added to what became of them, and a residual block smooths the seams of the patches.
    """

    def __init__(self, shape: VTUNetShape) -> None:
        super().__init__()
        c = shape.channels
        down = range(1, len(c) - 1)
        self.first = nn.Conv3d(1, c[0], 3, padding=1)
        self.embed = nn.Conv3d(c[0], c[1], 2, stride=2)
        self.blocks = nn.ModuleList(transformer_blocks(width, shape.blocks, shape.window) for width in c[1:])
        self.merge = nn.ModuleList(PatchMerging(c[n], c[n + 1]) for n in down)
        self.expand = nn.ModuleList(PatchExpanding(c[n + 1], c[n]) for n in down)
        self.across = nn.ModuleList(
            nn.ModuleList(CrossBlock(c[n], shape.window, shifted=k % 2 == 1) for k in range(shape.blocks)) for n in down
        )
        self.to_voxels = nn.ConvTranspose3d(c[1], c[0], 2, stride=2)
        self.smooth = Residual(c[0], c[0], 2, "none", "leaky_relu")
        self.last = nn.Conv3d(c[0], 1, 3, padding=1)

    def encoder(self) -> Sequence[nn.Module]:
        return self.first, self.embed, self.blocks, self.merge

    def features(self, volume: Tensor) -> Tensor:
        first = self.first(volume)
        tokens = self.blocks[0](to_tokens(self.embed(first)))
        levels = []
        for merge, blocks in zip(self.merge, self.blocks[1:], strict=True):
            levels.append(tokens)
            tokens = blocks(merge(tokens))
        for expand, across in zip(reversed(self.expand), reversed(self.across), strict=True):
            tokens, seen = expand(tokens), levels.pop()
            for block in across.children():
                tokens = block(tokens, seen)
        result: Tensor = self.smooth(first + self.to_voxels(to_volume(tokens)))
        return result


class CrossBlock(nn.Module):
    """tokens, seen (B, s, s, s, C) → tokens: they look half at themselves and half at `seen` of the way down."""

    def __init__(self, channels: int, window: int, *, shifted: bool) -> None:
        super().__init__()
        self.normalise = nn.LayerNorm(channels)
        self.normalise_seen = nn.LayerNorm(channels)
        self.within = WindowAttention(channels, window, shifted=shifted)
        self.across = WindowAttention(channels, window, shifted=shifted)
        self.mix = mixing(channels)

    def forward(self, tokens: Tensor, seen: Tensor) -> Tensor:
        own = self.normalise(tokens)
        tokens = tokens + 0.5 * (self.within(own) + self.across(own, self.normalise_seen(seen)))
        result: Tensor = tokens + self.mix(tokens)
        return result


class PatchExpanding(nn.Module):
    """(B, s, s, s, C) → (B, 2s, 2s, 2s, C'): each token becomes 2³ of them by C → 8 C', then LayerNorm."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.widen = nn.Linear(inputs, 8 * outputs, bias=False)
        self.normalise = nn.LayerNorm(outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        eighths = self.widen(tokens).unflatten(-1, (2, 2, 2, len(self.normalise.weight)))
        finer = eighths.permute(0, 1, 4, 2, 5, 3, 6, 7).flatten(5, 6).flatten(3, 4).flatten(1, 2)
        result: Tensor = self.normalise(finer)
        return result

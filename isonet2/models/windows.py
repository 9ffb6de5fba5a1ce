"""Attention within shifted windows of voxels: the Swin transformer (Liu et al., arXiv 2103.14030) in 3-D.

Voxels are tokens (B, s, s, s, C), axes (z, y, x). No layer looks at other samples.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from isonet2.job.shapes import heads_of


def to_tokens(volume: Tensor) -> Tensor:
    """(B, C, s, s, s) → (B, s, s, s, C)."""
    return volume.permute(0, 2, 3, 4, 1)


def to_volume(tokens: Tensor) -> Tensor:
    """(B, s, s, s, C) → (B, C, s, s, s)."""
    return tokens.permute(0, 4, 1, 2, 3)


class Windows:
    """How a cube of side³ tokens is cut into windows of at most `window`³, moved by half of one if `shifted`.

    As few as can be, and as small as these can be, so that little is padded: a side of 9 is cut into 3 + 3 + 3, not
    into 4 + 4 + 1. The cube is rolled to move them, and what meets in a window from two ends, or is padding, is kept
    apart by `mask`.
    """

    def __init__(self, side: int, window: int, *, shifted: bool) -> None:
        self.side = side
        self.count = math.ceil(side / window)
        self.size = math.ceil(side / self.count)
        self.shift = self.size // 2 if shifted and self.count > 1 else 0
        self.padding = self.count * self.size - side

    def cut(self, tokens: Tensor) -> Tensor:
        """(B, side, side, side, C) → (B, count³, size³, C)."""
        samples, channels = len(tokens), tokens.shape[-1]
        if self.padding:
            tokens = functional.pad(tokens, (0, 0, *[0, self.padding] * 3))
        if self.shift:
            tokens = tokens.roll([-self.shift] * 3, (1, 2, 3))
        blocks = tokens.reshape(samples, *[self.count, self.size] * 3, channels).permute(0, 1, 3, 5, 2, 4, 6, 7)
        return blocks.reshape(samples, self.count**3, self.size**3, channels)

    def join(self, windows: Tensor) -> Tensor:
        """(B, count³, size³, C) → (B, side, side, side, C): `cut` undone."""
        samples, channels = len(windows), windows.shape[-1]
        blocks = windows.reshape(samples, *[self.count] * 3, *[self.size] * 3, channels)
        tokens = blocks.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(samples, *[self.count * self.size] * 3, channels)
        if self.shift:
            tokens = tokens.roll([self.shift] * 3, (1, 2, 3))
        return tokens[:, : self.side, : self.side, : self.side]

    def mask(self, device: torch.device) -> Tensor | None:
        """Bool (count³, size³, size³): which tokens of a window may see each other; None if all may."""
        if not (self.padding or self.shift):
            return None
        piece = 1 + (torch.arange(self.side, device=device) < self.shift).long()  # the first are rolled to the end
        pieces = piece[:, None, None] + 3 * piece[:, None] + 9 * piece
        labels = self.cut(pieces[None, ..., None])[0, :, :, 0]  # 0 where it is padded
        return labels[:, :, None] == labels[:, None, :]

    def offsets(self, window: int, device: torch.device) -> Tensor:
        """Integer (size³, size³): where in a table of (2·window − 1)³ steps that from one token to another stands."""
        axis = torch.arange(self.size, device=device)
        place = torch.cartesian_prod(axis, axis, axis)
        steps = 2 * window - 1
        z, y, x = (place[:, None] - place + window - 1).unbind(-1)
        return (z * steps + y) * steps + x


class WindowAttention(nn.Module):
    """Tokens that look at the tokens of their window, or, of `source`, at those of the same window of another cube.

    For each head softmax(Q Kᵀ / √d + b) V, with b learned for each step from one token to another.
    """

    def __init__(self, channels: int, window: int, *, shifted: bool) -> None:
        super().__init__()
        self.window, self.shifted, self.heads = window, shifted, heads_of(channels)
        self.queries = nn.Linear(channels, channels)
        self.keys = nn.Linear(channels, channels, bias=False)  # softmax forgets what all keys have in common
        self.values = nn.Linear(channels, channels)
        self.bias = nn.Parameter(0.02 * torch.randn(self.heads, (2 * window - 1) ** 3))
        self.together = nn.Linear(channels, channels)

    def forward(self, tokens: Tensor, source: Tensor | None = None) -> Tensor:
        source = tokens if source is None else source
        windows = Windows(tokens.shape[1], self.window, shifted=self.shifted)

        def heads(projected: Tensor) -> Tensor:
            """(B, s, s, s, C) → (B, windows, heads, tokens of a window, C / heads)."""
            cut = windows.cut(projected)
            return cut.reshape(*cut.shape[:3], self.heads, cut.shape[3] // self.heads).transpose(2, 3)

        queries, keys, values = heads(self.queries(tokens)), heads(self.keys(source)), heads(self.values(source))
        bias = self.bias[:, windows.offsets(self.window, tokens.device)]
        mask = windows.mask(tokens.device)
        seen = bias if mask is None else bias.masked_fill(~mask[:, None], -math.inf)
        found = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=seen.to(queries.dtype))
        if not len(tokens):
            found = found + 0 * bias.sum()  # torch leaves it out then, and other ranks wait for its gradient
        result: Tensor = self.together(windows.join(found.transpose(2, 3).flatten(3)))
        return result


class TransformerBlock(nn.Module):
    """(B, s, s, s, C) → the same: attention in windows, then two linear layers with 4 C between them; LayerNorm before
    each, the input added after each."""

    def __init__(self, channels: int, window: int, *, shifted: bool) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(channels)
        self.attention = WindowAttention(channels, window, shifted=shifted)
        self.mix = mixing(channels)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attention(self.before_attention(tokens))
        result: Tensor = tokens + self.mix(tokens)
        return result


def mixing(channels: int) -> nn.Sequential:
    """Of each token by itself: LayerNorm, C → 4 C, GELU, 4 C → C."""
    return nn.Sequential(
        nn.LayerNorm(channels), nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels)
    )


def transformer_blocks(channels: int, count: int, window: int) -> nn.Sequential:
    """`count` blocks, every second one with shifted windows."""
    return nn.Sequential(*(TransformerBlock(channels, window, shifted=n % 2 == 1) for n in range(count)))


class PatchMerging(nn.Module):
    """(B, 2s, 2s, 2s, C) → (B, s, s, s, C'): the 8 tokens of each 2³, side by side, LayerNorm, 8 C → C'."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.normalise = nn.LayerNorm(8 * inputs)
        self.reduce = nn.Linear(8 * inputs, outputs, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        side = tokens.shape[1] // 2
        cubes = tokens.reshape(len(tokens), *[side, 2] * 3, tokens.shape[-1]).permute(0, 1, 3, 5, 2, 4, 6, 7)
        result: Tensor = self.reduce(self.normalise(cubes.flatten(4)))
        return result

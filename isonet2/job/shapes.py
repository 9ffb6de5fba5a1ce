"""The networks by their building blocks, and what follows by arithmetic: divisor and parameters. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What all networks have: channels from the finest level to the deepest, each of which halves the grid; and whether
    the input is added to what they make of it, as IsoNet2's do."""

    channels: tuple[int, ...]
    adds_input: bool = False

    @property
    def divisor(self) -> int:
        """The side of a cube has to be a multiple of this."""
        return int(2 ** (len(self.channels) - 1))


@dataclass(frozen=True, kw_only=True)
class UNetShape(Shape):
    """A 3-D U-Net: 3³ convolutions in the stacks of each level but the deepest, or one number for all.

    Between levels the grid is halved by a 2³ convolution of stride 2 and doubled by its transpose.
    """

    convolutions: tuple[int, ...]
    block: Literal["plain", "residual"] = "plain"
    attention: bool = False
    normalisation: Literal["batch", "instance", "group", "none"] = "batch"
    activation: Literal["leaky_relu", "relu", "gelu", "silu"] = "leaky_relu"

    def __post_init__(self) -> None:
        if len(self.channels) < 2 or min(self.channels) < 1:
            raise ValueError("channels: give a number ≥ 1 for each of two or more levels, as in 16,32,64")
        if len(self.convolutions) not in (1, len(self.channels) - 1) or min(self.convolutions) < 1:
            raise ValueError("convolutions: give one number ≥ 1, or one for each level but the deepest, as in 1,2,2")

    @property
    def stacks(self) -> tuple[int, ...]:
        """Convolutions in each level's stacks."""
        return self.convolutions * (len(self.channels) - 1) if len(self.convolutions) == 1 else self.convolutions

    @property
    def parameters(self) -> int:
        """Trainable parameters."""
        c = self.channels
        total = _convolution(27, 1, c[0]) + _convolution(27, c[0], 1) + self._stack(c[-1], c[-1], 2)
        for (fine, deep), count in zip(pairwise(c), self.stacks, strict=True):
            total += self._stack(fine, fine, count) + self._unit(8, fine, deep, normalised=deep)
            total += _convolution(8, deep, fine) + self._stack(2 * fine, fine, count)
            if self.attention:
                gate = max(1, fine // 2)
                total += fine * gate + _convolution(1, fine, gate) + _convolution(1, gate, 1)
        return total

    def _stack(self, inputs: int, outputs: int, count: int) -> int:
        pairs = [(inputs, outputs), *[(outputs, outputs)] * (count - 1)]
        residual = self.block == "residual"
        units = sum(self._unit(27, a, b, normalised=a if residual else b) for a, b in pairs)
        return units + (_convolution(1, inputs, outputs) if residual and inputs != outputs else 0)

    def _unit(self, taps: int, inputs: int, outputs: int, *, normalised: int) -> int:
        """A convolution with a normalisation of scale and shift, or, without one, with a bias."""
        return taps * inputs * outputs + (outputs if self.normalisation == "none" else 2 * normalised)


@dataclass(frozen=True, kw_only=True)
class TransformerShape(Shape):
    """With so many transformer blocks in each stack of a level, and windows of at most `window`³ tokens."""

    blocks: int
    window: int


@dataclass(frozen=True, kw_only=True)
class HSFormerShape(TransformerShape):
    """Transformer down, convolutions up: channels of the voxels, then of the levels of tokens, first of 2³ voxels."""

    @property
    def parameters(self) -> int:
        """Trainable parameters."""
        c = self.channels
        total = _residual(1, c[0]) + _convolution(8, 1, c[1]) + _convolution(27, c[0], 1)
        total += sum(self.blocks * _transformer(width, self.window) + 2 * width for width in c[1:])
        total += sum(_merging(fine, deep) for fine, deep in pairwise(c[1:]))
        total += sum(_convolution(8, deep, fine) + _residual(2 * fine, fine) for fine, deep in pairwise(c))
        return total


@dataclass(frozen=True, kw_only=True)
class VTUNetShape(TransformerShape):
    """Transformer down and up: channels as of HSFormerShape, and as many blocks up, which also look across."""

    @property
    def parameters(self) -> int:
        """Trainable parameters."""
        c = self.channels
        total = _convolution(27, 1, c[0]) + _convolution(8, c[0], c[1]) + _convolution(8, c[1], c[0])
        total += _residual(c[0], c[0]) + _convolution(27, c[0], 1)
        total += sum(self.blocks * _transformer(width, self.window) for width in c[1:])
        for fine, deep in pairwise(c[1:]):
            cross = _transformer(fine, self.window) + _attention(fine, self.window) + 2 * fine
            total += _merging(fine, deep) + _expanding(deep, fine) + self.blocks * cross
        return total


@dataclass(frozen=True, kw_only=True)
class SCUNetShape(TransformerShape):
    """A U-Net of blocks that are half convolution, half transformer."""

    @property
    def parameters(self) -> int:
        """Trainable parameters."""
        c = self.channels
        total = 2 * 27 * c[0] + self.blocks * self._block(c[-1])
        return total + sum(2 * 8 * fine * deep + 2 * self.blocks * self._block(fine) for fine, deep in pairwise(c))

    def _block(self, channels: int) -> int:
        half = channels // 2
        return 2 * _convolution(1, channels, channels) + 2 * 27 * half * half + _transformer(half, self.window)


NetworkShape = UNetShape | HSFormerShape | VTUNetShape | SCUNetShape


def heads_of(channels: int) -> int:
    """Attention heads of 16 channels each, as in Swin UNETR; one head if there are fewer channels."""
    return max(1, channels // 16)


def _convolution(taps: int, inputs: int, outputs: int) -> int:
    return taps * inputs * outputs + outputs


def _residual(inputs: int, outputs: int) -> int:
    """Two 3³ convolutions, and a 1³ convolution beside them if they widen."""
    shortcut = _convolution(1, inputs, outputs) if inputs != outputs else 0
    return _convolution(27, inputs, outputs) + _convolution(27, outputs, outputs) + shortcut


def _attention(channels: int, window: int) -> int:
    """Queries, keys without bias, values, output; a number for each head and each step within a window."""
    return 4 * channels**2 + 3 * channels + heads_of(channels) * (2 * window - 1) ** 3


def _transformer(channels: int, window: int) -> int:
    """Attention, two linear layers with four times the channels between them, two layer normalisations."""
    mixing = _convolution(1, channels, 4 * channels) + _convolution(1, 4 * channels, channels)
    return _attention(channels, window) + mixing + 4 * channels


def _merging(fine: int, deep: int) -> int:
    return 16 * fine + 8 * fine * deep


def _expanding(deep: int, fine: int) -> int:
    return 8 * deep * fine + 2 * fine

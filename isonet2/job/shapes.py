"""The networks by their building blocks, and what follows by arithmetic: divisor, parameters, memory. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal


@dataclass(frozen=True)
class UNetShape:
    """A 3-D U-Net: channels from the finest level to the bottleneck, and 3³ convolutions in each level's stack.

    Between levels the grid is halved by a 2³ convolution of stride 2 and doubled by its transpose.
    """

    channels: tuple[int, ...]
    convolutions: int
    block: Literal["plain", "residual"] = "plain"
    attention: bool = False
    normalisation: Literal["batch", "instance", "group", "none"] = "batch"
    activation: Literal["leaky_relu", "relu", "gelu", "silu"] = "leaky_relu"

    def __post_init__(self) -> None:
        if len(self.channels) < 2 or min(self.channels) < 1:
            raise ValueError("channels: give a number ≥ 1 for each of two or more levels, as in 16,32,64")

    @property
    def divisor(self) -> int:
        """The side of a cube has to be a multiple of this."""
        return int(2 ** (len(self.channels) - 1))

    @property
    def parameters(self) -> int:
        """Trainable parameters."""
        c = self.channels
        total = _convolution(27, 1, c[0]) + _convolution(27, c[0], 1) + self._stack(c[-1], c[-1], 2)
        for fine, deep in pairwise(c):
            total += self._stack(fine, fine, self.convolutions) + self._unit(8, fine, deep, normalised=deep)
            total += _convolution(8, deep, fine) + self._stack(2 * fine, fine, self.convolutions)
            if self.attention:
                gate = max(1, fine // 2)
                total += fine * gate + _convolution(1, fine, gate) + _convolution(1, gate, 1)
        return total

    @property
    def values_trained(self) -> float:
        """Values kept for the gradient, for each voxel of the input."""
        c, deepest = self.channels, 8.0 ** (1 - len(self.channels))
        # of a unit: the output of the convolution, which is normalised, and what the next one reads
        unit = {"plain": 2.0, "residual": 3.0}[self.block] - (self.normalisation == "none")
        unit += self.activation in ("gelu", "silu") and self.block == "plain"  # not in place
        total = c[0] + 2 * unit * c[-1] * deepest
        for n, (fine, deep) in enumerate(pairwise(c)):
            # two stacks; the transposed convolution and its activation; the concatenation, twice as wide; the way down
            total += ((2 * self.convolutions) * unit + 4 + 5 * self.attention) * fine / 8.0**n
            total += (2 + 4 * (self.block == "residual")) * fine / 8.0**n * (self.block == "residual")
            total += unit * deep / 8.0 ** (n + 1)
        return total

    @property
    def values_predicted(self) -> float:
        """Values held at once without a gradient, at the finest level, for each voxel of the input."""
        return 6.8 * self.channels[0]

    def _stack(self, inputs: int, outputs: int, count: int) -> int:
        pairs = [(inputs, outputs), *[(outputs, outputs)] * (count - 1)]
        residual = self.block == "residual"
        units = sum(self._unit(27, a, b, normalised=a if residual else b) for a, b in pairs)
        return units + (_convolution(1, inputs, outputs) if residual and inputs != outputs else 0)

    def _unit(self, taps: int, inputs: int, outputs: int, *, normalised: int) -> int:
        """A convolution with a normalisation of scale and shift, or, without one, with a bias."""
        return taps * inputs * outputs + (outputs if self.normalisation == "none" else 2 * normalised)


@dataclass(frozen=True)
class HSFormerShape:
    """Transformer down, convolutions up: channels of the voxels, then of each level of tokens, the first of 2³ voxels;
    transformer blocks at each level, windows of at most `window`³ tokens."""

    channels: tuple[int, ...]
    blocks: int
    window: int

    @property
    def divisor(self) -> int:
        """The side of a cube has to be a multiple of this."""
        return int(2 ** (len(self.channels) - 1))

    @property
    def parameters(self) -> int:
        """Trainable parameters."""
        c = self.channels
        total = _residual(1, c[0]) + _convolution(8, 1, c[1]) + _convolution(27, c[0], 1)
        total += sum(self.blocks * _transformer(width, self.window) + 2 * width for width in c[1:])
        total += sum(_merging(fine, deep) for fine, deep in pairwise(c[1:]))
        total += sum(_convolution(8, deep, fine) + _residual(2 * fine, fine) for fine, deep in pairwise(c))
        return total


@dataclass(frozen=True)
class VTUNetShape:
    """Transformer down and up: as HSFormerShape, and as many blocks up, which also look across."""

    channels: tuple[int, ...]
    blocks: int
    window: int

    @property
    def divisor(self) -> int:
        """The side of a cube has to be a multiple of this."""
        return int(2 ** (len(self.channels) - 1))

    @property
    def parameters(self) -> int:
        """Trainable parameters."""
        c = self.channels
        total = _convolution(8, 1, c[1]) + _convolution(27, c[0], 1)
        total += sum(self.blocks * _transformer(width, self.window) for width in c[1:])
        for fine, deep in pairwise(c[1:]):
            cross = _transformer(fine, self.window) + _attention(fine, self.window) + 2 * fine
            total += _merging(fine, deep) + _expanding(deep, fine) + self.blocks * cross
        return total + _expanding(c[1], c[0])


@dataclass(frozen=True)
class SCUNetShape:
    """A U-Net of blocks that are half convolution, half transformer: channels from the finest level to the deepest."""

    channels: tuple[int, ...]
    blocks: int
    window: int

    @property
    def divisor(self) -> int:
        """The side of a cube has to be a multiple of this."""
        return int(2 ** (len(self.channels) - 1))

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
    """Two normalised 3³ convolutions, and a 1³ convolution beside them."""
    return 2 * inputs + 27 * (inputs + outputs) * outputs + 2 * outputs + _convolution(1, inputs, outputs)


def _attention(channels: int, window: int) -> int:
    """Queries, keys, values, output; a bias for each head and each step within a window."""
    return 4 * _convolution(1, channels, channels) + heads_of(channels) * (2 * window - 1) ** 3


def _transformer(channels: int, window: int) -> int:
    """Attention, two linear layers with four times the channels between them, two layer normalisations."""
    mixing = _convolution(1, channels, 4 * channels) + _convolution(1, 4 * channels, channels)
    return _attention(channels, window) + mixing + 4 * channels


def _merging(fine: int, deep: int) -> int:
    return 16 * fine + 8 * fine * deep


def _expanding(deep: int, fine: int) -> int:
    return 8 * deep * fine + 2 * fine

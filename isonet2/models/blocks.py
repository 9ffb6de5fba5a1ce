"""Building blocks of convolutional networks: what block, attention, normalisation and activation of the job file are.

Volumes are (B, channels, z, y, x).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from isonet2.models.normalisation import BatchNorm

NORMALISATIONS: dict[str, Callable[[int], nn.Module]] = {
    "batch": BatchNorm,
    "instance": lambda channels: nn.GroupNorm(channels, channels),  # groups of one channel
    "group": lambda channels: nn.GroupNorm(math.gcd(8, channels), channels),
    "none": lambda _: nn.Identity(),
}
ACTIVATIONS: dict[str, Callable[[bool], nn.Module]] = {  # in place, if they are told so and can be
    "leaky_relu": lambda inplace: nn.LeakyReLU(0.01, inplace),
    "relu": nn.ReLU,
    "gelu": lambda _: nn.GELU(),
    "silu": nn.SiLU,
}


class Unit(nn.Sequential):
    """A convolution, a normalisation, an activation."""

    def __init__(self, convolution: nn.Conv3d, normalisation: str, activation: str) -> None:
        normalise = NORMALISATIONS[normalisation](convolution.out_channels)
        super().__init__(convolution, normalise, ACTIVATIONS[activation](True))


class Plain(nn.Sequential):
    """inputs → outputs channels: `count` units of 3³ convolutions."""

    def __init__(self, inputs: int, outputs: int, count: int, normalisation: str, activation: str) -> None:
        widths = [inputs, *[outputs] * count]
        super().__init__(
            *(Unit(convolution(a, b, 3, normalisation), normalisation, activation) for a, b in pairwise(widths))
        )


class Residual(nn.Module):
    """inputs → outputs channels: to the input are added `count` times normalisation, activation and 3³ convolution.

    He et al., arXiv 1603.05027. Where the widths differ, a 1³ convolution brings the input to the wider one.
    """

    def __init__(self, inputs: int, outputs: int, count: int, normalisation: str, activation: str) -> None:
        super().__init__()
        fresh = normalisation != "none"  # otherwise the activation would write into the input

        def unit(a: int, b: int) -> nn.Sequential:
            activate = ACTIVATIONS[activation](fresh)
            return nn.Sequential(NORMALISATIONS[normalisation](a), activate, convolution(a, b, 3, normalisation))

        self.branch = nn.Sequential(*(unit(a, b) for a, b in pairwise([inputs, *[outputs] * count])))
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv3d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.shortcut(x) + self.branch(x)
        return result


BLOCKS: dict[str, type[Plain] | type[Residual]] = {"plain": Plain, "residual": Residual}


class AttentionGate(nn.Module):
    """Skip and decoder, both of `channels` → the skip, each voxel weighed by a number in 0…1 that they agree on.

    σ(ψ relu(W skip + V decoder)), with W and V to half the channels (Oktay et al., arXiv 1804.03999).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // 2)
        self.from_skip = nn.Conv3d(channels, inner, 1, bias=False)
        self.from_decoder = nn.Conv3d(channels, inner, 1)
        self.weight = nn.Conv3d(inner, 1, 1)

    def forward(self, skip: Tensor, decoder: Tensor) -> Tensor:
        return skip * torch.sigmoid(self.weight(torch.relu(self.from_skip(skip) + self.from_decoder(decoder))))


def convolution(inputs: int, outputs: int, side: int, normalisation: str, *, stride: int = 1) -> nn.Conv3d:
    """side³ taps that keep the grid, or divide it by `stride`; with a bias only where no normalisation has one."""
    padding = side // 2 if stride == 1 else 0
    return nn.Conv3d(inputs, outputs, side, stride, padding, bias=normalisation == "none")

"""What every network is: cubes in, cubes out, and parts that can be frozen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn


class Network(nn.Module, ABC):
    """(B, 1, s, s, s) → (B, 1, s, s, s); s is a multiple of its shape's divisor, B may be 0.

    With `adds_input` the input is added to what the network makes of it.
    """

    last: nn.Conv3d
    adds_input = False

    @abstractmethod
    def features(self, volume: Tensor) -> Tensor:
        """(B, 1, s, s, s) → (B, c, s, s, s), for the last convolution."""

    @abstractmethod
    def encoder(self) -> Sequence[nn.Module]:
        """The way down, the deepest level included."""

    def forward(self, volume: Tensor) -> Tensor:
        made: Tensor = self.last(self.features(volume))
        return volume + made if self.adds_input else made

"""The networks by name: what the job file may ask for and what models/ builds from it. No torch here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class UNetShape:
    """A 3-D U-Net: channels from the finest level to the bottleneck, and 3³ convolutions in each level's stack.

    Between levels the grid is halved by a 2³ convolution of stride 2 and doubled by its transpose.
    """

    channels: tuple[int, ...]
    convolutions: int

    @property
    def divisor(self) -> int:
        """The side of a cube has to be a multiple of this."""
        return int(2 ** (len(self.channels) - 1))

    @property
    def parameters(self) -> int:
        """Trainable parameters, counted by hand (a test holds it against the network that is built)."""
        first, last = 27 * self.channels[0] + self.channels[0], 27 * self.channels[0] + 1
        bottom = self.channels[-1]
        total = first + last + 2 * _normalised(27, bottom, bottom)
        for c, deeper in zip(self.channels, self.channels[1:], strict=False):
            total += self.convolutions * _normalised(27, c, c) + _normalised(8, c, deeper)
            total += 8 * deeper * c + c
            total += _normalised(27, 2 * c, c) + (self.convolutions - 1) * _normalised(27, c, c)
        return total


def _normalised(taps: int, inputs: int, outputs: int) -> int:
    """A convolution without bias, followed by a normalisation with a scale and a shift for each channel."""
    return taps * inputs * outputs + 2 * outputs


ARCHITECTURES: dict[str, UNetShape] = {
    "unet-tiny": UNetShape(channels=(16, 32, 64, 128), convolutions=2),
    "unet-small": UNetShape(channels=(16, 32, 64, 128, 256), convolutions=3),
    "unet-medium": UNetShape(channels=(32, 64, 128, 256, 320), convolutions=3),
    "unet-large": UNetShape(channels=(64, 128, 256, 320, 320), convolutions=3),
}

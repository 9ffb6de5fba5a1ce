"""The networks by name: what the job file may ask for and what models/ builds from it. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Literal, get_args

from isonet2.job.shapes import HSFormerShape, NetworkShape, SCUNetShape, UNetShape, VTUNetShape

__all__ = ["ARCHITECTURES", "Architecture", "NetworkShape", "UNetShape", "shape_of"]

Architecture = Literal[
    "unet-tiny", "unet-small", "unet-medium", "unet-large", "unet-residual", "unet-attention",
    "HSFormer", "vtunet", "scunet-fast", "scunet-small", "scunet-medium", "scunet-large",
]  # fmt: skip

_SMALL = (16, 32, 64, 128, 256)
ARCHITECTURES: dict[str, NetworkShape] = {
    "unet-tiny": UNetShape(channels=(8, 32, 64, 128), convolutions=(1, 2, 2)),
    "unet-small": UNetShape(channels=_SMALL, convolutions=(3,)),
    "unet-medium": UNetShape(channels=(32, 64, 128, 256, 320), convolutions=(3,)),
    "unet-large": UNetShape(channels=(64, 128, 256, 320, 320), convolutions=(3,)),
    "unet-residual": UNetShape(channels=_SMALL, convolutions=(3,), block="residual"),
    "unet-attention": UNetShape(channels=_SMALL, convolutions=(3,), attention=True),
    "HSFormer": HSFormerShape(channels=(16, 48, 96, 192, 384), blocks=2, window=4),
    "vtunet": VTUNetShape(channels=(16, 48, 96, 192), blocks=2, window=4),
    "scunet-fast": SCUNetShape(channels=(16, 32, 64), blocks=2, window=4),
    "scunet-small": SCUNetShape(channels=(16, 32, 64, 128), blocks=2, window=4),
    "scunet-medium": SCUNetShape(channels=(32, 64, 128, 256), blocks=2, window=4),
    "scunet-large": SCUNetShape(channels=(64, 128, 256, 512), blocks=2, window=4),
}

assert set(ARCHITECTURES) == set(get_args(Architecture))


def shape_of(arch: str, changes: Mapping[str, Any]) -> NetworkShape:
    """The network called `arch`, with some of its building blocks changed, by their names in the job file.

    ValueError for blocks that it does not have and for channels that make no network.
    """
    shape = ARCHITECTURES[arch]
    if unknown := sorted(set(changes) - {field.name for field in fields(shape)}):
        raise ValueError(f"{arch} has no {', '.join(unknown)}")
    if isinstance(shape, UNetShape) and "channels" in changes and "convolutions" not in changes:
        levels = len(changes["channels"]) - 1  # the coarser levels are alike
        changes = {**changes, "convolutions": (shape.stacks + shape.stacks[-1:] * levels)[:levels]}
    return replace(shape, **changes)

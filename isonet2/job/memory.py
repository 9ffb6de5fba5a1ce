"""What networks take in memory for each voxel of their input, in float32 and without their weights. No torch here.

Fitted to the peak of a process around one step, on a CPU, in channels_last_3d, cubes of 48…96.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from isonet2.job.architectures import ARCHITECTURES
from isonet2.job.shapes import NetworkShape, UNetShape

_TRAINED, _PREDICTED = 7.3, 36.0  # bytes for each value of `values_per_voxel`, and for each channel of the finest level
_AROUND = 16  # values for each voxel that every training takes: input, output, loss, their gradients
_COSTS = {"residual": 1.13, "gelu": 1.18, "silu": 1.18, "none": 0.82}  # of a training, over one without
_GATES = 1.11
_SKIPS_KEPT = 1.3  # of a prediction with residual blocks or attention gates
_MEASURED = {  # bytes for each voxel, in a training step and in a prediction
    "HSFormer": (3100, 950),
    "vtunet": (5600, 1100),
    "scunet-fast": (7800, 1900),
    "scunet-small": (7900, 1900),
    "scunet-medium": (12800, 2800),
    "scunet-large": (22000, 4700),
}


def trained_bytes_per_voxel(shape: NetworkShape) -> float:
    """For the forward and backward pass of a training step."""
    if not isinstance(shape, UNetShape):
        return _measured(shape)[0]
    values = values_per_voxel(shape) * (_GATES if shape.attention else 1)
    for choice in (shape.block, shape.activation, shape.normalisation):
        values *= _COSTS.get(choice, 1)
    return (values + _AROUND) * _TRAINED


def predicted_bytes_per_voxel(shape: NetworkShape) -> float:
    """For a forward pass without a gradient: its peak is at the finest level."""
    if not isinstance(shape, UNetShape):
        return _measured(shape)[1]
    kept = _SKIPS_KEPT if shape.attention or shape.block == "residual" else 1
    return shape.channels[0] * kept * _PREDICTED


def values_per_voxel(shape: UNetShape) -> float:
    """Values that a forward pass makes for each voxel of its input: outputs of all convolutions and concatenations."""
    levels = list(pairwise(shape.channels))
    values = shape.channels[0] + 2 * shape.channels[-1] / 8.0 ** len(levels)
    for n, ((channels, deeper), count) in enumerate(zip(levels, shape.stacks, strict=True)):
        # two stacks, the transposed convolution, and the concatenation, which is twice as wide; then the way down
        values += (2 * count + 3) * channels / 8.0**n + deeper / 8.0 ** (n + 1)
    return values


def _measured(shape: NetworkShape) -> tuple[int, int]:
    """Of a network that has no parts to choose."""
    plain = replace(shape, adds_input=False)
    return next(_MEASURED[name] for name, known in ARCHITECTURES.items() if known == plain)

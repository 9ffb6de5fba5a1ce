"""Densities as float16, which ends at 65504 and has 11 bits: what fits into it, and what would lose by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isonet2.errors import UserError

_LARGEST = float(np.finfo(np.float16).max)
_FINEST = 1 / 8  # of a standard deviation: steps of that size add 0.13 % to the variance
_WIDTH = 4  # standard deviations around the mean that nearly all voxels lie in


def as_float16(slab: NDArray[Any], path: Path) -> NDArray[np.float16]:
    """`slab`, rounded to the nearest. UserError with the name of the file if a value is beyond float16."""
    largest = float(np.abs(slab).max(initial=0))
    if not largest <= _LARGEST:  # nor NaN
        raise UserError(
            f"{path}: a density of {largest:.6g} does not go into float16, which ends at {_LARGEST:.0f}: take float32"
        )
    return slab.astype(np.float16)


def loss_in_float16(mean: float, std: float) -> str | None:
    """What float16 would do to densities of this mean and standard deviation; None if it does no harm.

    A step between two values of float16 is 2⁻¹⁰ of the power of two below them, and never less than 6·10⁻⁸.
    """
    largest = abs(mean) + _WIDTH * std
    if largest > _LARGEST:
        return f"it ends at {_LARGEST:.0f}, and densities here reach {largest:.6g}"
    step = float(np.spacing(np.float16(largest)))
    if step > _FINEST * std:
        return f"its steps are {step:.2g} there, and densities vary by {std:.2g} around {mean:.6g}"
    return None

"""IsoNet2's network files: a dictionary of settings, metrics in numpy's scalars, and weights under names of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

READABLE = ("unet-small", "unet-medium", "unet-large")
"""Its networks that are the same functions as ours."""

_scalar: Callable[..., Any] = np.float64(0).__reduce__()[0]  # type: ignore[assignment]
NUMPY_SCALARS: list[Any] = [
    (_scalar, "numpy._core.multiarray.scalar"),
    (_scalar, "numpy.core.multiarray.scalar"),  # as numpy 1 calls it
    np.dtype,
    np.dtypes.Float64DType,
    np.dtypes.Float32DType,
    np.dtypes.Int64DType,
]
"""What torch may build from such a file beside tensors, text and numbers."""

_NAME = re.compile(r"(encoder|decoder)\.module_dict\.(\D+?)(?:_(\d))?(?:\.net\.(\d+))?\.(\w+)")
_OURS = {  # level n, unit k of a stack, part j of a unit: convolution, normalisation, activation
    ("encoder", "first_conv"): "first",
    ("encoder", "conv_stack"): "down_stacks.{n}.{k}.{j}",
    ("encoder", "stride_conv"): "down.{n}.{j}",
    ("encoder", "bottleneck"): "bottleneck.{k}.{j}",
    ("decoder", "deconv"): "up.{n}.0",
    ("decoder", "conv_stack"): "up_stacks.{n}.{k}.{j}",
}


def translated(content: Mapping[str, Any]) -> dict[str, Any]:
    """Its settings as ours; it does not say how long it trained."""
    mode = content.get("CTF_mode")
    return {
        "method": str(content["method"]),
        "arch": str(content["arch"]),
        "cube_size": int(content["cube_size"]),
        "epoch": 0,
        "CTF_mode": mode if mode in ("phase_only", "wiener", "network") else None,  # it writes the absence as a word
        "do_phaseflip_input": bool(content.get("do_phaseflip_input", True)),
    }


def renamed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Its weights under our names; those that have none keep theirs."""
    return {_our_name(name): weight for name, weight in weights.items()}


def _our_name(name: str) -> str:
    if name.startswith("final."):
        return name.replace("final", "last", 1)
    match = _NAME.fullmatch(name)
    if match is None or (match[1], match[2]) not in _OURS:
        return name
    k, j = divmod(int(match[4] or 0), 3)
    return f"{_OURS[match[1], match[2]].format(n=match[3], k=k, j=j)}.{match[5]}"

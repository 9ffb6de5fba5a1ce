"""Who moves the weights: Muon the kernels between hidden channels, AdamW everything else.

Muon makes all singular values of an update equal, so that no few directions of a kernel learn alone. Source: Jordan et
al. 2024, kellerjordan.github.io/posts/muon.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

_KERNEL_RATE = 20.0
"""Learning rate of kernels over that of the rest: an orthogonal update has a root mean square of 0.2 times its rate."""
_DECAY = 0.01
_HIDDEN = 8  # channels on both sides that make a kernel worth it
_MOMENTUM = 0.95


class Muon(Optimizer):
    """For kernels of any number of dimensions, each seen as a matrix of outputs by inputs and taps.

    torch's own takes matrices only and iterates in bfloat16 on the whole of them: 0.84 s a step of unet-tiny on a CPU
    that has no instructions for it, against 0.03 s here.
    """

    def __init__(self, kernels: list[nn.Parameter], lr: float) -> None:
        super().__init__(kernels, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Nesterov's momentum, made orthogonal, of AdamW's usual size; weights decay a little."""
        assert closure is None
        for group in self.param_groups:
            for kernel in group["params"]:
                if kernel.grad is None:
                    continue
                state = self.state[kernel]
                momentum = state.setdefault("momentum", torch.zeros_like(kernel))
                momentum.mul_(_MOMENTUM).add_(kernel.grad)
                update = orthogonal((kernel.grad + _MOMENTUM * momentum).flatten(1))
                kernel.mul_(1 - group["lr"] * _DECAY)
                kernel.add_(update.view_as(kernel), alpha=-0.2 * group["lr"] * math.sqrt(max(update.shape)))


def orthogonal(matrix: Tensor) -> Tensor:
    """(a, b): the same singular vectors, singular values about 1, by five steps of Newton–Schulz with Muon's quintic.

    Carried through on the smaller Gram matrix A = XXᵀ: X ← P X with P = c₁ + c₂A + c₃A² turns A into P A P.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / wide.norm().clamp_min(1e-7)
    unit = torch.eye(len(wide), dtype=wide.dtype, device=wide.device)
    gram, product = wide @ wide.T, unit
    for _ in range(5):
        step = 3.4445 * unit - 4.7750 * gram + 2.0315 * gram @ gram
        product, gram = step @ product, step @ gram @ step
    found: Tensor = product @ wide
    return found if matrix.shape[0] <= matrix.shape[1] else found.T


def optimizers_for(network: nn.Module, kind: str, learning_rate: float) -> list[Optimizer]:
    """What moves the weights that may be moved; each with its learning rate at its highest."""
    kernels = _hidden_kernels(network) if kind == "muon" else []
    ours = {id(kernel) for kernel in kernels}
    others = [p for p in network.parameters() if p.requires_grad and id(p) not in ours]
    optimizers: list[Optimizer] = [AdamW(others, lr=learning_rate, weight_decay=0.0 if kernels else _DECAY)]
    return [*optimizers, Muon(kernels, _KERNEL_RATE * learning_rate)] if kernels else optimizers


def set_rate(optimizers: list[Optimizer], learning_rate: float) -> None:
    """The learning rate of the next step."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * (_KERNEL_RATE if isinstance(optimizer, Muon) else 1.0)


def _hidden_kernels(network: nn.Module) -> list[nn.Parameter]:
    kinds = (nn.Conv3d, nn.ConvTranspose3d, nn.Linear)
    weights: list[Any] = [module.weight for module in network.modules() if isinstance(module, kinds)]
    return [weight for weight in weights if weight.requires_grad and min(weight.shape[:2]) >= _HIDDEN]

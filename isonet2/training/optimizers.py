"""Who moves the weights: Muon the kernels between hidden channels, AdamW everything else.

Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) makes all singular values of an update equal, so that no
few directions of a kernel learn alone. torch has it for matrices: a kernel is one, outputs by inputs and taps.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer

_KERNEL_RATE = 20.0
"""Learning rate of kernels over that of the rest: an orthogonal update has a root mean square of 0.2 times its rate."""
_DECAY = 0.01
_HIDDEN = 8  # channels on both sides that make a kernel worth it


class KernelMuon(Muon):
    """torch's Muon for kernels of any number of dimensions, as matrices that share their memory."""

    def __init__(self, kernels: list[nn.Parameter], lr: float) -> None:
        self._kernels = kernels
        matrices = [nn.Parameter(_matrix(kernel.data)) for kernel in kernels]
        super().__init__(matrices, lr=lr, weight_decay=_DECAY, adjust_lr_fn="match_rms_adamw")

    def take_gradients(self) -> None:
        """Look at the kernels' gradients; to be called after each backward pass."""
        for kernel, matrix in zip(self._kernels, self.param_groups[0]["params"], strict=True):
            matrix.grad = None if kernel.grad is None else _matrix(kernel.grad)


def optimizers_for(network: nn.Module, kind: str, learning_rate: float) -> list[Optimizer]:
    """What moves the weights that may be moved; each with its learning rate at its highest."""
    kernels = _hidden_kernels(network) if kind == "muon" else []
    ours = {id(kernel) for kernel in kernels}
    others = [p for p in network.parameters() if p.requires_grad and id(p) not in ours]
    optimizers: list[Optimizer] = [AdamW(others, lr=learning_rate, weight_decay=0.0 if kernels else _DECAY)]
    return [*optimizers, KernelMuon(kernels, _KERNEL_RATE * learning_rate)] if kernels else optimizers


def set_rate(optimizers: list[Optimizer], learning_rate: float) -> None:
    """The learning rate of the next step."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * (_KERNEL_RATE if isinstance(optimizer, KernelMuon) else 1.0)


def gradients(optimizers: list[Optimizer]) -> list[Tensor]:
    """Of everything that is moved."""
    parameters: list[Any] = [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
    return [p.grad for p in parameters if p.grad is not None]


def _hidden_kernels(network: nn.Module) -> list[nn.Parameter]:
    kinds = (nn.Conv3d, nn.ConvTranspose3d, nn.Linear)
    weights: list[Any] = [module.weight for module in network.modules() if isinstance(module, kinds)]
    return [weight for weight in weights if weight.requires_grad and min(weight.shape[:2]) >= _HIDDEN]


def _matrix(kernel: Tensor) -> Tensor:
    """(a, b, …) → (a, …·b), in the same memory: the layout of networks is channels_last."""
    return kernel.movedim(1, -1).reshape(len(kernel), -1)

"""Batch normalisation whose statistics belong to the whole micro-batch, however many ranks it is spread over.

torch's SyncBatchNorm needs CUDA and at least one sample on each rank; this one runs on every backend, and a rank
without samples takes part with a count of zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

_OVER = (0, 2, 3, 4)


class BatchNorm(nn.BatchNorm3d):
    """(B, C, z, y, x) → the same, each channel normalised over all samples of all ranks (Ioffe & Szegedy 2015).

    Without a process group, or in evaluation mode, it is torch's own BatchNorm3d.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and dist.is_initialized() and dist.get_world_size() > 1):
            return super().forward(x)
        y, mean, var, count = _Synchronised.apply(x, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.momentum is not None
            assert self.num_batches_tracked is not None
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
            self.running_var.lerp_((var * count / (count - 1)).to(self.running_var), self.momentum)
        result: Tensor = y
        return result


class _Synchronised(torch.autograd.Function):
    """One all-reduce each way: count, Σx, Σx² forward; Σdy, Σ dy·x̂ backward. Sums in float64."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        count = torch.full((1,), float(x.numel() // x.shape[1]), dtype=torch.float64, device=x.device)
        if len(x):
            var, mean = torch.var_mean(x.float() if x.dtype.itemsize < 4 else x, dim=_OVER, correction=0)
        else:
            var = mean = torch.zeros_like(weight)
        var, mean = var.double(), mean.double()
        totals = torch.cat([count, mean * count, (var + mean.square()) * count])
        dist.all_reduce(totals)
        count, rest = totals[:1], totals[1:] / totals[:1]
        mean, square = rest.chunk(2)
        var = (square - mean.square()).clamp_min(0)
        ctx.save_for_backward(x, weight, mean, var, count)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, var, count)
        y = functional.batch_norm(x, mean.to(weight), var.to(weight), weight, bias, training=False, eps=eps)
        return y, mean, var, count

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, var, count = ctx.saved_tensors
        shape = (1, -1, 1, 1, 1)
        scale = (var + ctx.eps).rsqrt()
        hat = (x - mean.to(x).view(shape)) * scale.to(x).view(shape)
        d_bias = dy.sum(_OVER, dtype=torch.float64)
        d_weight = (dy * hat).sum(_OVER, dtype=torch.float64)
        totals = torch.cat([d_bias, d_weight])
        dist.all_reduce(totals)
        mean_dy, mean_dy_hat = (totals / count).chunk(2)
        dx = (dy - mean_dy.to(x).view(shape)).addcmul_(hat, mean_dy_hat.to(x).view(shape), value=-1)
        dx = dx.mul_((weight * scale.to(weight)).to(x).view(shape))
        return dx, d_weight.to(weight), d_bias.to(weight), None


Normalise = Callable[[int], nn.Module]
_GROUPS = 8

NORMALISATIONS: dict[str, Normalise] = {
    "batch": BatchNorm,
    "group": lambda channels: nn.GroupNorm(_GROUPS, channels),  # Wu & He, ECCV 2018: each sample by itself
}
"""From the name in the table of architectures to a layer for so many channels."""

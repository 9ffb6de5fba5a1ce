"""Batch normalisation whose statistics belong to the whole micro-batch, however many ranks it is spread over.

torch's SyncBatchNorm needs CUDA and at least one sample on each rank; this one runs on every backend, and a rank
without samples takes part with a count of zero.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

from isonet2.parallel.collectives import add_up

_OVER = (0, 2, 3, 4)


class BatchNorm(nn.BatchNorm3d):
    """(B, C, z, y, x) → the same, each channel normalised over all samples of all ranks (Ioffe & Szegedy 2015).

    Without a process group, or in evaluation mode, it is torch's own BatchNorm3d.
    """

    def train(self, mode: bool = True) -> BatchNorm:
        """Where the weights are frozen, the statistics are too."""
        return super().train(mode and self.weight.requires_grad)

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
    """One exchange each way: count, Σx, Σx² forward; Σdy, Σ dy·x̂ backward. Sums over ranks in float64.

    The passes over the volume are torch's own kernels in evaluation mode, given the statistics of all ranks.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        channels = x.shape[1]
        count = torch.full((1,), float(x.numel() // channels), dtype=torch.float64, device=x.device)
        mean = var = torch.zeros(channels, dtype=torch.float64, device=x.device)
        if len(x):
            unused = torch.zeros_like(weight), torch.ones_like(weight)  # they make the kernel answer in their precision
            mean, var = (part.double() for part in torch.batch_norm_update_stats(x, *unused, 0.0))
        totals = torch.cat([count, mean * count, (var + mean.square()) * count])
        add_up(totals)
        count = totals[:1]
        mean, square = (totals[1:] / count).chunk(2)
        var = (square - mean.square()).clamp_min(0)
        ctx.save_for_backward(x, weight, mean, var, count)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, var, count)
        y = functional.batch_norm(x, mean.to(weight), var.to(weight), weight, bias, training=False, eps=eps)
        return y, mean, var, count

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor, None]:
        """With s = w/√(σ² + ε): dx = s (dy − ⟨dy⟩ − x̂⟨dy x̂⟩), of which the kernel gives s·dy and the two sums."""
        x, weight, mean, var, count = ctx.saved_tensors
        d_weight, d_bias = torch.zeros_like(weight), torch.zeros_like(weight)
        dx = torch.empty_like(x)
        if len(x):
            statistics = (mean.to(weight), var.to(weight))
            dx, d_weight, d_bias = torch.ops.aten.native_batch_norm_backward(
                dy, x, weight, *statistics, None, None, False, ctx.eps, [True, True, True]
            )
        totals = torch.cat([d_bias, d_weight]).double()
        add_up(totals)
        mean_dy, mean_dy_hat = (totals / count).chunk(2)
        scale = weight.double() * (var + ctx.eps).rsqrt()
        slope = -scale * (var + ctx.eps).rsqrt() * mean_dy_hat
        level = -scale * mean_dy - slope * mean
        none, one = torch.zeros_like(weight), torch.ones_like(weight)  # slope · x + level: a fifth of what add_ takes
        dx += functional.batch_norm(x, none, one, slope.to(weight), level.to(weight), training=False, eps=0.0)
        return dx, d_weight, d_bias, None

"""Muon on kernels: orthogonal updates in the memory of the network, and everything else by AdamW."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from isonet2.job.architectures import shape_of
from isonet2.models.registry import build_network
from isonet2.training.optimizers import optimizers_for, orthogonal, set_rate


def network() -> nn.Module:
    return build_network(shape_of("unet-tiny", {"channels": (8, 16)}), seed=0).to(memory_format=torch.channels_last_3d)


def stepped(kind: str, *, rate: float = 1e-3) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """A network after one step on random gradients, and its weights before."""
    net = network()
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    optimizers = optimizers_for(net, kind, 1.0)
    generator = torch.Generator().manual_seed(1)
    for p in net.parameters():
        p.grad = torch.empty_like(p).copy_(torch.randn(p.shape, generator=generator))
    set_rate(optimizers, rate)
    for optimizer in optimizers:
        optimizer.step()
    return net, before


def test_the_update_of_a_kernel_has_equal_singular_values_and_the_directions_of_its_gradient() -> None:
    net, before = stepped("muon")
    name = "bottleneck.0.0.weight"
    weight = dict(net.named_parameters())[name]
    decayed = before[name] * (1 - 20e-3 * 0.01)
    update = (decayed - weight.detach()).flatten(1).numpy()
    u, s, vt = np.linalg.svd(weight.grad.flatten(1).numpy(), full_matrices=False)
    scale = 20e-3 * 0.2 * np.sqrt(max(update.shape))
    assert np.abs(np.linalg.svd(update, compute_uv=False) / scale - 1).max() < 0.4  # Newton–Schulz is in a hurry
    assert np.corrcoef(update.ravel(), (u @ vt).ravel())[0, 1] > 0.95
    assert np.corrcoef(update.ravel(), (u * s @ vt).ravel())[0, 1] < 0.999


def test_what_is_no_kernel_between_hidden_channels_moves_as_adamw_moves_it() -> None:
    (net, before), (plain, _) = stepped("muon"), stepped("adamw")
    for name, p in net.named_parameters():
        step = (p - before[name]).abs()
        if name in ("first.weight", "last.weight") or p.ndim == 1:
            assert step.max().item() == pytest.approx(1e-3, rel=0.01)  # Adam's first step is its rate
        else:
            assert not torch.allclose(p, dict(plain.named_parameters())[name])


def test_every_weight_that_learns_is_moved_by_one_optimizer_and_frozen_ones_by_none() -> None:
    net = network()
    net.first.requires_grad_(False)  # type: ignore[union-attr, operator]
    held = [id(p) for o in optimizers_for(net, "muon", 1e-3) for group in o.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in net.parameters() if p.requires_grad)


@pytest.mark.parametrize("shape", [(5, 40), (40, 5), (12, 12)])
def test_orthogonal_keeps_directions_and_evens_out_their_strengths(shape: tuple[int, int]) -> None:
    matrix = np.random.default_rng(2).standard_normal(shape)
    u, _, vt = np.linalg.svd(matrix, full_matrices=False)
    strengths = u.T @ orthogonal(torch.from_numpy(matrix)).numpy() @ vt.T
    assert np.abs(strengths - np.diag(np.diag(strengths))).max() < 1e-6
    assert (np.diag(strengths) > 0.5).all()
    assert (np.diag(strengths) < 1.3).all()

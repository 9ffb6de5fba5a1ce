"""Networks: their size, their shape, their layout and their normalisation."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist

from isonet2.job.architectures import ARCHITECTURES
from isonet2.models.compute import Compute, choose_compute
from isonet2.models.normalisation import _Synchronised
from isonet2.models.registry import build_network


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_table_knows_how_many_parameters_the_built_network_has(name: str) -> None:
    network = build_network(name, seed=0)
    assert sum(p.numel() for p in network.parameters()) == ARCHITECTURES[name].parameters


@pytest.mark.parametrize(("name", "millions"), [("unet-small", 8.35), ("unet-medium", 23.99), ("unet-tiny", 1.8)])
def test_networks_have_the_sizes_of_isonet2(name: str, millions: float) -> None:
    assert ARCHITECTURES[name].parameters / 1e6 == pytest.approx(millions, rel=0.05)


@pytest.mark.parametrize("name", ["unet-tiny", "unet-small"])
def test_a_cube_of_the_divisor_comes_back_in_its_shape(name: str) -> None:
    side = ARCHITECTURES[name].divisor
    network = build_network(name, seed=0).eval()
    cube = torch.randn(2, 1, side, side, side)
    with torch.inference_mode():
        found = network(cube)
    assert found.shape == cube.shape
    assert found.isfinite().all()
    assert (found != cube).any()


def test_weights_come_from_the_seed_alone_and_leave_the_generator_of_torch_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, same, other = (build_network("unet-tiny", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    for a, b in zip(one.parameters(), same.parameters(), strict=True):
        assert torch.equal(a, b)
    assert any(not torch.equal(a, c) for a, c in zip(one.parameters(), other.parameters(), strict=True))


def test_the_layout_changes_no_result() -> None:
    compute = Compute(torch.device("cpu"), half=None)
    cube = torch.randn(2, 1, 16, 16, 16)
    with torch.inference_mode():
        plain = build_network("unet-tiny", seed=0).eval()(cube)
        laid_out = compute.place(build_network("unet-tiny", seed=0).eval())(compute.lay_out(cube))
    assert torch.allclose(plain, laid_out, atol=1e-5)


def test_half_precision_is_taken_only_if_it_is_wanted() -> None:
    assert choose_compute("cpu", mixed_precision=False).half is None
    assert not choose_compute("cpu", mixed_precision=True).needs_scaler
    assert Compute(torch.device("cpu"), torch.bfloat16).name == "cpu bfloat16"


def test_half_precision_stays_close_to_single() -> None:
    cube = torch.randn(2, 1, 16, 16, 16)
    network = build_network("unet-tiny", seed=0).eval()
    with torch.inference_mode():
        exact = network(cube)
        with Compute(torch.device("cpu"), torch.bfloat16).precision():
            half = network(cube)
    assert (half - exact).abs().max() < 0.03 * exact.std()


def test_synchronised_statistics_of_half_precision_are_as_exact_as_those_of_one_rank() -> None:
    x = (3 + torch.randn(2, 4, 8, 8, 8, generator=torch.Generator().manual_seed(0))).bfloat16()
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        _, mean, var, _ = _Synchronised.apply(x, torch.ones(4), torch.zeros(4), 1e-5)
    finally:
        dist.destroy_process_group()
    exact = x.double().transpose(0, 1).flatten(1)
    assert torch.allclose(mean, exact.mean(1), rtol=1e-5)
    assert torch.allclose(var, exact.var(1, correction=0), rtol=1e-5)

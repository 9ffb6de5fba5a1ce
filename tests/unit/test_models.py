"""Networks: their size, their layout, their normalisation, and that each of them learns."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from isonet2.job.architectures import ARCHITECTURES, NetworkShape, shape_of
from isonet2.job.shapes import HSFormerShape, SCUNetShape, UNetShape, VTUNetShape
from isonet2.models.compute import Compute, choose_compute
from isonet2.models.normalisation import _Synchronised
from isonet2.models.registry import build_network, freeze

TINY = UNetShape(channels=(8, 16, 32), convolutions=(2,))
KINDS: dict[str, NetworkShape] = {
    "unet": TINY,
    "unet-residual": replace(TINY, block="residual"),
    "unet-attention": replace(TINY, attention=True),
    "HSFormer": HSFormerShape(channels=(8, 16, 32), blocks=2, window=4),
    "vtunet": VTUNetShape(channels=(8, 16, 32), blocks=2, window=4),
    "scunet": SCUNetShape(channels=(16, 32), blocks=2, window=2),
}
every_kind = pytest.mark.parametrize("shape", KINDS.values(), ids=KINDS)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_table_knows_how_many_parameters_the_built_network_has(name: str) -> None:
    shape = ARCHITECTURES[name]
    assert sum(p.numel() for p in build_network(shape, seed=0).parameters()) == shape.parameters


@pytest.mark.parametrize(("name", "millions"), [("unet-small", 8.35), ("unet-medium", 23.99)])
def test_networks_have_the_sizes_of_isonet2(name: str, millions: float) -> None:
    assert ARCHITECTURES[name].parameters / 1e6 == pytest.approx(millions, rel=0.05)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_cube_of_the_divisor_comes_back_in_its_shape(name: str) -> None:
    side = ARCHITECTURES[name].divisor
    network = build_network(ARCHITECTURES[name], seed=0).eval()
    cube = torch.randn(1, 1, side, side, side)
    with torch.inference_mode():
        found = network(cube)
    assert found.shape == cube.shape
    assert found.isfinite().all()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_parameter_of_a_named_network_has_a_gradient_and_steps_along_it_lower_the_loss(name: str) -> None:
    """Of the larger ones one pass there and back is as much as a slow core can do."""
    shape = ARCHITECTURES[name]
    side, steps = 2 * shape.divisor, 5 if shape.parameters < 5e6 else 0
    network = build_network(shape, seed=0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    cube = torch.randn(1, 1, side, side, side, generator=torch.Generator().manual_seed(0))
    losses = []
    for _ in range(steps + 1):
        optimizer.zero_grad()
        loss = (network(cube) - cube).square().mean()
        loss.backward()
        losses.append(loss.item())
        gradients = {part: p.grad for part, p in network.named_parameters()}
        assert [part for part, g in gradients.items() if g is None or not g.isfinite().all() or not g.any()] == []
        optimizer.step()
    assert steps == 0 or losses[-1] < 0.7 * losses[0]


@every_kind
@pytest.mark.parametrize("times", [2, 3, 5])
def test_every_multiple_of_the_divisor_fits_and_every_parameter_learns_from_it(shape: NetworkShape, times: int) -> None:
    side = times * shape.divisor
    network = build_network(shape, seed=0)
    cube = torch.randn(2, 1, side, side, side)
    found = network(cube)
    assert found.shape == cube.shape
    found.square().mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


@every_kind
def test_a_rank_without_samples_goes_through_all_parameters_too(shape: NetworkShape) -> None:
    network = build_network(shape, seed=0)
    found = network(torch.empty(0, 1, 16, 16, 16))
    assert found.shape == (0, 1, 16, 16, 16)
    found.sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in network.parameters())


@every_kind
def test_the_input_is_added_if_the_network_is_so(shape: NetworkShape) -> None:
    cube = torch.randn(1, 1, 16, 16, 16)
    with torch.inference_mode():
        made, added = (build_network(replace(shape, adds_input=a), seed=0).eval()(cube) for a in (False, True))
    assert torch.allclose(added, cube + made, atol=1e-6)


def test_weights_come_from_the_seed_alone_and_leave_the_generator_of_torch_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, same, other = (build_network(TINY, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    for a, b in zip(one.parameters(), same.parameters(), strict=True):
        assert torch.equal(a, b)
    assert any(not torch.equal(a, c) for a, c in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if not name.startswith("unet")])
def test_only_unets_have_parts_to_choose(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} has no block"):
        shape_of(name, {"block": "residual"})


def blobs(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Cubes (2, 1, 12, 12, 12) of things brighter than what is around them, without and with noise."""
    smooth = torch.randn(2, 1, 12, 12, 12, generator=generator)
    for _ in range(2):
        smooth = nn.functional.avg_pool3d(smooth, 5, 1, 2)
    clean = 2.0 * smooth.sign()
    return clean, clean + 1.5 * torch.randn(clean.shape, generator=generator)


@every_kind
def test_every_network_learns_to_denoise(shape: NetworkShape) -> None:
    network, generator = build_network(shape, seed=0), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for step in range(30):
        optimizer.param_groups[0]["lr"] = 3e-3 * min(1, (step + 1) / 10)
        clean, noisy = blobs(generator)
        optimizer.zero_grad()
        (network(noisy) - clean).square().mean().backward()
        optimizer.step()
    clean, noisy = blobs(generator)
    best_factor = (noisy * clean).sum() / noisy.square().sum()
    assert (network(noisy) - clean).square().mean() < 0.85 * (best_factor * noisy - clean).square().mean()


@pytest.mark.parametrize("what", ["encoder", "all_but_last"])
@every_kind
def test_what_is_frozen_stays_as_it_is_with_its_statistics(shape: NetworkShape, what: str) -> None:
    network = build_network(shape, seed=0)
    freeze(network, what)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network.train()
    for _ in range(2):
        network(torch.randn(2, 1, 16, 16, 16)).square().mean().backward()
        optimizer.step()
    changed = {
        name.split(".")[0] for name, value in network.state_dict().items() if not torch.equal(value, before[name])
    }
    parts = dict(network.named_children())
    if what == "all_but_last":
        assert changed == {"last"}
    else:
        down = {name for name, part in parts.items() if any(part is kept for kept in network.encoder())}
        assert "first" in down or "embed" in down
        assert changed == {name for name, part in parts.items() if list(part.parameters())} - down


@every_kind
def test_the_layout_changes_no_result(shape: NetworkShape) -> None:
    compute = Compute(torch.device("cpu"), half=None)
    cube = torch.randn(2, 1, 16, 16, 16)
    with torch.inference_mode():
        plain = build_network(shape, seed=0).eval()(cube)
        laid_out = compute.place(build_network(shape, seed=0).eval())(compute.lay_out(cube))
    assert torch.allclose(plain, laid_out, atol=1e-5)


def test_half_precision_is_taken_only_if_it_is_wanted() -> None:
    assert choose_compute("cpu", mixed_precision=False).half is None
    assert not choose_compute("cpu", mixed_precision=True).needs_scaler
    assert Compute(torch.device("cpu"), torch.bfloat16).name == "cpu bfloat16"


@every_kind
def test_half_precision_stays_close_to_single(shape: NetworkShape) -> None:
    cube = torch.randn(2, 1, 16, 16, 16)
    network = build_network(shape, seed=0).eval()
    with torch.inference_mode():
        exact = network(cube)
        with Compute(torch.device("cpu"), torch.bfloat16).precision():
            half = network(cube)
    assert half.dtype == torch.bfloat16
    assert (half - exact).abs().max() < 0.06 * exact.square().mean().sqrt()


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

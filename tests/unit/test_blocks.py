"""The building blocks of convolutional networks, each by what sets it apart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from isonet2.errors import UserError
from isonet2.job.load import load_job
from isonet2.job.shapes import UNetShape
from isonet2.models.blocks import AttentionGate, Residual
from isonet2.models.registry import build_network
from isonet2.models.unet import UNet

SHAPE = UNetShape(channels=(8, 16, 32), convolutions=(2,))


@pytest.mark.parametrize(
    "changes",
    [
        {"channels": (8, 16)},
        {"channels": (4, 6, 10, 12)},
        {"convolutions": (1,)},
        {"convolutions": (1, 3)},
        *(
            {"normalisation": n, "block": b}
            for n in ("batch", "instance", "group", "none")
            for b in ("plain", "residual")
        ),
        {"attention": True},
        {"activation": "gelu", "attention": True},
    ],
)
def test_every_choice_has_the_parameters_that_are_foreseen(changes: dict[str, Any]) -> None:
    shape = replace(SHAPE, **changes)
    network = build_network(shape, seed=0)
    assert sum(p.numel() for p in network.parameters()) == shape.parameters
    side = 2 * shape.divisor
    assert network(torch.randn(2, 1, side, side, side)).shape[2:] == (side, side, side)


@pytest.mark.parametrize("changes", [{"channels": (8,)}, {"channels": (8, 0)}, {"convolutions": (1, 2, 3)}])
def test_channels_that_make_no_network_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="give"):
        replace(SHAPE, **changes)


def test_a_mistake_in_them_is_one_line_of_the_job_file(tmp_path: Any) -> None:
    (tmp_path / "job.yaml").write_text("version: 1\nrefine: {channels: [8]}\n")
    with pytest.raises(UserError, match=r"job\.yaml:2: .*channels: give a number") as caught:
        load_job(tmp_path / "job.yaml")
    assert "\n" not in str(caught.value)


def test_activations_are_four_functions_of_the_same_weights() -> None:
    cube = torch.randn(1, 1, 8, 8, 8)
    names = ("leaky_relu", "relu", "gelu", "silu")
    with torch.inference_mode():
        found = [build_network(replace(SHAPE, activation=n), seed=0).eval()(cube) for n in names]
    for n, one in enumerate(found):
        assert all((one - other).abs().max() > 1e-4 for other in found[:n])


@pytest.mark.parametrize(("normalisation", "looks"), [("batch", True), ("instance", False), ("group", False)])
def test_only_batch_statistics_look_at_other_samples(normalisation: Any, looks: bool) -> None:
    network = build_network(replace(SHAPE, normalisation=normalisation), seed=0)
    cubes = torch.randn(2, 1, 16, 16, 16)
    with torch.no_grad():
        together, alone = network(cubes)[:1], network(cubes[:1])
    assert torch.allclose(together, alone, atol=1e-5) is not looks


@pytest.mark.parametrize("normalisation", ["instance", "group", "none"])
def test_without_batch_statistics_training_and_prediction_are_one_function(normalisation: Any) -> None:
    network, cube = build_network(replace(SHAPE, normalisation=normalisation), seed=0), torch.randn(1, 1, 16, 16, 16)
    with torch.no_grad():
        assert torch.equal(network.train()(cube), network.eval()(cube))


def test_instance_normalisation_is_by_channel_and_group_normalisation_by_eight_groups() -> None:
    by_kind = {k: build_network(replace(SHAPE, normalisation=k), seed=0) for k in ("instance", "group")}
    groups = {
        k: [m.num_groups for m in n.bottleneck.modules() if isinstance(m, nn.GroupNorm)] for k, n in by_kind.items()
    }
    assert groups == {"instance": [32, 32], "group": [8, 8]}


@pytest.mark.parametrize("normalisation", ["batch", "none"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_a_residual_block_that_adds_nothing_gives_its_input_back(normalisation: str, activation: str) -> None:
    block = Residual(4, 4, 2, normalisation, activation)
    convolutions = [m for m in block.modules() if isinstance(m, nn.Conv3d)]
    for parameter in convolutions[-1].parameters():
        nn.init.zeros_(parameter)
    x = torch.randn(2, 4, 4, 4, 4)
    before = x.clone()
    assert torch.equal(block(x), before)


def test_residual_blocks_of_two_widths_add_a_mixture_of_the_input() -> None:
    block = Residual(4, 2, 1, "none", "relu")
    convolution = next(m for m in block.branch.modules() if isinstance(m, nn.Conv3d))
    for parameter in convolution.parameters():
        nn.init.zeros_(parameter)
    x = torch.randn(1, 4, 3, 3, 3)
    matrix, shift = block.shortcut.weight[:, :, 0, 0, 0], block.shortcut.bias
    expected = torch.einsum("oc,bczyx->bozyx", matrix, x) + shift[:, None, None, None]
    assert torch.allclose(block(x), expected, atol=1e-6)


def test_open_gates_let_the_skips_pass_and_closed_ones_do_not() -> None:
    cube = torch.randn(1, 1, 16, 16, 16)
    gated, plain = (build_network(replace(SHAPE, attention=a), seed=0).eval() for a in (True, False))
    assert isinstance(gated, UNet)
    plain.load_state_dict({name: v for name, v in gated.state_dict().items() if not name.startswith("gates")})
    with torch.inference_mode():
        assert (gated(cube) - plain(cube)).abs().max() > 1e-4
        for logit, same in ((40.0, True), (-40.0, False)):
            for gate in gated.gates:
                nn.init.zeros_(gate.weight.weight)
                nn.init.constant_(gate.weight.bias, logit)
            assert torch.allclose(gated(cube), plain(cube), atol=1e-6) is same


def test_a_gate_weighs_voxels_by_skip_and_decoder() -> None:
    torch.manual_seed(0)
    gate, skip, decoder = AttentionGate(2), torch.randn(1, 2, 3, 3, 3), torch.randn(1, 2, 3, 3, 3)
    w, v, psi = (layer.weight[:, :, 0, 0, 0].double() for layer in (gate.from_skip, gate.from_decoder, gate.weight))
    here = (slice(None), 1, 2, 0)
    inner = torch.relu(w @ skip[0][here].double() + v @ decoder[0][here].double() + gate.from_decoder.bias.double())
    alpha = torch.sigmoid(psi @ inner + gate.weight.bias.double())
    assert torch.allclose(gate(skip, decoder)[0][here].double(), alpha * skip[0][here].double(), atol=1e-6)

"""Network files: ours come back as they were, IsoNet2's as the functions that they are."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from isonet2.errors import UserError
from isonet2.inference.isonet2_files import renamed
from isonet2.inference.networks import NetworkInfo, load_network, network_name, save_network
from isonet2.job.architectures import ARCHITECTURES, NetworkShape
from isonet2.job.shapes import HSFormerShape, SCUNetShape, UNetShape, VTUNetShape
from isonet2.models.registry import build_network
from isonet2.models.unet import UNet

SHAPES: dict[str, NetworkShape] = {
    "unet-attention": UNetShape(
        channels=(8, 12, 16), convolutions=(1, 2), block="residual", attention=True, normalisation="group"
    ),
    "HSFormer": HSFormerShape(channels=(8, 16, 32), blocks=1, window=3),
    "vtunet": VTUNetShape(channels=(8, 16, 32), blocks=1, window=4, adds_input=True),
    "scunet-fast": SCUNetShape(channels=(16, 32), blocks=1, window=4),
}


def info_of(arch: str, shape: NetworkShape, **settings: Any) -> NetworkInfo:
    return NetworkInfo(method="isonet2-n2n", arch=arch, cube_size=32, epoch=7, shape=shape, **settings)


@pytest.mark.parametrize("arch", SHAPES)
def test_a_network_of_any_blocks_comes_back_as_it_was(arch: str, tmp_path: Path) -> None:
    network = build_network(SHAPES[arch], seed=3).eval()
    info = info_of(arch, SHAPES[arch], CTF_mode="wiener", bfactor=200.0, part="top", apply_mw_x1=False)
    save_network(tmp_path / "n.pt", network, info)
    loaded, found = load_network(tmp_path / "n.pt")
    assert found == info
    assert not loaded.training
    cube = torch.randn(1, 1, 12, 12, 12)
    with torch.inference_mode():
        assert torch.equal(loaded(cube), network(cube))


def test_names_say_method_network_cube_epoch_and_part() -> None:
    info = info_of("unet-medium", ARCHITECTURES["unet-medium"])
    assert network_name(info, "last") == "network_isonet2-n2n_unet-medium_32_full.pt"
    assert network_name(info, "epoch") == "network_isonet2-n2n_unet-medium_32_epoch007_full.pt"
    assert network_name(replace(info, part="top"), "best") == "network_isonet2-n2n_unet-medium_32_best_top.pt"


class TheirUNet(nn.Module):
    """IsoNet2's module tree and forward pass, written from the description of its files."""

    def __init__(self, c: tuple[int, ...]) -> None:
        super().__init__()
        levels = range(len(c) - 1)

        def stack(*convolutions: nn.Module) -> nn.Module:
            holder = nn.Module()
            holder.net = nn.Sequential(
                *(m for conv in convolutions for m in (conv, nn.BatchNorm3d(conv.out_channels), nn.LeakyReLU(0.01)))
            )
            return holder

        def of_three(inputs: int, outputs: int, count: int = 3) -> nn.Module:
            widths = [inputs, *[outputs] * count]
            return stack(*(nn.Conv3d(a, b, 3, padding=1, bias=False) for a, b in pairwise(widths)))

        down: dict[str, nn.Module] = {"first_conv": nn.Conv3d(1, c[0], 3, padding=1)}
        up: dict[str, nn.Module] = {}
        for n in levels:
            down[f"conv_stack_{n}"] = of_three(c[n], c[n])
            down[f"stride_conv_{n}"] = stack(nn.Conv3d(c[n], c[n + 1], 2, stride=2, bias=False))
            up[f"deconv_{n}"] = nn.ConvTranspose3d(c[n + 1], c[n], 2, stride=2)
            up[f"conv_stack_{n}"] = of_three(2 * c[n], c[n])
        down["bottleneck"] = of_three(c[-1], c[-1], 2)
        self.encoder, self.decoder = nn.Module(), nn.Module()
        self.encoder.module_dict, self.decoder.module_dict = nn.ModuleDict(down), nn.ModuleDict(up)
        self.final = nn.Conv3d(c[0], 1, 3, padding=1)
        self.depth = len(levels)

    def forward(self, volume: Tensor) -> Tensor:
        down, up = self.encoder.module_dict, self.decoder.module_dict
        x, skips = down["first_conv"](volume), []
        for n in range(self.depth):
            x = down[f"conv_stack_{n}"].net(x)
            skips.append(x)
            x = down[f"stride_conv_{n}"].net(x)
        x = down["bottleneck"].net(x)
        for n in reversed(range(self.depth)):
            x = nn.functional.leaky_relu(up[f"deconv_{n}"](x), 0.01)
            x = up[f"conv_stack_{n}"].net(torch.cat([skips[n], x], 1))
        found: Tensor = volume + self.final(x)
        return found


def their_file(path: Path, network: nn.Module, **changes: Any) -> Path:
    losses = [np.float64(0.5), np.float32(0.25), np.int64(3)]
    content = {
        "method": "isonet2-n2n",
        "CTF_mode": "None",
        "do_phaseflip_input": False,
        "arch": "unet-small",
        "cube_size": 64,
        "metrics": {"average_loss": losses, "inside_loss": losses},
        "model_state_dict": network.state_dict(),
    }
    torch.save(content | changes, path)
    return path


@pytest.fixture(scope="module")
def theirs() -> TheirUNet:
    torch.manual_seed(2)
    network = TheirUNet((16, 32, 64, 128, 256)).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            for statistics, low in ((module.running_mean, -0.5), (module.running_var, 0.5)):
                assert statistics is not None
                statistics.uniform_(low, low + 1)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return network


def test_a_unet_of_isonet2_is_the_same_function_here(theirs: TheirUNet, tmp_path: Path) -> None:
    loaded, info = load_network(their_file(tmp_path / "theirs.pt", theirs))
    cube = torch.randn(2, 1, 32, 32, 32)
    with torch.inference_mode():
        expected = theirs(cube)
        assert (loaded(cube) - expected).abs().max() < 1e-5
        assert (expected - cube).std() > 0.01
    assert (info.method, info.arch, info.cube_size, info.CTF_mode) == ("isonet2-n2n", "unet-small", 64, None)
    assert info.foreign
    assert not info.do_phaseflip_input


@pytest.mark.parametrize(
    ("arch", "channels"), [("unet-medium", (32, 64, 128, 256, 320)), ("unet-large", (64, 128, 256, 320, 320))]
)
def test_the_larger_unets_of_isonet2_have_the_same_weights_under_other_names(
    arch: str, channels: tuple[int, ...]
) -> None:
    with torch.device("meta"):
        theirs = renamed(TheirUNet(channels).state_dict())
        ours = UNet(ARCHITECTURES[arch]).state_dict()
    assert {name: w.shape for name, w in theirs.items()} == {name: w.shape for name, w in ours.items()}


def test_what_isonet2_says_about_the_ctf_is_known(theirs: TheirUNet, tmp_path: Path) -> None:
    _, info = load_network(their_file(tmp_path / "t.pt", theirs, CTF_mode="network", do_phaseflip_input=True))
    assert (info.CTF_mode, info.do_phaseflip_input) == ("network", True)


def test_numbers_of_numpy_1_are_read(theirs: TheirUNet, tmp_path: Path) -> None:
    written = their_file(tmp_path / "new.pt", theirs)
    with zipfile.ZipFile(written) as new, zipfile.ZipFile(tmp_path / "old.pt", "w") as old:
        for name in new.namelist():
            content = new.read(name)
            if name.endswith("data.pkl"):
                content = content.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
                assert b"cnumpy.core.multiarray\n" in content
            old.writestr(name, content)
    assert load_network(tmp_path / "old.pt")[1].cube_size == 64


@pytest.mark.parametrize("arch", ["HSFormer", "vtunet", "scunet-fast", "unet-tiny", "something"])
def test_other_networks_of_isonet2_are_refused_in_one_line(arch: str, theirs: TheirUNet, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"t\.pt: unknown network '{arch}': of IsoNet2's unet-small, ") as caught:
        load_network(their_file(tmp_path / "t.pt", theirs, arch=arch))
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_refused_in_one_line(theirs: TheirUNet, tmp_path: Path) -> None:
    save_network(tmp_path / "ours.pt", theirs, info_of("unet-small", ARCHITECTURES["unet-small"]))
    their_file(tmp_path / "theirs.pt", theirs, arch="unet-medium")
    for name in ("ours.pt", "theirs.pt"):
        with pytest.raises(UserError, match=rf"{name}: its weights do not fit unet-") as caught:
            load_network(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_file_of_isonet2_cannot_run_code(theirs: TheirUNet, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    with pytest.raises(UserError, match="not a network"):
        load_network(their_file(tmp_path / "evil.pt", theirs, metrics={"average_loss": [Evil()]}))
    assert not (tmp_path / "ran").exists()

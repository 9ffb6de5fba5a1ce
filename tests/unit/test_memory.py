"""The memory of networks, against counting and measuring."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from isonet2.job.architectures import ARCHITECTURES
from isonet2.job.memory import predicted_bytes_per_voxel, trained_bytes_per_voxel, values_per_voxel
from isonet2.job.shapes import UNetShape
from isonet2.models.unet import UNet

SHAPE = UNetShape(channels=(16, 32, 64), convolutions=(2, 1))


@pytest.mark.parametrize("shape", [SHAPE, ARCHITECTURES["unet-tiny"], ARCHITECTURES["unet-small"]])
def test_values_in_a_forward_pass_are_those_that_the_network_makes(shape: UNetShape) -> None:
    network, side, made = UNet(shape), 2 * shape.divisor, []

    def count(module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        made.append(output.numel() * (3 if isinstance(module, nn.ConvTranspose3d) else 1))  # and its concatenation

    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d) and module is not network.last:
            module.register_forward_hook(count)
    with torch.no_grad():
        network.eval()(torch.zeros(1, 1, side, side, side))
    assert sum(made) / side**3 == pytest.approx(values_per_voxel(shape))


def test_dearer_blocks_are_foreseen_to_be_dearer() -> None:
    plain = trained_bytes_per_voxel(SHAPE)
    for changes in ({"block": "residual"}, {"attention": True}, {"activation": "gelu"}, {"channels": (32, 64, 128)}):
        assert trained_bytes_per_voxel(replace(SHAPE, **changes)) > plain
    assert trained_bytes_per_voxel(replace(SHAPE, normalisation="none")) < plain
    assert predicted_bytes_per_voxel(replace(SHAPE, attention=True)) > predicted_bytes_per_voxel(SHAPE)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_prediction_takes_less_than_a_training_whether_or_not_the_input_is_added(arch: str) -> None:
    for adds_input in (False, True):
        shape = replace(ARCHITECTURES[arch], adds_input=adds_input)
        assert 0 < predicted_bytes_per_voxel(shape) < trained_bytes_per_voxel(shape)


MEASURE = """
import sys, psutil, torch
from isonet2.job.architectures import ARCHITECTURES
from isonet2.models.registry import build_network
from isonet2.parallel.memory import forget_peak, peak_memory_gb
torch.set_num_threads(1)
forget_peak("cpu")
before = psutil.Process().memory_info().rss / 1e9
network = build_network(ARCHITECTURES[sys.argv[1]], seed=0).to(memory_format=torch.channels_last_3d)
volume = torch.zeros(int(sys.argv[3]), 1, 48, 48, 48).contiguous(memory_format=torch.channels_last_3d)
if sys.argv[2] == "train":
    network(volume).square().mean().backward()
else:
    with torch.inference_mode():
        network.eval()(volume)
print(peak_memory_gb("cpu") - before)
"""


@pytest.mark.parametrize(("arch", "kind", "batch"), [("unet-tiny", "train", 4), ("vtunet", "predict", 4)])
def test_memory_above_that_of_the_process_is_foreseen_generously(arch: str, kind: str, batch: int) -> None:
    """The same pass took 0.30 and 0.37 GB on two days: what the allocator gives back at once is its own affair."""
    shape = ARCHITECTURES[arch]
    measure = [sys.executable, "-c", MEASURE, arch, kind, str(batch)]
    found = float(subprocess.run(measure, capture_output=True, text=True, check=True).stdout)
    per_voxel, copies = (trained_bytes_per_voxel, 2) if kind == "train" else (predicted_bytes_per_voxel, 1)
    foreseen = batch * 48**3 * per_voxel(shape) + copies * 4 * shape.parameters
    assert 0.8 * found < foreseen / 1e9 < 2 * found


FAULTS = """
import ctypes, resource, sys
from isonet2.parallel.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, size = ctypes.c_void_p, 2 << 20
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [ctypes.c_void_p(libc.malloc(ctypes.c_size_t(size))) for _ in range(40)]
    for block in blocks:
        ctypes.memset(block, 1, size)
    for block in reversed(blocks):  # the uppermost first, so that the heap may shrink
        libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults(), faults(), faults())
"""


def test_a_training_keeps_the_memory_of_its_steps() -> None:
    def at_last(how: str) -> int:
        found = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True).stdout
        return int(found.split()[-1])

    assert at_last("keep") < at_last("leave") / 10

"""Predictions of IsoNet2's own network files, against numpy on the whole tomogram."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest
from numpy.typing import NDArray
from test_networks import TheirUNet, their_file
from tiny import METHODS, job_of, rows, run
from torch import nn

from isonet2.io.mrc import write_mrc

Array = NDArray[np.float64]
TILTS = (-51.0, 60.0)
MIDDLE = slice(6, 66)  # 60 planes of 72


def known_network() -> TheirUNet:
    """What is bright is doubled, and 0.75 is added: a copy of the input goes through all activations and is added."""
    network = TheirUNet((16, 32, 64, 128, 256))
    for module in network.modules():
        if isinstance(module, nn.Conv3d) and module.kernel_size == (3, 3, 3):
            nn.init.dirac_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    nn.init.constant_(network.final.bias, 0.75)  # type: ignore[arg-type]
    return network


def known_function(x: Array) -> Array:
    return x + np.maximum(x, 0) + 0.75


def tomogram(seed: int) -> Array:
    """Nine times the same 8 planes, so that tiles of 16 planes that begin at every 8th hold all there is.

    Of its voxels a twentieth is very dark and as many very bright: a little less in the middle 60 planes, a little more
    in the middle 64 and in all.
    """
    rng = np.random.default_rng(seed)
    planes = np.round(rng.standard_normal((8, 64))).clip(-2, 2)
    places = rng.permutation(4 * 64)
    planes[2:6].flat[places[:26]] = -30
    planes[2:6].flat[places[26:52]] = 40
    return np.tile(planes.reshape(8, 8, 8).repeat(2, axis=1).repeat(2, axis=2), (9, 1, 1))


def measured(volume: Array, tilts_deg: tuple[float, float]) -> Array:
    """What these tilts see of a volume within the sphere of Nyquist, by the angle of each component."""
    kz, ky, kx = np.meshgrid(*(np.fft.fftfreq(n) for n in volume.shape), indexing="ij")
    angle = np.degrees(np.arctan2(kz * np.where(kx < 0, -1, 1), np.abs(kx)))
    seen = (angle >= tilts_deg[0]) & (angle <= tilts_deg[1]) & (kx**2 + ky**2 + kz**2 <= 0.25)
    return np.fft.ifftn(np.fft.fftn(volume) * seen).real


def standard(inverted: list[Array], method: str) -> tuple[float, float]:
    """What is 0 and how long is 1 for IsoNet2's networks."""
    middle = [each[MIDDLE] for each in inverted]
    if method == "isonet2":
        low, high = np.percentile(middle, (5, 95))
        return low, high - low
    return float(np.mean(middle)), float(np.sqrt(np.mean([each.var() for each in middle])))


@pytest.mark.parametrize("method", METHODS)
def test_a_network_of_isonet2_makes_of_a_tomogram_what_its_function_makes_of_it_in_its_units(
    method: str, tmp_path: Path
) -> None:
    maps = {name: tomogram(seed) for seed, name in enumerate(["full"] if method == "isonet2" else ["even", "odd"])}
    for name, volume in maps.items():
        write_mrc(tmp_path / f"t1_{name}.mrc", volume.astype(np.float32), pixel_size_angstrom=10)
    network = their_file(tmp_path / "theirs.pt", known_network(), method=method, cube_size=16)
    settings = {"padding_factor": 2.0, "tile_batch": 3, "average_turns": False, "mixed_precision": False}
    job = job_of(tmp_path, rows(tmp_path, tilt_min_deg=TILTS[0])[:1], predict={"model": str(network), **settings})
    zero, one = standard([-volume for volume in maps.values()], method)
    expected = []
    for volume in maps.values():
        seen = (-volume - zero) / one
        made = known_function(seen) if method == "n2n" else measured(known_function(measured(seen, TILTS)), (-90, 90))
        expected.append(-(made * one + zero))
    found = [mrcfile.read(tmp_path / name) for name in run(job, "predict")["outputs"]]
    wanted = expected if method == "isonet2" else [np.mean(expected, axis=0), *expected]
    np.testing.assert_allclose(found, wanted, atol=2e-3)

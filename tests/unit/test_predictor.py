"""Tiles through networks whose answer is known."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from samples import source_of
from torch import Tensor, nn

from isonet2.data.sources import Source
from isonet2.data.tiles import tile_volume
from isonet2.errors import UserError
from isonet2.inference.networks import NetworkInfo, load_network, network_name, save_network
from isonet2.inference.predictor import Predictor, add_rows
from isonet2.inference.tomogram import Prediction, plan_prediction, predict_row, put_together
from isonet2.io.mrc import open_volume, read_header, write_mrc
from isonet2.job.architectures import shape_of
from isonet2.job.models import Predict
from isonet2.models.compute import Compute
from isonet2.models.registry import build_network
from isonet2.physics.normalise import Normalisation

CPU = Compute(torch.device("cpu"), half=None)
TILTS = ((-60.0, 60.0),)


class Twice(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


def predicted(
    network: nn.Module, volume: np.ndarray, *, side: int = 16, batch: int = 4, wedge: bool = False
) -> np.ndarray:
    predictor = Predictor(network, CPU, side, batch, apply_mw_x1=wedge)
    tiling = tile_volume(volume.shape, side=side, padding_factor=1.5)
    rows = [
        predictor.row(volume, tiling, row, normalisation=Normalisation(0.0, 1.0), tilts_deg=TILTS)
        for row in range(len(tiling.z))
    ]
    return np.stack(list(add_rows(tiling, rows)))


@pytest.mark.parametrize("shape", [(40, 50, 33), (16, 16, 16), (9, 40, 12), (64, 17, 20)])
def test_an_identity_network_gives_the_volume_back(shape: tuple[int, int, int]) -> None:
    volume = np.random.default_rng(0).normal(0, 5, shape).astype(np.float32)
    assert np.abs(-predicted(nn.Identity(), volume) - volume).max() < 1e-5 * volume.std()


def test_every_batch_size_gives_the_same_prediction() -> None:
    volume = np.random.default_rng(0).standard_normal((20, 30, 30)).astype(np.float32)
    assert (predicted(Twice(), volume, batch=1) == predicted(Twice(), volume, batch=7)).all()


def test_the_wedge_is_applied_to_each_tile() -> None:
    volume = np.random.default_rng(0).standard_normal((16, 16, 16)).astype(np.float32)
    spectrum = np.abs(np.fft.rfftn(predicted(nn.Identity(), volume, wedge=True)))
    assert spectrum[5, 0, 1] < 1e-4 * spectrum[0, 0, 5]


class EdgeShy(nn.Module):
    """Right in the middle of its cubes and wrong towards their edges, as all networks are."""

    def forward(self, x: Tensor) -> Tensor:
        near = torch.minimum(torch.arange(32), torch.arange(31, -1, -1))
        right = 1 - 0.5 * torch.exp(-near / 2.0)
        return x * right[:, None, None] * right[:, None] * right


def power_at_the_tile_period(padding_factor: float, stride: int) -> float:
    """Of the prediction of a volume of ones along x: the power at 1/stride over that of the volume's level."""
    volume = np.ones((32, 32, 32 + 9 * stride), np.float32)
    tiling = tile_volume((32, 32, 32 + 9 * stride), side=32, padding_factor=padding_factor)
    assert [tile.start for tile in tiling.x] == [stride * n for n in range(10)]
    predictor = Predictor(EdgeShy(), CPU, 32, 4, apply_mw_x1=False)
    row = predictor.row(volume, tiling, 0, normalisation=Normalisation(0.0, 1.0), tilts_deg=TILTS)
    profile = row[16, 16, 16 : 16 + 8 * stride]
    power = np.abs(np.fft.rfft(profile)) ** 2
    return float(power[8] / power[0])


def test_there_is_no_seam_at_the_period_of_the_tiles() -> None:
    blended, side_by_side = power_at_the_tile_period(1.5, 21), power_at_the_tile_period(1.01, 32)
    assert side_by_side > 1e-3  # this measure sees seams
    assert blended < 1e-4


@pytest.fixture
def source(tmp_path: Path) -> Source:
    rng = np.random.default_rng(0)
    for name in ("even", "odd"):
        write_mrc(tmp_path / f"{name}.mrc", rng.normal(50, 4, (24, 40, 30)).astype(np.float32), pixel_size_angstrom=9.5)
    maps = (tmp_path / "even.mrc", tmp_path / "odd.mrc")
    return source_of(maps, (24, 40, 30), number=1, pixel_size_angstrom=9.5, defocus_angstrom=40000.0)


def plan_of(source: Source, folder: Path, *, networks: tuple[str, ...] = ("identity",), **settings: Any) -> Prediction:
    flip = settings.pop("phase_flip", False)
    return plan_prediction(
        source,
        Predict(model="n.pt", **{"keep_halves": False, **settings}),
        cube_size=16,
        networks=networks,
        phase_flip=flip,
        folder=folder,
    )


def test_a_tomogram_on_disk_comes_back_as_the_mean_of_its_halves_with_its_header(
    source: Source, tmp_path: Path
) -> None:
    plan = plan_of(source, tmp_path / "out", apply_mw_x1=False, keep_halves=True)
    predictor = Predictor(nn.Identity(), CPU, 16, 4, apply_mw_x1=False)
    for row in reversed(range(len(plan.tiling.z))):
        predict_row(plan, row, [predictor])
    put_together(plan)
    mean, first, second = plan.outputs
    volumes = []
    for path in (*source.maps, mean, first, second):
        with open_volume(path) as volume:
            volumes.append(volume[0:24])
    even, odd, *found = volumes
    for volume, expected in zip(found, ((even + odd) / 2, even, odd), strict=True):
        assert np.abs(volume - expected).max() < 1e-5 * even.std()
    assert read_header(mean).pixel_size_angstrom == pytest.approx((9.5, 9.5, 9.5))
    assert not plan.parts.folder.exists()
    assert sorted(p.name for p in (tmp_path / "out").glob("[!.]*")) == [
        "corrected_t.mrc", "corrected_t_half1.mrc", "corrected_t_half2.mrc"
    ]  # fmt: skip


def test_two_networks_predict_a_half_each_and_both_halves_are_written(source: Source, tmp_path: Path) -> None:
    plan = plan_of(source, tmp_path / "out", networks=("one", "two"))
    predictors = [Predictor(network, CPU, 16, 4, apply_mw_x1=False) for network in (nn.Identity(), Twice())]
    for row in range(len(plan.tiling.z)):
        predict_row(plan, row, predictors)
    put_together(plan)
    volumes = []
    for path in (*source.maps, *plan.outputs):
        with open_volume(path) as volume:
            volumes.append(volume[0:24])
    even, odd, mean, first, second = volumes
    middle = (even.mean() + odd.mean()) / 2
    assert np.abs(first - even).max() < 1e-3
    assert np.abs((second - middle) - 2 * (odd - middle)).max() < 1e-3
    assert np.abs(mean - (first + second) / 2).max() < 1e-3


def test_phases_are_flipped_before_the_network_if_asked_for(source: Source, tmp_path: Path) -> None:
    """Each plane wave of the prediction has the sign of the CTF at its frequency."""
    plan = plan_of(source, tmp_path / "out", apply_mw_x1=False, phase_flip=True)
    predictor = Predictor(nn.Identity(), CPU, 16, 4, apply_mw_x1=False)
    x = np.indices(source.shape)[2]
    signs = set()
    for period in (10, 2.5):  # 95 Å and 23.75 Å
        wave = np.cos(2 * np.pi * x / period).astype(np.float32)
        k = 1 / (period * 9.5)
        chi = np.pi * 0.019687 * 40000 * k**2 - np.pi / 2 * 2.7e7 * 0.019687**3 * k**4
        sign = np.sign(0.1 * np.cos(chi) + np.sqrt(1 - 0.01) * np.sin(chi))
        signs.add(sign)
        for half in source.maps:
            write_mrc(half, wave, pixel_size_angstrom=9.5)
        for row in range(len(plan.tiling.z)):
            plan.waiting_row(0, row).unlink(missing_ok=True)
            predict_row(plan, row, [predictor])
        put_together(plan)
        with open_volume(plan.outputs[0]) as volume:
            found = volume[0:24]
        inside = (slice(8, 16), slice(8, 32), slice(8, 22))
        assert np.corrcoef(found[inside].ravel(), wave[inside].ravel())[0, 1] * sign > 0.95
    assert signs == {1, -1}


def test_rows_that_are_done_are_kept_but_not_those_of_another_network(source: Source, tmp_path: Path) -> None:
    plan = plan_of(source, tmp_path, networks=("one",))
    predict_row(plan, 0, [Predictor(nn.Identity(), CPU, 16, 4, apply_mw_x1=True)])
    done = plan.waiting_row(0, 0).stat().st_mtime_ns

    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise AssertionError

    predict_row(plan, 0, [Predictor(Broken(), CPU, 16, 4, apply_mw_x1=True)])
    assert plan.waiting_row(0, 0).stat().st_mtime_ns == done
    other = plan_of(source, tmp_path, networks=("two",))
    assert other.parts.folder != plan.parts.folder


def test_rows_that_a_kill_left_of_another_network_are_removed_and_those_of_other_tomograms_are_not(
    source: Source, tmp_path: Path
) -> None:
    old, new = (plan_of(source, tmp_path / "o", networks=(n,)) for n in "ab")
    other = plan_of(replace(source, name="t.1"), tmp_path / "o", networks=("b",))
    predictor = Predictor(nn.Identity(), CPU, 16, 4, apply_mw_x1=False)
    predict_row(old, 0, [predictor])
    predict_row(other, 0, [predictor])
    for row in range(len(new.tiling.z)):
        predict_row(new, row, [predictor])
    put_together(new)
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == sorted(
        [".finished", other.parts.folder.name, "corrected_t.mrc"]
    )


def test_rows_of_another_node_are_waited_for(source: Source, tmp_path: Path) -> None:
    plan = plan_of(source, tmp_path / "o", networks=("one",))
    predictor = Predictor(nn.Identity(), CPU, 16, 4, apply_mw_x1=False)
    for row in range(len(plan.tiling.z)):
        predict_row(plan, row, [predictor])
    plan.waiting_row(0, 0).rename(tmp_path / "on its way")
    later = threading.Timer(0.3, (tmp_path / "on its way").rename, [plan.waiting_row(0, 0)])
    later.start()
    put_together(plan)
    later.join()
    assert plan.outputs[0].exists()


def test_a_map_that_changed_is_normalised_anew(source: Source, tmp_path: Path) -> None:
    predictor = Predictor(nn.Identity(), CPU, 16, 4, apply_mw_x1=False)
    for mean in (50, 5000):
        volume = np.random.default_rng(0).normal(mean, 4, source.shape).astype(np.float32)
        for half in source.maps:
            write_mrc(half, volume, pixel_size_angstrom=9.5)
        plan = plan_of(source, tmp_path)
        predict_row(plan, 0, [predictor])
        assert abs(np.load(plan.waiting_row(0, 0))[0].mean()) < 1


def test_a_saved_network_loads_as_it_was(tmp_path: Path) -> None:
    shape = shape_of("unet-tiny", {})
    network = build_network(shape, seed=3).eval()
    info = NetworkInfo("isonet2-n2n", "unet-tiny", 32, 7, shape)
    path = tmp_path / network_name(info, "epoch")
    assert path.name == "network_isonet2-n2n_unet-tiny_32_epoch007_full.pt"
    save_network(path, network, info)
    loaded, found = load_network(path)
    assert found == info
    cube = torch.randn(1, 1, 8, 8, 8)
    with torch.inference_mode():
        assert torch.equal(loaded(cube), network(cube))


def test_files_that_are_no_network_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"not a network")
    torch.save({"model_state_dict": {}}, tmp_path / "b.pt")
    for name in ("a.pt", "b.pt", "missing.pt"):
        with pytest.raises(UserError, match=name):
            load_network(tmp_path / name)


def test_a_network_file_cannot_run_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "ran",))  # type: ignore[return-value]

    torch.save({"method": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(UserError, match="not a network"):
        load_network(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    killed = subprocess.Popen([sys.executable, "-c", "pass"])
    killed.wait()
    host = socket.gethostname()
    left, written = (tmp_path / f".a.{host}.{pid}.part.mrc" for pid in (killed.pid, os.getppid()))
    for path in (left, written):
        path.touch()
    write_mrc(tmp_path / "a.mrc", np.ones((4, 4, 4), np.float32), pixel_size_angstrom=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([written.name, "a.mrc"])


def test_turns_are_averaged_where_they_are_put_back() -> None:
    """A network that marks one side of its input: its mark comes out on both, the rest is as it was."""

    class OneSided(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            marked = x.clone()
            marked[..., :1] += 2
            return marked

    volume = np.zeros((16, 16, 16), np.float32)
    volume[3, 4, 5] = -7
    tiling = tile_volume(volume.shape, side=16, padding_factor=1.5)
    predictor = Predictor(OneSided(), CPU, 16, 4, apply_mw_x1=False, average_turns=True)
    row = predictor.row(volume, tiling, 0, normalisation=Normalisation(0.0, 1.0), tilts_deg=TILTS)
    expected = -volume
    expected[..., [0, -1]] += 1
    assert np.allclose(row, expected)

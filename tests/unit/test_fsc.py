"""Shell correlations of maps against numpy and a package: by frequency, by direction, in the wedge, under a mask."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch_fourier_shell_correlation import fsc as reference_fsc

from isonet2.errors import UserError
from isonet2.io.mrc import write_mrc
from isonet2.io.star import TomogramRow, write_star
from isonet2.job.tools import Fsc
from isonet2.physics.quality import cone, shell_correlations, tapered
from isonet2.stages.fsc import fsc

SHAPE = (20, 24, 22)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def noise(seed: int, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def written(seed: int = 1, shape: tuple[int, int, int] = SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """a.mrc and b.mrc, which share half of their power."""
    common = noise(seed, shape)
    a, b = common + noise(seed + 1, shape), common + noise(seed + 2, shape)
    for name, volume in (("a.mrc", a), ("b.mrc", b)):
        write_mrc(Path(name), volume, pixel_size_angstrom=5.0)
    return a, b


def numpy_fsc(a: np.ndarray, b: np.ndarray, inside: Any) -> np.ndarray:
    """Shell by shell over the whole transforms; `inside(kz, ky, kx)` in cycles per voxel."""
    k = np.stack(np.meshgrid(*(np.fft.fftfreq(n) for n in a.shape), indexing="ij"))
    length = np.sqrt((k**2).sum(0))
    half = min(a.shape) // 2
    shell = np.rint(length * 2 * half)
    A, B = np.fft.fftn(a), np.fft.fftn(b)
    region = inside(*k) & (length > 0) & (length <= 0.5)
    found = []
    for n in range(half + 1):
        s = (shell == n) & region
        power = np.sqrt((np.abs(A[s]) ** 2).sum() * (np.abs(B[s]) ** 2).sum())
        found.append((A[s] * B[s].conj()).sum().real / power if s.any() else np.nan)
    return np.array(found)


def numpy_tapered(volume: np.ndarray) -> np.ndarray:
    return tapered(torch.from_numpy(volume)).numpy().astype(np.float64)  # tested in test_quality.py


def measured(kz: np.ndarray, ky: np.ndarray, kx: np.ndarray) -> np.ndarray:
    """From −40 to 60°, by the angle of k and, as both halves of a transform are there, of −k."""
    with np.errstate(invalid="ignore", divide="ignore"):
        angle = np.degrees(np.arctan(kz / kx))
    inside = (angle >= -40) & (angle <= 60) & ~((kx == 0) & (kz != 0))
    at_nyquist = (kx == -0.5) & (np.abs(angle) <= 60)  # where it stands for +0.5 too
    return inside | at_nyquist | ((kx == 0) & (kz == 0))


REGIONS = {
    "all": lambda kz, ky, kx: np.ones(kz.shape, bool),
    "measured": measured,
    "wedge": lambda kz, ky, kx: ~measured(kz, ky, kx),
    "x": lambda kz, ky, kx: np.abs(kx) >= np.cos(np.radians(25)) * np.sqrt(kz**2 + ky**2 + kx**2) - 1e-9,
    "y": lambda kz, ky, kx: np.abs(ky) >= np.cos(np.radians(25)) * np.sqrt(kz**2 + ky**2 + kx**2) - 1e-9,
    "z": lambda kz, ky, kx: np.abs(kz) >= np.cos(np.radians(25)) * np.sqrt(kz**2 + ky**2 + kx**2) - 1e-9,
}


def test_every_curve_is_the_one_of_slow_sums_over_the_whole_transform() -> None:
    """Odd sides, since at Nyquist k and −k are one component and the angle of one of them counts."""
    a, b = written(shape=(21, 25, 23))
    (agreement,) = fsc(Fsc(map1="a.mrc", map2="b.mrc", tilt_min=-40, tilt_max=60, cone=25))
    assert list(agreement.curves) == list(REGIONS)
    for name, inside in REGIONS.items():
        expected = numpy_fsc(numpy_tapered(a), numpy_tapered(b), inside)
        np.testing.assert_allclose(agreement.curves[name].fsc, expected, atol=1e-5, err_msg=name)
        np.testing.assert_allclose(agreement.curves[name].frequency, np.arange(11) / 20 / 5.0)


def test_all_directions_together_are_what_an_independent_package_finds() -> None:
    a, b = (torch.from_numpy(volume) for volume in written(shape=(32, 32, 32)))
    _, found = shell_correlations(a, b, {"all": lambda k: k.square().sum(-1) > 0})
    expected = reference_fsc(a, b)
    assert (found["all"][3:] - expected[3:]).abs().max() < 0.04  # it weighs the plane kx = 0 twice
    assert (found["all"][1:] - expected[1:]).mean().abs() < 0.01


def test_maps_that_agree_along_one_axis_only_are_found_out() -> None:
    """Smooth along z, y or x: the noise that differs lies across that axis."""
    k = np.stack(np.meshgrid(*(np.fft.fftfreq(n) for n in (32, 32, 32)), indexing="ij"))
    for axis, name in enumerate("zyx"):
        common, one, other = (np.fft.fftn(noise(seed, (32, 32, 32))) for seed in (1, 2, 3))
        shared = np.abs(k[axis]) > 0.8 * np.sqrt((k**2).sum(0))
        for file, own in (("a.mrc", one), ("b.mrc", other)):
            volume = np.fft.ifftn(np.where(shared, common, own)).real.astype(np.float32)
            write_mrc(Path(file), volume, pixel_size_angstrom=5.0)
        (agreement,) = fsc(Fsc(map1="a.mrc", map2="b.mrc"))
        assert list(agreement.curves) == ["all", "x", "y", "z"]
        means = {axis: float(np.nanmean(agreement.curves[axis].fsc[3:])) for axis in "xyz"}
        assert means.pop(name) > 0.9
        assert max(np.abs(list(means.values()))) < 0.35


def test_a_cone_of_90_degrees_is_everything_and_of_30_a_seventh() -> None:
    k = torch.randn(20000, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert cone(0, 90)(k).all()
    for axis in range(3):
        assert cone(axis, 30)(k).double().mean() == pytest.approx(1 - np.cos(np.radians(30)), abs=0.01)


def test_a_mask_leaves_what_is_inside_it() -> None:
    a, b = written()
    soft = np.exp(-sum(axis**2 for axis in np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")) * 4)
    write_mrc(Path("mask.mrc"), soft.astype(np.float32), pixel_size_angstrom=5.0)
    (agreement,) = fsc(Fsc(map1="a.mrc", map2="b.mrc", mask="mask.mrc"))
    expected = numpy_fsc(*(numpy_tapered(volume) * soft for volume in (a, b)), REGIONS["all"])
    np.testing.assert_allclose(agreement.curves["all"].fsc, expected, atol=1e-5)


def test_tables_and_a_picture_are_written_for_each_tomogram_of_a_list() -> None:
    common = noise(1)
    for name, seed in (("a_EVN", 2), ("a_ODD", 3)):
        write_mrc(Path(f"{name}.mrc"), 3 * common + noise(seed), pixel_size_angstrom=5.0)
    for name, seed in (("b_EVN", 4), ("b_ODD", 5)):
        write_mrc(Path(f"{name}.mrc"), noise(seed), pixel_size_angstrom=5.0)
    write_mrc(Path("m.mrc"), np.ones(SHAPE, np.int8), pixel_size_angstrom=5.0)
    rows = [
        TomogramRow(index=n, half1=f"{name}_EVN.mrc", half2=f"{name}_ODD.mrc", pixel_size_angstrom=6.0, mask="m.mrc",
                    tilt_min_deg=-60, tilt_max_deg=60, number_subtomos=1)
        for n, name in ((1, "a"), (2, "b"))
    ]  # fmt: skip
    write_star(Path("tomograms.star"), rows)
    good, bad = fsc(Fsc())
    assert good.resolutions()["measured"]["0.143"] == pytest.approx(12.0)  # to Nyquist, by the list's pixel size
    assert "≤ 12 Å" in str(good)
    assert "–" in str(bad)
    summary = json.loads(Path("fsc/fsc.json").read_text())["resolution_angstrom"]
    assert summary["a"]["all"] == {"0.5": pytest.approx(12.0), "0.143": pytest.approx(12.0)}
    assert summary["b"]["all"]["0.5"] is None
    with Path("fsc/a_fsc.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [float(line["all"]) for line in lines] == pytest.approx(good.curves["all"].fsc[1:].tolist(), abs=1e-5)
    assert float(lines[-1]["resolution_angstrom"]) == pytest.approx(12.0)
    with Image.open("fsc/b_fsc.png") as picture:
        assert picture.size[0] > 300
    assert [agreement.pair.name for agreement in fsc(Fsc(tomo_idx="2"))] == ["b"]
    (masked, _) = fsc(Fsc(with_mask=True))
    np.testing.assert_allclose(masked.curves["all"].fsc, good.curves["all"].fsc, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"map2": "small.mrc"}, r"small\.mrc: 8 × 8 × 8 voxels \(z, y, x\), but a\.mrc has 20 × 24 × 22"),
        ({"map2": "b.mrc", "mask": "small.mrc"}, r"small\.mrc: 8 × 8 × 8"),
        ({"map2": "none.mrc"}, r"none\.mrc: no such file"),
    ],
)
def test_maps_that_do_not_fit_are_refused_before_any_work(options: dict[str, Any], words: str) -> None:
    written()
    write_mrc(Path("small.mrc"), noise(1, (8, 8, 8)), pixel_size_angstrom=5.0)
    with pytest.raises(UserError, match=words):
        fsc(Fsc(map1="a.mrc", **options))
    assert not Path("fsc").exists()


def test_a_list_without_halves_or_masks_is_refused() -> None:
    written()
    told = {"pixel_size_angstrom": 5.0, "tilt_min_deg": -60.0, "tilt_max_deg": 60.0, "number_subtomos": 1}
    write_star(Path("tomograms.star"), [TomogramRow(index=1, tomogram="a.mrc", **told)])
    with pytest.raises(UserError, match="a: two halves are needed"):
        fsc(Fsc())
    write_star(Path("tomograms.star"), [TomogramRow(index=1, half1="a.mrc", half2="b.mrc", **told)])
    with pytest.raises(UserError, match="has no mask: run make_mask"):
        fsc(Fsc(with_mask=True))

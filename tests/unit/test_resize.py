"""Other pixel sizes: waves that fit are kept exactly, headers say the true size, lists name what is theirs."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch
from scipy import signal

from isonet2.errors import UserError
from isonet2.io.mrc import MrcHeader, read_header, write_mrc
from isonet2.io.star import TomogramRow, read_star, write_star
from isonet2.job.tools import Resize
from isonet2.physics.resample import even_size, resampled
from isonet2.stages import resize as stage
from isonet2.stages.resize import resize


@pytest.fixture(autouse=True)
def _in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def wave(shape: tuple[int, ...], cycles: tuple[int, ...], phase: float = 0.3) -> np.ndarray:
    """A plane wave with a whole number of cycles along each axis of a field of view, on a grid of any fineness."""
    grid = np.meshgrid(*(np.arange(n) / n for n in shape), indexing="ij")
    turns = sum(count * axis for count, axis in zip(cycles, grid, strict=True))
    return np.cos(2 * np.pi * turns + phase).astype(np.float32)


def test_the_even_size_that_comes_closest_is_taken() -> None:
    for size, wanted in product((5, 36, 93, 206), (3.0, 7.3, 10.0, 40.0, 900.0)):
        evens = np.arange(2, 2000, 2)
        best = np.abs(evens - size * 10.0 / wanted).min()
        assert abs(even_size(size, 10.0, wanted) - size * 10.0 / wanted) == pytest.approx(best)
        assert even_size(size, 10.0, wanted) % 2 == 0


@pytest.mark.parametrize(("before", "after"), [(30, 20), (30, 21), (31, 20), (20, 30), (21, 30), (20, 20), (15, 7)])
def test_one_axis_is_resampled_as_scipy_does(before: int, after: int) -> None:
    volume = np.random.default_rng(1).normal(size=(3, before, 4))
    found = resampled(torch.from_numpy(volume), after, axis=1).numpy()
    np.testing.assert_allclose(found, signal.resample(volume, after, axis=1), atol=1e-12)


def resized(volume: np.ndarray, apix: float, pixel: float = 10.0) -> np.ndarray:
    write_mrc(Path("a.mrc"), volume.astype(np.float32), pixel_size_angstrom=pixel)
    resize(Resize(maps="a.mrc", apix=apix))
    return mrcfile.read("resized/a.mrc")


@pytest.mark.parametrize("apix", [7.5, 15.0, 20.0])
@pytest.mark.parametrize("cycles", [(2, -3, 4), (0, 5, 1), (7, 0, 0)])
def test_waves_below_the_new_nyquist_are_kept_exactly(apix: float, cycles: tuple[int, int, int]) -> None:
    """Also across the boundary of the 16 rows that go through z together."""
    shape = (30, 60, 48)
    found = resized(wave(shape, cycles), apix)
    assert found.shape == tuple(round(n * 10 / apix / 2) * 2 for n in shape)
    np.testing.assert_allclose(found, wave(found.shape, cycles), atol=2e-5)


def test_waves_above_the_new_nyquist_are_gone_and_the_mean_is_kept() -> None:
    found = resized(100 + wave((24, 24, 24), (0, 0, 9)), 20.0)
    np.testing.assert_allclose(found, 100, atol=1e-3)


def test_the_spectrum_is_that_of_numpy_up_to_the_new_nyquist_and_the_variance_what_is_left() -> None:
    volume = np.random.default_rng(1).normal(size=(24, 36, 30)).astype(np.float32)
    found = resized(volume, 15.0)
    assert found.shape == (16, 24, 20)
    whole = np.fft.fftshift(np.fft.fftn(volume)) / volume.size
    part = np.fft.fftshift(np.fft.fftn(found)) / found.size
    kept = whole[12 - 7 : 12 + 8, 18 - 11 : 18 + 12, 15 - 9 : 15 + 10]
    np.testing.assert_allclose(part[1:, 1:, 1:], kept, atol=1e-6)
    share = (17 * 25 * 21) / (24 * 36 * 30)  # of the components: at the new Nyquist two become one
    assert found.var() == pytest.approx(share, rel=0.05)


def test_there_and_back_is_the_same_map() -> None:
    volume = resized(np.random.default_rng(1).normal(size=(24, 36, 30)), 15.0)
    write_mrc(Path("b.mrc"), volume, pixel_size_angstrom=15.0)
    resize(Resize(maps="b.mrc", apix=7.5))
    write_mrc(Path("c.mrc"), mrcfile.read("resized/b.mrc"), pixel_size_angstrom=7.5)
    resize(Resize(maps="c.mrc", apix=15.0))
    np.testing.assert_allclose(mrcfile.read("resized/c.mrc"), volume, atol=1e-5)


def test_the_header_has_the_true_size_of_the_voxels_and_a_warning_says_if_they_are_no_cubes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    monkeypatch.setattr(stage, "warn", said.append)
    header = MrcHeader((15, 100, 64), 2, (10.0,) * 3, (4.0, 5.0, 6.0), (0, -30, 9), ("ours",), b"\1" * 64, b"FEI1")
    volume = np.random.default_rng(1).normal(size=(15, 100, 64)).astype(np.float32)
    write_mrc(Path("a.mrc"), volume, header=header, pixel_size_angstrom=10.0)
    (result,) = resize(Resize(maps="a.mrc", apix=16.0))
    assert result.shape == (10, 62, 40)
    assert result.voxel_angstrom == pytest.approx((15.0, 1000 / 62, 16.0))
    found = read_header(Path("resized/a.mrc"))
    assert found.pixel_size_angstrom == pytest.approx(result.voxel_angstrom)
    assert found.shape == (10, 62, 40)
    assert (found.origin, found.nstart, found.extended_header) == ((4.0, 5.0, 6.0), (0, -19, 6), b"\1" * 64)
    assert len(said) == 1
    assert "15×16.13×16 Å: no cubes" in said[0]


def row(index: int, **more: object) -> TomogramRow:
    told = {"tilt_min_deg": -60.0, "tilt_max_deg": 60.0, "pixel_size_angstrom": 10.0} | more
    return TomogramRow(index=index, number_subtomos=7, **told)  # type: ignore[arg-type]


def test_a_list_becomes_a_list_of_the_new_maps_with_all_else_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(stage, "warn", said.append)
    for name in ("full/a.mrc", "even/a.mrc", "odd/a.mrc", "full/b.mrc"):
        write_mrc(Path(name), np.random.default_rng(len(name)).normal(size=(20, 30, 40)).astype(np.float32),
                  pixel_size_angstrom=10.0)  # fmt: skip
    rows = [
        row(1, tomogram="full/a.mrc", half1="even/a.mrc", half2="odd/a.mrc", defocus_angstrom=31000.0, cs_mm=2.1,
            mask="m.mrc", coordinates="p.txt", deconvolved="d.mrc", corrected="c.mrc", extra={"myColumn": "x y"}),
        row(4, tomogram="full/b.mrc", tilt_max_deg=51.0, extra={"myColumn": "z"}),
    ]  # fmt: skip
    write_star(Path("tomograms.star"), rows)
    written = resize(Resize(apix=20.0))
    assert [result.shape for result in written] == [(10, 16, 20)] * 4
    found = read_star(Path("tomograms_resized.star"))
    names = {"tomogram": "resized/full/a.mrc", "half1": "resized/even/a.mrc", "half2": "resized/odd/a.mrc"}
    gone = dict.fromkeys(("mask", "coordinates", "deconvolved", "corrected"))
    assert found[0] == replace(rows[0], pixel_size_angstrom=20.0, **names, **gone)
    assert found[1] == replace(rows[1], pixel_size_angstrom=20.0, tomogram="resized/full/b.mrc")
    assert read_star(Path("tomograms.star")) == rows
    assert len(said) == 1 + 4  # what is left out, and 30 → 16 for each map
    assert "rlnMaskName, rlnBoxFile" in said[-1]
    resize(Resize(apix=20.0, tomo_idx="4", output_star="one.star", output_dir="o"))
    assert [r.tomogram for r in read_star(Path("one.star"))] == ["o/b.mrc"]


def test_maps_of_the_users_and_maps_that_are_read_are_not_overwritten() -> None:
    resized(wave((8, 8, 8), (1, 0, 0)), 20.0)
    resize(Resize(maps="a.mrc", apix=20.0))  # its own output may be made again
    with pytest.raises(UserError, match=r"a\.mrc: is there already"):
        resize(Resize(maps="a.mrc", apix=20.0, output_dir="."))
    with mrcfile.new("resized/b.mrc", np.ones((8, 8, 8), np.int8)):
        pass
    write_mrc(Path("b.mrc"), wave((8, 8, 8), (1, 0, 0)), pixel_size_angstrom=10.0)
    with pytest.raises(UserError, match=r"resized/b\.mrc: is there already"):
        resize(Resize(maps="b.mrc", apix=20.0))


def test_a_map_without_a_pixel_size_needs_it_said() -> None:
    with mrcfile.new("a.mrc", wave((8, 8, 8), (1, 0, 0))):
        pass
    with pytest.raises(UserError, match=r"a\.mrc: its header has no pixel size"):
        resize(Resize(maps="a.mrc", apix=20.0))
    (result,) = resize(Resize(maps="a.mrc", apix=20.0, old_pixel_size=10.0))
    assert (result.shape, result.voxel_angstrom) == ((4, 4, 4), (20.0, 20.0, 20.0))

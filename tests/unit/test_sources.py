"""The tomograms of a list as training reads them: which files, how many cubes, which rows; and flipped phases."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from samples import source_of

from isonet2.data.cache import CacheSettings, CubeCache
from isonet2.data.extraction import extract
from isonet2.data.sources import any_maps, centres_in, deconvolved_map, halved, halves, map_in, one_map, sources_of
from isonet2.errors import UserError
from isonet2.io.mrc import write_mrc
from isonet2.io.star import TomogramRow
from isonet2.parallel.world import World
from isonet2.physics.ctf import wavelength_angstrom

SHAPE = (6, 9, 8)
ROW = TomogramRow(
    index=1, tomogram="full.mrc", half1="even.mrc", half2="odd.mrc", pixel_size_angstrom=13.5, tilt_min_deg=-51.0,
    tilt_max_deg=57.0, number_subtomos=25, defocus_angstrom=3e4, voltage_kv=200.0, cs_mm=2.1, amplitude_contrast=0.07,
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("full", "even", "odd", "mask", "deconv"):
        write_mrc(tmp_path / f"{name}.mrc", np.zeros(SHAPE, np.float32), pixel_size_angstrom=10)
    write_mrc(tmp_path / "wide.mrc", np.zeros((6, 9, 10), np.float32), pixel_size_angstrom=10)
    return tmp_path


def source(folder: Path, choice: Any = any_maps, **changes: Any) -> Any:
    return sources_of([replace(ROW, **changes)], folder.joinpath, choice)[0]


def test_a_source_is_what_its_row_says(folder: Path) -> None:
    found = source(folder, mask="mask.mrc")
    assert found.name == "full"
    assert found.files == tuple(folder / f"{name}.mrc" for name in ("even", "odd", "mask"))
    assert (found.shape, found.number, found.rows, found.tilts_deg) == (SHAPE, 25, (0, 9), ((-51.0, 57.0),))
    assert tuple(vars(found.optics).values()) == (13.5, 3e4, 200.0, 2.1, 0.07)
    with found.opened() as maps:
        assert [volume.path.name for volume in maps] == ["even.mrc", "odd.mrc"]


@pytest.mark.parametrize(
    ("choice", "changes", "maps"),
    [
        (halves, {}, ["even", "odd"]),
        (one_map, {}, ["full"]),
        (any_maps, {"half1": None, "half2": None}, ["full"]),
        (deconvolved_map, {"deconvolved": "deconv.mrc"}, ["deconv"]),
        (deconvolved_map, {}, ["full"]),
        (map_in("rlnTomoReconstructedTomogramHalf2"), {}, ["odd"]),
    ],
)
def test_maps_are_those_of_the_choice(folder: Path, choice: Any, changes: dict[str, Any], maps: list[str]) -> None:
    assert [path.stem for path in source(folder, choice, **changes).maps] == maps


def test_a_list_of_tilts_with_a_gap_is_several_intervals(folder: Path) -> None:
    (folder / "a.tlt").write_text("\n".join(str(tilt) for tilt in range(-60, 61, 3) if tilt != 12))
    assert source(folder, tilt_file="a.tlt").tilts_deg == ((-60.0, 10.5), (13.5, 60.0))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"half2": "wide.mrc"}, r"wide\.mrc: 6×9×10 voxels \(z, y, x\), but even\.mrc has 6×9×8: they must be alike"),
        ({"mask": "wide.mrc"}, r"wide\.mrc: 6×9×10 voxels \(z, y, x\), but even\.mrc has 6×9×8: they must be alike"),
        ({"half1": "absent.mrc"}, r"absent\.mrc: no such file"),
        ({"mask": "absent.mrc"}, r"absent\.mrc: no such file"),
        ({"coordinates": "absent.txt"}, r"absent\.txt: no such file"),
        ({"tilt_file": "absent.tlt"}, r"absent\.tlt: no such file"),
    ],
)
def test_files_that_are_missing_or_do_not_fit_are_named(folder: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        source(folder, **changes)
    assert "\n" not in str(caught.value)


POINTS = "3 2 1\n3 4 1\n3 5 2\n7 8 5\n3 3.6 1\n3 50 1\n"  # x y z; one of them outside


def test_points_in_the_rows_are_counted_and_rounded_once(folder: Path) -> None:
    (folder / "p.txt").write_text(POINTS)
    path = folder / "p.txt"
    assert centres_in(path, "t", SHAPE, (0, 9)).tolist() == [[1, 2, 3], [1, 4, 3], [2, 5, 3], [5, 8, 7], [1, 4, 3]]
    top, bottom = centres_in(path, "t", SHAPE, (0, 4)), centres_in(path, "t", SHAPE, (4, 9))
    assert top.tolist() == [[1, 2, 3]]
    assert sorted([*top.tolist(), *bottom.tolist()]) == sorted(centres_in(path, "t", SHAPE, (0, 9)).tolist())
    with pytest.raises(UserError, match=r"p\.txt: none of its 6 points lies in 6×9×8 voxels \(z, y, x\), rows 6 to 7"):
        centres_in(path, "t", SHAPE, (6, 8))


def test_halves_of_a_specimen_share_its_rows_and_its_cubes(folder: Path) -> None:
    whole = source(folder)
    top, bottom = (halved(whole, part) for part in ("top", "bottom"))
    assert (top.rows, bottom.rows) == ((0, 4), (4, 9))
    assert (top.number, bottom.number) == (12, 12)
    assert halved(replace(whole, number=1), "top").number == 1
    assert replace(top, rows=whole.rows, number=25) == whole


def test_points_of_a_specimen_fall_to_one_of_its_halves(folder: Path) -> None:
    (folder / "p.txt").write_text(POINTS)
    whole = source(folder, coordinates="p.txt")
    assert (whole.number, halved(whole, "top").number, halved(whole, "bottom").number) == (5, 1, 4)
    (folder / "p.txt").write_text("3 2 1\n")
    with pytest.raises(UserError, match=r"none of its 1 points lies in .* rows 4 to 8"):
        halved(source(folder, coordinates="p.txt"), "bottom")


@pytest.mark.parametrize(("pixel_size", "tolerance"), [(15.0, 0.03), (10.0, 0.06)])
def test_phases_flipped_cube_by_cube_are_those_of_the_whole_tomogram(
    pixel_size: float, tolerance: float, tmp_path: Path
) -> None:
    """As `halo_voxels` says it: white noise as imaged under a CTF, and falling; the flip of the whole by numpy."""
    side, cube = 96, 16
    axes = np.meshgrid(*[np.fft.fftfreq(side, pixel_size)] * 3, indexing="ij")
    k = np.sqrt(sum(axis**2 for axis in axes))
    wavelength = wavelength_angstrom(300.0)
    chi = np.pi * wavelength * 3e4 * k**2 - np.pi / 2 * 2.7e7 * wavelength**3 * k**4
    transfer = 0.1 * np.cos(chi) + np.sqrt(1 - 0.1**2) * np.sin(chi)
    imaged = np.fft.fftn(np.random.default_rng(0).standard_normal([side] * 3)) * transfer / (1 + (60 * k) ** 2)
    volume = np.fft.ifftn(imaged).real.astype(np.float32)
    whole = np.fft.ifftn(imaged * np.sign(transfer)).real
    write_mrc(tmp_path / "t.mrc", volume, pixel_size_angstrom=pixel_size)
    (tmp_path / "p.txt").write_text("48 48 48\n44 50 46\n50 44 52\n")  # away from the edges
    tomogram = source_of(
        (tmp_path / "t.mrc",), (side,) * 3, number=3, coordinates=tmp_path / "p.txt",
        pixel_size_angstrom=pixel_size, defocus_angstrom=3e4,
    )  # fmt: skip
    settings = CacheSettings(cube, 0, "float32", seed=2, phase_flip=True)
    cache = CubeCache(extract([tomogram], settings, tmp_path / "cache", World()).folder)
    with h5py.File(cache.folder / cache.shards[0]["file"]) as file:
        found, std = file["full"][:], file.attrs["std"]
        boxes = [tuple(slice(first, first + cube) for first in corner) for corner in file["corner"]]
    slab = volume[16:80].astype(np.float64)  # the 64 planes in the middle
    assert std == pytest.approx(slab.std())
    expected = np.array([-(whole[box] - slab.mean()) / std for box in boxes])
    assert np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2)) < tolerance
    unflipped = np.array([-(volume[box] - slab.mean()) / std for box in boxes])
    assert np.sqrt(np.mean((unflipped - expected) ** 2) / np.mean(expected**2)) > 4 * tolerance

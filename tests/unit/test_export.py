"""OME-Zarr: the numbers are those of the map, and the metadata what OME-NGFF 0.4 wants, read as plain JSON."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from common import absent

from isonet2.cli import main
from isonet2.errors import UserError
from isonet2.io import ome_zarr
from isonet2.io.mrc import open_volume, write_mrc
from isonet2.io.star import TomogramRow, write_star
from isonet2.job.tools import Export
from isonet2.stages.export import export

RNG = np.random.default_rng(0)


@pytest.fixture
def zarr() -> Any:
    if find_spec("zarr") is None:
        absent("zarr is not installed: pip install 'isonet2[zarr]'")
    import zarr

    return zarr


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ome_zarr, "CHUNK", 8)
    monkeypatch.setattr(ome_zarr, "_SMALLEST", 8)


def map_at(path: Path, shape: tuple[int, int, int], pixel_size_angstrom: float = 10.0) -> np.ndarray:
    volume = RNG.standard_normal(shape).astype(np.float32)
    write_mrc(path, volume, pixel_size_angstrom=pixel_size_angstrom)
    return volume


def level_of(zarr: Any, path: Path, level: int) -> np.ndarray:
    return np.asarray(zarr.open_array(path / str(level), mode="r", zarr_format=2)[:])


@pytest.mark.usefixtures("small_chunks")
def test_each_level_is_the_mean_of_eight_voxels_of_the_one_before(zarr: Any, tmp_path: Path) -> None:
    """By an own slow mean over a map whose sides are odd and no multiples of a chunk."""
    volume = map_at(tmp_path / "t.mrc", (21, 38, 35))
    (made,) = export(Export(maps=str(tmp_path / "t.mrc"), output_dir=str(tmp_path / "z")))
    assert made.shapes == [(21, 38, 35), (10, 19, 17), (5, 9, 8), (2, 4, 4)]
    np.testing.assert_array_equal(level_of(zarr, made.path, 0), volume)
    before = volume
    for level, (z, y, x) in enumerate(made.shapes[1:], start=1):
        mean = sum(before[i : 2 * z : 2, j : 2 * y : 2, k : 2 * x : 2].astype(np.float64)
                   for i in (0, 1) for j in (0, 1) for k in (0, 1)) / 8  # fmt: skip
        before = level_of(zarr, made.path, level)
        np.testing.assert_allclose(before, mean, atol=1e-6)


@pytest.mark.usefixtures("small_chunks")
def test_a_place_has_the_same_coordinates_in_all_levels(zarr: Any, tmp_path: Path) -> None:
    """A map of each voxel's own x in Å: by scale and translation every level says where its voxels lie."""
    x_angstrom = np.broadcast_to(7.5 * np.arange(32, dtype=np.float32), (16, 16, 32))
    write_mrc(tmp_path / "t.mrc", x_angstrom, pixel_size_angstrom=7.5)
    (made,) = export(Export(maps=str(tmp_path / "t.mrc"), output_dir=str(tmp_path / "z")))
    attributes = json.loads((made.path / ".zattrs").read_text())
    (multiscale,) = attributes["multiscales"]
    assert len(multiscale["datasets"]) == 3
    for level, dataset in enumerate(multiscale["datasets"]):
        scale, translation = dataset["coordinateTransformations"]
        values = level_of(zarr, made.path, level)[0, 0]
        places = scale["scale"][2] * np.arange(values.size) + translation["translation"][2]
        np.testing.assert_allclose(values, places, rtol=1e-6)


def test_the_metadata_are_what_the_format_wants(zarr: Any, tmp_path: Path) -> None:
    """OME-NGFF 0.4: https://ngff.openmicroscopy.org/0.4, read as plain JSON."""
    map_at(tmp_path / "corrected_t1.mrc", (70, 40, 36), 10.52)
    (made,) = export(Export(maps=str(tmp_path / "corrected_t1.mrc"), output_dir=str(tmp_path / "z")))
    assert json.loads((made.path / ".zgroup").read_text()) == {"zarr_format": 2}
    (multiscale,) = json.loads((made.path / ".zattrs").read_text())["multiscales"]
    assert (multiscale["version"], multiscale["name"], multiscale["type"]) == ("0.4", "corrected_t1", "mean")
    assert multiscale["axes"] == [{"name": axis, "type": "space", "unit": "angstrom"} for axis in "zyx"]
    assert multiscale["datasets"] == [
        {
            "path": str(level),
            "coordinateTransformations": [
                {"type": "scale", "scale": [pytest.approx(scale)] * 3},
                {"type": "translation", "translation": [pytest.approx(shift)] * 3},
            ],
        }
        for level, (scale, shift) in enumerate([(10.52, 0.0), (21.04, 5.26)])
    ]
    for level, shape in enumerate([[70, 40, 36], [35, 20, 18]]):
        array = json.loads((made.path / str(level) / ".zarray").read_text())
        assert (array["zarr_format"], array["dtype"], array["shape"]) == (2, "<f4", shape)
        assert (array["dimension_separator"], array["order"]) == ("/", "C")
        assert (made.path / str(level) / "0/0/0").is_file()


def row(index: int, **files: str) -> TomogramRow:
    return TomogramRow(
        index=index, pixel_size_angstrom=12.0, tilt_min_deg=-60, tilt_max_deg=60, number_subtomos=1, **files
    )


def listed(folder: Path) -> str:
    for name in ("a", "corrected_a", "b", "denoised_b"):
        map_at(folder / f"{name}.mrc", (4, 6, 8), 0.0)
    write_star(
        folder / "t.star",
        [
            row(1, tomogram=f"{folder}/a.mrc", corrected=f"{folder}/corrected_a.mrc"),
            row(2, tomogram=f"{folder}/b.mrc", denoised=f"{folder}/denoised_b.mrc"),
        ],
    )
    return str(folder / "t.star")


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, ["corrected_a", "denoised_b"]),
        ({"input_column": "rlnTomoName"}, ["a", "b"]),
        ({"tomo_idx": "2"}, ["denoised_b"]),
    ],
)
def test_of_a_list_the_newest_map_of_each_is_written_with_the_pixel_size_of_the_list(
    options: dict[str, str], names: list[str], zarr: Any, tmp_path: Path
) -> None:
    made = list(export(Export(maps=listed(tmp_path), output_dir=str(tmp_path / "z"), **options)))
    assert [one.path.name for one in made] == [f"{name}.zarr" for name in names]
    assert {one.voxel_angstrom for one in made} == {(12.0, 12.0, 12.0)}
    assert sorted(path.name for path in (tmp_path / "z").iterdir()) == [f"{name}.zarr" for name in names]


def test_our_own_is_written_anew_and_what_others_left_is_not(zarr: Any, tmp_path: Path) -> None:
    section = Export(maps=str(tmp_path / "t.mrc"), output_dir=str(tmp_path / "z"))
    for shape in ((4, 6, 8), (2, 4, 6)):
        volume = map_at(tmp_path / "t.mrc", shape)
        (made,) = export(section)
        np.testing.assert_array_equal(level_of(zarr, made.path, 0), volume)
    (made.path / ".zattrs").write_text('{"multiscales": [{"version": "0.4"}]}')
    with pytest.raises(UserError, match=r"t\.zarr: is there already"):
        list(export(section))


def test_an_export_that_fails_leaves_what_was_there(zarr: Any, tmp_path: Path) -> None:
    section = Export(maps=str(tmp_path / "t.mrc"), output_dir=str(tmp_path / "z"))
    volume = map_at(tmp_path / "t.mrc", (4, 6, 8))
    (made,) = export(section)
    raw = bytearray((tmp_path / "t.mrc").read_bytes())
    raw[-4:] = np.array(np.nan, "<f4").tobytes()
    (tmp_path / "t.mrc").write_bytes(raw)
    with pytest.raises(UserError, match="1 of 192 voxels are NaN"):
        list(export(section))
    np.testing.assert_array_equal(level_of(zarr, made.path, 0), volume)
    assert [path.name for path in (tmp_path / "z").iterdir()] == ["t.zarr"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"maps": "gone.mrc"}, "gone.mrc: no such file"),
        ({"maps": "{0}/a.mrc"}, "a.mrc: its header has no pixel size: give it as --pixel_size"),
        ({"maps": "{0}/t.star", "input_column": "rlnDenoisedTomoName"}, "t.star: a has no map in rlnDenoisedTomoName"),
    ],
)
def test_a_mistake_is_said_before_anything_is_written(
    changes: dict[str, str], words: str, zarr: Any, tmp_path: Path
) -> None:
    listed(tmp_path)
    given = {name: value.format(tmp_path) for name, value in changes.items()}
    with pytest.raises(UserError, match=re.escape(words)):
        list(export(Export(output_dir=str(tmp_path / "z"), **given)))
    assert not (tmp_path / "z").exists()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("export a.mrc --input_column rlnTomoName", "input_column has no effect: a single map is exported"),
        ("export a.mrc --tomo_idx 1", "tomo_idx has no effect: a single map is exported"),
        ("export t.star --apix 5", "pixel_size has no effect: the list says it of each tomogram"),
        ("export a.mrc --pixel_size 0", "--pixel_size: got '0', needs a number > 0"),
        ("export a.mrc b.mrc", "unexpected argument 'b.mrc'"),
    ],
)
def test_a_wrong_command_is_one_line_and_exit_64(line: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 64
    out, said = capsys.readouterr()
    assert (out, said.count("\n")) == ("", 1)
    assert said.startswith(f"isonet2: {words}")


def test_without_the_package_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "zarr", None)
    with pytest.raises(UserError, match=r"the package zarr is not installed: pip install 'isonet2\[zarr\]'"):
        list(export(Export(maps=str(tmp_path / "t.mrc"))))


def test_a_large_map_is_read_and_written_in_boxes(zarr: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No box of the map holds more than two chunks along z and y."""
    monkeypatch.setattr(ome_zarr, "CHUNK", 4)
    monkeypatch.setattr(ome_zarr, "_SMALLEST", 4)
    map_at(tmp_path / "t.mrc", (16, 20, 12))
    asked: list[tuple[int, ...]] = []
    with open_volume(tmp_path / "t.mrc") as volume:
        read = type(volume).__getitem__
        monkeypatch.setattr(
            type(volume), "__getitem__", lambda v, box: asked.append((piece := read(v, box)).shape) or piece
        )
        ome_zarr.write_ome_zarr(tmp_path / "t.zarr", volume, voxel_angstrom=(10.0, 10.0, 10.0))
    assert max(np.prod(shape) for shape in asked) == 4 * 4 * 12
    assert sum(np.prod(shape) for shape in asked) == 16 * 20 * 12

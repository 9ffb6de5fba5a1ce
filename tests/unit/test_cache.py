"""The cache: the cubes that were asked for, the same bytes always, and damage that is found."""

from __future__ import annotations

import json
import pickle
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from samples import source_of

from isonet2 import log
from isonet2.data import cache as cache_module
from isonet2.data.cache import CacheSettings, CubeCache, cache_key, plan_shards
from isonet2.data.extraction import extract
from isonet2.data.sources import Source
from isonet2.errors import UserError
from isonet2.io.mrc import write_mrc
from isonet2.parallel.world import World

SETTINGS = CacheSettings(cube_size=16, margin=2, dtype="float16", seed=3)
SHAPE = (24, 40, 36)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    rng = np.random.default_rng(0)
    for name in ("even", "odd"):
        write_mrc(tmp_path / f"{name}.mrc", rng.normal(7, 3, SHAPE).astype(np.float32), pixel_size_angstrom=10)
    mask = np.zeros(SHAPE, np.int8)
    mask[8:16, 10:30, 10:26] = 1
    write_mrc(tmp_path / "mask.mrc", mask, pixel_size_angstrom=10)
    halves = (tmp_path / "even.mrc", tmp_path / "odd.mrc")
    return source_of(halves, SHAPE, number=12, mask=tmp_path / "mask.mrc", tilts_deg=((-51.0, 60.0),))


def test_cubes_are_the_inverted_standardised_pieces_at_their_corners(source: Source, tmp_path: Path) -> None:
    made = extract([source], SETTINGS, tmp_path / "cache", World())
    with source.opened() as halves:
        volumes = [half[0:24] for half in halves]
    mean = np.mean([v.mean() for v in volumes])
    std = np.sqrt(np.mean([v.var() for v in volumes]))
    cache = CubeCache(made.folder)
    with h5py.File(made.folder / "0000_000.h5") as file:
        corners = file["corner"][:]
    assert len(cache) == len(corners) == 12
    for n, (z, y, x) in enumerate(corners):
        (a, b, mask), shard = cache.read(n, with_mask=True)
        for found, volume in ((a, volumes[0]), (b, volumes[1])):
            assert np.allclose(found, (mean - volume[z : z + 20, y : y + 20, x : x + 20]) / std, rtol=1e-3, atol=2e-3)
        assert shard["tilts_deg"] == [[-51.0, 60.0]]
        assert mask[10, 10, 10] == 1  # centred where the specimen is


def test_the_same_content_gives_the_same_key_and_bytes_and_another_one_does_not(source: Source, tmp_path: Path) -> None:
    first = extract([source], SETTINGS, tmp_path / "one", World())
    second = extract([source], SETTINGS, tmp_path / "two", World())
    assert first.folder.name == second.folder.name
    for file in first.folder.iterdir():
        assert file.read_bytes() == (second.folder / file.name).read_bytes()
    keys = {cache_key([source], SETTINGS, verify=False)}
    for changed in ({"cube_size": 24}, {"margin": 0}, {"dtype": "float32"}, {"seed": 4}, {"generation": 1}):
        keys.add(cache_key([source], replace(SETTINGS, **changed), verify=False))
    keys.add(cache_key([replace(source, number=13)], SETTINGS, verify=False))
    keys.add(cache_key([replace(source, tilts_deg=((-60.0, 60.0),))], SETTINGS, verify=False))
    keys.add(cache_key([replace(source, mask=None)], SETTINGS, verify=False))
    write_mrc(source.maps[0], np.ones(SHAPE, np.float32), pixel_size_angstrom=10)
    keys.add(cache_key([source], SETTINGS, verify=False))
    assert len(keys) == 10


def test_another_generation_has_other_positions(source: Source, tmp_path: Path) -> None:
    corners = []
    for generation in (0, 1):
        made = extract([source], replace(SETTINGS, generation=generation), tmp_path, World())
        with h5py.File(made.folder / "0000_000.h5") as file:
            corners.append(file["corner"][:].tolist())
    assert corners[0] != corners[1]


def test_a_cache_that_is_there_is_not_made_again(source: Source, tmp_path: Path) -> None:
    made = extract([source], SETTINGS, tmp_path, World())
    times = {file: file.stat().st_mtime_ns for file in made.folder.iterdir()}
    again = extract([source], SETTINGS, tmp_path, World())
    assert again.seconds == 0
    assert times == {file: file.stat().st_mtime_ns for file in made.folder.iterdir()}


def test_a_large_tomogram_is_split_and_its_cubes_stay_the_same(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = CubeCache(extract([source], SETTINGS, tmp_path / "whole", World()).folder)
    monkeypatch.setattr(cache_module, "SHARD_BYTES", 5 * 20**3 * 5)
    assert [shard.count for shard in plan_shards([source], SETTINGS)] == [4, 4, 4]
    parts = CubeCache(extract([source], SETTINGS, tmp_path / "parts", World()).folder)
    for n in range(12):
        for a, b in zip(whole.read(n, with_mask=True)[0], parts.read(n, with_mask=True)[0], strict=True):
            assert (a == b).all()


def test_a_flipped_byte_is_found_when_the_cube_is_read(source: Source, tmp_path: Path) -> None:
    made = extract([source], SETTINGS, tmp_path, World())
    shard = made.folder / "0000_000.h5"
    with h5py.File(shard) as file:
        place = file["half1"].id.get_chunk_info(5).byte_offset
    content = bytearray(shard.read_bytes())
    content[place + 100] ^= 1
    shard.write_bytes(content)
    cache = CubeCache(made.folder)
    cache.read(4, with_mask=False)
    with pytest.raises(UserError, match="damaged"):
        cache.read(5, with_mask=False)


def test_a_truncated_shard_is_made_again(source: Source, tmp_path: Path) -> None:
    made = extract([source], SETTINGS, tmp_path, World())
    shard = made.folder / "0000_000.h5"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="not the shard"):
        CubeCache(made.folder)
    assert extract([source], SETTINGS, tmp_path, World()).seconds > 0
    assert shard.read_bytes() == whole


def test_files_of_another_node_are_waited_for(source: Source, tmp_path: Path) -> None:
    made = extract([source], SETTINGS, tmp_path, World())
    for name in ("index.json", "0000_000.h5"):
        (made.folder / name).rename(tmp_path / "on its way")
        later = threading.Timer(0.3, (tmp_path / "on its way").rename, [made.folder / name])
        later.start()
        assert len(CubeCache(made.folder)) == 12
        later.join()


def test_an_index_with_another_byte_is_made_again_and_shards_are_kept(source: Source, tmp_path: Path) -> None:
    made = extract([source], SETTINGS, tmp_path, World())
    index, time = made.folder / "index.json", (made.folder / "0000_000.h5").stat().st_mtime_ns
    whole = index.read_text()
    index.write_text(whole.replace('"count": 12', '"count": 13'))
    with pytest.raises(UserError, match=r"index\.json: damaged"):
        CubeCache(made.folder)
    extract([source], SETTINGS, tmp_path, World())
    assert index.read_text() == whole
    assert (made.folder / "0000_000.h5").stat().st_mtime_ns == time


def test_the_index_says_what_is_there(source: Source, tmp_path: Path) -> None:
    made = extract([source], SETTINGS, tmp_path, World())
    index = json.loads((made.folder / "index.json").read_text())
    assert index["cube_size"] == 16
    assert [shard["count"] for shard in index["shards"]] == [12]
    assert index["shards"][0]["bytes"] == (made.folder / "0000_000.h5").stat().st_size
    assert made.cubes == 12


def test_a_cache_travels_to_loader_processes(source: Source, tmp_path: Path) -> None:
    cache = CubeCache(extract([source], SETTINGS, tmp_path, World()).folder)
    here = cache.read(3, with_mask=False)[0]
    there = pickle.loads(pickle.dumps(cache)).read(3, with_mask=False)[0]
    assert all((a == b).all() for a, b in zip(here, there, strict=True))


@pytest.mark.parametrize("highest", [255, 1, 0.4])
def test_a_soft_mask_keeps_its_shades_whatever_one_is_in_it(
    highest: float, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And that it was divided is said once, however many shards it goes to."""
    said: list[str] = []
    monkeypatch.setattr(log, "warn", said.append)
    monkeypatch.setattr(cache_module, "SHARD_BYTES", 5 * 20**3 * 5)
    assert source.mask is not None
    shades = np.linspace(0, highest, SHAPE[2]).astype(np.float32)
    write_mrc(source.mask, np.broadcast_to(shades, SHAPE).copy(), pixel_size_angstrom=10)
    made = extract([source], SETTINGS, tmp_path, World())
    assert len(made.shards) == 3
    for shard in made.shards:
        with h5py.File(made.folder / shard["file"]) as file:
            for kept, (_, _, x) in zip(file["mask"][:], file["corner"][:], strict=True):
                expected = np.rint(255 * shades[x : x + 20].astype(np.float64) / max(1, highest))
                np.testing.assert_array_equal(kept[5, 5], expected)
    assert said == ([f"{source.mask}: a mask up to 255: taken as 0 to 1 by dividing by that"] if highest > 1 else [])


def test_128_of_255_weighs_a_half(source: Source, tmp_path: Path) -> None:
    assert source.mask is not None
    write_mrc(source.mask, np.where(np.indices(SHAPE)[2] < 18, 128, 255).astype(np.float32), pixel_size_angstrom=10)
    cache = CubeCache(extract([source], SETTINGS, tmp_path, World()).folder)
    masks = np.array([cache.read(n, with_mask=True)[0][-1] for n in range(12)])
    assert np.unique(masks).tolist() == [np.float32(128 / 255), 1]


def test_a_negative_mask_is_refused_by_name_before_any_cube_is_cut(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Source, "opened", lambda _: pytest.fail("a map was read"))
    assert source.mask is not None
    for inside in (1, -1):  # somewhere, and wherever it is not zero
        mask = np.where(np.indices(SHAPE)[2] > 3, inside, -1).astype(np.int8)
        write_mrc(source.mask, mask, pixel_size_angstrom=10)
        with pytest.raises(UserError, match=r"mask\.mrc: a mask that is negative somewhere \(-1\)"):
            extract([source], SETTINGS, tmp_path, World())


def test_an_empty_mask_is_refused_by_name(source: Source, tmp_path: Path) -> None:
    assert source.mask is not None
    write_mrc(source.mask, np.zeros(SHAPE, np.int8), pixel_size_angstrom=10)
    with pytest.raises(UserError, match=r"mask\.mrc: the mask is empty"):
        extract([source], SETTINGS, tmp_path, World())
    assert not list(tmp_path.glob("*/index.json"))


def test_coordinates_say_where_cubes_are_cut(source: Source, tmp_path: Path) -> None:
    (tmp_path / "points.txt").write_text("18 20 12\n30 30 14\n")
    placed = replace(source, mask=None, coordinates=tmp_path / "points.txt", number=2)
    made = extract([placed], SETTINGS, tmp_path, World())
    with h5py.File(made.folder / "0000_000.h5") as file:
        assert file["corner"][:].tolist() == [[2, 10, 8], [4, 20, 16]]  # pushed inside along z and x


def test_values_beyond_float16_are_clipped_not_infinite(source: Source, tmp_path: Path) -> None:
    volume = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)
    volume[:2] = 1e7
    for half in source.maps:
        write_mrc(half, volume, pixel_size_angstrom=10)
    made = extract([replace(source, mask=None)], SETTINGS, tmp_path, World())
    cubes = [CubeCache(made.folder).read(n, with_mask=False)[0][0] for n in range(12)]
    assert np.isfinite(cubes).all()


def test_a_full_disk_is_foreseen_also_for_float32(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """12 cubes of 20³: two halves of 4 bytes and a mask of 1 are 864 kB."""
    free = {"now": 863_000}
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free["now"]))
    with pytest.raises(UserError, match=r"needs 1 MB and 1 MB are free: set extract\.cache_dir"):
        extract([source], replace(SETTINGS, dtype="float32"), tmp_path, World())
    free["now"] = 865_000
    extract([source], replace(SETTINGS, dtype="float32"), tmp_path, World())

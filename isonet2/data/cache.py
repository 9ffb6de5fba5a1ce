"""A cache of cubes in HDF5, named by its content: the same files for any number of ranks.

<cache_dir>/<key>/0000_000.h5   one shard: some cubes of one tomogram
    half1, half2  (n, p, p, p)  float16, one cube a chunk, with a checksum; p = cube_size + 2 × margin;
                              full instead, for a tomogram without halves
    mask          (n, p, p, p)  uint8, 0…255, if the tomogram has a mask
    corner        (n, 3)        first voxel (z, y, x) of each cube in the tomogram
    attributes    name, mean, std, complete (written last)
<cache_dir>/<key>/index.json    the shards, their counts and checksums; there only when all shards are
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from isonet2 import log
from isonet2.data.filtered import phase_flip_of
from isonet2.data.positions import corners_of, draw_corners
from isonet2.data.sources import Source, centres_in, normalisation_of, one_in
from isonet2.data.window import Readable, Strip, read_window
from isonet2.errors import UserError
from isonet2.io.atomic import appeared, replacing
from isonet2.io.fingerprint import fingerprint
from isonet2.io.mrc import open_volume
from isonet2.io.sealed import read_sealed, write_sealed

FORMAT = 4
_NAMES = {1: ("full",), 2: ("half1", "half2")}
SHARD_BYTES = 256 * 2**20
_LARGEST = {"float16": float(np.finfo(np.float16).max), "float32": np.inf}


@dataclass(frozen=True)
class CacheSettings:
    """What decides the content of a cache, apart from the tomograms."""

    cube_size: int
    margin: int
    dtype: str
    seed: int
    generation: int = 0
    phase_flip: bool = False
    """Whether phases are flipped on the way into the cache."""

    @property
    def side(self) -> int:
        """Voxels along a stored cube, its margin included."""
        return self.cube_size + 2 * self.margin

    @property
    def cube_bytes(self) -> int:
        """Two halves and a mask."""
        return self.side**3 * (2 * np.dtype(self.dtype).itemsize + 1)


@dataclass(frozen=True)
class Shard:
    """Some consecutive cubes of one tomogram."""

    source: Source
    tomogram: int
    part: int
    first: int
    count: int

    @property
    def file(self) -> str:
        return f"{self.tomogram:04d}_{self.part:03d}.h5"


def cache_key(sources: list[Source], settings: CacheSettings, *, verify: bool) -> str:
    """16 hexadecimal digits of everything that the cubes depend on; `verify` hashes every byte of the inputs."""
    tomograms = [
        {
            "files": [fingerprint(path, whole=verify) for path in source.files],
            "masked": source.mask is not None,
            "placed": source.coordinates is not None,
            "number": source.number,
            "rows": source.rows,
            "tilts": source.tilts_deg,
            "optics": astuple(source.optics),
        }
        for source in sources
    ]
    return _digest({"format": FORMAT, "settings": asdict(settings), "tomograms": tomograms})


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def plan_shards(sources: list[Source], settings: CacheSettings) -> list[Shard]:
    """The shards of all tomograms: none above SHARD_BYTES, so that one large tomogram is shared out too."""
    most = max(1, SHARD_BYTES // settings.cube_bytes)
    shards = []
    for tomogram, source in enumerate(sources):
        parts = -(-source.number // most)
        bounds = [source.number * part // parts for part in range(parts + 1)]
        for part, (first, last) in enumerate(itertools.pairwise(bounds)):
            shards.append(Shard(source, tomogram, part, first, last - first))
    return shards


def write_shard(shard: Shard, settings: CacheSettings, folder: Path) -> dict[str, Any]:
    """Cut the cubes of one shard; its line in the index. A shard that is there, complete and unharmed, is kept.

    Memory: three stored cubes and a few planes of the tomogram.
    """
    path = folder / shard.file
    if not _is_complete(path, shard, settings):
        with replacing(path) as part, h5py.File(part, "w", libver="latest", locking=False) as file:
            _fill(file, shard, settings)
    return {
        "file": shard.file,
        "count": shard.count,
        "bytes": path.stat().st_size,
        "sha256": _sha256(path),
        "name": shard.source.name,
        "tilts_deg": shard.source.tilts_deg,
        "optics": asdict(shard.source.optics),
        "maps": len(shard.source.maps),
        "mask": shard.source.mask is not None,
    }


def _fill(file: h5py.File, shard: Shard, settings: CacheSettings) -> None:
    one = one_in(shard.source.mask, warned=shard.first > 0) if shard.source.mask is not None else 1.0
    corners = _corners(shard, settings)
    with shard.source.opened() as maps:
        normalisation = normalisation_of(maps)
        flip = phase_flip_of(shard.source.optics) if settings.phase_flip else None
        for name, volume in zip(_NAMES[len(maps)], maps, strict=True):
            cubes = _dataset(file, name, shard.count, settings.side, settings.dtype)
            for n, corner in enumerate(corners):
                cube = normalisation.to_network(read_window(flip(volume) if flip else volume, corner, settings.side))
                cubes[n] = np.clip(cube, -_LARGEST[settings.dtype], _LARGEST[settings.dtype])
    if shard.source.mask is not None:
        with open_volume(shard.source.mask) as mask:
            cubes = _dataset(file, "mask", shard.count, settings.side, "uint8")
            for n, corner in enumerate(corners):
                cubes[n] = np.rint(255 * read_window(mask, corner, settings.side) / one)
    file.create_dataset("corner", data=np.array(corners, np.int32), fletcher32=True, track_times=False)
    file.attrs["name"] = shard.source.name
    file.attrs["mean"], file.attrs["std"] = normalisation.mean, normalisation.std
    file.attrs["complete"] = True


def _dataset(file: h5py.File, name: str, count: int, side: int, dtype: str) -> h5py.Dataset:
    return file.create_dataset(
        name,
        (count, side, side, side),
        dtype,
        chunks=(1, side, side, side),
        fletcher32=True,
        track_times=False,  # the same bytes whenever it is made
    )


def _corners(shard: Shard, settings: CacheSettings) -> list[tuple[int, int, int]]:
    """First voxels of this shard's cubes: every shard of a tomogram draws all of them and takes its part."""
    source = shard.source
    first, last = source.rows
    shape = (source.shape[0], last - first, source.shape[2])
    if source.coordinates is not None:
        centres = centres_in(source.coordinates, source.name, source.shape, source.rows)
        drawn = corners_of(centres - np.array([0, first, 0]), shape, settings.side)
    elif source.mask is not None:
        with open_volume(source.mask) as mask:
            drawn = _draw(shard, settings, Strip(mask, source.rows))
    else:
        drawn = _draw(shard, settings, None)
    return [(int(z), int(y) + first, int(x)) for z, y, x in drawn[shard.first : shard.first + shard.count]]


def _draw(shard: Shard, settings: CacheSettings, mask: Readable | None) -> npt.NDArray[np.int64]:
    source = shard.source
    shape = (source.shape[0], source.rows[1] - source.rows[0], source.shape[2])
    rng = np.random.default_rng([settings.seed, settings.generation, shard.tomogram])
    try:
        return draw_corners(shape, mask, number=source.number, side=settings.side, rng=rng)
    except ValueError as error:
        raise UserError(f"{shard.source.mask}: {error}: no place to cut cubes") from None


def _is_complete(path: Path, shard: Shard, settings: CacheSettings) -> bool:
    if not path.exists():
        return False
    names = [*_NAMES[len(shard.source.maps)], *(["mask"] if shard.source.mask else [])]
    try:
        with h5py.File(path, "r", locking=False) as file:
            whole = all(file[name].shape == (shard.count, *[settings.side] * 3) for name in names)
            for name in (*names, "corner"):  # all have checksums, which are looked at when they are read
                for cube in file[name]:
                    del cube
            if whole and file.attrs.get("complete"):
                return True
    except (OSError, KeyError, RuntimeError):
        pass
    log.warn(f"{path}: damaged; it is made again")
    return False


def is_as_written(path: Path, shard: Mapping[str, Any]) -> bool:
    """Whether the file of this line of the index still holds every byte."""
    return path.exists() and path.stat().st_size == shard["bytes"] and _sha256(path) == shard["sha256"]


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_index(folder: Path, key: str, settings: CacheSettings, shards: list[dict[str, Any]]) -> None:
    """Say that the cache is whole, and what it holds."""
    write_sealed(folder / "index.json", {"format": FORMAT, "key": key, **asdict(settings), "shards": shards})


def read_index(folder: Path) -> dict[str, Any] | None:
    """What a whole cache says of itself; nothing where there is none, or none that is as it was written."""
    return read_sealed(folder / "index.json")


class CubeCache:
    """A whole cache, to read from. Files are opened where they are first read: in each loader process anew.

    Other ranks may just have made it: its files are waited for. UserError if one is not what was written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        appeared(folder / "index.json")
        index = read_index(folder)
        if index is None:
            raise UserError(f"{folder / 'index.json'}: damaged; remove it and it is made again")
        self.cube_size: int = index["cube_size"]
        self.margin: int = index["margin"]
        self.shards: list[dict[str, Any]] = index["shards"]
        self._ends = np.cumsum([shard["count"] for shard in self.shards])
        self._files: dict[int, h5py.File] = {}
        for shard in self.shards:
            path = appeared(folder / shard["file"])
            if path.stat().st_size != shard["bytes"]:
                raise UserError(f"{path}: not the shard that was written; remove {folder} and it is made again")

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}}  # handles do not travel to other processes

    @property
    def content(self) -> str:
        """The same for the same cubes, wherever and from whichever copies of the tomograms they were cut."""
        return _digest([shard["sha256"] for shard in self.shards])

    @property
    def acquisition(self) -> str:
        """The same for the same tilts and optics."""
        return _digest([[shard["tilts_deg"], shard["optics"]] for shard in self.shards])

    def read(self, sample: int, *, with_mask: bool) -> tuple[list[npt.NDArray[np.float32]], dict[str, Any]]:
        """Cube number `sample`: half 1 and half 2, or the one map, and, if asked for, the mask, each float32 (p, p, p);
        and the line of the index about its shard.

        A damaged cube fails its checksum: UserError.
        """
        number = int(np.searchsorted(self._ends, sample, side="right"))
        shard = self.shards[number]
        place = sample - int(self._ends[number]) + shard["count"]
        file = self._opened(number)
        try:
            cubes = [file[name][place].astype(np.float32) for name in _NAMES[shard["maps"]]]
            if with_mask:
                cubes.append(file["mask"][place].astype(np.float32) / 255)
        except OSError as error:
            raise UserError(
                f"{self.folder / shard['file']}: damaged ({error}); remove it and it is made again"
            ) from None
        return cubes, shard

    def _opened(self, number: int) -> h5py.File:
        if number not in self._files:
            path = self.folder / self.shards[number]["file"]
            self._files[number] = h5py.File(path, "r", locking=False, rdcc_nbytes=0)  # a chunk is read once
        return self._files[number]

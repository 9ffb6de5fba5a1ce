"""Volumes as OME-Zarr (OME-NGFF 0.4, https://ngff.openmicroscopy.org/0.4): levels of halved resolution, in chunks.

NGFF 0.4 is Zarr of version 2. The package zarr writes it; it is an extra, and imported only here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isonet2 import __version__
from isonet2.errors import UserError
from isonet2.io.atomic import replacing_folder
from isonet2.io.mrc import Shape, Triple, Volume

CHUNK = 128
"""Side of a chunk in voxels: 8 MB of float32 before compression."""
_SMALLEST = 64
_BY = "isonet2"
Box = tuple[slice, slice, slice]


def require_zarr() -> None:
    """UserError with what to install, if the package zarr, version 3 or newer, is not there."""
    try:
        import zarr
    except ImportError:
        found = "is not installed"
    else:
        if int(zarr.__version__.split(".")[0]) >= 3:
            return
        found = f"is of version {zarr.__version__}"
    raise UserError(f"export: the package zarr {found}: pip install 'isonet2[zarr]' (zarr 3, Python 3.11 or newer)")


def written_here(path: Path) -> bool:
    """Whether `path` is an OME-Zarr of this program."""
    try:
        attributes = json.loads((path / ".zattrs").read_text(encoding="utf-8"))
        return bool(attributes["multiscales"][0]["metadata"]["made_by"] == _BY)
    except (OSError, ValueError, LookupError, TypeError):
        return False


def level_shapes(shape: Shape) -> list[Shape]:
    """Of all levels, the finest first: each has half as many voxels along each axis, an odd last one left out, until
    the longest side has at most 64 voxels or the shortest is one."""
    shapes = [shape]
    while max(shapes[-1]) > _SMALLEST and min(shapes[-1]) > 1:
        z, y, x = (side // 2 for side in shapes[-1])
        shapes.append((z, y, x))
    return shapes


def multiscales(name: str, voxel_angstrom: Triple, levels: int) -> dict[str, Any]:
    """The attributes of the group: axes z, y, x in Å; position = scale × index + translation, of a voxel's middle.

    The first voxel of level 0 is at 0. One of level n is the mean of 2ⁿ along each axis: its middle is half of 2ⁿ − 1
    voxels farther.
    """
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [
                {"type": "scale", "scale": [step * 2**level for step in voxel_angstrom]},
                {"type": "translation", "translation": [step * (2**level - 1) / 2 for step in voxel_angstrom]},
            ],
        }
        for level in range(levels)
    ]
    return {
        "multiscales": [
            {
                "version": "0.4",
                "name": name,
                "axes": [{"name": axis, "type": "space", "unit": "angstrom"} for axis in "zyx"],
                "datasets": datasets,
                "type": "mean",
                "metadata": {"description": "mean of 2×2×2 voxels", "made_by": _BY, "version": __version__},
            }
        ]
    }


def write_ome_zarr(path: Path, volume: Volume, *, voxel_angstrom: Triple) -> list[Shape]:
    """Write a volume (z, y, x) as float32 in all levels; the folder is whole or absent. The shapes of the levels.

    Memory: 128 × 128 × x voxels of level 0, then 256³ of the level before.
    """
    import zarr
    from numcodecs import Blosc

    shapes = level_shapes(volume.shape)
    with replacing_folder(path) as part:
        attributes = multiscales(path.stem, voxel_angstrom, len(shapes))
        zarr.open_group(part, mode="w", zarr_format=2, attributes=attributes)
        before: Any = volume
        for level, shape in enumerate(shapes):
            array = zarr.create_array(
                part / str(level),
                shape=shape,
                chunks=tuple(min(CHUNK, side) for side in shape),
                dtype="float32",
                compressors=Blosc(cname="zstd", clevel=3, shuffle=Blosc.SHUFFLE),
                fill_value=0,
                zarr_format=2,
                chunk_key_encoding={"name": "v2", "separator": "/"},
            )
            for box in _boxes(shape, whole_rows=level == 0):
                array[box] = halved(before[_doubled(box)]) if level else before[box]
            before = array
    return shapes


def halved(block: NDArray[Any]) -> NDArray[np.float32]:
    """(2z, 2y, 2x) → (z, y, x): the mean of 2×2×2 voxels."""
    z, y, x = (side // 2 for side in block.shape)
    means: NDArray[np.float32] = block.reshape(z, 2, y, 2, x, 2).mean(axis=(1, 3, 5), dtype=np.float32)
    return means


def _doubled(box: Box) -> Box:
    z, y, x = (slice(2 * part.start, 2 * part.stop) for part in box)
    return z, y, x


def _boxes(shape: Shape, *, whole_rows: bool) -> Iterator[Box]:
    """Of whole chunks; with `whole_rows` along all of x, as an MRC file is read."""
    steps = (CHUNK, CHUNK, shape[2] if whole_rows else CHUNK)
    starts = (range(0, side, step) for side, step in zip(shape, steps, strict=True))
    for corner in product(*starts):
        z, y, x = (slice(a, min(a + step, side)) for a, step, side in zip(corner, steps, shape, strict=True))
        yield z, y, x

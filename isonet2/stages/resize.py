"""resize: maps with another pixel size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from isonet2.data.window import Array
from isonet2.errors import UserError
from isonet2.io.mrc import (
    MrcHeader,
    Shape,
    Triple,
    Volume,
    open_volume,
    read_header,
    voxel_size,
    writing_mrc,
    written_here,
)
from isonet2.io.star import COLUMNS, TomogramRow, read_star, select_rows, write_star
from isonet2.job.tools import Resize
from isonet2.log import info, warn
from isonet2.physics.resample import even_size, resampled

_MAPS = ("tomogram", "half1", "half2")
_IN_VOXELS = ("mask_boundary", "mask", "coordinates")
_MADE = ("deconvolved", "corrected", "denoised")
_ROWS = 16  # y rows that are resampled along z together
_ANISOTROPIC = 0.01


@dataclass(frozen=True)
class Resized:
    """A map that was written: its shape (z, y, x), and the size of its voxels."""

    path: Path
    shape: Shape
    voxel_angstrom: Triple

    def __str__(self) -> str:
        sizes, steps = "×".join(map(str, self.shape)), "×".join(f"{step:.4g}" for step in self.voxel_angstrom)
        return f"{self.path}: {sizes} voxels (z, y, x) of {steps} Å"


def resize(section: Resize) -> list[Resized]:
    """Write the maps, and for a list a new list of them: what was written, in order.

    Memory: 4 bytes × (z + new z) × new y × new x for the largest map. UserError, before any work, for outputs in the
    place of maps that are not this program's.
    """
    if not section.is_list:
        path = Path(section.maps)
        output = Path(section.output_dir) / path.name
        _check_places({path: output})
        return [_resize(path, output, _pixel_size(section, path), section.apix)]
    star = Path(section.maps)
    rows = select_rows(read_star(star), section.tomo_idx)
    outputs = _outputs(section, rows)
    _check_places({Path(name): output for name, output in outputs.items()})
    written: list[Resized] = []
    new_rows = []
    for row in rows:
        own = {field: name for field in _MAPS if (name := getattr(row, field)) is not None}
        made = [_resize(Path(name), outputs[name], row.pixel_size_angstrom, section.apix) for name in own.values()]
        changes: dict[str, Any] = dict.fromkeys((*_IN_VOXELS, *_MADE))
        changes |= {field: str(result.path) for field, result in zip(own, made, strict=True)}
        new_rows.append(replace(row, pixel_size_angstrom=made[0].voxel_angstrom[2], **changes))
        written += made
    _warn_of_voxels(rows)
    write_star(Path(section.output_star or star.with_name(f"{star.stem}_resized.star")), new_rows)
    return written


def _outputs(section: Resize, rows: Sequence[TomogramRow]) -> dict[str, Path]:
    """Where each map goes: by its file name, which two of them must not share."""
    names = [name for row in rows for field in _MAPS if (name := getattr(row, field)) is not None]
    outputs = {name: Path(section.output_dir) / Path(name).name for name in names}
    if len(set(outputs.values())) < len(outputs):  # even/a.mrc and odd/a.mrc
        outputs = {name: Path(section.output_dir) / Path(name).parent.name / Path(name).name for name in names}
    if len(set(outputs.values())) < len(outputs):
        raise UserError(f"{section.maps}: maps of one name in folders of one name would overwrite each other")
    return outputs


def _check_places(outputs: Mapping[Path, Path]) -> None:
    """UserError if a map cannot be read, or if one that is not of this program, or is read, would be overwritten."""
    read = {path.resolve() for path in outputs if read_header(path)}
    for output in outputs.values():
        if output.resolve() in read or (output.exists() and not written_here(read_header(output))):
            raise UserError(f"{output}: is there already; move it, or choose another output_dir")


def _pixel_size(section: Resize, path: Path) -> float:
    """That of the header, or what was given instead."""
    size = section.old_pixel_size or read_header(path).pixel_size_angstrom[2]
    if size == 0:
        raise UserError(f"{path}: its header has no pixel size: give it as --old_pixel_size")
    return size


def _resize(path: Path, output: Path, pixel_size_angstrom: float, wanted_angstrom: float) -> Resized:
    """Write one map. The voxels of the result have their true size, which differs a little between the axes."""
    with open_volume(path) as volume:
        voxel = voxel_size(volume.header, pixel_size_angstrom)
        z, y, x = (even_size(size, step, wanted_angstrom) for size, step in zip(volume.shape, voxel, strict=True))
        result = Resized(output, (z, y, x), _per_axis(voxel, volume.shape, (z, y, x)))
        header = _header(volume.header, result, voxel)
        planes = _resampled(volume, result.shape)
        with writing_mrc(output, result.shape, header=header, pixel_size_angstrom=result.voxel_angstrom[2]) as out:
            out.append(planes)
    info(f"resize: {path.name} is done")
    if max(result.voxel_angstrom) / min(result.voxel_angstrom) > 1 + _ANISOTROPIC:
        warn(f"resize: {result}: no cubes, since sizes are even and the map is small: choose another apix")
    return result


def _per_axis(voxel: Triple, before: Shape, after: Shape) -> Triple:
    z, y, x = (step * old / new for step, old, new in zip(voxel, before, after, strict=True))
    return z, y, x


def _header(header: MrcHeader, result: Resized, voxel: Triple) -> MrcHeader:
    """That of the map before, with the new voxels: the origin (Å) stays, the start is counted in them."""
    z, y, x = (
        round(start * old / new) for start, old, new in zip(header.nstart, voxel, result.voxel_angstrom, strict=True)
    )
    return replace(header, pixel_size_angstrom=result.voxel_angstrom, nstart=(z, y, x))


def _resampled(volume: Volume, shape: Shape) -> Array:
    """The planes first, one by one; then z, some rows at a time."""
    z, y, x = shape
    planes = torch.empty(volume.shape[0], y, x)
    for n in range(volume.shape[0]):
        plane = torch.from_numpy(volume[n : n + 1])
        planes[n] = resampled(resampled(plane, x, axis=2), y, axis=1)[0]
    result = np.empty(shape, np.float32)
    for row in range(0, y, _ROWS):
        result[:, row : row + _ROWS] = resampled(planes[:, row : row + _ROWS], z, axis=0).numpy()
    return result


def _warn_of_voxels(rows: Sequence[TomogramRow]) -> None:
    """What the new list no longer names."""
    lost = [COLUMNS[field] for field in _IN_VOXELS if any(getattr(row, field) is not None for row in rows)]
    if lost:
        warn(f"resize: the new list has no {', '.join(lost)}, which count voxels of the old size: make them anew")

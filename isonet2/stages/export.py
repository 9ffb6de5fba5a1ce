"""export: maps as OME-Zarr."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from isonet2.errors import UserError
from isonet2.io.mrc import Shape, Triple, open_volume, read_header, voxel_size
from isonet2.io.ome_zarr import require_zarr, write_ome_zarr, written_here
from isonet2.io.star import COLUMNS, TomogramRow, file_in_column, read_star, select_rows
from isonet2.job.tools import Export

_NEWEST = ("corrected", "denoised", "deconvolved", "tomogram")


@dataclass(frozen=True)
class Exported:
    """What was written: the shapes (z, y, x) of its levels, and the size of a voxel of the finest."""

    path: Path
    shapes: list[Shape]
    voxel_angstrom: Triple

    def __str__(self) -> str:
        sizes = ", ".join("×".join(map(str, shape)) for shape in self.shapes)
        steps = "×".join(dict.fromkeys(f"{step:.4g}" for step in self.voxel_angstrom))
        return f"{self.path}: {sizes} voxels (z, y, x), the first of {steps} Å"


def export(section: Export) -> Iterator[Exported]:
    """Write NAME.zarr of each map, one after the other.

    Memory: see `write_ome_zarr`. UserError, before any work, if zarr is not installed, if a map or its pixel size is
    missing, and for what lies in the way and is not this program's.
    """
    require_zarr()
    maps = _maps(section)
    voxels = {path: _voxel(path, size) for path, size in maps.items()}
    outputs = {path: Path(section.output_dir) / f"{path.stem}.zarr" for path in maps}
    if len(set(outputs.values())) < len(outputs):
        raise UserError(f"{section.maps}: two maps of one name would overwrite each other")
    for output in outputs.values():
        if output.exists() and not written_here(output):
            raise UserError(f"{output}: is there already; move it, or choose another output_dir")
    for path, output in outputs.items():
        with open_volume(path) as volume:
            yield Exported(output, write_ome_zarr(output, volume, voxel_angstrom=voxels[path]), voxels[path])


def _maps(section: Export) -> dict[Path, float | None]:
    """The maps to write, with the pixel size that was declared for them."""
    if not section.is_list:
        return {Path(section.maps): section.pixel_size}
    rows = select_rows(read_star(Path(section.maps)), section.tomo_idx)
    return {Path(_map(section, row)): row.pixel_size_angstrom for row in rows}


def _map(section: Export, row: TomogramRow) -> str:
    if section.input_column is not None:
        name, where = file_in_column(row, section.input_column), section.input_column
    else:
        name = next((name for field in _NEWEST if (name := getattr(row, field)) is not None), None)
        where = ", ".join(COLUMNS[field] for field in _NEWEST)
    if name is None:
        raise UserError(f"{section.maps}: {row.name} has no map in {where}: name an input_column that is filled")
    return name


def _voxel(path: Path, declared_angstrom: float | None) -> Triple:
    header = read_header(path)
    size = declared_angstrom or header.pixel_size_angstrom[2]
    if size == 0:
        raise UserError(f"{path}: its header has no pixel size: give it as --pixel_size")
    z, y, x = (float(f"{step:.6g}") for step in voxel_size(header, size))  # what float32 of the header holds
    return z, y, x

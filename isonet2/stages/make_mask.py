"""make_mask: find where the specimen is in each tomogram."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isonet2.errors import UserError
from isonet2.io.fingerprint import fingerprint
from isonet2.io.finished import is_finished, mark_finished, may_be_written
from isonet2.io.imod import read_contours
from isonet2.io.mrc import Volume, open_volume, read_header, writing_mrc
from isonet2.io.star import TomogramRow, file_in_column, read_star, select_rows, update_rows
from isonet2.job.models import Job, MakeMask
from isonet2.log import info, warn
from isonet2.parallel.collectives import on_first_rank, on_shared_items
from isonet2.parallel.world import World
from isonet2.physics.mask import bin_planes, boundary_plane, find_specimen, unbin_plane


@dataclass(frozen=True)
class _Task:
    """One mask to make: `mask` is its name in the STAR file, `output` where that is."""

    row: TomogramRow
    source: Path
    boundary: Path | None
    mask: str
    output: Path
    voxels: int
    key: str
    """Changes with everything that the mask depends on: the tomogram's file, its boundary, its pixel size, settings."""


def inputs(job: Job) -> dict[str, Any]:
    """What the masks depend on."""
    return {task.row.name: task.key for task in _tasks(job)}


def run(job: Job, world: World, *, restart: bool = False) -> dict[str, Any]:
    """Write a mask (int8: 0 or 1) for each chosen tomogram and name it in the STAR file; those that are there are kept,
    unless `restart`.

    Ranks share the tomograms. Memory: 0.42 of the largest tomogram as float32, whatever its type (3 arrays of its
    binned copy and some planes); measured on 256×512×512, which is 256 MiB: 106 MiB above the start.
    """
    tasks = on_first_rank(world, lambda: _checked_tasks(job))

    def kept_by(task: _Task) -> float:
        if not restart and is_finished(task.output, task.key):
            return _share_kept(task.output)
        return _make(task, _section(job))

    kept = on_shared_items(world, tasks, [task.voxels for task in tasks], kept_by)
    changes = {task.row.index: {"mask": task.mask} for task in tasks}
    on_first_rank(world, lambda: update_rows(job.path(job.star_file), changes))
    return {
        "outputs": [task.mask for task in tasks],
        "masks": {task.row.name: {"file": task.mask, "kept": share} for task, share in zip(tasks, kept, strict=True)},
    }


def _section(job: Job) -> MakeMask:
    assert job.make_mask is not None
    return job.make_mask


def _tasks(job: Job) -> list[_Task]:
    """What there is to do, from the STAR file and the headers. UserError if a file is missing or cannot be read."""
    section = _section(job)
    tasks = []
    for row in select_rows(read_star(job.path(job.star_file)), section.tomo_idx):
        column = section.input_column
        name = file_in_column(row, column) if column else row.deconvolved or row.tomogram or row.half1
        if name is None:
            raise UserError(f"{job.path(job.star_file)}: {column} of {row.name} is empty; choose another input_column")
        source = job.path(name)
        mask = str(Path(section.output_dir) / f"{row.name}_mask.mrc")
        boundary = job.path(row.mask_boundary) if row.mask_boundary else None
        voxels = math.prod(read_header(source).shape)
        key = _key(section, row, source, boundary)
        tasks.append(_Task(row, source, boundary, mask, job.path(mask), voxels, key))
    return tasks


def _key(section: MakeMask, row: TomogramRow, source: Path, boundary: Path | None) -> str:
    settings = section.model_dump(exclude={"input_column", "output_dir", "tomo_idx"})
    files = [fingerprint(path) for path in (source, boundary) if path]
    return hashlib.sha256(json.dumps([settings, row.pixel_size_angstrom, files]).encode()).hexdigest()[:12]


def _checked_tasks(job: Job) -> list[_Task]:
    """The tasks, once nothing of the user's is in their way and every boundary can be read."""
    tasks = _tasks(job)
    for task in tasks:
        if task.boundary:
            _read_boundary(task.boundary)
        if not may_be_written(task.output):
            raise UserError(f"{task.output}: exists, and is not of isonet2; move it, or choose another output_dir")
        if task.row.mask not in (None, task.mask):
            warn(f"make_mask: {task.mask} takes the place of {task.row.mask} in {job.star_file}")
    return tasks


def _read_boundary(path: Path) -> list[NDArray[np.float64]]:
    """The closed contours of an IMOD model, as x, y, z in voxels whose centres are at whole numbers."""
    contours = [points - (0.5, 0.5, 0.0) for _, points in read_contours(path) if len(points) > 2]
    if not contours:
        raise UserError(f"{path}: no contour of three or more points; draw the boundary as closed contours")
    if any(np.ptp(points[:, 2]) > 1 for points in contours):
        raise UserError(f"{path}: a contour runs through several planes; draw each on one z plane")
    return contours


def _make(task: _Task, section: MakeMask) -> float:
    """Write one mask; returns the share of the voxels that it keeps. UserError if that is none."""
    with open_volume(task.source) as volume:
        specimen = find_specimen(
            _binned(volume),
            patch_size=section.patch_size,
            density_percentage=section.density_percentage,
            std_percentage=section.std_percentage,
        )
        kept = _write(task, volume, specimen, section.z_crop) / task.voxels
    mark_finished(task.output, task.key)
    info(f"make_mask: {task.mask}: {kept:.1%} of {'×'.join(map(str, volume.shape))} voxels kept")
    return kept


def _share_kept(mask: Path) -> float:
    with open_volume(mask) as volume:
        return sum(float(volume[z : z + 1].sum()) for z in range(volume.shape[0])) / math.prod(volume.shape)


def _binned(volume: Volume) -> NDArray[np.float32]:
    depth, rows, columns = volume.shape
    binned = np.empty((-(-depth // 2), -(-rows // 2), -(-columns // 2)), np.float32)
    for z in range(len(binned)):
        binned[z] = bin_planes(volume[2 * z : 2 * z + 2])
    return binned


def _write(task: _Task, volume: Volume, specimen: NDArray[np.bool_], z_crop: float) -> int:
    """Write the specimen's mask plane by plane, without the ends of z and what is outside the boundary: voxels kept."""
    depth, rows, columns = volume.shape
    cropped = round(depth * z_crop / 2)
    contours = _read_boundary(task.boundary) if task.boundary else []
    kept = 0
    with writing_mrc(
        task.output,
        volume.shape,
        header=volume.header,
        pixel_size_angstrom=task.row.pixel_size_angstrom,
        dtype=np.int8,
    ) as out:
        for z in range(depth):
            inside = np.zeros((rows, columns), np.bool_)
            if cropped <= z < depth - cropped:
                inside = unbin_plane(specimen[z // 2], inside.shape)
                if contours:
                    inside = inside & boundary_plane(contours, z, inside.shape)
            out.append(inside[None].astype(np.int8))
            kept += int(inside.sum())
        if kept == 0:
            raise UserError(
                f"{task.source}: the mask is empty; raise density_percentage and std_percentage, lower z_crop"
            )
    return kept

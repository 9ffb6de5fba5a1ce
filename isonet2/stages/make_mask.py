"""make_mask: find where the specimen is in each tomogram."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isonet2.data.window import Array, Shape
from isonet2.errors import UserError
from isonet2.io.atomic import appeared
from isonet2.io.fingerprint import fingerprint
from isonet2.io.finished import is_finished, mark_finished, may_be_written
from isonet2.io.imod import read_contours
from isonet2.io.mrc import Volume, open_volume, read_header, writing_mrc
from isonet2.io.parts import Parts, has_part, read_plane, write_part
from isonet2.io.star import TomogramRow, file_in_column, read_star, select_rows, update_rows
from isonet2.job.models import Job, MakeMask
from isonet2.log import expect, info, warn
from isonet2.parallel.collectives import on_first_rank, on_shared_items
from isonet2.parallel.world import World, share, waves
from isonet2.physics.mask import bin_planes, boundary_plane, darkness, highest, reach, smooth, texture, unbin_plane

_SLAB = 64  # binned planes, at most; with what is around them memory is that of some 90
_SLABS_EACH = 8  # slabs for each rank in one wave: even shares, without those of all tomograms on disk
_KINDS = {"darkness": darkness, "texture": texture}  # in this order: the second overwrites what it looks at


@dataclass(frozen=True)
class _Task:
    """One mask to make: `mask` is its name in the STAR file, `output` where that is."""

    row: TomogramRow
    source: Path
    boundary: Path | None
    mask: str
    output: Path
    shape: Shape
    key: str
    """Changes with everything that the mask depends on: the tomogram's file, its boundary, its pixel size, settings."""

    @property
    def parts(self) -> Parts:
        """What was found in its slabs."""
        return Parts(self.output, self.key)

    def waiting(self, kind: str, number: int) -> Path:
        """Where what was found in one slab waits for the others."""
        return self.parts.path(f"{kind}_{number:04d}")

    @property
    def voxels(self) -> int:
        return math.prod(self.shape)

    @property
    def slabs(self) -> list[range]:
        """Planes of the binned tomogram, in pieces of almost one size that any rank may take."""
        depth = -(-self.shape[0] // 2)
        count = -(-depth // _SLAB)
        return [share(depth, rank=n, size=count) for n in range(count)]


def mask_of(volume: Array, section: MakeMask) -> NDArray[np.bool_]:
    """Bool (z, y, x): the mask of a map in memory, as the stage makes it of one slab. Memory: about as much again."""
    sign = -1 if section.bright_protein else 1
    binned = np.stack([sign * bin_planes(volume[z : z + 2]) for z in range(0, volume.shape[0], 2)])
    smooth(binned, patch_size=section.patch_size)
    specimen = highest(darkness(binned, slice(None), patch_size=section.patch_size), section.density_percentage)
    specimen &= highest(texture(binned, slice(None), patch_size=section.patch_size), section.std_percentage)
    depth, rows, columns = volume.shape
    return np.stack([_plane(specimen, z, (depth, rows, columns), section.z_crop) for z in range(depth)])


def inputs(job: Job) -> dict[str, Any]:
    """What the masks depend on."""
    return {task.row.name: task.key for task in _tasks(job)}


def run(job: Job, world: World, *, restart: bool = False) -> dict[str, Any]:
    """Write a mask (int8: 0 or 1) for each chosen tomogram and name it in the STAR file; those that are there are kept,
    unless `restart`.

    Ranks share slabs of 128 planes; how dark and how varied it is there waits on disk until whoever puts the mask
    together knows all of the tomogram; slabs of an interrupted run are kept too. Memory of a rank: 0.28 of the largest
    tomogram as float32, whatever its type, or for a slab 3 × (64 + 6 × patch_size) × y × x bytes, if that is more;
    measured at 512×512×512 (512 MiB) and at its defaults: 144 MiB above the start.
    Disk for the while: a quarter of one wave of tomograms as float32.
    """
    section, tasks = _section(job), on_first_rank(world, lambda: _checked_tasks(job))
    left = on_first_rank(world, lambda: [task for task in tasks if restart or not _is_done(task)])
    done = [task for task in tasks if task not in left]
    kept = _by_name(done, on_shared_items(world, done, [task.voxels for task in done], _share_kept))
    counts = [len(task.slabs) for task in left]
    expect(sum(counts), "slab")
    for wave in waves(left, counts, least=_SLABS_EACH * world.size):
        items = [(task, number) for task in wave for number in range(len(task.slabs))]
        costs = [task.voxels / len(task.slabs) for task, _ in items]
        on_shared_items(world, items, costs, partial(_look, section), unit="slab")
        sizes = [task.voxels for task in wave]
        kept |= _by_name(wave, on_shared_items(world, wave, sizes, partial(_put_together, section)))
    changes = {task.row.index: {"mask": task.mask} for task in tasks}
    on_first_rank(world, lambda: update_rows(job.path(job.star_file), changes))
    return {
        "outputs": [task.mask for task in tasks],
        "masks": {task.row.name: {"file": task.mask, "kept": kept[task.row.name]} for task in tasks},
    }


def _by_name(tasks: Sequence[_Task], kept: Sequence[float]) -> dict[str, float]:
    return {task.row.name: share for task, share in zip(tasks, kept, strict=True)}


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
        key = _key(section, row, source, boundary)
        tasks.append(_Task(row, source, boundary, mask, job.path(mask), read_header(source).shape, key))
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


def _look(section: MakeMask, item: tuple[_Task, int]) -> None:
    """Leave on disk how dark and how varied one slab is; what is there is kept."""
    task, number = item
    waiting = [task.waiting(kind, number) for kind in _KINDS]
    if min([has_part(path) for path in waiting]):  # each is looked at, since a harmed one has to go
        return
    slab, beyond = task.slabs[number], reach(section.patch_size)
    first, last = max(0, slab.start - beyond), min(task.slabs[-1].stop, slab.stop + beyond)
    sign = -1 if section.bright_protein else 1
    with open_volume(task.source) as volume:
        binned = np.empty((last - first, *(-(-side // 2) for side in task.shape[1:])), np.float32)
        for z in range(first, last):
            binned[z - first] = sign * bin_planes(volume[2 * z : 2 * z + 2])
    smooth(binned, patch_size=section.patch_size)
    inner = slice(slab.start - first, slab.stop - first)
    for path, look in zip(waiting, _KINDS.values(), strict=True):
        write_part(path, look(binned, inner, patch_size=section.patch_size))
    if len(task.slabs) > 1:
        info(f"make_mask: {task.row.name}: slab {number + 1} of {len(task.slabs)}")


def _put_together(section: MakeMask, task: _Task) -> float:
    """Write one mask from its slabs; the share of the voxels that it keeps. UserError if that is none."""
    specimen = highest(_stacked(task, "darkness"), section.density_percentage)
    specimen &= highest(_stacked(task, "texture"), section.std_percentage)
    with open_volume(task.source) as volume:
        try:
            kept = _write(task, volume, specimen, section.z_crop) / task.voxels
        except UserError:  # other settings are needed, which these slabs do not have
            task.parts.forget()
            raise
    mark_finished(task.output, task.key)
    task.parts.forget()
    info(f"make_mask: {task.mask}: {kept:.1%} of {'×'.join(map(str, task.shape))} voxels kept")
    return kept


def _stacked(task: _Task, kind: str) -> Array:
    """What was found in all slabs of a tomogram."""
    paths = [appeared(task.waiting(kind, number)) for number in range(len(task.slabs))]
    planes = ((path, z) for path, slab in zip(paths, task.slabs, strict=True) for z in range(len(slab)))
    found = np.empty(tuple(-(-side // 2) for side in task.shape), np.float32)
    for number, (path, z) in enumerate(planes):
        found[number] = read_plane(path, z)
    return found


def _is_done(task: _Task) -> bool:
    """Whether the mask is there and unharmed; then no slabs are left either."""
    done = is_finished(task.output, task.key)
    if done:
        task.parts.forget()
    return done


def _share_kept(task: _Task) -> float:
    with open_volume(task.output) as volume:
        return sum(float(volume[z : z + 1].sum()) for z in range(volume.shape[0])) / task.voxels


def _plane(specimen: NDArray[np.bool_], z: int, shape: Shape, z_crop: float) -> NDArray[np.bool_]:
    """Bool (y, x): one plane of the mask that the specimen, found on the binned volume, makes without the ends of z."""
    cropped = round(shape[0] * z_crop / 2)
    if cropped <= z < shape[0] - cropped:
        return unbin_plane(specimen[z // 2], shape[1:])
    return np.zeros(shape[1:], np.bool_)


def _write(task: _Task, volume: Volume, specimen: NDArray[np.bool_], z_crop: float) -> int:
    """Write the specimen's mask plane by plane, without the ends of z and what is outside the boundary: voxels kept."""
    depth = volume.shape[0]
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
            inside = _plane(specimen, z, volume.shape, z_crop)
            if contours and inside.any():
                inside = inside & boundary_plane(contours, z, volume.shape[1:])
            out.append(inside[None].astype(np.int8))
            kept += int(inside.sum())
        if kept == 0:
            raise UserError(
                f"{task.source}: the mask is empty; raise density_percentage and std_percentage, lower z_crop"
            )
    return kept

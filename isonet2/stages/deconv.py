"""deconv: deconvolve tomograms by their CTF."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from isonet2.data.acquired import optics_of
from isonet2.data.filtered import Averaged, Filtered
from isonet2.data.sources import halves, map_in, one_map
from isonet2.data.window import Array, Readable, Shape
from isonet2.errors import UserError
from isonet2.io.atomic import appeared
from isonet2.io.fingerprint import fingerprint
from isonet2.io.finished import is_finished, mark_finished, may_be_written
from isonet2.io.mrc import open_volume, read_header, writing_mrc
from isonet2.io.parts import Parts, has_part, read_plane, write_part
from isonet2.io.star import COLUMNS, TomogramRow, read_star, select_rows, update_rows
from isonet2.job.models import Deconv, Job
from isonet2.log import expect, info, warn
from isonet2.parallel.collectives import on_first_rank, on_shared_items
from isonet2.parallel.world import World, share, waves
from isonet2.physics.acquisition import Optics
from isonet2.physics.deconvolution import WIDEST_HALO, Wiener, wiener_gain, wiener_halo_voxels
from isonet2.physics.normalise import measure_normalisation

Box = tuple[slice, slice, slice]
_CHUNKS_EACH = 8  # chunks for each rank in one wave: even shares, without the chunks of all tomograms on disk
_LINES = 10  # for a person who waits, about each tomogram


@dataclass(frozen=True)
class _Task:
    """One tomogram: its map or its two halves, and what becomes of it; `name` is what the STAR file calls `output`."""

    row: TomogramRow
    maps: tuple[Path, ...]
    shape: Shape
    name: str
    output: Path
    key: str
    """Changes with everything that the result depends on."""

    def chunks(self, chunk_size: int) -> list[Box]:
        """The boxes that make up the volume."""
        return _chunks(self.shape, chunk_size)

    @property
    def parts(self) -> Parts:
        """Its chunks, filtered."""
        return Parts(self.output, self.key)

    def waiting(self, box: Box) -> Path:
        """Where a chunk waits for the others of its tomogram."""
        return self.parts.path("_".join(f"{part.start:05d}" for part in box))

    @contextmanager
    def opened(self) -> Iterator[Readable]:
        """The map, or the mean of the halves."""
        with ExitStack() as stack:
            volumes = [stack.enter_context(open_volume(path)) for path in self.maps]
            yield volumes[0] if len(volumes) == 1 else Averaged(volumes)


def deconvolved(volume: Array, optics: Optics, section: Deconv) -> Array:
    """Float32 (z, y, x): a map in memory, deconvolved as the stage does it. ValueError if it is constant or not finite.

    Memory: the result, and 16 bytes a voxel of a chunk with its halo.
    """
    reach, gain = _filter(optics, section)
    filtered, result = Filtered(volume, gain, reach), np.empty(volume.shape, np.float32)
    for box in _chunks(filtered.shape, section.chunk_size):
        result[box] = filtered[box]
    before, after = (measure_normalisation([planes]) for planes in (volume, result))
    for plane in result:
        plane[:] = before.to_file(after.to_network(plane))
    return result


def inputs(job: Job) -> dict[str, Any]:
    """What the results depend on: the maps, and how each was taken."""
    return {task.row.name: task.key for task in _tasks(job)}


def run(job: Job, world: World, *, restart: bool = False) -> dict[str, Any]:
    """Write the deconvolved tomograms and name them in the STAR file; those that are there are kept, unless `restart`.

    Ranks share the chunks, which wait on disk until whoever puts a tomogram together streams it plane by plane, with
    the mean and standard deviation of the whole input; chunks of an interrupted run are kept too. Memory of a rank: 16
    bytes a voxel of a chunk with its halo, 1.4 GB by default at 10 Å; measured on 192×320×320 at 10 Å, above the start:
    674 MiB in chunks of 256, 298 MiB in chunks of 64. Disk for the while: one wave of tomograms, as float32.
    """
    section = _section(job)
    tasks = on_first_rank(world, lambda: _checked_tasks(job))
    left = on_first_rank(world, lambda: [task for task in tasks if restart or not _is_done(task)])
    if len(left) < len(tasks):
        info(f"deconv: {len(tasks) - len(left)} of {len(tasks)} tomograms were done before")
    counts = [len(task.chunks(section.chunk_size)) for task in left]
    expect(sum(counts), "chunk")
    for wave in waves(left, counts, least=_CHUNKS_EACH * world.size):
        items = [(task, number) for task in wave for number in range(len(task.chunks(section.chunk_size)))]
        costs = [math.prod(task.shape) / len(task.chunks(section.chunk_size)) for task, _ in items]
        on_shared_items(world, items, costs, partial(_filter_chunk, section), unit="chunk")
        sizes = [float(math.prod(task.shape)) for task in wave]
        on_shared_items(world, wave, sizes, partial(_put_together, section.chunk_size))
    _gain.cache_clear()
    changes = {task.row.index: {"deconvolved": task.name} for task in tasks}
    on_first_rank(world, lambda: update_rows(job.path(job.star_file), changes))
    return {"outputs": [task.name for task in tasks], "deconvolved": {task.row.name: task.name for task in tasks}}


def _chunks(shape: Shape, chunk_size: int) -> list[Box]:
    """Boxes of almost one size, with sides of at most `chunk_size`, that make up a volume."""
    sides = [
        [slice(part.start, part.stop) for n in range(count) if (part := share(size, rank=n, size=count))]
        for size, count in ((size, -(-size // chunk_size)) for size in shape)
    ]
    return [(z, y, x) for z, y, x in product(*sides)]


def _section(job: Job) -> Deconv:
    assert job.deconv is not None
    return job.deconv


def _tasks(job: Job) -> list[_Task]:
    """What there is to do, from the STAR file and the headers. UserError if a file is missing or cannot be read."""
    section = _section(job)
    return [_task(job, section, row) for row in select_rows(read_star(job.path(job.star_file)), section.tomo_idx)]


def _task(job: Job, section: Deconv, row: TomogramRow) -> _Task:
    maps = tuple(job.path(name) for name in _maps(section, row))
    shape = read_header(maps[0]).shape
    for other in maps[1:]:
        if read_header(other).shape != shape:
            raise UserError(f"{other}: another shape than {maps[0].name}, the other half of {row.name}")
    name = str(Path(section.output_dir) / f"{row.name}.mrc")
    settings = section.model_dump(exclude={"input_column", "output_dir", "tomo_idx"})
    content = [settings, vars(optics_of(row)), [fingerprint(path) for path in maps]]
    key = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]
    return _Task(row, maps, shape, name, job.path(name), key)


def _maps(section: Deconv, row: TomogramRow) -> tuple[str, ...]:
    """The names of the map, or of the halves whose mean stands for it."""
    if section.input_column is not None:
        return map_in(section.input_column)(row)
    return halves(row) if row.tomogram is None else one_map(row)


def _checked_tasks(job: Job) -> list[_Task]:
    """The tasks, once each defocus can be corrected and nothing of the user's is in their way."""
    tasks = _tasks(job)
    for task in tasks:
        defocus = task.row.defocus_angstrom
        if defocus <= 0:
            raise UserError(
                f"{job.path(job.star_file)}: {COLUMNS['defocus_angstrom']} of {task.row.name} is {defocus:g}: set it "
                "to the underfocus at 0° in Å, as in 30000 (here, or by prepare_star --defocus)"
            )
        if not may_be_written(task.output) or task.output.resolve() in {path.resolve() for path in task.maps}:
            raise UserError(f"{task.output}: exists, and is no output of deconv; move it, or choose another output_dir")
    _warn_of_halos(tasks, _section(job))
    return tasks


def _warn_of_halos(tasks: Sequence[_Task], section: Deconv) -> None:
    """Say where an overlap was asked for that the filter exceeds anyway, and where the filter exceeds what it gets."""
    needed, asked = [_reach(task, section) for task in tasks], _overlap(section)
    if section.overlap_rate != Deconv.model_fields["overlap_rate"].default and asked < min(needed):
        warn(
            f"deconv: overlap_rate {section.overlap_rate:g} makes a halo of {asked} voxels around a chunk: that of the "
            f"filter, {min(needed)} voxels, is what counts"
        )
    if any(
        reach >= WIDEST_HALO and len(task.chunks(section.chunk_size)) > 1
        for task, reach in zip(tasks, needed, strict=True)
    ):
        warn(
            "deconv: this filter reaches farther than the halo of 160 voxels around a chunk, which may show as seams: "
            "raise highpassnyquist or snrfalloff, lower deconvstrength, or make chunk_size as large as the tomograms"
        )


def _reach(task: _Task, section: Deconv) -> int:
    """Voxels around a chunk that the filter needs."""
    return _halo(optics_of(task.row), section)


def _halo(optics: Optics, section: Deconv) -> int:
    return wiener_halo_voxels(optics, _wiener(section), flipped=section.phaseflipped)


def _overlap(section: Deconv) -> int:
    """Voxels around a chunk that overlap_rate asks for."""
    return math.ceil(section.overlap_rate * section.chunk_size / 2)


def _wiener(section: Deconv) -> Wiener:
    return Wiener(section.snrfalloff, section.deconvstrength, section.highpassnyquist)


def _filter_chunk(section: Deconv, item: tuple[_Task, int]) -> None:
    """Leave one chunk, filtered, on disk; one that is there is kept."""
    task, number = item
    boxes = task.chunks(section.chunk_size)
    waiting = task.waiting(boxes[number])
    if has_part(waiting):
        return
    if number * _LINES // len(boxes) > (number - 1) * _LINES // len(boxes):
        info(f"deconv: {task.row.name}: chunk {number + 1} of {len(boxes)}")
    reach, gain = _filter(optics_of(task.row), section)
    with task.opened() as volume:
        filtered = Filtered(volume, gain, reach)[boxes[number]]
    write_part(waiting, filtered)


def _filter(optics: Optics, section: Deconv) -> tuple[int, Callable[[Sequence[int]], Tensor]]:
    """The halo that a chunk gets, and the gain for boxes of each shape."""
    gain = partial(_gain, optics=optics, wiener=_wiener(section), flipped=section.phaseflipped)
    return max(_halo(optics, section), _overlap(section)), gain


_gain = lru_cache(maxsize=1)(wiener_gain)  # most chunks have one shape


def _is_done(task: _Task) -> bool:
    """Whether the tomogram is there and unharmed; then no chunks are left either."""
    done = is_finished(task.output, task.key)
    if done:
        task.parts.forget()
    return done


def _put_together(chunk_size: int, task: _Task) -> None:
    """Write one tomogram from its chunks, plane by plane, and remove these, also outdated ones.

    The filter takes the mean away and changes the scale: both are given back, those of the whole tomogram.
    """
    boxes = task.chunks(chunk_size)
    for box in boxes:
        appeared(task.waiting(box))
    depth = range(task.shape[0])
    try:
        with task.opened() as volume:
            before = measure_normalisation([(volume[z : z + 1, :, :] for z in depth)])
        after = measure_normalisation([(_plane(task, boxes, z) for z in depth)])
    except ValueError as error:
        raise UserError(f"{task.maps[0]}: {error}") from None
    header = read_header(task.maps[0])
    pixel = task.row.pixel_size_angstrom
    with writing_mrc(task.output, task.shape, header=header, pixel_size_angstrom=pixel) as out:
        for z in depth:
            out.append(before.to_file(after.to_network(_plane(task, boxes, z)))[None])
    mark_finished(task.output, task.key)
    task.parts.forget()
    info(f"deconv: {task.name} is written")


def _plane(task: _Task, boxes: Sequence[Box], z: int) -> Array:
    """(y, x): one plane, from the chunks through which it goes."""
    plane = np.empty(task.shape[1:], np.float32)
    for box in boxes:
        depth, rows, columns = box
        if depth.start <= z < depth.stop:
            plane[rows, columns] = read_plane(task.waiting(box), z - depth.start)
    return plane

"""Making a cache, all ranks together."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from isonet2 import log
from isonet2.data.cache import (
    CacheSettings,
    Shard,
    cache_key,
    is_as_written,
    plan_shards,
    read_index,
    write_index,
    write_shard,
)
from isonet2.data.choice import Method, column_read, maps_for, method_of
from isonet2.data.sources import Source, halved, sources_of
from isonet2.errors import UserError
from isonet2.io.star import read_star, select_rows
from isonet2.job.models import Extract, Job, Training
from isonet2.parallel.collectives import all_gather, on_first_rank, on_shared_items
from isonet2.parallel.world import World

HALVES: tuple[Literal["top", "bottom"], ...] = ("top", "bottom")
"""The halves of a specimen along y, by rising y."""


@dataclass(frozen=True)
class Extraction:
    """A whole cache, and what making it took; `seconds` is 0 for one that was there."""

    folder: Path
    shards: list[dict[str, Any]]
    seconds: float

    @property
    def files(self) -> list[Path]:
        """The index, and the shards that it lists."""
        return [self.folder / "index.json", *(self.folder / shard["file"] for shard in self.shards)]

    @property
    def cubes(self) -> int:
        return int(sum(shard["count"] for shard in self.shards))

    @property
    def megabytes(self) -> float:
        return float(sum(shard["bytes"] for shard in self.shards)) / 1e6


@dataclass(frozen=True)
class Wanted:
    """The cubes of one cache to be: the tomograms, their headers checked, and how cubes are cut. `column`: of the STAR
    file, that of the maps; None for halves."""

    sources: list[Source]
    settings: CacheSettings
    method: Method
    column: str | None = None


def wanted_cubes(job: Job, training: Training | None) -> Wanted:
    """The tomograms that `training` learns from, or, with None, any, and the settings of the first cache."""
    section = job.extract or Extract()
    cube_size, margin = job.cubes_of(training)
    rows = select_rows(read_star(job.path(job.star_file)), section.tomo_idx)
    settings = CacheSettings(cube_size, margin, section.dtype, job.seed)
    if training is None:
        return Wanted(sources_of(rows, job.path), settings, "n2n")
    method = method_of(training, rows)
    sources = sources_of(rows, job.path, maps_for(method, training))
    settings = replace(settings, phase_flip=training.flips_phases)
    return Wanted(sources, settings, method, column_read(method, training, rows))


def wanted_caches(job: Job) -> list[Wanted]:
    """The cubes of every training of the job; of a job that trains nothing, those that extract alone asks for."""
    found: list[Wanted] = []
    for training in job.trainings.values():
        wanted = wanted_cubes(job, training)
        found += [halved_cubes(wanted, part) for part in HALVES] if training.split_halves else [wanted]
    return found or [wanted_cubes(job, None)]


def halved_cubes(wanted: Wanted, part: Literal["top", "bottom"]) -> Wanted:
    """Those of one half of the specimen. UserError where a half has no room for a cube."""
    sources = [halved(source, part) for source in wanted.sources]
    for source in sources:
        if (room := source.rows[1] - source.rows[0]) < wanted.settings.side:
            raise UserError(
                f"split_halves: a half of {source.name} has {room} voxels along y, and a cube with its margin "
                f"{wanted.settings.side}: take a smaller cube_size"
            )
    return replace(wanted, sources=sources)


def extract(
    sources: list[Source], settings: CacheSettings, cache_dir: Path, world: World, *, verify: bool = False
) -> Extraction:
    """The cache of these tomograms: the one that is there, or one made now, its shards shared out over the ranks.

    Shards that an earlier run finished are kept, once each byte of them was found to be as it was written.
    """
    key = on_first_rank(world, lambda: cache_key(sources, settings, verify=verify))
    folder = cache_dir / key
    index = on_first_rank(world, lambda: read_index(folder))
    shards = index["shards"] if index else []
    harmed = on_shared_items(world, shards, [shard["count"] for shard in shards], partial(_remove_if_harmed, folder))
    if not index or any(harmed):
        on_first_rank(world, lambda: (folder / "index.json").unlink(missing_ok=True))
        return _make(sources, settings, folder, world)
    log.info(f"cache {folder.name} is there already")
    return Extraction(folder, shards, 0.0)


def _remove_if_harmed(folder: Path, shard: Mapping[str, Any]) -> bool:
    path = folder / shard["file"]
    if is_as_written(path, shard):
        return False
    log.warn(f"{path}: damaged; it is made again")
    path.unlink(missing_ok=True)
    return True


def _make(sources: list[Source], settings: CacheSettings, folder: Path, world: World) -> Extraction:
    shards = plan_shards(sources, settings)
    megabytes = sum(shard.count for shard in shards) * settings.cube_bytes / 1e6
    on_first_rank(world, lambda: _make_room(folder, megabytes))
    started = time.monotonic()

    def work(shard: Shard) -> dict[str, Any]:
        log.info(f"{shard.source.name}: {shard.count} cubes of {settings.cube_size}³ → {folder.name}/{shard.file}")
        return write_shard(shard, settings, folder)

    lines = on_shared_items(world, shards, [shard.count for shard in shards], work, unit="shard")
    on_first_rank(world, lambda: write_index(folder, folder.name, settings, lines))
    made = Extraction(folder, lines, seconds=max(all_gather(world, time.monotonic() - started)))
    rate = made.megabytes / made.seconds
    log.info(f"{made.cubes} cubes, {made.megabytes:.0f} MB in {made.seconds:.1f} s: {rate:.0f} MB/s")
    return made


def _make_room(folder: Path, megabytes: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free / 1e6
    if megabytes > free:
        raise UserError(
            f"{folder}: the cache needs {megabytes:.0f} MB and {free:.0f} MB are free: set extract.cache_dir"
        )

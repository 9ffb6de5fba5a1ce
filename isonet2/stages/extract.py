"""extract: cut cubes into the HDF5 cache that refine reads."""

from __future__ import annotations

from typing import Any

from isonet2.data.cache import cache_key
from isonet2.data.extraction import extract, wanted_caches
from isonet2.job.models import Extract, Job
from isonet2.parallel.collectives import on_first_rank
from isonet2.parallel.world import World


def inputs(job: Job) -> dict[str, Any]:
    """The keys of the caches: they stand for every tomogram and every setting of the cubes."""
    verify = (job.extract or Extract()).verify
    return {"keys": [cache_key(cubes.sources, cubes.settings, verify=verify) for cubes in wanted_caches(job)]}


def run(job: Job, world: World) -> dict[str, Any]:
    """Make the first generation of cubes of each training; a cache that is there is kept.

    Ranks share the shards. Memory for each: a few cubes and planes. Disk: (cube_size + 2 × margin)³ × 5 bytes a cube
    with float16 and a mask.
    """
    section = job.extract or Extract()
    cache_dir, wanted = job.path(section.cache_dir), on_first_rank(world, lambda: wanted_caches(job))
    made = [extract(cubes.sources, cubes.settings, cache_dir, world, verify=section.verify) for cubes in wanted]
    megabytes, seconds = sum(each.megabytes for each in made), sum(each.seconds for each in made)
    return {
        "outputs": [job.name(file) for each in made for file in each.files],
        "cubes": sum(each.cubes for each in made),
        "megabytes": megabytes,
        "megabytes_per_s": megabytes / seconds if seconds else None,
    }

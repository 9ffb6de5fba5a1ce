"""extract: cut cubes into the HDF5 cache that refine reads."""

from __future__ import annotations

from typing import Any

from isonet2.data.cache import cache_key
from isonet2.data.extraction import extract, wanted_cubes
from isonet2.job.models import Extract, Job
from isonet2.parallel.collectives import on_first_rank
from isonet2.parallel.world import World


def inputs(job: Job) -> dict[str, Any]:
    """The key of the cache: it stands for every tomogram and every setting of the cubes."""
    return {"key": cache_key(*wanted_cubes(job), verify=(job.extract or Extract()).verify)}


def run(job: Job, world: World) -> dict[str, Any]:
    """Make the first generation of cubes; a cache that is there is kept.

    Ranks share the shards. Memory for each: a few cubes and planes. Disk: (cube_size + 2 × margin)³ × 5 bytes a cube
    with float16 and a mask.
    """
    section = job.extract or Extract()
    sources, settings = on_first_rank(world, lambda: wanted_cubes(job))
    made = extract(sources, settings, job.path(section.cache_dir), world, verify=section.verify)
    return {
        "outputs": [str(made.folder / "index.json")],
        "cubes": made.cubes,
        "megabytes": made.megabytes,
        "megabytes_per_s": made.megabytes / made.seconds if made.seconds else None,
    }

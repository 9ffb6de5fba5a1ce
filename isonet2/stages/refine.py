"""refine: train a network to fill the missing wedge and to denoise."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from isonet2.data.cache import CacheSettings, CubeCache, cache_key
from isonet2.data.extraction import extract, wanted_cubes
from isonet2.data.sources import Source, check_halves, sources_of
from isonet2.errors import UserError
from isonet2.io.star import read_star, select_rows
from isonet2.job.models import Extract, Job, Refine
from isonet2.parallel.collectives import on_first_rank
from isonet2.parallel.world import World
from isonet2.training.loop import Supply, Trainer
from isonet2.training.preview import prepare_preview


def inputs(job: Job) -> dict[str, Any]:
    """The key of the cache: it stands for every tomogram and every setting of the cubes."""
    section = job.extract or Extract()
    key = cache_key(*wanted_cubes(job), verify=section.verify)
    return {"key": key, "cache_refresh_epochs": section.cache_refresh_epochs}


def run(job: Job, world: World, *, restart: bool = False) -> dict[str, Any]:
    """Train to the last epoch, from the last checkpoint if there is one and `restart` does not forbid it.

    Each rank holds one network (weights, gradient, two moments, average: 20 bytes a parameter) and the activations of
    its share of a micro-batch.
    """
    refine, section = job.refine or Refine(), job.extract or Extract()
    folder = job.path(refine.output_dir)
    sources, settings = on_first_rank(world, lambda: _checked(job, refine))
    preview = None
    if refine.with_preview:
        chosen = _preview_source(job, refine.prev_tomo_idx)
        preview = prepare_preview(chosen, cube_size=refine.cube_size, folder=folder)
    supply = Supply(_caches(job, section, sources, settings, world), section.cache_refresh_epochs or refine.epochs)
    return Trainer(refine, supply, preview, folder, world, seed=job.seed).train(restart=restart)


def _caches(
    job: Job, section: Extract, sources: list[Source], settings: CacheSettings, world: World
) -> Callable[[int], CubeCache]:
    """Gives the cache of each generation, made when it is asked for; the one before, but not the first, is removed."""
    cache_dir = job.path(section.cache_dir)

    def remove(generation: int) -> None:
        old = replace(settings, generation=generation)
        shutil.rmtree(cache_dir / cache_key(sources, old, verify=section.verify), ignore_errors=True)

    def cache(generation: int) -> CubeCache:
        current = replace(settings, generation=generation)
        made = extract(sources, current, cache_dir, world, verify=section.verify)
        if generation > 1:
            on_first_rank(world, lambda: remove(generation - 1))
        return CubeCache(made.folder)

    return cache


def _checked(job: Job, refine: Refine) -> tuple[list[Source], CacheSettings]:
    """What to learn from; UserError for what is wrong with it, before any work."""
    sources, settings = wanted_cubes(job)
    check_halves(sources)
    for source in sources:
        if refine.mask_loss and source.mask is None:
            raise UserError(f"refine.mask_loss: {source.name} has no mask in {job.star_file}: run make_mask first")
        if min(source.shape) < refine.cube_size:
            raise UserError(
                f"refine.cube_size {refine.cube_size} is larger than {source.name}, which has "
                f"{'×'.join(map(str, source.shape))} voxels (z, y, x): take a smaller cube"
            )
    return sources, settings


def _preview_source(job: Job, prev_tomo_idx: int) -> Source:
    source = sources_of(select_rows(read_star(job.path(job.star_file)), str(prev_tomo_idx)), job.path)
    check_halves(source)
    return source[0]

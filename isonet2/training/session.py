"""One training stage: denoise or refine, of one network or of two on halves of the specimen."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from isonet2 import log
from isonet2.data.cache import CubeCache, cache_key
from isonet2.data.choice import maps_for
from isonet2.data.extraction import HALVES, Wanted, extract, halved_cubes, wanted_cubes
from isonet2.data.sources import sources_of
from isonet2.errors import UserError
from isonet2.inference.networks import network_name
from isonet2.io.star import read_star, select_rows
from isonet2.job.models import Extract, Job, Refine, Training
from isonet2.job.training import without_effect
from isonet2.parallel.collectives import on_first_rank
from isonet2.parallel.memory import keep_freed_memory
from isonet2.parallel.world import World
from isonet2.training.loop import Supply, Trainer
from isonet2.training.preview import Preview, prepare_preview
from isonet2.training.setup import Pretrained, Setup, load_pretrained

Stage = Literal["denoise", "refine"]


def session_inputs(job: Job, stage: Stage) -> dict[str, Any]:
    """The key of the cache, which stands for the tomograms and the cubes; the network to begin with."""
    section, training = job.extract or Extract(), job.trainings[stage]
    wanted = wanted_cubes(job, training)
    return {
        "key": cache_key(wanted.sources, wanted.settings, verify=section.verify),
        "method": wanted.method,
        "cache_refresh_epochs": section.cache_refresh_epochs,
        "optics": [list(vars(source.optics).values()) for source in wanted.sources],
        "pretrained": _pretrained(job, training).fingerprint if training.pretrained_model else None,
    }


def run_session(job: Job, stage: Stage, world: World, *, restart: bool, set_aside: bool = False) -> dict[str, Any]:
    """Train to the last epoch, from the last checkpoint if there is one and `restart` does not forbid it; one of other
    settings is an error, or, with `set_aside`, put into a folder of its own.

    Each rank holds one network (weights, gradient, two moments, average: 20 bytes a parameter) and the activations of
    its share of a micro-batch. With split_halves one network after the other, in folders of their own, from other first
    weights and with other random numbers: what they have in common is to come from the specimen.
    """
    training = job.trainings[stage]
    wanted = on_first_rank(world, lambda: _checked(job, training))
    folder = job.path(training.output_dir)
    pretrained = on_first_rank(world, lambda: _pretrained(job, training)) if training.pretrained_model else None
    setup = Setup(training, wanted.method, pretrained=pretrained, column=wanted.column)
    if pretrained and (unlike := pretrained.unlike(setup)):
        log.warn(f"pretrained_model: {'; '.join(unlike)}: it has to learn that anew")
    preview = _preview(job, training, wanted) if training.with_preview else None
    how = {"restart": restart, "set_aside": set_aside}
    if not training.split_halves:
        return _train(job, setup, wanted, preview, folder, world, seed=job.seed, **how)
    facts = []
    for number, part in enumerate(HALVES):
        log.info(f"{stage}: the network of the {part} half")
        half = on_first_rank(world, lambda part=part: halved_cubes(wanted, part))  # type: ignore[misc]
        where = replace(preview, folder=folder / part) if preview else None
        own = replace(setup, part=part)
        facts.append(_train(job, own, half, where, folder / part, world, seed=job.seed + number, **how))
    together = {name: [path for each in facts for path in each[name]] for name in ("outputs", "networks")}
    shared = {name: value for name, value in facts[0].items() if name != "convergence"}  # each has its own
    return {**shared, **together, "samples": sum(each["samples"] for each in facts), "split_halves": True}


def _train(
    job: Job,
    setup: Setup,
    wanted: Wanted,
    preview: Preview | None,
    folder: Path,
    world: World,
    *,
    seed: int,
    **how: bool,
) -> dict[str, Any]:
    _check_beginning(job, setup, folder)
    keep_freed_memory()
    supply = Supply(_caches(job, wanted, world), (job.extract or Extract()).cache_refresh_epochs)
    facts = Trainer(setup, supply, preview, folder, world, seed=seed).train(**how)
    return {**facts, **{name: [job.name(path) for path in facts[name]] for name in ("outputs", "networks")}}


def _check_beginning(job: Job, setup: Setup, folder: Path) -> None:
    """UserError if this training would write over the network that it begins with, and never find it again."""
    if setup.section.pretrained_model is not None:
        path = job.path(setup.section.pretrained_model).resolve()
        name = re.sub(r"_(epoch\d+|best)(?=_)", "", path.name)
        if path.parent == folder.resolve() and name == network_name(setup.info(0), "last"):
            raise UserError(f"pretrained_model: this training would write over {path}: take another output_dir")


def _caches(job: Job, wanted: Wanted, world: World) -> Callable[[int], CubeCache]:
    """Gives the cache of each generation, made when it is asked for; the one before, but not the first, is removed."""
    section = job.extract or Extract()
    cache_dir = job.path(section.cache_dir)

    def remove(generation: int) -> None:
        old = replace(wanted.settings, generation=generation)
        shutil.rmtree(cache_dir / cache_key(wanted.sources, old, verify=section.verify), ignore_errors=True)

    def cache(generation: int) -> CubeCache:
        current = replace(wanted.settings, generation=generation)
        made = extract(wanted.sources, current, cache_dir, world, verify=section.verify)
        if generation > 1:
            on_first_rank(world, lambda: remove(generation - 1))
        return CubeCache(made.folder)

    return cache


def _checked(job: Job, training: Training) -> Wanted:
    """What to learn from; UserError for what is wrong with it, before any work."""
    wanted = wanted_cubes(job, training)
    for source in wanted.sources:
        if training.mask_loss and source.mask is None:
            raise UserError(f"mask_loss: {source.name} has no mask in {job.star_file}: run make_mask first")
        if training.CTF_mode is not None and source.optics.defocus_angstrom <= 0:
            raise UserError(
                f"CTF_mode {training.CTF_mode}: the defocus of {source.name} is {source.optics.defocus_angstrom:g} Å: "
                f"write it into {job.star_file} (rlnDefocus, underfocus above 0)"
            )
        if min(source.shape) < training.cube_size:
            raise UserError(
                f"cube_size {training.cube_size} is larger than {source.name}, which has "
                f"{'×'.join(map(str, source.shape))} voxels (z, y, x): take a smaller cube"
            )
    for doubt in _doubts(job, training, wanted):
        log.warn(doubt)
    return wanted


def _doubts(job: Job, training: Training, wanted: Wanted) -> list[str]:
    """What these tomograms, or the length of the training, leave without effect."""
    known = training.model_copy(update={"method": wanted.method}) if isinstance(training, Refine) else training
    found = without_effect(known)
    if all(source.coordinates is not None for source in wanted.sources):
        if training.with_mask and not training.mask_loss:
            found["with_mask"] = "cubes are cut at the coordinates: set mask_loss"
        if (job.extract or Extract()).cache_refresh_epochs is not None:
            found["extract.cache_refresh_epochs"] = "cubes are cut at the coordinates, always at the same ones"
    doubts = [f"{name} has no effect: {reason}" for name, reason in found.items()]
    if isinstance(training, Refine) and training.noise_start_iter[-1] > training.epochs:
        doubts.append(f"noise_start_iter: training ends after epoch {training.epochs}, before the last level is added")
    return doubts


def _pretrained(job: Job, training: Training) -> Pretrained:
    assert training.pretrained_model is not None
    return load_pretrained(job.path(training.pretrained_model), training)


def _preview(job: Job, training: Training, wanted: Wanted) -> Preview:
    """Of the tomogram that is named, read as those that are trained on."""
    rows = select_rows(read_star(job.path(job.star_file)), str(training.prev_tomo_idx))
    source = sources_of(rows, job.path, maps_for(wanted.method, training))[0]
    return prepare_preview(
        source,
        cube_size=training.cube_size,
        phase_flip=wanted.settings.phase_flip,
        apply_mw_x1=getattr(training, "apply_mw_x1", False),
        fills_wedge=wanted.method != "n2n",
        folder=job.path(training.output_dir),
    )

"""predict: apply a trained network to whole tomograms."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from isonet2 import log
from isonet2.data.acquired import check_phases
from isonet2.data.choice import maps_of_method
from isonet2.data.sources import Source, sources_of
from isonet2.errors import UserError
from isonet2.inference.network_use import flips_phases, predictor_of, standard_of
from isonet2.inference.networks import NetworkInfo, load_network
from isonet2.inference.predictor import Predictor
from isonet2.inference.tomogram import (
    Prediction,
    check_dtype,
    is_predicted,
    plan_prediction,
    predict_row,
    put_together,
)
from isonet2.io.atomic import existing_file
from isonet2.io.fingerprint import fingerprint
from isonet2.io.relion import offer_to_relion
from isonet2.io.star import read_star, select_rows, update_rows
from isonet2.job.models import Job, Predict
from isonet2.models.compute import Compute, choose_compute
from isonet2.models.network import Network
from isonet2.parallel.collectives import on_first_rank, on_shared_items
from isonet2.parallel.world import World, waves
from isonet2.report.records import stage_path

_ALIKE = (  # what two networks have to agree on that share the preparation of their tomograms
    "method", "cube_size", "CTF_mode", "apply_mw_x1", "phaseflipped", "do_phaseflip_input", "input_column", "foreign"
)  # fmt: skip
_ROWS_EACH = 16  # rows of tiles for each rank in one wave: even shares, without the rows of all tomograms on disk


@dataclass(frozen=True)
class _Task:
    """One tomogram: its row of the STAR file and what becomes of it."""

    index: int
    prediction: Prediction


def inputs(job: Job) -> dict[str, Any]:
    """What the predictions depend on: the networks and the maps."""
    models = _models(job)
    _, info = load_network(models[0])
    return {"networks": [fingerprint(model) for model in models]} | {
        source.name: {
            "maps": [fingerprint(path) for path in source.maps],
            "tilts": source.tilts_deg,
            "optics": list(vars(source.optics).values()),
        }
        for _, source in _chosen(job, info)
    }


def run(job: Job, world: World, *, restart: bool = False, tomogram: int | None = None) -> dict[str, Any]:
    """Write the corrected tomograms and name them in the STAR file; those that are there are kept, unless `restart`.

    With `tomogram`, the index of one of them: that one alone, and the STAR file is left to whoever runs them all.

    Ranks share the rows of tiles; what a row adds waits on disk until whoever puts the tomogram together streams all
    of them, plane by plane. Rows that an earlier run finished are kept. Memory for each rank: one row, cube_size × y ×
    x float32 for each map, and one batch of tiles in the network. Disk for the while: 1.5 × the outputs.
    """
    section = job.predict or Predict()
    loaded = on_first_rank(world, lambda: _loaded(job))
    info = loaded[0][1]
    compute = choose_compute(world.device, mixed_precision=section.mixed_precision)
    tasks = on_first_rank(world, lambda: _tasks(job, section, info, compute, only=tomogram))
    left = on_first_rank(world, lambda: [task for task in tasks if restart or not is_predicted(task.prediction)])
    on_first_rank(world, lambda: _check_outputs(job.path(section.output_dir), left, section.bytes_per_voxel))
    predictors = [predictor_of(network, info, section, compute) for network, _ in loaded]

    def name(written: Sequence[_Task]) -> None:
        column = "denoised" if info.method == "n2n" else "corrected"
        names = {task.index: {column: job.name(task.prediction.outputs[0])} for task in written}
        if tomogram is None:
            update_rows(job.path(job.star_file), names)
            offer_to_relion(job.path(job.star_file), job.path)

    missing = {task.index for task in left}
    on_first_rank(world, lambda: name([task for task in tasks if task.index not in missing]))
    counts = [len(task.prediction.tiling.z) for task in left]
    log.expect(sum(counts), "row")
    for wave in waves(left, counts, least=_ROWS_EACH * world.size):
        _predict_wave(wave, predictors, world)
        on_first_rank(world, partial(name, wave))
    outputs = [output for task in tasks for output in task.prediction.outputs]
    return {
        "outputs": [job.name(output) for output in outputs],
        "networks": [job.name(model) for model in _models(job)],
        "parts": [found.part for _, found in loaded],
        "maps": {t.prediction.source.name: [job.name(path) for path in t.prediction.source.maps] for t in tasks},
        "method": info.method,
        "epoch": info.epoch,
        "ctf": {
            "CTF_mode": info.CTF_mode,
            "flips": flips_phases(section, info),
            "flipped": flips_phases(section, info) or section.phaseflipped or info.phaseflipped,
            "clip_first_peak_mode": info.clip_first_peak_mode,
            "bfactor": info.bfactor,
        },
        "corrected": {task.prediction.source.name: job.name(task.prediction.outputs[0]) for task in tasks},
        "precision": compute.name,
    }


def _models(job: Job) -> list[Path]:
    """The networks that are named, or the last ones that the last training of this job exported."""
    section = job.predict or Predict()
    named = [job.path(name) for name in (section.model, section.model2) if name is not None]
    return [existing_file(path, what="network") for path in named or _trained(job)]


def _trained(job: Job) -> list[Path]:
    stage = list(job.trainings)[-1]
    record = existing_file(stage_path(job, stage), what=f"record of {stage}")
    return [job.path(name) for name in json.loads(record.read_text(encoding="utf-8"))["facts"]["networks"]]


def _loaded(job: Job) -> list[tuple[Network, NetworkInfo]]:
    """The networks; UserError if two of them do not belong together."""
    models = _models(job)
    if len({fingerprint(model) for model in models}) < len(models):
        raise UserError(f"predict.model2: {models[1]} is the same network as {models[0]}: name the other half's")
    loaded = [load_network(model) for model in models]
    kinds = [{name: getattr(info, name) for name in _ALIKE} for _, info in loaded]
    if any(kind != kinds[0] for kind in kinds):
        raise UserError(f"predict.model2: {models[1]} was trained in another way than {models[0]}")
    return loaded


def _chosen(job: Job, info: NetworkInfo) -> list[tuple[int, Source]]:
    """The tomograms to predict, with their index in the STAR file."""
    section = job.predict or Predict()
    rows = select_rows(read_star(job.path(job.star_file)), section.tomo_idx)
    column = section.input_column or info.input_column
    choice = maps_of_method(info.method, corrects_ctf=info.CTF_mode is not None, column=column)
    return list(zip((row.index for row in rows), sources_of(rows, job.path, choice), strict=True))


def _tasks(job: Job, section: Predict, info: NetworkInfo, compute: Compute, *, only: int | None) -> list[_Task]:
    """What is asked for; UserError if a file is missing, or if `only` is none of these tomograms."""
    networks = [f"{fingerprint(model)} {compute.name}" for model in _models(job)]
    for name, reason in _without_effect(section, info, networks=len(networks)).items():
        log.warn(f"predict.{name} has no effect: {reason}")
    plan = partial(
        plan_prediction,
        section=section,
        cube_size=info.cube_size,
        networks=networks,
        phase_flip=flips_phases(section, info),
        standard=standard_of(info),
        prefix="denoised" if info.method == "n2n" else "corrected",
        folder=job.path(section.output_dir),
    )
    chosen = [(index, source) for index, source in _chosen(job, info) if only in (None, index)]
    if not chosen:
        raise UserError(f"--tomogram {only}: predict takes no tomogram of that index from {job.star_file}")
    if flips_phases(section, info):
        indices = {index for index, _ in chosen}
        rows = [row for row in read_star(job.path(job.star_file)) if row.index in indices]
        check_phases(rows, "predict.phaseflipped", phaseflipped=False)
    return [_Task(index, plan(source)) for index, source in chosen]


def _without_effect(section: Predict, info: NetworkInfo, *, networks: int) -> dict[str, str]:
    """Settings that these networks leave without effect, and why."""
    found: dict[str, str] = {}
    if not flips_phases(Predict(), info):
        reason = "no CTF was corrected in training" if info.CTF_mode is None else "the network takes maps as they are"
        found |= dict.fromkeys(("phaseflipped", "do_phaseflip_input"), reason)
    if not info.apply_mw_x1:
        found["apply_mw_x1"] = "the network was trained without"
    if networks == 2:
        found["keep_halves"] = "of two networks the half maps are always written"
    return {name: why for name, why in found.items() if getattr(section, name) != Predict.model_fields[name].default}


def _check_outputs(folder: Path, tasks: Sequence[_Task], bytes_per_voxel: int) -> None:
    """UserError if the outputs of these do not fit on the disk, or their densities not into the type of the files."""
    for task in tasks:
        check_dtype(task.prediction)
    folder.mkdir(parents=True, exist_ok=True)
    voxels = sum(math.prod(task.prediction.source.shape) * len(task.prediction.outputs) for task in tasks)
    needed = bytes_per_voxel * voxels
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(f"{folder}: {needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free")


def _predict_wave(wave: list[_Task], predictors: Sequence[Predictor], world: World) -> None:
    """The rows of some tomograms, shared out, then the tomograms themselves, shared out too."""
    items = [(task.prediction, row) for task in wave for row in range(len(task.prediction.tiling.z))]
    costs = [float(len(p.tiling.y) * len(p.tiling.x)) for p, _ in items]

    def row(item: tuple[Prediction, int]) -> None:
        prediction, number = item
        predict_row(prediction, number, predictors)
        log.info(f"{prediction.source.name}: row {number + 1} of {len(prediction.tiling.z)}")

    on_shared_items(world, items, costs, row, unit="row")
    sizes = [float(math.prod(task.prediction.source.shape)) for task in wave]
    on_shared_items(world, [task.prediction for task in wave], sizes, put_together)

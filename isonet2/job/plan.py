"""What a job will do and need, by arithmetic: stages, ranks, samples, steps, memory, disk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby, pairwise
from typing import Any

from isonet2.errors import UserError
from isonet2.job.architectures import NetworkShape
from isonet2.job.memory import predicted_bytes_per_voxel, trained_bytes_per_voxel
from isonet2.job.models import STAGES, Deconv, Extract, Job, Predict, PrepareStar, Simulate, Training

SAMPLES_BY_DEFAULT = 3000  # cubes over all tomograms, where number_subtomos is auto

_WIDEST_HALO = 160  # voxels that deconv reads around a chunk at the most
PROCESS_BYTES = 450e6  # interpreter, torch, h5py and what they allocate once
_BYTES_PER_PARAMETER = 5 * 4  # weight, gradient, two moments of AdamW, average
_SAVED_BYTES_PER_PARAMETER = {"adamw": 4 * 4, "muon": 3 * 4}  # no gradient; muon has one moment, but for few of them
_FILE_BYTES, _PICTURE_BYTES = 2e5, 1e6  # what torch adds to the tensors of a file; a preview


@dataclass(frozen=True)
class TomogramFacts:
    """What the plan needs of one tomogram: shape in voxels (z, y, x) and how many cubes are cut from it, if any."""

    name: str
    shape: tuple[int, int, int]
    samples: int

    @property
    def voxels(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Plan:
    """Numbers that depend on tomograms nobody has seen yet are None; memory is the most that one rank will take."""

    folder: str
    stages: tuple[str, ...]
    steps: tuple[dict[str, Any], ...]
    """The stages as launchers start them: consecutive ones of a kind together, so that MPI and NCCL never meet."""
    nodes: int
    ranks_per_node: int
    ranks: int
    threads_per_rank: int | None
    slurm: dict[str, Any]
    """What to ask a scheduler for; what the job does not say is None."""
    container: dict[str, Any] | None = None
    """The section as the job has it: launch/ compares it with what it read itself, before it could ask for this."""
    tomograms: int | None = None
    tomogram_indices: tuple[int, ...] | None = None
    """Those that predict takes, as the STAR file numbers them."""
    samples: int | None = None
    batch_size: int | None = None
    steps_per_epoch: int | None = None
    training_steps: int | None = None
    training_time: str | None = None
    """In words, and by what: nobody can say it of a machine that has not done it."""
    training_bytes: int | None = None
    cache_bytes: int | None = None
    mask_bytes: int | None = None
    prediction_bytes: int | None = None
    simulation_bytes: int | None = None
    training_memory_bytes: int | None = None
    deconvolution_bytes: int | None = None
    prediction_memory_bytes: int | None = None
    deconvolution_memory_bytes: int | None = None
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def make_plan(job: Job, tomograms: Sequence[TomogramFacts] | None) -> Plan:
    """The plan for these tomograms; None if they are not known yet, except that those of simulate are foreseen.

    UserError, with a line each, for cubes larger than a tomogram and for batches larger than all samples.
    """
    tomograms = simulated_tomograms(job) if tomograms is None else tomograms
    ranks = job.resources.nodes * job.resources.ranks_per_node
    training, sized = job.refine or job.denoise, _of_known_size(job)
    stages = tuple(stage for stage in STAGES if getattr(job, stage) is not None)
    plan = Plan(
        folder=str(job.folder),
        stages=stages,
        steps=tuple(
            {"kind": kind, "stages": list(together)}
            for kind, together in groupby(stages, lambda stage: "training" if stage in job.trainings else "shared")
        ),
        nodes=job.resources.nodes,
        ranks_per_node=job.resources.ranks_per_node,
        ranks=ranks,
        threads_per_rank=job.resources.threads_per_rank,
        slurm=job.resources.model_dump(exclude={"threads_per_rank", "gpuID"})
        | {"cpus_per_rank": job.resources.threads_per_rank},
        container=job.container.model_dump() if job.container else None,
        batch_size=(training.batch_size or 2 * ranks) if training else None,
        training_bytes=sum(map(training_bytes, sized)) if sized else None,
        training_memory_bytes=max((training_memory_bytes(each, ranks) for each in sized), default=None),
        simulation_bytes=_simulation_bytes(job.simulate) if job.simulate else None,
    )
    if tomograms is not None:
        plan = _with_tomograms(plan, job, tomograms)
    return replace(plan, warnings=tuple(_warnings(plan)))


def _simulation_bytes(simulate: Simulate) -> int:
    """Two halves, their mean, and the truth with and without the CTF, if there is one."""
    maps = 4 if simulate.defocus is None else 5
    return maps * 4 * simulate.count * math.prod(simulate.size)


def training_bytes(training: Training) -> int:
    """The most that a training writes into its folder: every save_interval epochs a checkpoint, a network and a
    picture that stay, the last checkpoints, and the network as it is last and was best."""
    exports = math.ceil(training.epochs / training.save_interval)
    networks, checkpoints = exports + 2, exports + training.keep_checkpoints + 1
    each = training.shape.parameters
    saved = _SAVED_BYTES_PER_PARAMETER[training.optimizer] * each
    pictures = exports * _PICTURE_BYTES if training.with_preview else 0
    needed = networks * (4 * each + _FILE_BYTES) + checkpoints * (saved + _FILE_BYTES) + pictures
    return int((2 if training.split_halves else 1) * needed)


def _of_known_size(job: Job) -> list[Training]:
    """The trainings; none where the size of a network is only known from the file that it comes from."""
    trainings = list(job.trainings.values())
    return [] if any(training.pretrained_model for training in trainings) else trainings


def simulated_tomograms(job: Job) -> list[TomogramFacts] | None:
    """The tomograms that simulate and prepare_star of the job will make; None without them."""
    if job.simulate is None or job.prepare_star is None:
        return None
    samples = samples_of_each(job.prepare_star, tomograms=job.simulate.count)
    return [TomogramFacts(f"simulated tomogram {n}", job.simulate.size, count) for n, count in enumerate(samples, 1)]


def samples_of_each(section: PrepareStar, *, tomograms: int) -> list[int]:
    """Cubes of each of `tomograms`: as many as asked for, or equal shares, at least 1, of SAMPLES_BY_DEFAULT."""
    if section.number_subtomos != "auto":
        return [section.number_subtomos] * tomograms
    bounds = [SAMPLES_BY_DEFAULT * n // tomograms for n in range(tomograms + 1)]
    return [max(1, last - first) for first, last in pairwise(bounds)]


def training_memory_bytes(training: Training, ranks: int) -> int:
    """The most that one rank takes in a training, in float32; in half precision a GPU takes half of the activations.

    A micro-batch goes through the network at once.
    """
    shape = training.shape
    batch = training.batch_size or 2 * ranks
    cubes = math.ceil(batch / (ranks * training.acc_batches))
    activations = cubes * training.cube_size**3 * trained_bytes_per_voxel(shape)
    return int(PROCESS_BYTES + shape.parameters * _BYTES_PER_PARAMETER + activations)


def prediction_memory_bytes(
    predict: Predict, *, shape: NetworkShape, cube_size: int, tomograms: Sequence[TomogramFacts]
) -> int:
    """The most that one rank takes in predict: a slab of `cube_size` planes, a batch of tiles, the network."""
    slab = 4 * cube_size * max(t.shape[1] * t.shape[2] for t in tomograms)
    tiles = predict.tile_batch * cube_size**3 * predicted_bytes_per_voxel(shape)
    return int(PROCESS_BYTES + 4 * shape.parameters + slab + tiles)


def cache_bytes(job: Job, samples: int) -> int:
    """Two halves and a mask of one byte for each cube with its margin; new generations stand beside two older ones."""
    extract = job.extract or Extract()
    voxel = 2 * (2 if extract.dtype == "float16" else 4) + 1
    needed = 0
    for training in job.trainings.values() or [None]:
        cube_size, margin = job.cubes_of(training)
        generations = 1
        if training and extract.cache_refresh_epochs:
            generations = min(3, math.ceil(training.epochs / extract.cache_refresh_epochs))
        needed += generations * samples * (cube_size + 2 * margin) ** 3 * voxel
    return needed


def _with_tomograms(plan: Plan, job: Job, tomograms: Sequence[TomogramFacts]) -> Plan:
    samples, voxels = sum(t.samples for t in tomograms), sum(t.voxels for t in tomograms)
    mistakes = too_thin(job, tomograms)
    if plan.batch_size is not None and samples < plan.batch_size:
        mistakes.append(
            f"{_training_stage(plan)}.batch_size {plan.batch_size} is more than the {samples} cubes there are: "
            "make it smaller"
        )
    if mistakes:
        raise UserError("\n".join(mistakes))
    if job.extract or job.trainings:
        plan = replace(plan, cache_bytes=cache_bytes(job, samples))
    if training := job.refine or job.denoise:
        assert plan.batch_size is not None
        steps = max(1, round(samples * (1 - training.validation_share)) // plan.batch_size)
        plan = replace(plan, steps_per_epoch=steps, training_steps=training.epochs * steps)
        if job.predict and not training.pretrained_model:  # of another network's file the plan cannot know the size
            needed = prediction_memory_bytes(
                job.predict, shape=training.shape, cube_size=training.cube_size, tomograms=tomograms
            )
            plan = replace(plan, prediction_memory_bytes=needed)
    return replace(
        plan,
        tomograms=len(tomograms),
        samples=samples,
        mask_bytes=voxels if job.make_mask else None,
        prediction_bytes=voxels * job.predict.bytes_per_voxel * _maps_predicted(job) if job.predict else None,
        deconvolution_bytes=4 * voxels if job.deconv else None,
        deconvolution_memory_bytes=deconvolution_memory_bytes(job.deconv, tomograms) if job.deconv else None,
    )


def _maps_predicted(job: Job) -> int:
    """Of each tomogram: the corrected map and, where there are two predictions, these too."""
    assert job.predict is not None
    alone = job.refine is not None and job.refine.method == "isonet2" and not job.refine.split_halves
    return 3 if job.predict.keep_halves and not alone else 1


def deconvolution_memory_bytes(deconv: Deconv, tomograms: Sequence[TomogramFacts]) -> int:
    """The most that one rank takes in deconv: a chunk and the halo that its filter reaches, estimated here."""
    halo = max(min(_WIDEST_HALO, 2 / deconv.highpassnyquist), deconv.overlap_rate * deconv.chunk_size / 2)

    def voxels(tomogram: TomogramFacts) -> float:
        return math.prod(math.ceil(size / math.ceil(size / deconv.chunk_size)) + 2 * halo for size in tomogram.shape)

    return int(PROCESS_BYTES + 16 * max(map(voxels, tomograms)))


def too_thin(job: Job, tomograms: Sequence[TomogramFacts]) -> list[str]:
    """The mistake of a cube_size that some of the tomograms have no room for; an empty list if all have."""
    asked = {name: training.cube_size for name, training in job.trainings.items()}
    if job.extract and not asked:
        asked["extract"] = job.cubes_of(None)[0]
    mistakes = []
    for name, cube_size in asked.items():
        thin = [t for t in tomograms if t.samples and min(t.shape) < cube_size]
        if thin:
            others = f" (and for {len(thin) - 1} more)" if len(thin) > 1 else ""
            mistakes.append(
                f"{name}.cube_size {cube_size} is too large for {thin[0].name}{others}, which "
                f"has {'×'.join(map(str, thin[0].shape))} voxels (z, y, x): take a smaller cube"
            )
    return mistakes


def _warnings(plan: Plan) -> list[str]:
    if plan.batch_size is not None and plan.batch_size < plan.ranks:
        stage = _training_stage(plan)
        return [f"{stage}.batch_size {plan.batch_size} is less than {plan.ranks} ranks: some will have nothing to do"]
    return []


def _training_stage(plan: Plan) -> str:
    return "refine" if "refine" in plan.stages else "denoise"


def plan_table(plan: Plan) -> str:
    """The plan for people, a line for each fact that is known."""
    counts = {
        "tomograms": plan.tomograms,
        "cubes": plan.samples,
        "batch size": plan.batch_size,
        "steps an epoch": plan.steps_per_epoch,
        "steps": plan.training_steps,
    }
    sizes = {
        "disk: simulation": plan.simulation_bytes,
        "disk: deconvolved": plan.deconvolution_bytes,
        "disk: masks": plan.mask_bytes,
        "disk: cache": plan.cache_bytes,
        "disk: networks": plan.training_bytes,
        "disk: predictions": plan.prediction_bytes,
        "memory of a rank: deconv": plan.deconvolution_memory_bytes,
        "memory of a rank: refine": plan.training_memory_bytes,
        "memory of a rank: predict": plan.prediction_memory_bytes,
    }
    threads = f" × {plan.threads_per_rank} threads" if plan.threads_per_rank else ""
    rows = {
        "stages": " → ".join(plan.stages),
        "ranks": f"{plan.ranks} on {plan.nodes} node{'s' * (plan.nodes > 1)}{threads}",
        **{label: f"{count:,}" for label, count in counts.items() if count is not None},
        **({f"time of {_training_stage(plan)}": plan.training_time} if plan.training_time else {}),
        **{label: in_words(size) for label, size in sizes.items() if size is not None},
    }
    lines = [f"{label:<26}  {text}" for label, text in rows.items()]
    return "\n".join([*lines, *(f"warning: {warning}" for warning in plan.warnings)])


def in_words(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.1f} MB"

"""simulate: tomograms whose truth is known, to see what the method can do and what it cannot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from isonet2.errors import UserError
from isonet2.io.atomic import write_text
from isonet2.io.mrc import write_mrc
from isonet2.job.models import Job, Simulate
from isonet2.log import info
from isonet2.parallel.collectives import on_first_rank, on_shared_items
from isonet2.parallel.world import World
from isonet2.physics.ctf import ctf
from isonet2.simulation.phantom import Placed, filtered_radially, make_phantom
from isonet2.simulation.tilt_series import back_project, project, tilt_angles_deg, white_noise

_COLUMNS = (
    "rlnTomoName",
    "rlnCoordinateX",
    "rlnCoordinateY",
    "rlnCoordinateZ",
    "rlnAngleRot",
    "rlnAngleTilt",
    "rlnAnglePsi",
    "isonetShape",
    "isonetRadiusAngstrom",
)


_KINDS = ("even", "odd", "full", "truth", "truth_without_ctf")  # the last where there is a CTF


def inputs(job: Job) -> dict[str, Any]:
    """Nothing: a simulation depends on its section and on the seed alone."""
    return {}


def run(job: Job, world: World) -> dict[str, Any]:
    """Write {even,odd,full,truth}/tomo_NNN.mrc and particles.star; the ranks share the tomograms. With a defocus also
    truth_without_ctf/, for networks that correct it.

    Each tomogram depends on the settings, the seed and its number, not on ranks or on how many there are. Memory of a
    rank: about eight times a float32 tomogram, and 60 MB.
    """
    settings = job.simulate
    assert settings is not None
    folder = job.path(settings.output_dir)
    numbers = range(1, settings.count + 1)
    work = partial(_simulate_tomogram, settings, job.seed, folder)
    placed = on_shared_items(world, numbers, [1.0] * len(numbers), work, unit="tomogram")
    on_first_rank(world, lambda: _write_particles(folder / "particles.star", placed))
    kinds = _KINDS if settings.defocus is not None else _KINDS[:-1]
    maps = [f"{settings.output_dir}/{kind}/{_name(number)}.mrc" for number in numbers for kind in kinds]
    return {"outputs": maps, "tomograms": settings.count, "placed": [len(in_one) for in_one in placed]}


def _simulate_tomogram(settings: Simulate, seed: int, folder: Path, number: int) -> list[Placed]:
    """Make one tomogram, write its files, and say what is in it."""
    volumes, placed = simulated(settings, seed, number)
    for kind, volume in volumes.items():
        write_mrc(folder / kind / f"{_name(number)}.mrc", volume.numpy(), pixel_size_angstrom=settings.pixel_size)
    return placed


def simulated(settings: Simulate, seed: int, number: int) -> tuple[dict[str, Tensor], list[Placed]]:
    """One tomogram: its maps (z, y, x), float32, by the names of their folders, and what is in it."""
    shape, pixel, step = settings.size, settings.pixel_size, settings.tilt_step
    for_phantom, *for_halves = (np.random.default_rng(s) for s in np.random.SeedSequence([seed, number]).spawn(3))
    density, placed = make_phantom(settings, for_phantom)
    asked = settings.particles + settings.membranes + settings.gold
    if not placed:
        size = "×".join(map(str, shape))
        raise UserError(f"simulate.size: none of {asked} particles fits into {size} voxels of {pixel:g} Å; enlarge it")
    info(f"{_name(number)}: {len(placed)} of {asked} particles, vesicles and gold beads found a place")
    truth = without_ctf = density.neg_()  # protein is dark
    if settings.defocus is not None:
        # A radial CTF in 3-D is the same CTF in every image, by the slice theorem.
        transfer = partial(
            ctf,
            defocus_angstrom=settings.defocus,
            voltage_kv=settings.voltage,
            cs_mm=settings.cs,
            amplitude_contrast=settings.ac,
        )
        truth = filtered_radially(truth, pixel, transfer)
    tilts = tilt_angles_deg(settings.tilt_min, settings.tilt_max, step)
    series = project(truth, tilts)
    sigma = float(truth.numpy().sum(axis=0, dtype=np.float64).std()) / math.sqrt(settings.snr)
    half_dose = math.sqrt(2) * sigma
    even, odd = (
        back_project(series + white_noise(shape, tilts, half_dose, rng), shape, tilts, step) for rng in for_halves
    )
    volumes = [even, odd, (even + odd) / 2, truth, *([without_ctf] if settings.defocus is not None else [])]
    return dict(zip(_KINDS, volumes, strict=False)), placed


def _name(number: int) -> str:
    return f"tomo_{number:03d}"


def _write_particles(path: Path, placed: Sequence[Sequence[Placed]]) -> None:
    """The truth's table as a STAR file: coordinates in voxels from 0, RELION's angles."""
    labels = [f"_{label} #{n}" for n, label in enumerate(_COLUMNS, start=1)]
    lines = [
        f"{_name(number)} {' '.join(f'{v:.3f}' for v in (*p.centre, *p.angles_deg))} {p.kind} {p.radius_angstrom:.1f}"
        for number, in_one in enumerate(placed, start=1)
        for p in in_one
    ]
    write_text(path, "\n".join(["", "data_particles", "", "loop_", *labels, *lines, ""]))

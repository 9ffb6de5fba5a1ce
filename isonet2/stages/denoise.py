"""denoise: train a network to denoise, from two halves."""

from __future__ import annotations

from typing import Any

from isonet2.job.models import Job
from isonet2.parallel.world import World
from isonet2.training.session import run_session, session_inputs


def inputs(job: Job) -> dict[str, Any]:
    """What the network depends on: tomograms, cubes, and the network it begins with."""
    return session_inputs(job, "denoise")


def run(job: Job, world: World, *, restart: bool = False, set_aside: bool = False) -> dict[str, Any]:
    """Train by Noise2Noise; see `run_session`."""
    return run_session(job, "denoise", world, restart=restart, set_aside=set_aside)

"""refine: train a network to fill the missing wedge and to denoise."""

from __future__ import annotations

from typing import Any

from isonet2.job.models import Job
from isonet2.parallel.world import World
from isonet2.training.session import run_session, session_inputs


def inputs(job: Job) -> dict[str, Any]:
    """What the network depends on: tomograms, cubes, method, and the network it begins with."""
    return session_inputs(job, "refine")


def run(job: Job, world: World, *, restart: bool = False, set_aside: bool = False) -> dict[str, Any]:
    """Train by isonet2 or isonet2-n2n; see `run_session`."""
    return run_session(job, "refine", world, restart=restart, set_aside=set_aside)

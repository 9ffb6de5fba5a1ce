"""A job of seconds, run in this process: what it leaves, and ways to stop it at a chosen place."""

from __future__ import annotations

import functools
import os
import pkgutil
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from isonet2.cli import main

JOB = """
version: 1
seed: 3
resources: {threads_per_rank: 1}
simulate: {count: 3, size: [24, 40, 48], pixel_size: 15, snr: 2, particles: 8, membranes: 0}
prepare_star: {even: simulated/even, odd: simulated/odd, number_subtomos: 8, defocus: 30000}
deconv: {chunk_size: 32, highpassnyquist: 0.2}
make_mask: {}
extract: {}
refine:
  {arch: unet-tiny, channels: [4, 8], convolutions: 1, cube_size: 16, epochs: 3, batch_size: 4, save_interval: 2,
   with_preview: false, validation_share: 0}
predict: {keep_halves: true}
"""
OUTPUTS = {
    "deconv": ["deconv"],
    "make_mask": ["mask"],
    "extract": ["cache"],
    "refine": ["isonet_maps"],
    "predict": ["corrected_tomos"],
}
"""The folders that each stage fills."""


def run(folder: Path, *words: str) -> int:
    """The exit code of `isonet2 run` of the job in `folder`."""
    return main(["run", str(folder / "job.yaml"), *words])


def before(stage: str, whole: Path, folder: Path) -> Path:
    """A copy of a finished job in which this stage and those after it have not run."""
    shutil.copytree(whole, folder)
    stages = list(OUTPUTS)
    for later in stages[stages.index(stage) :]:
        (folder / "stages" / f"{later}.json").unlink()
        for name in OUTPUTS[later]:
            shutil.rmtree(folder / name)
    return folder


def results(folder: Path, *more: str) -> dict[str, bytes]:
    """The bytes of all that stages have left, and of files of `more` patterns, by name."""
    names = ("tomograms.star", "*.mrc", "*.h5", "isonet_maps/*.pt", *more)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for name in names for path in folder.rglob(name)}


def terminate() -> None:
    """Ask this process to stop."""
    os.kill(os.getpid(), signal.SIGTERM)


def after(patch: pytest.MonkeyPatch, calls: int, of: str, ask: Callable[[], None] = terminate) -> None:
    """Ask for a stop at the end of this call of a function, as in "isonet2.stages.predict.predict_row"."""
    original, count = pkgutil.resolve_name(of), 0

    @functools.wraps(original)
    def counted(*arguments: object, **named: object) -> object:
        nonlocal count
        result = original(*arguments, **named)
        count += 1
        if count == calls:
            ask()
        return result

    patch.setattr(of, counted)

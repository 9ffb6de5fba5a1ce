"""The main job on small phantoms, run as its users run it, and what it leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from isonet2.io.star import read_star, write_star

JOB = """
version: 1
seed: 3
resources: {threads_per_rank: 1}
simulate: {count: 2, size: [48, 64, 72], pixel_size: 15, snr: 2, particles: 30, membranes: 1, tilt_min: -51}
prepare_star: {even: simulated/even, odd: simulated/odd, number_subtomos: 25, tilt_min: -51}
make_mask:
extract:
refine: {arch: unet-tiny, cube_size: 24, epochs: 5, batch_size: 2, save_interval: 2, warmup_steps: 5}
predict: {keep_halves: true}
report: {truth_folder: simulated/truth}
"""
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


FLAGS = ["--arch", "unet-tiny", "--cube_size", "24", "--epochs", "3", "--batch_size", "2", "--threads", "1"]


def isonet2(*words: str, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "isonet2", *words]
    done = subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=560, check=False)
    assert not check or done.returncode == 0, done.stderr[-4000:]
    return done


def prepared(run: Path, folder: Path) -> Path:
    """A folder with a STAR file that names the tomograms and masks of `run`."""
    folder.mkdir()
    rows = [
        replace(row, half1=f"{run}/{row.half1}", half2=f"{run}/{row.half2}", mask=f"{run}/{row.mask}", corrected=None)
        for row in read_star(run / "tomograms.star")
    ]
    write_star(folder / "tomograms.star", rows)
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    content = torch.load(next((folder / "isonet_maps").glob("network_*24_full.pt")), weights_only=True)
    state: dict[str, torch.Tensor] = content["model_state_dict"]
    return state


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def metrics(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = (folder / "isonet_maps" / "metrics.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if line["kind"] == kind]

"""Two tomograms of noise and trainings of a few steps on them."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from isonet2.errors import UserError
from isonet2.io.mrc import write_mrc
from isonet2.io.star import TomogramRow, write_star
from isonet2.job.load import load_job
from isonet2.job.models import Job
from isonet2.parallel.world import World

SHAPE = (20, 24, 24)
NETWORK = {"arch": "unet-tiny", "channels": [4, 8], "convolutions": 1}
BRIEF = {"cube_size": 8, "epochs": 2, "batch_size": 2, "validation_share": 0.0, "with_preview": False}
SETTINGS = {**NETWORK, **BRIEF}
STAGE = {"n2n": "denoise", "isonet2": "refine", "isonet2-n2n": "refine"}
METHODS = tuple(STAGE)


def tomograms(folder: Path) -> Path:
    """Halves of a common signal, their mean, and another map in a column of its own."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for index in (1, 2):
        signal = rng.standard_normal(SHAPE)
        maps = {name: signal + rng.standard_normal(SHAPE) for name in ("even", "odd", "other")}
        maps["full"] = (maps["even"] + maps["odd"]) / 2
        for name, volume in maps.items():
            write_mrc(folder / f"t{index}_{name}.mrc", volume.astype(np.float32), pixel_size_angstrom=10)
    return folder


def rows(folder: Path, *, cubes: int = 2, **changes: Any) -> list[TomogramRow]:
    """Of the tomograms in `folder`: 10 Å a voxel, a first zero of the CTF at 0.36 cycles per voxel."""
    return [
        TomogramRow(
            **{
                "index": index,
                "tomogram": str(folder / f"t{index}_full.mrc"),
                "half1": str(folder / f"t{index}_even.mrc"),
                "half2": str(folder / f"t{index}_odd.mrc"),
                "pixel_size_angstrom": 10.0,
                "defocus_angstrom": 40000.0,
                "tilt_min_deg": -60.0,
                "tilt_max_deg": 60.0,
                "number_subtomos": cubes,
                "extra": {"rlnOther": str(folder / f"t{index}_other.mrc")},
                **changes,
            }
        )
        for index in (1, 2)
    ]


def job_of(folder: Path, listed: list[TomogramRow], **sections: Any) -> Job:
    """A job in `folder` with these sections and a list of these tomograms."""
    folder.mkdir(parents=True, exist_ok=True)
    write_star(folder / "tomograms.star", listed)
    return Job.model_validate(sections).in_folder(folder)


def run(job: Job, *stages: str) -> dict[str, Any]:
    """Run these stages of a job, one after the other: what the last one found."""
    facts: dict[str, Any] = {}
    for stage in stages:
        facts = importlib.import_module(f"isonet2.stages.{stage}").run(job, World())
    return facts


class NoFigure:
    """Drawing takes longer than training."""

    def __init__(self, lines: object) -> None: ...

    def savefig(self, path: Path, **_: object) -> None:
        path.touch()


@dataclass(frozen=True)
class Trained:
    """What a training left: its folder, its last network, and how it went."""

    folder: Path
    networks: list[Path]
    facts: dict[str, Any]

    @property
    def weights(self) -> list[dict[str, Tensor]]:
        return [torch.load(path, weights_only=True)["model_state_dict"] for path in self.networks]

    @property
    def files(self) -> dict[str, str]:
        """Names of all files in the folder, and the content of the pictures."""
        return {
            str(path.relative_to(self.folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            if path.parent.name == "previews"
            else ""
            for path in self.folder.rglob("*")
            if path.is_file() and path.parent.name != "tensorboard"  # named by the time
        }


def train(job: Job, stage: str) -> Trained:
    """Run what a training needs, and the training itself."""
    before = [name for name in ("deconv", "make_mask") if getattr(job, name) is not None]
    facts = run(job, *before, stage)
    return Trained(job.path(job.trainings[stage].output_dir), [job.path(name) for name in facts["networks"]], facts)


def same(one: list[dict[str, Tensor]], other: list[dict[str, Tensor]]) -> bool:
    """Whether two trainings found the same networks."""
    return len(one) == len(other) and all(
        a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
        for a, b in zip(one, other, strict=True)
    )


def with_method(settings: dict[str, Any], method: str) -> dict[str, Any]:
    return settings if method == "n2n" else {"method": method, **settings}


Trainer = Callable[[str, dict[str, Any]], Trained]


@contextmanager
def trainer(folder: Path) -> Iterator[Trainer]:
    """Trains by a method with some settings; once with the same ones. PRETRAINED is a network of such a training."""
    maps, done = tomograms(folder / "maps"), {}

    def make(method: str, settings: dict[str, Any]) -> Trained:
        key = json.dumps([method, settings], sort_keys=True)
        if key not in done:
            given = dict(settings)
            if "pretrained_model" in given:
                given["pretrained_model"] = str(make("isonet2-n2n", SETTINGS).networks[0])
            sections = {STAGE[method]: with_method(given, method), "extract": {"cache_dir": str(folder / "cache")}}
            done[key] = train(job_of(folder / str(len(done)), rows(maps), **sections), STAGE[method])
        return done[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("isonet2.models.compute._cpu_has_bfloat16", lambda: True)
        patch.setattr("isonet2.training.exports.loss_figure", NoFigure)
        yield make


def refused(folder: Path, sections: dict[str, Any]) -> list[str]:
    path = folder / "job.json"
    parts = []  # a setting a line
    for section, settings in sections.items():
        inner = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in settings.items())
        parts.append(f'"{section}": {{\n{inner}}}')
    path.write_text("{" + ",\n".join(parts) + "}")
    with pytest.raises(UserError) as caught:
        load_job(path)
    return str(caught.value).replace(f"{folder}/", "").splitlines()

"""Checkpoints: written whole, found again, and refused where the job has become another one."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from isonet2 import __version__, log
from isonet2.inference.archive import load_archive, save_archive
from isonet2.training.setup import Setup

_FREE = {
    "output_dir", "epochs", "batch_size", "save_interval", "with_preview", "with_predict", "prev_tomo_idx",
    "checkpoint_minutes", "keep_checkpoints", "loader_workers",
}  # fmt: skip

_DATA = {"cubes": "the cubes", "acquisition": "the tilts or the CTF's parameters"}


@dataclass
class Position:
    """How far training is: optimizer steps done, and what the epoch has summed up so far."""

    step: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0, 0.0])
    best: float = math.inf
    """Lowest loss of held-out cubes so far."""


@dataclass(frozen=True)
class Identity:
    """What a training is, apart from its length: the same on the first start and on every resume."""

    settings: dict[str, Any]
    seed: int
    batch_size: int
    samples: int
    cubes: str
    acquisition: str

    def at(self, step: int) -> str:
        """Stands for the network after so many steps."""
        return hashlib.sha256(json.dumps([asdict(self), step], sort_keys=True).encode()).hexdigest()


def settings_that_count(setup: Setup, *, cache_refresh_epochs: int | None) -> dict[str, Any]:
    """Those that the weights depend on."""
    settings = setup.section.model_dump(exclude=_FREE)
    settings |= {"method": setup.method, "cache_refresh_epochs": cache_refresh_epochs}
    if setup.pretrained:
        settings |= {"arch": setup.arch, "pretrained_model": setup.pretrained.fingerprint}
    return settings


class Checkpoints:
    """The folder of checkpoints of one training: step00000120.pt and so on."""

    def __init__(self, folder: Path, *, keep: int) -> None:
        self._folder, self._keep = folder, keep

    def save(self, learner_state: dict[str, Any], training: Identity, position: Position, *, stays: bool) -> None:
        """Write a checkpoint and remove those that are neither among the latest nor to stay."""
        content = {
            "isonet2": __version__,
            "training": asdict(training),
            "position": asdict(position),
            "stays": stays,
            **learner_state,
        }
        path = self._folder / f"step{position.step:08d}{'_saved' if stays else ''}.pt"
        save_archive(path, content)
        for old in [p for p in self._all() if not p.stem.endswith("_saved")][: -self._keep]:
            old.unlink()

    def latest(self) -> dict[str, Any] | None:
        """The content of the last one that is as it was written; those behind it are removed with a warning, since they
        would be taken for later than what is saved now."""
        for path in reversed(self._all()):
            try:
                return load_archive(path)
            except Exception as error:  # whatever zipfile and the unpickler meet in a damaged file
                log.warn(f"{path}: damaged ({type(error).__name__}), and removed; the one before it is taken")
                path.unlink()
        return None

    def clear(self) -> None:
        """Forget all of them."""
        for path in self._all():
            path.unlink()

    def _all(self) -> list[Path]:
        return sorted(self._folder.glob("step*.pt"))


def differences(found: dict[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In what a checkpoint is of another training than that of which fields of Identity are known `now`."""
    then = found["training"]
    differ = [
        f"{name} was {then['settings'].get(name)} and is {value}"
        for name, value in now["settings"].items()
        if then["settings"].get(name) != value
    ]
    others = [name for name in now if name != "settings" and then.get(name) != now[name]]
    return differ + [
        f"{_DATA[name]} are others" if name in _DATA else f"{name} was {then.get(name)} and is {now[name]}"
        for name in others
    ]

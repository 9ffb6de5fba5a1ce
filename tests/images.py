"""The image of this project, as tests know it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Image:
    """The project as an image: `name` for docker, `sif` for apptainer; `environment` to call them in."""

    name: str
    sif: Path
    bill: Path
    log: str
    environment: dict[str, str]

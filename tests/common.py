"""What the folders of tests share beside fixtures."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def absent(reason: str) -> None:
    """A test that cannot run here is skipped; in CI it has to run."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@dataclass(frozen=True)
class Image:
    """The project as an image: `name` for docker, `sif` for apptainer; `environment` to call them in."""

    name: str
    sif: Path
    bill: Path
    log: str
    environment: dict[str, str]

"""What all tests share: real data in place, small tomograms whose truth is known, and the image of this project."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from common import ROOT, Image, absent

CONTAINER = ROOT / "tests" / "container"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs the image comes last: it is built meanwhile."""
    items.sort(key=lambda item: "image" in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real and simulated tomograms beside the project."""
    folder = Path(os.environ.get("ISONET2_REAL_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        absent(f"no real tomograms: {folder} is no folder; name theirs in ISONET2_REAL_DATA")
    return folder


@pytest.fixture(scope="session")
def image() -> Iterator[Image]:
    """Built by tests/run.sh meanwhile (ISONET2_IMAGE_FOLDER), else now."""
    given = os.environ.get("ISONET2_IMAGE_FOLDER")
    folder = Path(given or tempfile.mkdtemp(prefix="isonet2-image-", dir="/var/tmp"))
    if not given:
        subprocess.run(["bash", str(CONTAINER / "image_up.sh"), str(folder)], check=False)
    while not (folder / "built").exists() and not (folder / "failed").exists():
        time.sleep(1)
    if (folder / "failed").exists():
        absent(f"no image here: {(folder / 'failed').read_text().strip()}; all that was said is in {folder}/log")
    shown = subprocess.run(
        ["bash", "-c", f". {folder}/engines/environment && echo $DOCKER_HOST && echo $PATH"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    host, path = shown.stdout.splitlines()
    sif = next(folder.glob("*.sif"))
    name = "isonet2:" + sif.stem.removeprefix("isonet2-")
    environment = {**os.environ, "DOCKER_HOST": host, "PATH": path}
    yield Image(name, sif, next(folder.glob("*.cdx.json")), (folder / "log").read_text(), environment)
    if not given:
        subprocess.run(["bash", str(CONTAINER / "engines_down.sh"), str(folder / "engines")], check=True)
        subprocess.run(["rm", "-rf", str(folder)], check=True)

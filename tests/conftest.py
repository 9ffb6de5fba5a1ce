"""What all tests share: real data in place, and small tomograms whose truth is known."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real and simulated tomograms beside the project. In CI it has to be there."""
    folder = Path(os.environ.get("ISONET2_REAL_DATA", ROOT.parent / "shared" / "data"))
    if folder.is_dir():
        return folder
    reason = f"no real tomograms: {folder} is no folder; name theirs in ISONET2_REAL_DATA"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)

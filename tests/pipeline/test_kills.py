"""A few of the kills of tests/bench/kills.py, at chosen places of its dice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from main_job import ENVIRONMENT

BENCH = Path(__file__).resolve().parent.parent / "bench" / "kills.py"
STAGES = (
    "simulate", "deconv", "make_mask", "extract", "denoise", "refine", "predict", "prepare_star", "report"
)  # fmt: skip


def test_a_job_that_is_killed_anywhere_comes_back(tmp_path: Path) -> None:
    """Each stage once; in predict, which two ranks share, one of them alone."""
    command = [sys.executable, str(BENCH), str(tmp_path), "--count", "9", "--seed", "10", "--stages", *STAGES]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert "6  predict       one of two ranks" in done.stdout
    assert "9 of 9 kills" in done.stdout

"""The functions of slurm/batch.sh, without Slurm."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def ended_with(tmp_path: Path):  # type: ignore[no-untyped-def]
    """ended_with(word, restarts): whether an attempt that ended with this word lets the job go back into the queue."""

    def attempt(word: str, restarts: int) -> bool:
        script = f'PROJECT={ROOT}; . {ROOT}/slurm/batch.sh; finished_something "{tmp_path}/attempts" "{word}"'
        command = ["env", f"SLURM_RESTART_COUNT={restarts}", "bash", "-c", script]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    return attempt


def test_three_attempts_without_progress_are_the_last(ended_with) -> None:  # type: ignore[no-untyped-def]
    assert [ended_with("refine: step 40", n) for n in range(5)] == [True, True, True, False, False]


def test_progress_gives_new_attempts(ended_with) -> None:  # type: ignore[no-untyped-def]
    words = ["refine: step 1", "refine: step 1", "refine: step 1", "refine: step 2", "refine: step 2", "refine: step 2"]
    assert all(ended_with(word, n) for n, word in enumerate(words))


def test_a_person_who_submits_again_has_new_attempts(ended_with) -> None:  # type: ignore[no-untyped-def]
    assert not all(ended_with("refine: step 40", n) for n in range(5))
    assert ended_with("refine: step 40", 0)

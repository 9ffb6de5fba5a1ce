"""Killed, warned, cancelled: the job goes on, and learns what it would have learned undisturbed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cluster import FOUR_RANKS, Cluster, assert_same_weights, says, wait_until

pytestmark = pytest.mark.usefixtures("limited")  # whose three minutes pass meanwhile


@dataclass
class Story:
    """One training, four times in the queue."""

    folder: Path
    second_run: subprocess.CompletedProcess[str] | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    ends: dict[str, tuple[str, int]] = field(default_factory=dict)
    left: list[int] = field(default_factory=list)
    restarts: int = 0

    @property
    def output(self) -> Path:
        return self.folder / "slurm.out"

    def starts(self) -> list[int]:
        """The steps from which it went on."""
        return [int(step) for step in re.findall(r"going on from step (\d+)", self.output.read_text())]


@pytest.fixture(scope="module")
def story(cluster: Cluster, copy: Callable[[str], Path]) -> Story:
    it = Story(copy("refine"))
    job_file = str(it.folder / "job.yaml")
    options = (*FOUR_RANKS, f"--output={it.output}", "--open-mode=append")

    def submit() -> str:
        return cluster.sbatch("refine.sh", job_file, "--stages", "refine", options=options)

    def note(what: str, job: str) -> None:
        it.seconds[what] = cluster.ended(job)
        it.ends[what] = cluster.field(job, "JobState"), cluster.exit_code(job)
        it.left += cluster.ranks(it.folder)

    def epoch(number: int) -> None:
        wait_until(says(it.output, rf"epoch {number} of"), seconds=240, what=f"epoch {number}")

    job = submit()
    epoch(3)
    victim = cluster.ranks(it.folder)[-1]
    os.kill(victim, signal.SIGSTOP)  # the training waits for it meanwhile
    run = ("env", f"PYTHON={sys.executable}", "bash", str(cluster.project / "launch" / "run.sh"))
    it.second_run = cluster.on("n4", *run, job_file, check=False)
    os.kill(victim, signal.SIGKILL)
    note("killed", job)

    job = submit()
    epoch(8)
    cluster.on("login", "scancel", "--signal=USR2", "--batch", job)
    wait_until(lambda: cluster.field(job, "Restarts") == "1", seconds=60, what="the requeue")
    epoch(12)
    cluster.on("login", "scancel", "--signal=TERM", job)  # only the ranks hear it, as in preemption with a grace time
    wait_until(lambda: cluster.field(job, "Restarts") == "2", seconds=60, what="the second requeue")
    epoch(15)
    cluster.on("login", "scontrol", "update", "NodeName=n2", "State=DOWN", "Reason=lost")
    wait_until(lambda: cluster.field(job, "Restarts") == "3", seconds=60, what="the third requeue")
    cluster.on("login", "scontrol", "update", "NodeName=n2", "State=RESUME", check=False)  # it may be back by itself
    it.restarts = int(cluster.field(job, "Restarts"))
    epoch(18)
    cluster.on("login", "scancel", job)
    note("cancelled", job)

    job = submit()
    note("finished", job)
    return it


def test_a_folder_in_use_is_refused_and_its_holder_named(story: Story) -> None:
    assert story.second_run is not None
    assert story.second_run.returncode == 64
    assert re.search(r"another run works here \(process \d+ on n1 since", story.second_run.stderr)


def test_a_killed_rank_ends_the_whole_step(story: Story) -> None:
    state, code = story.ends["killed"]
    assert state == "FAILED"
    assert code not in (0, 75)
    assert story.seconds["killed"] < 30


def test_scancel_ends_the_whole_job_and_nobody_requeues_it(story: Story) -> None:
    assert story.ends["cancelled"][0] == "CANCELLED"
    assert story.seconds["cancelled"] < 30


def test_no_process_is_left_behind(story: Story) -> None:
    assert story.left == []


def test_warned_or_preempted_or_bereft_of_a_node_the_job_is_requeued_and_goes_on(story: Story) -> None:
    assert story.restarts == 3
    said = story.output.read_text()
    assert "stopped (run.sh was sent USR2)" in said
    assert "stopped (SIGTERM)" in said
    killed, warned, preempted, bereft, cancelled = story.starts()
    assert 15 <= killed < warned < preempted < bereft < cancelled  # five steps an epoch
    assert killed % 5 == 0  # kill -9 leaves the checkpoint of the last whole epoch; the others leave that of a step


def test_after_all_that_the_weights_are_those_of_an_uninterrupted_run(story: Story, main_job: Path) -> None:
    assert story.ends["finished"] == ("COMPLETED", 0)
    assert_same_weights(story.folder, main_job)

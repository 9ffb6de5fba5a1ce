"""Killed, or asked to stop, from outside; and started again."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from main_job import ENVIRONMENT, FLAGS, assert_equal, isonet2, metrics, prepared, weights

PER_EPOCH = 24  # steps


@pytest.mark.parametrize(
    ("number", "moment", "code"),
    [
        (signal.SIGKILL, "mid epoch", -signal.SIGKILL),
        (signal.SIGKILL, "end of epoch", -signal.SIGKILL),
        (signal.SIGTERM, "mid epoch", 75),
    ],
)
def test_a_training_that_was_ended_comes_to_the_weights_of_one_that_was_not(
    run: Path, straight: Path, tmp_path: Path, number: signal.Signals, moment: str, code: int
) -> None:
    """The same command again: bit by bit the same network, and metrics without a gap."""
    killed = prepared(run, tmp_path / "job")
    minutes = "0.0005" if (number, moment) == (signal.SIGKILL, "mid epoch") else "60"
    command = ["refine", "tomograms.star", *FLAGS, "--save_interval", "1", "--checkpoint_minutes", minutes]
    process = subprocess.Popen(
        [sys.executable, "-m", "isonet2", *command], cwd=killed, env=ENVIRONMENT, stderr=subprocess.DEVNULL
    )
    folder = killed / "isonet_maps" / "checkpoints"

    def steps() -> list[int]:
        return [int(path.stem[4:12]) for path in folder.glob("step*.pt")]

    def reached() -> bool:
        if minutes == "60":
            return PER_EPOCH in steps()
        return any(step > PER_EPOCH and step % PER_EPOCH for step in steps())

    deadline = time.monotonic() + 120
    while not reached():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait() == code
    assert len(metrics(killed, "epoch")) < 3
    if number == signal.SIGTERM:
        assert (killed / "logs" / "verdict").read_text().splitlines()[2] == f"refine: step {max(steps())}"
    said = isonet2(*command, cwd=killed).stderr
    assert "going on from step" in said
    assert_equal(weights(straight), weights(killed))
    assert [line["epoch"] for line in metrics(killed, "epoch")] == [1, 2, 3]
    assert [line["loss"] for line in metrics(killed, "epoch")] == [line["loss"] for line in metrics(straight, "epoch")]
    assert not list(killed.rglob("*.part*"))


def test_other_settings_do_not_go_on_from_a_checkpoint(straight: Path, tmp_path: Path) -> None:
    """A job file is refused, since a line may have been changed by mistake; a command sets it aside."""
    folder = tmp_path / "job"
    shutil.copytree(straight, folder)
    (folder / "resolved.yaml").rename(folder / "job.yaml")
    words = ("run", "job.yaml", "--stages", "refine", "--set", "refine.learning_rate=0.01")
    done = isonet2(*words, cwd=folder, check=False)
    assert done.returncode == 64
    assert "learning_rate was 0.001 and is 0.01" in done.stderr
    assert "--restart" in done.stderr
    said = isonet2("refine", "tomograms.star", *FLAGS, "--learning_rate", "0.01", "--epochs", "1", cwd=folder).stderr
    assert "held another training (learning_rate was 0.001 and is 0.01): it lies in" in said
    kept = folder / "isonet_maps" / "earlier_1"
    assert {path.name for path in (straight / "isonet_maps").iterdir()} - {path.name for path in kept.iterdir()} == {
        ".finished"
    }
    assert len(metrics(folder, "epoch")) == 1

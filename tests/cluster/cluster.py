"""Hands for the tests: a Slurm of four nodes in namespaces, and a copy of the project that a site has made its own."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import torch

FOUR_RANKS = ("--nodes=2", "--ntasks-per-node=2", "--gres=none", "--cpus-per-task=1", "--mem=1G", "--time=10")
TWO_RANKS = ("--nodes=1", "--ntasks-per-node=2", "--gres=none", "--cpus-per-task=1", "--mem=1G", "--time=10")
_ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")


def wait_until(met: Callable[[], object], *, seconds: float, what: str, every_s: float = 0.1) -> float:
    """Look until it is so; how many seconds that took. AssertionError if it took too long."""
    started = time.monotonic()
    while not met():
        assert time.monotonic() - started < seconds, f"not within {seconds} s: {what}"
        time.sleep(every_s)
    return time.monotonic() - started


def says(file: Path, pattern: str) -> Callable[[], object]:
    """Whether the file, once it is there, has the pattern."""
    return lambda: re.search(pattern, file.read_text(errors="replace")) if file.exists() else None


@dataclass(frozen=True)
class Cluster:
    """`folder` is that of slurm_up.sh, `project` has launch/ and slurm/."""

    folder: Path
    project: Path

    def on(self, host: str, *words: str, cwd: Path | str = "/", check: bool = True) -> subprocess.CompletedProcess[str]:
        """A command on one of login, n1, …, n4: when it has ended, by default well."""
        command = [str(self.folder / "on"), host, *words]
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
        assert not check or done.returncode == 0, f"{shlex.join(words)}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done

    def start(self, host: str, *words: str, output: Path, **environment: str) -> subprocess.Popen[str]:
        """A command on a host, while it runs; what it says goes to the file."""
        command = [str(self.folder / "on"), host, *words]
        with output.open("w") as file:
            return subprocess.Popen(
                command, cwd="/", env={**os.environ, **environment}, stdout=file, stderr=file, text=True
            )

    def sbatch(self, script: str, *arguments: str, options: tuple[str, ...], cwd: Path | str = "/") -> str:
        """The number of a job; `script` is one of the project's slurm/."""
        words = ("sbatch", "--parsable", *options, str(self.project / "slurm" / script), *arguments)
        return self.on("login", *words, cwd=cwd).stdout.strip()

    def field(self, job: str, name: str) -> str:
        """What Slurm says of a job."""
        shown = self.on("login", "scontrol", "show", "job", "--oneliner", job).stdout
        found = re.search(rf"\b{name}=(\S+)", shown)
        assert found, shown
        return found[1]

    def ended(self, job: str, *, within_s: float = 240) -> float:
        """Wait for the end of a job, which may come after requeues; the seconds that took."""

        def has_ended() -> bool:
            return self.field(job, "JobState") in _ENDED

        return wait_until(has_ended, seconds=within_s, what=f"the end of job {job}", every_s=0.5)

    def exit_code(self, job: str) -> int:
        return int(self.field(job, "ExitCode").split(":")[0])

    def ranks(self, folder: Path) -> list[int]:
        """The processes that run the job of a folder, on whatever host, in the order of their start."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:  # it has just ended
                continue
            if words[1:4] == [b"-m", b"isonet2", b"run"] and str(folder).encode() in words[4]:
                found.append(int(path.parent.name))
        return sorted(found)


@dataclass(frozen=True)
class Limited:
    """A training in the queue whose wall time is too short; it is held up until Slurm's warning comes."""

    folder: Path
    job: str
    watching: Future[None]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    content = torch.load(next((folder / "isonet_maps").glob("network_*16_full.pt")), weights_only=True)
    state: dict[str, torch.Tensor] = content["model_state_dict"]
    return state


def assert_same_weights(one: Path, other: Path) -> None:
    found, expected = weights(one), weights(other)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def maps(folder: Path) -> dict[str, bytes]:
    """Every corrected map, by name."""
    found = {path.name: path.read_bytes() for path in (folder / "corrected_tomos").glob("*.mrc")}
    assert len(found) == 6
    return found

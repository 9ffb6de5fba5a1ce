"""Several ranks: real processes with one thread each, started by torchrun or by mpiexec, MPICH's Hydra."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
Start = Callable[..., "subprocess.CompletedProcess[str]"]


def starter(folder: Path, launcher: Callable[[int], list[str]]) -> Start:
    """start(ranks, "script.py" or "-m", "isonet2", …, cwd=…): the finished process; by default it must end well."""

    def start(ranks: int, *command: str, cwd: Path = folder, check: bool = True) -> subprocess.CompletedProcess[str]:
        words = [str(HERE / word) if word.endswith(".py") and "/" not in word else word for word in command]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*launcher(ranks), *words],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            timeout=480,
            check=False,
        )
        assert not check or done.returncode == 0, done.stderr[-6000:]
        return done

    return start


@pytest.fixture(scope="session")
def torchrun(tmp_path_factory: pytest.TempPathFactory) -> Start:
    runner = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return starter(tmp_path_factory.mktemp("torchrun"), lambda ranks: [*runner, f"--nproc-per-node={ranks}"])


@pytest.fixture(scope="session")
def mpiexec(tmp_path_factory: pytest.TempPathFactory) -> Start:
    """That of the wheel mpich, which is beside this Python, as its library is."""
    hydra = str(Path(sys.executable).with_name("mpiexec"))
    return starter(tmp_path_factory.mktemp("mpiexec"), lambda ranks: [hydra, "-n", str(ranks), sys.executable])


@pytest.fixture(params=["torchrun", "mpiexec"])
def start(request: pytest.FixtureRequest) -> Start:
    """Both, one after the other."""
    found: Start = request.getfixturevalue(request.param)
    return found

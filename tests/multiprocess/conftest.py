"""Several ranks: real processes, started by torchrun with one thread each."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def torchrun(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """torchrun(ranks, "script.py" or "-m", "isonet2", …, cwd=…): the finished process; by default it must end well."""

    folder = tmp_path_factory.mktemp("ranks")

    def start(ranks: int, *command: str, cwd: Path = folder, check: bool = True) -> subprocess.CompletedProcess[str]:
        runner = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
        words = [str(HERE / word) if word.endswith(".py") and "/" not in word else word for word in command]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*runner, *words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=240, check=False
        )
        assert not check or done.returncode == 0, done.stderr[-6000:]
        return done

    return start

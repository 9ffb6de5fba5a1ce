"""What several ranks write is what one writes, byte by byte, whoever starts them; and what one rank meets, all say."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from isonet2.inference.networks import NetworkInfo, save_network
from isonet2.io.lock import holding
from isonet2.job.architectures import shape_of
from isonet2.models.registry import build_network

Start = Callable[..., subprocess.CompletedProcess[str]]
Runs = dict[tuple[str, int], Path]
PREDICT = """
version: 1
resources: {threads_per_rank: 1}
predict: {model: network.pt, keep_halves: true}
"""
JOB = f"""{PREDICT}
simulate: {{count: 2, size: [32, 40, 48], pixel_size: 15, snr: 1, particles: 20, membranes: 0}}
prepare_star: {{even: simulated/even, odd: simulated/odd, number_subtomos: 6, defocus: 30000}}
deconv: {{highpassnyquist: 0.2, chunk_size: 32}}
make_mask: {{}}
extract: {{cube_size: 16}}
"""
WAYS = [("mpiexec", 1), ("mpiexec", 2), ("mpiexec", 3), ("mpiexec", 4), ("torchrun", 2), ("torchrun", 3)]
OUTPUTS = ("simulated/*/*.mrc", "deconv/*.mrc", "mask/*.mrc", "cache/*/*.h5", "corrected_tomos/*.mrc", "tomograms.star")


@pytest.fixture(scope="module")
def runs(torchrun: Start, mpiexec: Start, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """One folder for each way to do the same."""
    network = tmp_path_factory.mktemp("network") / "network.pt"
    shape = shape_of("unet-tiny", {})
    save_network(network, build_network(shape, seed=4), NetworkInfo("isonet2-n2n", "unet-tiny", 16, 1, shape))
    folders = {}
    for launcher, ranks in WAYS:
        folder = tmp_path_factory.mktemp(f"{launcher}{ranks}")
        (folder / "job.yaml").write_text(JOB)
        (folder / "predict.yaml").write_text(PREDICT)
        shutil.copy(network, folder)
        {"torchrun": torchrun, "mpiexec": mpiexec}[launcher](ranks, "-m", "isonet2", "run", "job.yaml", cwd=folder)
        folders[launcher, ranks] = folder
    return folders


def files(folder: Path, pattern: str) -> dict[str, bytes]:
    """By their names, without that of the cache's folder, which stands for the inputs' times too."""
    found = list(folder.glob(pattern))
    assert found
    top = found[0].parent if pattern.startswith("cache") else folder
    return {path.relative_to(top).as_posix(): path.read_bytes() for path in found}


@pytest.mark.parametrize("way", WAYS[1:], ids=lambda way: f"{way[0]}-{way[1]}")
@pytest.mark.parametrize("pattern", OUTPUTS)
def test_any_ranks_write_the_same_bytes(runs: Runs, way: tuple[str, int], pattern: str) -> None:
    assert files(runs[way], pattern) == files(runs["mpiexec", 1], pattern)


def test_the_ranks_were_as_many(runs: Runs) -> None:
    for (_, ranks), folder in runs.items():
        assert len(list((folder / "logs").glob("rank*.log"))) == ranks


def test_nothing_is_left_of_what_was_under_way(runs: Runs) -> None:
    for folder in runs.values():
        assert not [p for p in folder.rglob(".*") if p.name not in (".isonet2.lock", ".finished")]


def test_a_mistake_is_said_once_and_ends_all_ranks(start: Start, runs: Runs) -> None:
    folder = runs["torchrun", 2]
    (folder / "wrong.yaml").write_text(PREDICT.replace("network.pt", "other.pt"))
    done = start(2, "-m", "isonet2", "run", "wrong.yaml", cwd=folder, check=False)
    assert done.returncode == 64 or "exitcode  : 64" in done.stderr  # of mpiexec, of torchrun
    assert done.stderr.count("'other.pt' is not there") == 1


def test_a_mistake_that_ranks_meet_together_keeps_its_exit_code_under_mpi(mpiexec: Start, runs: Runs) -> None:
    folder = runs["mpiexec", 2]
    with holding(folder):
        done = mpiexec(3, "-m", "isonet2", "run", "job.yaml", cwd=folder, check=False)
    assert done.returncode == 64
    assert [line for line in done.stderr.splitlines() if line] == [done.stderr.strip()]
    assert "another run works here" in done.stderr


def test_training_under_mpi_alone_is_told_how_to_start(mpiexec: Start, runs: Runs) -> None:
    command = ["refine", "tomograms.star", "--arch", "unet-tiny", "--cube_size", "16", "--epochs", "1"]
    done = mpiexec(2, "-m", "isonet2", *command, cwd=runs["mpiexec", 2], check=False)
    assert done.returncode == 70
    assert done.stderr.count("start through launch/run.sh") == 1


def test_a_failure_on_one_rank_is_raised_on_every_rank(start: Start, runs: Runs) -> None:
    """A tomogram that cannot be read is found by the rank that has it; the others must not wait for ever."""
    folder = runs["mpiexec", 3]
    broken = folder / "simulated" / "odd" / "tomo_002.mrc"
    content = bytearray(broken.read_bytes())
    content[1024 : 1024 + 4] = b"\x00\x00\xc0\x7f"  # a NaN
    broken.write_bytes(content)
    done = start(3, "-m", "isonet2", "run", "predict.yaml", "--restart", cwd=folder, check=False)
    assert done.returncode != 0
    assert done.stderr.count("voxels are NaN or infinite") == 1
    assert len(list((folder / "corrected_tomos").glob("*.mrc"))) == 6  # those of before are still whole


@pytest.mark.parametrize(("trouble", "said"), [("killed", "(?i)signal 9"), ("failed", "ValueError: alone")])
def test_a_rank_in_trouble_takes_all_with_it(start: Start, tmp_path: Path, trouble: str, said: str) -> None:
    done = start(3, "alone_in_trouble.py", trouble, cwd=tmp_path, check=False)
    assert time.time() - (tmp_path / "trouble").stat().st_mtime < 30
    assert done.returncode != 0
    assert re.search(said, done.stdout + done.stderr)

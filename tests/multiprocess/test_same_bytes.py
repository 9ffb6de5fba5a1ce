"""What several ranks write is what one writes, byte by byte; and what one rank meets, all say."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Torchrun = Callable[..., subprocess.CompletedProcess[str]]
JOB = """
version: 1
resources: {threads_per_rank: 1}
simulate: {count: 2, size: [40, 48, 56], pixel_size: 15, snr: 1, particles: 30, membranes: 0}
prepare_star: {even: simulated/even, odd: simulated/odd, number_subtomos: 6, defocus: 30000}
deconv: {highpassnyquist: 0.2, chunk_size: 32}
make_mask: {}
extract: {cube_size: 16}
"""
PREDICT = """
version: 1
resources: {threads_per_rank: 1}
predict: {model: network.pt, keep_halves: true}
"""
NETWORK = """
from pathlib import Path
from isonet2.inference.networks import NetworkInfo, save_network
from isonet2.job.architectures import shape_of
from isonet2.models.registry import build_network
shape = shape_of("unet-tiny", {})
save_network(Path("network.pt"), build_network(shape, seed=4), NetworkInfo("isonet2-n2n", "unet-tiny", 16, 1, shape))
"""


@pytest.fixture(scope="module")
def runs(torchrun: Torchrun, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One folder for each of 1, 2 and 3 ranks, in which they did the same."""
    folders = []
    for ranks in (1, 2, 3):
        folder = tmp_path_factory.mktemp(f"ranks{ranks}")
        (folder / "job.yaml").write_text(JOB)
        (folder / "predict.yaml").write_text(PREDICT)
        if folders:
            shutil.copy(folders[0] / "network.pt", folder)
        else:
            (folder / "network.py").write_text(NETWORK)
            torchrun(1, str(folder / "network.py"), cwd=folder)
        for job in ("job.yaml", "predict.yaml"):
            torchrun(ranks, "-m", "isonet2", "run", job, cwd=folder)
        folders.append(folder)
    return folders


def files(folder: Path, *patterns: str) -> dict[str, bytes]:
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for pattern in patterns for p in folder.glob(pattern)}
    assert found
    return found


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize(
    "stage", ["simulated/*/*.mrc", "deconv/*.mrc", "mask/*.mrc", "corrected_tomos/*.mrc", "tomograms.star"]
)
def test_any_number_of_ranks_writes_the_same_files(runs: list[Path], ranks: int, stage: str) -> None:
    assert files(runs[ranks - 1], stage) == files(runs[0], stage)


@pytest.mark.parametrize("ranks", [2, 3])
def test_any_number_of_ranks_cuts_the_same_cubes(runs: list[Path], ranks: int) -> None:
    """The key stands for the inputs' times too, so folders have other names; what is in them does not differ."""

    def shards(folder: Path) -> dict[str, bytes]:
        return {Path(name).name: content for name, content in files(folder, "cache/*/*.h5").items()}

    assert shards(runs[ranks - 1]) == shards(runs[0])
    assert len(shards(runs[0])) == 2


def test_nothing_is_left_of_what_was_under_way(runs: list[Path]) -> None:
    for folder in runs:
        assert not [p for p in folder.rglob(".*") if p.name != ".isonet2.lock"]


def test_a_mistake_is_said_once_and_ends_all_ranks(torchrun: Torchrun, runs: list[Path]) -> None:
    folder = runs[1]
    (folder / "wrong.yaml").write_text(PREDICT.replace("network.pt", "other.pt"))
    done = torchrun(2, "-m", "isonet2", "run", "wrong.yaml", cwd=folder, check=False)
    assert done.returncode != 0
    assert done.stderr.count("other.pt: no such file") == 1
    assert "exitcode  : 64" in done.stderr


def test_a_failure_on_one_rank_is_raised_on_every_rank(torchrun: Torchrun, runs: list[Path]) -> None:
    """A tomogram that cannot be read is found by the rank that has it; the others must not wait for ever."""
    folder = runs[2]
    broken = folder / "simulated" / "odd" / "tomo_002.mrc"
    content = bytearray(broken.read_bytes())
    content[1024 : 1024 + 4] = b"\x00\x00\xc0\x7f"  # a NaN
    broken.write_bytes(content)
    done = torchrun(3, "-m", "isonet2", "run", "predict.yaml", "--restart", cwd=folder, check=False)
    assert done.returncode != 0
    assert done.stderr.count("voxels are NaN or infinite") == 1
    assert len(list((folder / "corrected_tomos").glob("*.mrc"))) == 6  # those of before are still whole

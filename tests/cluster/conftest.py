"""A real Slurm, and the one small job whose result all ways to run it must reach again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cluster import FOUR_RANKS, Cluster, Limited, says, wait_until
from common import absent

HERE = Path(__file__).resolve().parent
JOB = """
version: 1
seed: 3
resources: {nodes: 2, ranks_per_node: 2, threads_per_rank: 1, gpus_per_node: 0, memory_gb: 1.5, wall_time: "00:10:00"}
simulate: {count: 2, size: [40, 48, 56], pixel_size: 15, snr: 2, particles: 30, membranes: 0}
prepare_star: {even: simulated/even, odd: simulated/odd, number_subtomos: 24}
make_mask:
extract:
refine: {channels: [4, 8, 16], optimizer: adamw, cube_size: 16, epochs: 24, save_interval: 100, warmup_steps: 5}
predict:
"""
Copy = Callable[[str], Path]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test that needs them waits for Slurm, for the main job and for a story of four submissions."""
    for item in items:
        if item.path.parent == HERE:
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Where it cannot come up the tests are skipped; in CI it has to."""
    folder = Path(tempfile.mkdtemp(prefix="isonet2-slurm-"))  # not in pytest's, which munge does not trust
    started = subprocess.run(
        ["bash", str(HERE / "slurm_up.sh"), str(folder)], capture_output=True, text=True, check=False
    )
    if started.returncode != 0:
        absent(f"no Slurm here: {started.stderr.strip().splitlines()[-1]}")
    project = tmp_path_factory.mktemp("a site") / "the project"  # spaces everywhere
    for part in ("launch", "slurm"):
        shutil.copytree(HERE.parents[1] / part, project / part)
    site = project / "slurm" / "site.env"
    site.write_text(f"export PYTHON='{sys.executable}' OMP_NUM_THREADS=1 PATH='{Path(sys.executable).parent}':$PATH\n")
    yield Cluster(folder, project)
    subprocess.run(["bash", str(HERE / "slurm_down.sh"), str(folder)], check=True)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def main_job(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the job after `submit.sh job.yaml` from elsewhere, on two nodes with two ranks each."""
    folder = tmp_path_factory.mktemp("a job")
    (folder / "job.yaml").write_text(JOB)
    submit = ("bash", str(cluster.project / "slurm" / "submit.sh"), str(folder / "job.yaml"))
    said = cluster.on("login", *submit, "resources.wall_time=00:12:00", "--", "--export=NONE", cwd="/tmp").stdout
    job = said.split("submitted as ")[1].split(";")[0]
    cluster.ended(job)
    output = (folder / "logs" / f"slurm-{job}.out").read_text()
    assert (cluster.field(job, "JobState"), cluster.exit_code(job)) == ("COMPLETED", 0), output[-4000:]
    return folder


@pytest.fixture(scope="session")
def copy(main_job: Path, tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """copy(stage): another folder in which the job is done up to that stage, and no further."""

    def until(stage: str) -> Path:
        folder = tmp_path_factory.mktemp(f"from {stage} on") / "job"
        shutil.copytree(main_job, folder, ignore=shutil.ignore_patterns("logs"))
        shutil.rmtree(folder / "corrected_tomos")
        undone = ["predict"]
        if stage == "refine":
            shutil.rmtree(folder / "isonet_maps")
            undone.append("refine")
        for name in undone:
            (folder / "stages" / f"{name}.json").unlink()
        return folder

    return until


@pytest.fixture(scope="session")
def limited(cluster: Cluster, copy: Copy) -> Iterator[Limited]:
    folder = copy("refine")
    short = ("--time=3", "--signal=B:USR2@30", "--nodelist=n3,n4", f"--output={folder}/slurm.out")
    job = cluster.sbatch("refine.sh", str(folder / "job.yaml"), "--stages", "refine", options=(*FOUR_RANKS, *short))

    def hold_up() -> None:
        wait_until(says(folder / "slurm.out", "epoch 3 of"), seconds=110, what="epoch 3")
        rank = cluster.ranks(folder)[0]
        os.kill(rank, signal.SIGSTOP)
        try:
            wait_until((folder / "stop").exists, seconds=200, what="the warning")
        finally:
            os.kill(rank, signal.SIGCONT)

    with ThreadPoolExecutor() as threads:
        yield Limited(folder, job, threads.submit(hold_up))

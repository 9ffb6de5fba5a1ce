"""The same job through torchrun on two hosts, mpirun, and srun with MPI: bit by bit what srun with torch made of it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cluster import TWO_RANKS, Cluster, assert_same_weights, maps

TWO_RANKS_OF_ONE_NODE = ("--set", "resources.nodes=1", "--set", "resources.ranks_per_node=2")
ENVIRONMENT = {
    **os.environ,
    "PYTHON": sys.executable,
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    "OMP_NUM_THREADS": "1",
}


def assert_same_cubes(one: Path, other: Path) -> None:
    """The key of a cache stands for its inputs' times too, so its folder has another name."""
    found, expected = ({path.name: path.read_bytes() for path in f.glob("cache/*/*.h5")} for f in (one, other))
    assert found == expected
    assert len(expected) == 2


@pytest.fixture
def anew(main_job: Path, tmp_path: Path) -> Path:
    """A folder with the job file and nothing else."""
    folder = tmp_path / "the same job"
    folder.mkdir()
    (folder / "job.yaml").write_bytes((main_job / "job.yaml").read_bytes())
    return folder


def test_torchrun_started_on_two_hosts(cluster: Cluster, main_job: Path, anew: Path) -> None:
    run = ("bash", str(cluster.project / "launch" / "run.sh"), str(anew / "job.yaml"))
    hosts = [
        cluster.start(
            f"n{node + 1}", *run, output=anew / f"node{node}.out",
            NODE_RANK=str(node), MASTER_ADDR="10.213.7.11", PYTHON=sys.executable, OMP_NUM_THREADS="1",
        )
        for node in (0, 1)
    ]  # fmt: skip
    assert [host.wait(timeout=240) for host in hosts] == [0, 0], (anew / "node0.out").read_text()[-4000:]
    assert_same_cubes(anew, main_job)
    assert_same_weights(anew, main_job)
    assert maps(anew) == maps(main_job)


def test_mpirun_beside_another_job_that_came_to_the_same_port(cluster: Cluster, main_job: Path, anew: Path) -> None:
    summed = subprocess.run(["cksum"], input=f"{anew}\n".encode(), capture_output=True, check=True).stdout
    with socket.create_server(("127.0.0.1", 20000 + int(summed.split()[0]) % 12000)):
        words = ("--launcher", "mpirun", "--set", "resources.nodes=1", "--set", "resources.ranks_per_node=4")
        command = ["bash", str(cluster.project / "launch" / "run.sh"), "job.yaml", *words]
        done = subprocess.run(
            command, cwd=anew, env=ENVIRONMENT, capture_output=True, text=True, timeout=240, check=False
        )
    assert done.returncode == 0, done.stderr[-4000:]
    assert_same_cubes(anew, main_job)
    assert_same_weights(anew, main_job)
    assert maps(anew) == maps(main_job)


def test_two_jobs_on_one_node_at_once_one_of_them_by_mpi(
    cluster: Cluster, main_job: Path, copy: Callable[[str], Path]
) -> None:
    folders = [copy("predict"), copy("predict")]
    ways = ("--export=ALL", "--export=ALL,ISONET2_MPI_TYPE=pmi2")
    jobs = [
        cluster.sbatch(
            "predict.sh", str(folder / "job.yaml"), *TWO_RANKS_OF_ONE_NODE,
            options=(*TWO_RANKS, "--nodelist=n1", f"--output={folder}/slurm.out", way),
        )
        for folder, way in zip(folders, ways, strict=True)
    ]  # fmt: skip
    for job, folder in zip(jobs, folders, strict=True):
        cluster.ended(job)
        assert cluster.exit_code(job) == 0, (folder / "slurm.out").read_text()[-4000:]
        assert maps(folder) == maps(main_job)
    assert cluster.field(jobs[1], "StartTime") < cluster.field(jobs[0], "EndTime")

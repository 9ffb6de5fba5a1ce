"""How the ranks of mpirun, srun and Slurm's arrays get into the image of a job, or are told that they cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
from image_host import Host

RANKS = {"NODES": "2", "RANKS": "3", "MASTER_PORT": "29998"}
SLURM = {
    "SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "1", "SLURM_NTASKS_PER_NODE": "2", "SLURM_CPUS_PER_TASK": "1",
    "SLURM_JOB_NODELIST": "n1", "ISONET2_MPI_TYPE": "pmi2",
}  # fmt: skip
BASH = "#!/bin/bash\n"
SAY = "printf '%s\\n' \"$@\""


@pytest.mark.parametrize("runtime", ["docker", "podman"])
def test_mpirun_cannot_reach_into_docker_and_says_what_can(runtime: str, tmp_path: Path) -> None:
    host = Host(tmp_path, runtime)
    (tmp_path / "logs").mkdir()
    image = {"ISONET2_IMAGE": "isonet2", "ISONET2_RUNTIME": runtime, "FOLDER": str(tmp_path)}
    done = host.bash(host.project / "launch" / "mpirun.sh", "run", "job.yaml", **RANKS, **image)
    why = f"mpirun.sh: mpiexec does not reach into containers of {runtime}: take --launcher torchrun, or apptainer"
    assert (done.returncode, done.stderr) == (70, f"{why}\n")
    assert (tmp_path / "logs" / "verdict").read_text() == f"70\n{why}\n\n"


def test_mpirun_takes_along_what_a_rank_elsewhere_needs_to_start_the_image(tmp_path: Path) -> None:
    host = Host(tmp_path, "apptainer")
    host.put("mpiexec", f'{BASH}if [ "$1" = --version ]; then echo HYDRA; else {SAY}; fi\n')
    job = host.job({"image": "x.sif", "binds": [str(tmp_path)], "gpu": "rocm"})
    line = f'image_digest; exec bash "{host.project}/launch/mpirun.sh" run'
    done = host.contain(line, job, **RANKS, FOLDER=str(job.parent), MASTER_ADDR="10.1.2.3")
    carried = dict(word.split("=", 1) for word in done.stdout.splitlines() if "=" in word)
    assert {name: text for name, text in carried.items() if name in ("PATH", "PYTHON") or "ISONET2" in name} == {
        "PATH": str(host.programs),
        "PYTHON": f"{host.project}/launch/contained.sh",
        "ISONET2_MPI": "1",
        "ISONET2_IMAGE": f"{job.parent}/x.sif",
        "ISONET2_IMAGE_DIGEST": carried["ISONET2_IMAGE_DIGEST"],
        "ISONET2_RUNTIME": "apptainer",
        "ISONET2_GPU": "rocm",
        "ISONET2_BINDS": f"{tmp_path}:{tmp_path},",
        "ISONET2_FOLDER": str(job.parent),
    }
    assert len(carried["ISONET2_IMAGE_DIGEST"]) == len("sha256:") + 64


@pytest.mark.parametrize(("runtime", "mpi"), [("docker", False), ("podman", False), ("apptainer", True), (None, True)])
def test_srun_speaks_mpi_with_ranks_that_it_can_reach(runtime: str | None, mpi: bool, tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.put("scontrol", f"{BASH}echo n1\n")
    host.put("srun", f"{BASH}{SAY}; " + 'echo "ISONET2_MPI=${ISONET2_MPI:-}"\n')
    image = {"ISONET2_IMAGE": "isonet2", "ISONET2_RUNTIME": runtime} if runtime else {}
    ranks = {"NODES": "1", "RANKS": "2", "LAUNCHER": "srun", "MASTER_PORT": "29998"}
    done = host.bash(host.project / "launch" / "srun.sh", "run", "job.yaml", **ranks, **SLURM, **image)
    assert done.returncode == 0, done.stderr
    assert ("--mpi=pmi2" in done.stdout.splitlines()) is mpi
    assert done.stdout.splitlines()[-1] == f"ISONET2_MPI={'1' * mpi}"


def test_a_task_of_an_array_runs_inside(tmp_path: Path) -> None:
    python = tmp_path / "said"
    python.write_text(f"{BASH}{SAY}\n")
    python.chmod(0o755)
    host = Host(tmp_path, "apptainer", python=str(python))
    job = host.job({"image": "y.sif"})
    line = '. "$PROJECT/slurm/batch.sh"; run_task "$@"'
    words = (job, "--set", "container.image=x.sif", "--set", "seed=2")
    done = host.bash("-c", line, "bash", *words, PROJECT=str(host.project), SLURM_ARRAY_TASK_ID="7")
    assert done.returncode == 0, done.stderr
    [start] = host.starts()
    assert str(job.parent / "x.sif") in start.words
    assert start.inside == ["-m", "isonet2", "run", *map(str, words), "--stages", "predict", "--tomogram", "7"]
    assert done.stdout.splitlines() == start.inside


def test_what_is_submitted_was_checked_inside(tmp_path: Path) -> None:
    """Also the image of slurm/site.env; and sbatch is given the settings with which the scripts find the same again."""
    host = Host(tmp_path, "apptainer")
    host.put("sbatch", f"{BASH}{SAY} >> '{tmp_path}/sbatch'; echo 12\n")
    job = host.job(simulate={"count": 1})
    (host.project / "slurm" / "site.env").write_text(f"export ISONET2_IMAGE='{job.parent}/x.sif' ISONET2_GPU=nv\n")
    script = host.project / "slurm" / "submit.sh"
    done = host.bash(script, job, "seed=2")
    assert done.returncode == 0, done.stderr
    assert [start.words.count("--nv") for start in host.starts()] == [0, 0, 0]  # here, there may be no GPU
    assert host.starts()[0].inside == ["-m", "isonet2", "validate", str(job), "--set", "seed=2"]
    done = host.bash(script, job, "container.image=y.sif")
    assert (done.returncode, "y.sif: no such file" in done.stderr) == (64, True)
    submitted = (tmp_path / "sbatch").read_text()
    assert submitted.count(f"\n{job}\n--set\nseed=2\n") == 2
    assert "y.sif" not in submitted

"""What the scripts decide by themselves, without a cluster and without ranks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from isonet2.io.mrc import write_mrc
from isonet2.io.star import TomogramRow, write_star

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = ROOT / "launch"
Attempt = Callable[[str, str], bool]


def bash(script: Path | str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A script file, or a line of script, with these variables added to the environment."""
    command = ["bash", str(script)] if isinstance(script, Path) else ["bash", "-c", script, "bash"]
    env = {**os.environ, "PYTHON": sys.executable, **environment}
    return subprocess.run([*command, *words], env=env, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def goes_back(tmp_path: Path) -> Attempt:
    """goes_back(word, job): whether an attempt of a job that ended with this word of progress is requeued."""
    line = f'. "{ROOT}/slurm/attempts.sh"; finished_something "{tmp_path}/attempts" "$2" "$1"'
    return lambda word, job: bash(line, word, job).returncode == 0


def test_three_attempts_without_progress_are_the_last(goes_back: Attempt) -> None:
    assert [goes_back("refine: step 40", "7") for _ in range(5)] == [True, True, True, False, False]


def test_progress_gives_new_attempts(goes_back: Attempt) -> None:
    words = ["refine: step 1", "refine: step 1", "refine: step 1", "refine: step 2", "refine: step 2", "refine: step 2"]
    assert all(goes_back(word, "7") for word in words)


def test_a_person_who_submits_again_has_new_attempts(goes_back: Attempt) -> None:
    assert not all(goes_back("refine: step 40", "7") for _ in range(5))
    assert goes_back("refine: step 40", "8")


def test_lsf_gets_no_code_to_requeue_for_after_three_attempts_without_progress(tmp_path: Path) -> None:
    project, job = tmp_path / "the project", tmp_path / "a job" / "job.yaml"
    (project / "launch").mkdir(parents=True)
    (job.parent / "logs").mkdir(parents=True)
    (job.parent / "logs" / "verdict").write_text("75\nstopped\nrefine: step 40\n")
    (project / "launch" / "run.sh").write_text("exit 75\n")
    shutil.copytree(ROOT / "slurm", project / "slurm")
    run = partial(bash, project / "slurm" / "lsf.sh", JOB=str(job), LS_SUBCWD=str(project), LSB_JOBID="12")
    assert [run().returncode for _ in range(4)] == [75, 75, 75, 1]


@pytest.mark.parametrize(
    ("version", "folder", "options"),
    [
        ("HYDRA build details:\n    Version: 4.3.0", "bin", "-n 6 -ppn 3"),
        ("Intel(R) MPI Library for Linux* OS, Version 2021.13", "bin", "-n 6 -ppn 3"),
        ("mpiexec (Open MPI) 5.0.11", "bin", "-n 6 --map-by ppr:3:node --bind-to none"),
        ("mpiexec (OpenRTE) 4.1.4", "bin", "-n 6 --map-by ppr:3:node --bind-to none"),
        ("mpirun (IBM Spectrum MPI) 10.4.0.6", "bin", "-n 6 --map-by ppr:3:node --bind-to none"),
        ("version 1.3.4", "cray/pals/bin", "-n 6 --ppn 3 --cpu-bind none"),
    ],
)
def test_each_mpiexec_is_asked_in_its_own_words(version: str, folder: str, options: str, tmp_path: Path) -> None:
    """And whatever it is, the ranks hear where the first host of the scheduler is."""
    mpiexec = tmp_path / folder / "mpiexec"
    mpiexec.parent.mkdir(parents=True)
    mpiexec.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "{version}" || printf "%s " "$@"\n')
    mpiexec.chmod(0o755)
    (tmp_path / "hosts").write_text("10.1.2.3\n10.1.2.3\n10.1.2.4\n")
    done = bash(
        LAUNCH / "mpirun.sh", "run", "job.yaml", PYTHON="false",
        PATH=f"{mpiexec.parent}:{os.environ['PATH']}", PBS_NODEFILE=str(tmp_path / "hosts"), LAUNCHER="mpirun",
        NODES="2", RANKS="3", FOLDER="/a job", MASTER_PORT="29998", ISONET2_STOP_AT="17",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{options} env ISONET2_MPI=1 LAUNCHER=mpirun NODES=2 RANKS=3 FOLDER=/a job ")
    assert " MASTER_ADDR=10.1.2.3 MASTER_PORT=29998 ISONET2_STOP_AT=17" in done.stdout
    assert done.stdout.endswith("/launch/rank.sh run job.yaml ")


def test_an_mpiexec_of_another_mpi_than_the_library_is_refused(tmp_path: Path) -> None:
    """Open MPI's mpirun would start each rank of MPICH's library as the only one, or let it abort."""
    for name, says in (("mpiexec", "mpiexec (Open MPI) 5.0.11"), ("python", "MPICH Version: 5.0.1")):
        (tmp_path / name).write_text(f'#!/bin/sh\necho "{says}"\n')
        (tmp_path / name).chmod(0o755)
    (tmp_path / "logs").mkdir()
    done = bash(
        LAUNCH / "mpirun.sh", "run", "job.yaml", PYTHON=str(tmp_path / "python"),
        PATH=f"{tmp_path}:{os.environ['PATH']}", NODES="1", RANKS="2", FOLDER=str(tmp_path), MASTER_PORT="29998",
    )  # fmt: skip
    assert done.returncode == 70
    assert "mpiexec is of another MPI than mpi4py's library, MPICH Version: 5.0.1" in done.stderr
    assert (tmp_path / "logs" / "verdict").read_text().startswith("70\nmpirun.sh: mpiexec is of another MPI")


@pytest.mark.parametrize(
    ("code", "warned", "cancelled", "why", "requeued"),
    [
        (75, "1", "", "stopped (run.sh was sent USR2); the same command goes on", True),  # the wall time
        (75, "", "", "stopped (SIGTERM); the same command goes on", True),  # preempted, with a grace time
        (75, "", "", "stopped (the file /a/stop); the same command goes on", False),  # somebody's wish
        (75, "", "1", "stopped (run.sh was sent TERM); the same command goes on", False),  # scancel
        (1, "1", "", "", False),
    ],
)
def test_who_was_interrupted_against_his_will_goes_back_into_the_queue(
    code: int, warned: str, cancelled: str, why: str, requeued: bool
) -> None:
    line = f'. "{ROOT}/slurm/batch.sh"; CODE={code} WARNED={warned} CANCELLED={cancelled}; interrupted "$1"'
    assert (bash(line, why, PROJECT=str(ROOT)).returncode == 0) is requeued


def test_a_site_may_use_variables_that_nobody_set_and_is_told_what_failed(tmp_path: Path) -> None:
    (tmp_path / "site.sh").write_bytes((ROOT / "slurm" / "site.sh").read_bytes())
    (tmp_path / "site.env").write_text('export FOUND="$LOADEDMODULES_OF_NOBODY:yes"\nfalse\n')
    done = bash(
        f'set -euo pipefail; . "{tmp_path}/site.sh"; echo "$FOUND"; set -o | grep -c "\\(errexit\\|nounset\\).*on"'
    )
    assert done.stdout.split() == [":yes", "2"]
    assert "the last command of" in done.stderr


@pytest.mark.parametrize(
    "words",
    [["--script", "batch"], ["--script=lsf"], ["--array", "--script", "refine"], ["--script"]],
)
def test_submit_refuses_what_is_no_script_of_a_job(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("version: 1\nreport:\n")
    done = bash(ROOT / "slurm" / "submit.sh", str(tmp_path / "job.yaml"), *words)
    assert done.returncode == 64
    assert done.stderr.startswith("submit.sh: --")


@pytest.mark.parametrize("option", ["--launcher", "--set", "--stages"])
def test_an_option_of_run_sh_without_its_value_is_a_mistake(option: str) -> None:
    done = bash(LAUNCH / "run.sh", "job.yaml", option)
    assert (done.returncode, done.stderr) == (64, f"run.sh: {option} needs a value\n")


def test_a_folder_is_held_between_the_steps_too(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("version: 1\nreport:\n")
    write_list(tmp_path)
    held = f'mkdir -p "{tmp_path}/logs"; exec 9>> "{tmp_path}/logs/.run.lock"; flock 9; echo "process 7 on n1" >&9; '
    done = bash(f'{held} bash "{LAUNCH}/run.sh" "{tmp_path}/job.yaml" --launcher local 9>&-')
    assert done.returncode == 64
    assert "another run works here (process 7 on n1)" in done.stderr


def test_the_last_line_says_why_it_ended(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("version: 1\nreport:\n")
    write_list(tmp_path)
    said = bash(LAUNCH / "run.sh", str(tmp_path / "job.yaml"), "--launcher", "torchrun", ISONET2_STOP_AT="soon")
    assert said.returncode == 70  # torchrun itself says 1
    assert said.stderr.splitlines()[-1] == "run.sh: exit 70: ISONET2_STOP_AT='soon' is no number of seconds since 1970"


def write_list(folder: Path) -> None:
    """A STAR file of one map."""
    write_mrc(folder / "a.mrc", np.zeros((16, 16, 16), np.float32), pixel_size_angstrom=10)
    row = TomogramRow(
        index=1, tomogram="a.mrc", pixel_size_angstrom=10, tilt_min_deg=-60, tilt_max_deg=60, number_subtomos=1
    )
    write_star(folder / "tomograms.star", [row])


def test_several_nodes_do_not_meet_at_a_loopback_address() -> None:
    line = f'. "{LAUNCH}/address.sh"; NODES=2 LAUNCHER=srun; master_address localhost'
    done = bash(line)
    assert done.returncode == 70
    assert "localhost, is 127.0.0.1 here" in done.stderr


def test_torchrun_on_several_nodes_asks_which_of_them_this_is() -> None:
    done = bash(LAUNCH / "torchrun.sh", "run", "job.yaml", NODES="2", RANKS="2", LAUNCHER="torchrun", MASTER_PORT="1")
    assert done.returncode == 70
    assert "start this on each, with its number from 0 on in NODE_RANK" in done.stderr


def test_ranks_of_another_layout_end_with_70_and_leave_it_in_the_verdict(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    step = {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "3", "SLURM_LOCALID": "1"}
    done = bash(
        LAUNCH / "rank.sh", "run", "job.yaml", LAUNCHER="srun", NODES="2", RANKS="2", FOLDER=str(tmp_path), **step
    )
    assert done.returncode == 70
    code, why, *_ = (tmp_path / "logs" / "verdict").read_text().split("\n")
    assert (code, why) == ("70", done.stderr.strip())
    assert "rank 1 of 3, local rank 1" in why
    assert "the job asks for 2 × 2" in why


@pytest.mark.parametrize(
    ("launcher", "cores", "threads"),
    [("srun", "1", "5"), ("mpirun", "1000000", None), ("mpirun", "1", "1")],
    ids=["Slurm says", "bound to cores of its own", "shared by the ranks of the node"],
)
def test_threads_are_the_cores_of_the_rank(launcher: str, cores: str, threads: str | None, tmp_path: Path) -> None:
    """The job asks for more ranks than there are cores."""
    said = tmp_path / "python"
    said.write_text("#!/bin/sh\necho $OMP_NUM_THREADS\n")
    said.chmod(0o755)
    ranks = str(os.cpu_count() or 1)
    slurm = {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": ranks, "SLURM_LOCALID": "0", "SLURM_CPUS_PER_TASK": "5"}
    hydra = {"PMI_RANK": "0", "PMI_SIZE": ranks, "MPI_LOCALRANKID": "0"}
    line = f'unset OMP_NUM_THREADS; exec bash "{LAUNCH}/rank.sh" run job.yaml'
    settings = {"LAUNCHER": launcher, "CORES": cores, "NODES": "1", "RANKS": ranks, "FOLDER": str(tmp_path)}
    done = bash(line, **settings, **slurm, **hydra, PYTHON=str(said))
    assert done.stdout.strip() == (threads or str(len(os.sched_getaffinity(0)))), done.stderr


@pytest.mark.parametrize("ranks", [1, os.cpu_count() or 1, 1000])
def test_torchrun_shares_the_cores_out_too(ranks: int, tmp_path: Path) -> None:
    """By itself it gives each of several ranks one thread."""
    said = tmp_path / "python"
    said.write_text("#!/bin/sh\necho $OMP_NUM_THREADS\n")
    said.chmod(0o755)
    line = f'unset OMP_NUM_THREADS; exec bash "{LAUNCH}/torchrun.sh" run job.yaml'
    done = bash(line, NODES="1", RANKS=str(ranks), LAUNCHER="torchrun", PYTHON=str(said))
    assert int(done.stdout) == max(1, len(os.sched_getaffinity(0)) // ranks), done.stderr


@pytest.mark.parametrize(("script", "where"), [("pbs.sh", "PBS_O_WORKDIR"), ("lsf.sh", "LS_SUBCWD")])
def test_other_schedulers_get_a_deadline_before_their_wall_time(script: str, where: str, tmp_path: Path) -> None:
    project = tmp_path / "the project"
    (project / "launch").mkdir(parents=True)
    (project / "launch" / "run.sh").write_text('echo "$ISONET2_STOP_AT|$*"\n')
    shutil.copytree(ROOT / "slurm", project / "slurm")
    done = bash(project / "slurm" / script, JOB="/a job/job.yaml", **{where: str(project)})
    deadline, words = done.stdout.strip().split("|")
    assert abs(int(deadline) - (time.time() + 24 * 3600 - 300)) < 60
    assert words == "/a job/job.yaml --launcher mpirun"


PLAN = {
    "folder": "/it's a job",
    "stages": ["extract", "denoise", "predict", "report"],
    "steps": [
        {"kind": "shared", "stages": ["extract"]},
        {"kind": "training", "stages": ["denoise"]},
        {"kind": "shared", "stages": ["predict", "report"]},
    ],
    "nodes": 2,
    "ranks_per_node": 4,
    "tomogram_indices": [7, 1, 2, 3],
    "slurm": {
        "nodes": 2, "ranks_per_node": 4, "cpus_per_rank": 16, "gpus_per_node": 4, "memory_gb": 90.5,
        "wall_time": "1-00:00:00", "partition": "gpu", "account": None,
    },
    "container": {"image": "a b.sif", "runtime": "auto", "binds": ["/c", "/d:/e:ro"], "gpu": "nv"},
}  # fmt: skip


def planned(*words: str, name: str) -> tuple[int, str]:
    """What a shell finds in a variable after the plan; the exit code of the script before that."""
    command = [sys.executable, str(LAUNCH / "plan.py"), *words]
    done = subprocess.run(command, input=json.dumps(PLAN), capture_output=True, text=True, check=False)
    return done.returncode, bash(f'{done.stdout}\nprintf "%s|" "${{{name}[@]}}"').stdout


SBATCH = "--nodes={}|--ntasks-per-node={}|--gres=gpu:{}|--cpus-per-task=16|--mem={}G|--time=1-00:00:00|--partition=gpu|"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FOLDER", "/it's a job|"),
        ("STEPS", "extract|denoise|predict,report|"),
        ("TOMOGRAMS", "1-3,7|"),
        ("SBATCH", SBATCH.format(2, 4, 4, 91)),
        ("SBATCH_ONE", SBATCH.format(1, 1, 1, 23)),
        ("CONTAINER", "a b.sif|auto|nv|/c|/d:/e:ro|"),
    ],
)
def test_the_shell_reads_the_plan(name: str, value: str) -> None:
    assert planned(name=name) == (0, value)


def test_of_the_stages_asked_for_those_run_that_the_job_has() -> None:
    assert planned("refine,report", name="STEPS") == (0, "report|")
    assert planned("repot", name="STEPS")[0] == 64
    assert planned("refine", name="STEPS")[0] == 64


@pytest.mark.parametrize(
    ("end", "steps"), [("..predict", "extract|denoise|"), ("..refine", "extract|denoise|predict,report|")]
)
def test_what_comes_before_a_stage_is_all_if_the_job_lacks_it(end: str, steps: str) -> None:
    assert planned(end, name="STEPS") == (0, steps)
    assert planned("..extract", name="STEPS")[0] == 64
    assert planned("..repot", name="STEPS")[0] == 64

"""sbatch on real nodes: from a job file to corrected tomograms, in one allocation and as an array."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cluster import FOUR_RANKS, TWO_RANKS, Cluster, maps

from isonet2.io.star import read_star


def test_the_main_job_runs_on_the_nodes_and_ranks_that_it_asks_for(cluster: Cluster, main_job: Path) -> None:
    """Submitted with --export=NONE, from another folder, in a path with spaces."""
    record = json.loads((main_job / "provenance.json").read_text())
    assert (record["hosts"], record["ranks"]) == (["n1", "n2"], 4)
    for row in read_star(main_job / "tomograms.star"):
        assert row.corrected is not None
        assert (main_job / row.corrected).stat().st_size == (main_job / str(row.half1)).stat().st_size
    assert cluster.ranks(main_job) == []


def test_settings_of_the_command_line_win_over_the_job(cluster: Cluster, main_job: Path) -> None:
    output = next((main_job / "logs").glob("slurm-*.out"))
    assert cluster.field(output.stem.removeprefix("slurm-"), "TimeLimit") == "00:12:00"


@pytest.fixture(scope="module")
def predicted(cluster: Cluster, copy: Callable[[str], Path]) -> tuple[Path, list[str]]:
    """The folder after `submit.sh --array`, and the numbers of the array's first task and of the writer."""
    folder = copy("predict")
    submit = ("bash", str(cluster.project / "slurm" / "submit.sh"), str(folder / "job.yaml"))
    said = cluster.on("login", *submit, "report.output=all.html", "--array=2").stdout
    array = said.split("submitted as ")[1].split(",")[0]
    writer = said.split("and report, ")[1].strip()
    cluster.ended(writer)
    return folder, [f"{array}_1", f"{array}_2", writer]


def test_an_array_predicts_what_one_allocation_predicts(
    cluster: Cluster, main_job: Path, predicted: tuple[Path, list[str]]
) -> None:
    folder, jobs = predicted
    assert [cluster.field(job, "JobState") for job in jobs] == ["COMPLETED"] * 3
    assert maps(folder) == maps(main_job)
    assert sorted(path.name for path in (folder / "stages" / "predict").iterdir()) == ["1.ok", "2.ok"]


def test_one_job_after_the_array_writes_star_file_and_report(main_job: Path, predicted: tuple[Path, list[str]]) -> None:
    folder, (_, _, writer) = predicted
    assert (folder / "tomograms.star").read_bytes() == (main_job / "tomograms.star").read_bytes()
    assert (folder / "all.html").exists()
    assert "row" not in (folder / "logs" / f"slurm-{writer}.out").read_text()  # nothing was predicted again


def test_a_task_of_an_array_that_fails_says_so(cluster: Cluster, predicted: tuple[Path, list[str]]) -> None:
    folder, _ = predicted
    options = ("--array=7", "--gres=none", "--cpus-per-task=1", "--mem=1G", f"--output={folder}/logs/seven.out")
    job = cluster.sbatch("predict.sh", str(folder / "job.yaml"), options=options)
    cluster.ended(job)
    assert cluster.exit_code(job) == 64
    assert "predict takes no tomogram of that index" in (folder / "stages" / "predict" / "7.fail").read_text()


def test_denoise_ends_before_refine(cluster: Cluster, copy: Callable[[str], Path]) -> None:
    folder = copy("refine")
    job = cluster.sbatch(
        "denoise.sh", str(folder / "job.yaml"), options=(*FOUR_RANKS, f"--output={folder}/denoise.out")
    )
    cluster.ended(job)
    said = (folder / "denoise.out").read_text()
    assert (cluster.field(job, "JobState"), cluster.exit_code(job)) == ("COMPLETED", 0), said
    assert "extract: done before" in said
    assert not (folder / "isonet_maps").exists()


def test_an_allocation_of_another_layout_ends_with_70_and_says_what_to_change(
    cluster: Cluster, copy: Callable[[str], Path]
) -> None:
    folder = copy("predict")
    options = (*TWO_RANKS, f"--output={folder}/layout.out")
    job = cluster.sbatch("predict.sh", str(folder / "job.yaml"), options=options)
    cluster.ended(job, within_s=30)
    assert cluster.exit_code(job) == 70
    assert "submit with --nodes=2 --ntasks-per-node=2, or change resources" in (folder / "layout.out").read_text()


def test_tasks_that_each_take_themselves_for_the_only_one_end_with_70(cluster: Cluster, main_job: Path) -> None:
    """As where srun --mpi and the MPI library do not fit."""
    alone = ("env", "PMI_RANK=0", "PMI_SIZE=1", "MPI_LOCALRANKID=0")
    python = cluster.on("login", "bash", "-c", f'. "{cluster.project}/slurm/site.env"; echo "$PYTHON"').stdout.strip()
    started = time.monotonic()
    run = ("srun", "--ntasks=2", "--mem=1G", *alone, python, "-m", "isonet2", "run", str(main_job / "job.yaml"))
    done = cluster.on("login", *run, check=False)
    assert done.returncode == 70
    assert "each is the only rank" in done.stderr
    assert time.monotonic() - started < 30

"""A job on two nodes of a real Slurm, every rank inside the image that the job file names."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from cluster import FOUR_RANKS, Cluster
from common import Image

from isonet2.io.star import read_star

JOB = """
version: 1
seed: 3
resources: {{nodes: 2, ranks_per_node: 2, threads_per_rank: 1, gpus_per_node: 0}}
container:
  image: {sif}   # all that a user writes
  gpu: none
simulate: {{count: 2, size: [40, 48, 56], pixel_size: 15, snr: 2, particles: 30, membranes: 0}}
prepare_star: {{even: simulated/even, odd: simulated/odd, number_subtomos: 24}}
make_mask:
extract:
refine: {{channels: [4, 8, 16], cube_size: 16, epochs: 2, warmup_steps: 5}}
predict:
"""


@pytest.mark.timeout(1500)  # it may wait for the image
def test_the_main_job_runs_from_the_sif_on_two_nodes(cluster: Cluster, image: Image, tmp_path: Path) -> None:
    """The host has no isonet2, its environment is kept out, and MPI is MPICH of the image, under srun --mpi=pmi2."""
    project = tmp_path / "site" / "project"
    for part in ("launch", "slurm"):
        shutil.copytree(cluster.project / part, project / part)
    path = image.environment["PATH"]
    site = f"export PYTHON=/nowhere/python APPTAINER_CLEANENV=1 ISONET2_MPI_TYPE=pmi2 OMP_NUM_THREADS=1 PATH='{path}'\n"
    (project / "slurm" / "site.env").write_text(site)
    folder = tmp_path / "a job"
    folder.mkdir()
    (folder / "job.yaml").write_text(JOB.format(sif=image.sif))
    there = Cluster(cluster.folder, project)
    output = folder / "slurm.out"
    job = there.sbatch("refine.sh", str(folder / "job.yaml"), options=(*FOUR_RANKS, f"--output={output}"))
    there.ended(job, within_s=400)
    assert (there.field(job, "JobState"), there.exit_code(job)) == ("COMPLETED", 0), output.read_text()[-4000:]
    record = json.loads((folder / "provenance.json").read_text())
    assert (record["hosts"], record["ranks"]) == (["n1", "n2"], 4)
    digest = hashlib.sha256(image.sif.read_bytes()).hexdigest()
    assert record["container"] == {"image": str(image.sif), "digest": f"sha256:{digest}", "runtime": "apptainer"}
    for row in read_star(folder / "tomograms.star"):
        assert row.corrected is not None
        assert (folder / row.corrected).stat().st_size == (folder / str(row.half1)).stat().st_size

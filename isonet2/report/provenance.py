"""What a run works with, written down before it does: its settings, versions, machines."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from isonet2 import __version__
from isonet2.io.atomic import write_text
from isonet2.job.container import image_facts
from isonet2.job.models import Job
from isonet2.job.resolved import resolved_text
from isonet2.parallel.world import World

_SCHEDULER = ("SLURM_JOB_ID", "SLURM_JOB_PARTITION", "SLURM_RESTART_COUNT", "PBS_JOBID", "LSB_JOBID")


def write_records(job: Job, world: World, hosts: list[str], earlier: Job | None) -> None:
    """resolved.yaml: every setting of this run and, of stages that it lacks, of `earlier` ones, whose batch sizes stay
    fixed; provenance.json: what it runs with, and where."""
    write_text(job.folder / "resolved.yaml", resolved_text(job, earlier))
    provenance = {
        "isonet2": __version__,
        "git_revision": _git_revision(),
        "python": platform.python_version(),
        **{package: version(package) for package in ("torch", "numpy", "scipy", "h5py", "mrcfile")},
        "hosts": sorted(set(hosts)),
        "ranks": world.size,
        "device": world.device,
        "seed": job.seed,
        "container": image_facts(os.environ),
        "scheduler": {name: os.environ[name] for name in _SCHEDULER if name in os.environ},
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    write_text(job.folder / "provenance.json", json.dumps(provenance, indent=1) + "\n")


def _git_revision() -> str | None:
    """The commit of the source tree that this package lies in; in an image, of the one that it was made from."""
    source = Path(__file__).resolve().parents[2]
    if not (source / ".git").exists():
        return os.environ.get("ISONET2_REVISION")
    command = ["git", "-C", str(source), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None

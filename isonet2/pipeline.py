"""The stages of a job, one after the other: each once, skipped where nothing it depends on has changed."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import platform
import socket
import subprocess
import time
from contextlib import ExitStack
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from isonet2 import __version__, log
from isonet2.errors import IsonetError
from isonet2.io.atomic import write_text
from isonet2.io.lock import holding
from isonet2.job.load import dump_job
from isonet2.job.models import STAGES, Job
from isonet2.parallel.collectives import all_gather, joined_world, on_first_rank
from isonet2.parallel.memory import forget_peak, peak_memory_gb
from isonet2.parallel.world import World

Facts = dict[str, Any]
_RESTARTED = ("denoise", "refine", "predict")  # what goes on from where it stopped
_SCHEDULER = ("SLURM_JOB_ID", "SLURM_JOB_PARTITION", "SLURM_RESTART_COUNT", "PBS_JOBID", "LSB_JOBID")


def run(job: Job, *, restart: bool = False, always: bool = False) -> dict[str, Facts]:
    """Run the job's stages in this process and those beside it: what each found, by its name.

    A stage that finished before with the same settings and inputs is skipped, unless `always`; `restart` runs all of
    them and begins the training anew. Raises IsonetError, on every rank, with a sentence for the user.
    """
    found: dict[str, Facts] = {}
    with joined_world(job.resources.threads_per_rank) as world, ExitStack() as stack:
        log.start_logging(rank=world.rank, file=job.folder / "logs" / f"rank{world.rank:04d}.log")
        on_first_rank(world, lambda: stack.enter_context(holding(job.folder)))
        hosts = all_gather(world, socket.gethostname())
        on_first_rank(world, lambda: _write_records(job, world, hosts))
        key = ""
        try:
            for name in STAGES:
                if getattr(job, name) is not None:
                    key, found[name] = _run_stage(name, job, world, key, anew=restart or always, restart=restart)
        except IsonetError as error:
            if world.rank > 0 and not error.on_every_rank:  # else the first rank says it
                log.complain(str(error), rank=world.rank)
            raise
    return found


def _run_stage(name: str, job: Job, world: World, key: str, *, anew: bool, restart: bool) -> tuple[str, Facts]:
    """Run or skip one stage: its key, which that of the stage before is part of, and what it found."""
    stage = importlib.import_module(f"isonet2.stages.{name}")
    key = on_first_rank(world, lambda: _key(name, job, stage.inputs(job), key))
    path = job.folder / "stages" / f"{name}.json"
    before = on_first_rank(world, lambda: None if anew else _finished(path, key, job.folder))
    if before is not None:
        log.info(f"{name}: done before, and nothing it depends on has changed")
        return key, before
    log.info(f"{name}: starts on {world.size} rank{'s' if world.size > 1 else ''}")
    forget_peak(world.device)
    started = time.monotonic()
    facts: Facts = stage.run(job, world, **({"restart": True} if restart and name in _RESTARTED else {}))
    seconds, peaks = time.monotonic() - started, all_gather(world, round(peak_memory_gb(world.device), 3))
    record = {
        "stage": name,
        "key": key,
        "seconds": round(seconds, 2),
        "ranks": world.size,
        "peak_memory_gb": peaks,
        "finished": _now(),
        "facts": facts,
    }
    on_first_rank(world, lambda: write_text(path, json.dumps(record, indent=1) + "\n"))
    log.info(f"{name}: done in {seconds:.1f} s, at most {max(peaks):.2f} GB a rank")
    return key, facts


def _key(name: str, job: Job, inputs: dict[str, Any], before: str) -> str:
    """Changes when the stage would give another result."""
    content = [__version__, name, job.seed, getattr(job, name).model_dump(), inputs, before]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _finished(path: Path, key: str, folder: Path) -> Facts | None:
    """What the stage found when it last finished, if that was with the same key and its outputs are still there."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        facts: Facts = record["facts"]
        whole = record["key"] == key and all((folder / output).exists() for output in facts["outputs"])
    except (FileNotFoundError, json.JSONDecodeError, KeyError):  # none, or one of another version
        return None
    return facts if whole else None


def _write_records(job: Job, world: World, hosts: list[str]) -> None:
    """resolved.yaml: every setting of this run; provenance.json: what it runs with, and where."""
    write_text(job.folder / "resolved.yaml", dump_job(job))
    provenance = {
        "isonet2": __version__,
        "git_revision": _git_revision(),
        "python": platform.python_version(),
        **{package: version(package) for package in ("torch", "numpy", "scipy", "h5py", "mrcfile")},
        "hosts": sorted(set(hosts)),
        "ranks": world.size,
        "device": world.device,
        "seed": job.seed,
        "scheduler": {name: os.environ[name] for name in _SCHEDULER if name in os.environ},
        "started": _now(),
    }
    write_text(job.folder / "provenance.json", json.dumps(provenance, indent=1) + "\n")


def _git_revision() -> str | None:
    """The commit of the source tree that this package lies in, if it lies in one."""
    source = Path(__file__).resolve().parent.parent
    if not (source / ".git").exists():
        return None
    command = ["git", "-C", str(source), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")

"""The folder of a run as it is found at some moment: written by hand, without a run."""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from isonet2 import log

JOB = "deconv: {}\nrefine: {epochs: 50, method: isonet2-n2n}\npredict: {}\n"
NOBODY = 2**22 + 1  # above any process number of Linux


def job(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "job.yaml").write_text(JOB)
    return folder


def done(folder: Path, stage: str, outputs: int = 2) -> None:
    record = {"stage": stage, "finished": "2026-11-28T10:00:00+00:00", "seconds": 12.0, "ranks": 2}
    record |= {"peak_memory_gb": [1.0, 2.0], "outputs": {f"{n}.mrc": None for n in range(outputs)}, "facts": {}}
    (folder / "stages").mkdir(exist_ok=True)
    (folder / "stages" / f"{stage}.json").write_text(json.dumps(record))


def told(path: Path, *, silent_s: float = 0.0, ended: bool = False, host: str | None = None, **work: Any) -> None:
    """What a run said of itself so long ago; by default it is at step 200 of 400 of refine, 100 of them in 50 s."""
    path.parent.mkdir(parents=True, exist_ok=True)
    then = time.time() - silent_s
    about = {"host": host or socket.gethostname(), "process": os.getpid(), "ranks": 2, "device": "cpu"}
    times = {"started": then - 60, "updated": then, "ended": ended}
    at_work = {"stage": "refine", "began": then - 55, "unit": "step", "first": 100, "done": 200, "total": 400}
    at_work |= {"counted": then - 50, "moved": then}
    process = {"process": work.pop("process")} if "process" in work else {}
    path.write_text(json.dumps({**about, **times, **asdict(log.Work()), **at_work, **work, **process}))
    os.utime(path, (then, then))


def verdict(folder: Path, text: str, *, age_s: float = 0.0) -> None:
    path = folder / "logs" / "verdict"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    os.utime(path, (time.time() - age_s,) * 2)


def metrics(folder: Path, losses: list[float], *, part: str = "") -> None:
    lines = [
        {"kind": "epoch", "epoch": n, "step": 10 * n, "loss": loss, "learning_rate": 1e-3, "samples_per_s": 12.5,
         "val_loss": loss / 2}
        for n, loss in enumerate(losses, start=1)
    ]  # fmt: skip
    path = folder / "isonet_maps" / part / "metrics.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"kind": "ep')  # which is being written


def ranks(folder: Path, count: int, *lines: str) -> None:
    for rank in range(count):
        path = folder / "logs" / f"rank{rank:04d}.log"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in lines))

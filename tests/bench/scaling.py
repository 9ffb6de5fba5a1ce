"""Scaling on one machine: two ranks that share a job against two processes that each do one of their own beside it.

    python tests/bench/scaling.py WORK [--ranks 2] [--repeats 3]

1 would be no loss at all. Both sides keep the same cores busy, one thread a process, with as many tomograms, cubes and
steps for each of them; what counts is the time that a stage took by its own record (stages/*.json), so that starting
Python is not part of it. Rates, and what they come to for 1,000 tomograms on 32 nodes, are printed last.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median

PASSES = {("extract",): 2000, ("extract", "refine", "predict"): 150}  # cubes of each tomogram: cutting is fast
STAGES = ("extract", "refine", "predict")
JOB = """
version: 1
seed: 1
resources: {{threads_per_rank: 1}}
simulate: {{count: {tomograms}, size: [64, 128, 128], pixel_size: 15, snr: 1, tilt_step: 6}}
prepare_star: {{even: simulated/even, odd: simulated/odd, number_subtomos: {cubes}}}
make_mask:
extract: {{cube_size: 32}}
refine: {{cube_size: 32, epochs: 1, batch_size: {batch}, with_preview: false, validation_share: 0}}
predict: {{average_turns: false}}
"""


def main() -> None:
    options = _options()
    seconds: dict[str, dict[str, list[float]]] = {stage: {"together": [], "alone": []} for stage in STAGES}
    for repeat in range(options.repeats):
        for way in ("together", "alone"):
            for stage, taken in _measured(options, way).items():
                seconds[stage][way].append(taken)
        done = {stage: [round(s, 1) for both in seconds[stage].values() for s in both] for stage in STAGES}
        print(f"repeat {repeat + 1}: seconds together, then alone: {done}", flush=True)
    print("\n| stage | one job on all ranks | a job for each of as many processes | ratio |\n| --- | --- | --- | --- |")
    for stage, ways in seconds.items():
        together, alone = median(ways["together"]), median(ways["alone"])
        print(f"| {stage} | {together:.1f} s | {alone:.1f} s | {alone / together:.2f} |")
    print(f"\n{_estimate({stage: median(ways['alone']) for stage, ways in seconds.items()})}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder for the jobs")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


def _measured(options: argparse.Namespace, way: str) -> dict[str, float]:
    """Seconds of each stage: of the ranks together, or the mean of processes that each do the share of one, alone."""
    taken: dict[str, float] = {}
    for stages, cubes in PASSES.items():
        taken = {**_pass(options, way, stages, cubes), **taken}
    return taken


def _pass(options: argparse.Namespace, way: str, stages: tuple[str, ...], cubes: int) -> dict[str, float]:
    jobs = 1 if way == "together" else options.ranks
    folders = [options.work / f"{way}{n}" for n in range(jobs)]
    started = []
    for folder in folders:
        _prepare(folder, ranks=options.ranks // jobs, cubes=cubes)
        command = [sys.executable, "-m", "isonet2", "run", str(folder / "job.yaml"), "--stages", ",".join(stages)]
        if jobs == 1:
            ranks = ["--standalone", f"--nproc-per-node={options.ranks}", "-m", *command[2:]]
            command = [sys.executable, "-m", "torch.distributed.run", *ranks]
        started.append(_start(command, folder / "said"))
    for process, folder in zip(started, folders, strict=True):
        if code := process.wait():
            sys.exit(f"scaling: a run ended with {code}; what it said is in {folder / 'said'}")
    return {stage: sum(_record(folder, stage)["seconds"] for folder in folders) / jobs for stage in stages}


def _prepare(folder: Path, *, ranks: int, cubes: int) -> None:
    """A job folder in which everything before the stages that count is done: two tomograms and two cubes for a rank."""
    for made in ("cache", "isonet_maps", "corrected_tomos", "stages/predict", "resolved.yaml"):
        path = folder / made
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    for stage in STAGES:
        (folder / "stages" / f"{stage}.json").unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "job.yaml").write_text(JOB.format(tomograms=2 * ranks, batch=2 * ranks, cubes=cubes))
    before = [sys.executable, "-m", "isonet2", "run", str(folder / "job.yaml"), "--stages"]
    if _start([*before, "simulate,prepare_star,make_mask"], folder / "said").wait():
        sys.exit("scaling: the tomograms could not be simulated")


def _start(command: list[str], said: Path) -> subprocess.Popen[bytes]:
    with said.open("w") as file:
        return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=file)


def _estimate(seconds: dict[str, float]) -> str:
    """What one core did in a second here, and 1,000 tomograms of 512×1024×1024 by 32 nodes of 64 such cores."""
    cut, learned = (2 * cubes for cubes in PASSES.values())
    voxels = 2 * 64 * 128 * 128
    extracted, trained = cut / seconds["extract"], learned / seconds["refine"]
    predicted = voxels / seconds["predict"]
    cores, tomograms, each = 32 * 64, 1000, 512 * 1024 * 1024
    disk = tomograms * 300 * 36**3 * 5 / 1e9
    hours = {
        "extract": tomograms * 300 / extracted / cores / 3600,
        "refine": 10 * tomograms * 300 / trained / cores / 3600,
        "predict": 2 * tomograms * each / predicted / cores / 3600,
    }
    return (
        f"One core: {extracted:.0f} cubes/s cut, {trained:.1f} cubes/s learned from, "
        f"{predicted / 1e6:.2f} million voxels/s predicted (two halves, one turn).\n"
        f"1,000 tomograms of 512×1024×1024, 300 cubes each, 10 epochs, both turns, on 32 nodes of 64 cores: "
        + ", ".join(f"{stage} {value:.2f} h" for stage, value in hours.items())
        + f"; cache {disk:.0f} GB, outputs {tomograms * each * 4 * 3 / 1e12:.1f} TB."
    )


def _record(folder: Path, stage: str) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "stages" / f"{stage}.json").read_text())
    return found


if __name__ == "__main__":
    main()

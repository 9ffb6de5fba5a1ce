"""Write the plan of a job, `isonet2 plan job.yaml --json` on stdin, as assignments that a shell evaluates.

FOLDER of the job; NODES, RANKS (a node); STEPS, an array: the stages of each step, with commas, or of them those that
argv[1] names, as in predict,report, or, as in ..refine, those before one that the job may have; TOMOGRAMS, as sbatch
--array takes them; SBATCH, an array: the options that resources asks for; SBATCH_ONE, the same for a single rank;
CONTAINER, an array: image, runtime, gpu and binds of that section, nothing without it.
"""

import json
import math
import shlex
import sys
from itertools import groupby

from isonet2.job.models import STAGES

plan = json.load(sys.stdin)
wanted = sys.argv[1].split(",") if len(sys.argv) > 1 else plan["stages"]
end = wanted[0].removeprefix("..")
if end != wanted[0]:
    there = plan["stages"]
    first = STAGES[: STAGES.index(end)] if end in there else STAGES
    wanted = [stage for stage in there if stage in first] if end in STAGES else [end]
steps = [[stage for stage in step["stages"] if stage in wanted] for step in plan["steps"]]
unknown = sorted(set(wanted) - set(STAGES))
if unknown or not any(steps):
    why = f"no such stage as {', '.join(unknown)}" if unknown else "this job has none of these"
    sys.stderr.write(f"--stages: {why}: {', '.join(plan['stages'])}\n")
    sys.exit(64)


def spans(numbers: list[int]) -> str:
    """1-3,7 for 1, 2, 3, 7."""
    runs = [[n for _, n in run] for _, run in groupby(enumerate(sorted(numbers)), lambda pair: pair[1] - pair[0])]
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def options(asked: dict) -> list[str]:
    """sbatch's, for what is asked for; the script's own lines hold for the rest."""
    ways = {
        "nodes": "--nodes={}",
        "ranks_per_node": "--ntasks-per-node={}",
        "gpus_per_node": "--gres=gpu:{}" if asked["gpus_per_node"] else "--gres=none",
        "cpus_per_rank": "--cpus-per-task={}",
        "memory_gb": "--mem={}G",
        "wall_time": "--time={}",
        "partition": "--partition={}",
        "account": "--account={}",
    }
    whole = {key: math.ceil(value) if isinstance(value, float) else value for key, value in asked.items()}
    return [way.format(whole[key]) for key, way in ways.items() if whole[key] is not None]


slurm = plan["slurm"]
ranks = plan["ranks_per_node"]
one = {**slurm, "nodes": 1, "ranks_per_node": 1}
for share in ("gpus_per_node", "memory_gb"):
    one[share] = None if slurm[share] is None else slurm[share] / ranks


def array(words: list[str]) -> str:
    return f"({shlex.join(words)})"


def said(section: dict | None) -> list[str]:
    return [section["image"], section["runtime"], section["gpu"], *section["binds"]] if section else []


assignments = {
    "FOLDER": shlex.quote(plan["folder"]),
    "NODES": str(plan["nodes"]),
    "RANKS": str(ranks),
    "STEPS": array([",".join(step) for step in steps if step]),
    "TOMOGRAMS": shlex.quote(spans(plan["tomogram_indices"] or [])),
    "SBATCH": array(options(slurm)),
    "SBATCH_ONE": array(options(one)),
    "CONTAINER": array(said(plan["container"])),
}
sys.stdout.write("".join(f"{name}={value}\n" for name, value in assignments.items()))

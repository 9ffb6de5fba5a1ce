"""Kills a small job at random moments, and looks at what is left and whether the next run ends as if nothing had been.

    python tests/bench/kills.py WORK [--count 100] [--stages refine predict …] [--seed 0]

Each kill is of one stage of `isonet2 run`, after a random share of the time that the stage takes: of one process, or
of two ranks of torchrun, all at once or one of them alone. Afterwards no process is left and each file that has its
name is whole; the same command ends well; and maps, list, cubes, networks and losses are bit by bit those of a job that
was left in peace. One line for each kill, also in WORK/kills.jsonl: a second start goes on behind it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from whole_files import files, half_files

JOB = """
version: 1
seed: 3
resources: {threads_per_rank: 1}
simulate: {count: 3, size: [24, 40, 48], pixel_size: 15, snr: 2, particles: 8, membranes: 0}
prepare_star: {even: simulated/even, odd: simulated/odd, create_average: true, number_subtomos: 8, defocus: 30000}
deconv: {chunk_size: 32, highpassnyquist: 0.2}
make_mask: {}
extract: {}
denoise:
  {arch: unet-tiny, channels: [4, 8], convolutions: 1, cube_size: 16, epochs: 2, batch_size: 4, save_interval: 1,
   with_preview: false, output_dir: denoising}
refine:
  {method: isonet2-n2n, arch: unet-tiny, channels: [4, 8], convolutions: 1, cube_size: 16, epochs: 3, batch_size: 4,
   save_interval: 2, checkpoint_minutes: 0.0001}
predict: {keep_halves: true}
report: {truth_folder: simulated/truth}
"""
FILLS = {
    "simulate": ["simulated"],
    "prepare_star": ["average"],
    "deconv": ["deconv"],
    "make_mask": ["mask"],
    "extract": ["cache"],
    "denoise": ["denoising"],
    "refine": ["isonet_maps"],
    "predict": ["corrected_tomos"],
    "report": ["report.html", "truth.json"],
}
"""What each stage leaves, apart from its record and the STAR file."""
STAR = "tomograms.star"
PATIENCE_S = 300.0
ENDING_S = 30.0  # for the ranks beside one that was killed


@dataclass(frozen=True)
class Kill:
    """One experiment. `alone`: one of two ranks; `moment`: a share of the time that the stage takes."""

    number: int
    stage: str
    ranks: int
    alone: bool
    moment: float

    @staticmethod
    def of(number: int, stages: Sequence[str], seed: int) -> Kill:
        dice = random.Random(f"{seed} {number}")
        ranks = dice.choice((1, 1, 1, 2))
        return Kill(number, stages[number % len(stages)], ranks, ranks == 2 and dice.random() < 0.5, dice.random())

    @property
    def learners(self) -> int:
        """How many ranks the networks come from: sums over two are other ones in the last bit, and all else is not."""
        return 1 if self.stage in ("predict", "report") else self.ranks

    @property
    def victim(self) -> str:
        return "one process" if self.ranks == 1 else "one of two ranks" if self.alone else "both ranks"


class Run:
    """`isonet2 run` in a folder. One rank is forked from here, where everything that takes seconds is imported."""

    def __init__(self, folder: Path, ranks: int, *words: str) -> None:
        self.folder, self._log = folder, folder.with_suffix(".log")
        self._log.unlink(missing_ok=True)
        self._code: int | None = None
        self._pid = os.fork()
        if self._pid == 0:
            self._become(["run", "job.yaml", *words], ranks)

    def _become(self, words: Sequence[str], ranks: int) -> None:
        os.setsid()
        os.chdir(self.folder)
        output = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        if ranks > 1:
            torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
            os.execv(sys.executable, [sys.executable, *torchrun, "-m", "isonet2", *words])
        code = 1
        try:
            from isonet2.cli import main

            code = main(words)
        finally:
            os._exit(code)

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def code(self) -> int | None:
        """The exit code; None while it runs."""
        if self._code is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def end(self, *, alone: bool, dice: random.Random) -> None:
        """SIGKILL, unless it has ended: for all at one moment, or for one rank, whom its launcher has to miss."""
        if self.code is not None:
            return
        launcher = psutil.Process(self._pid)
        family = [launcher, *launcher.children(recursive=True)]
        ranks = [process for process in launcher.children() if "RANK" in process.environ()]
        victims = [dice.choice(ranks)] if alone and ranks else family
        for act in (psutil.Process.suspend, psutil.Process.kill):
            for victim in victims:
                with suppress(psutil.NoSuchProcess):  # it had come to its end
                    act(victim)

    def alive(self) -> list[int]:
        """The processes that work in the folder."""
        everybody = psutil.process_iter(["cwd", "status"])
        living = (process for process in everybody if process.info["status"] != psutil.STATUS_ZOMBIE)
        return [process.pid for process in living if process.info["cwd"] == str(self.folder)]


def wait_for(reached: Callable[[], Any], seconds: float = PATIENCE_S) -> bool:
    deadline = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def finish(folder: Path, ranks: int, *words: str) -> Run:
    run = Run(folder, ranks, *words)
    if not wait_for(lambda: run.code is not None):
        run.end(alone=False, dice=random.Random())
    return run


class Reference:
    """A job that was left in peace, the list of tomograms before each stage, and how long each took."""

    def __init__(self, folder: Path, ranks: int) -> None:
        self.folder = folder / "job"
        self._stars = folder / "stars"
        if not (folder / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            self._stars.mkdir()
            (self.folder / "job.yaml").write_text(JOB)
            for stage in FILLS if ranks == 1 else ["report"]:
                if (self.folder / STAR).exists():
                    shutil.copy2(self.folder / STAR, self._stars / stage)
                run = finish(self.folder, ranks, *(["--stages", stage] if ranks == 1 else []))
                if run.code != 0:
                    raise SystemExit(f"the reference failed:\n{run.said[-3000:]}")
            (folder / "done").touch()
        records = [json.loads((self.folder / "stages" / f"{stage}.json").read_text()) for stage in FILLS]
        self._seconds = {record["stage"]: float(record["seconds"]) for record in records}
        self._said = (self.folder / "logs" / "rank0000.log").read_text()
        self.results = results(self.folder)

    def moment(self, kill: Kill) -> tuple[int, float]:
        """The place in its stage, whatever the speed of the machine: after so many lines, and so many seconds."""
        lines = lines_of(kill.stage, self._said)
        after, rest = divmod(kill.moment * (lines + 1), 1)
        return int(after), rest * self._seconds[kill.stage] / (lines + 1)

    def before(self, stage: str, folder: Path, stars: Path) -> None:
        """Copy the job as it was before this stage."""
        shutil.copytree(self.folder, folder)
        (folder / STAR).unlink()
        if (stars / stage).exists():
            shutil.copy2(stars / stage, folder / STAR)
        stages = list(FILLS)
        for later in stages[stages.index(stage) :]:
            (folder / "stages" / f"{later}.json").unlink()
            for name in FILLS[later]:
                path = folder / name
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def lines_of(stage: str, said: str) -> int:
    """How many lines a stage has said between its first and its last."""
    return said.partition(f"{stage}: starts")[2].partition(f"{stage}: done")[0].count("\n") - 1


def results(folder: Path) -> dict[str, Any]:
    """The bytes of maps, list, cubes and networks, and the losses; caches are called by times of their maps."""
    found: dict[str, Any] = {}
    for path in files(folder):
        name = path.relative_to(folder).as_posix()
        if path.suffix in {".mrc", ".star", ".h5"} or (path.suffix == ".pt" and "checkpoints" not in path.parts):
            found[f"cache/{path.name}" if path.suffix == ".h5" else name] = path.read_bytes()
        elif path.suffix == ".jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = [(line["kind"], line["epoch"], line.get("loss")) for line in lines]
    return found


def outcome(kill: Kill, work: Path, reference: Reference, stars: Path) -> tuple[list[str], str]:
    """Do it: all that was not as it should be, and the stage that it met, which may be one behind that aimed at."""
    folder = work / "killed" / str(kill.number)
    shutil.rmtree(folder, ignore_errors=True)
    reference.before(kill.stage, folder, stars)
    words = [] if kill.stage == "report" else ["--stages", ",".join(stage for stage in FILLS if stage != "report")]
    run = Run(folder, kill.ranks, *words)
    start, done = f"{kill.stage}: starts", f"{kill.stage}: done"
    lines, seconds = reference.moment(kill)
    if not wait_for(lambda: start in run.said or run.code is not None):
        return ["it did not start"], ""
    wait_for(lambda: lines_of(kill.stage, run.said) >= lines or done in run.said or run.code is not None)
    time.sleep(seconds)
    run.end(alone=kill.alone, dice=random.Random(kill.number))
    found = [] if wait_for(lambda: run.code is not None, ENDING_S) else [f"still running {ENDING_S:g} s later"]
    met = [stage for stage in FILLS if f"{stage}: starts" in run.said][-1]
    if not wait_for(lambda: not run.alive(), ENDING_S):
        found.append(f"orphans: {run.alive()}")
    found += half_files(folder) + (["a request to stop is left"] if (folder / "stop").exists() else [])
    again = finish(folder, kill.ranks, *words)
    if again.code != 0:
        found.append(f"the next run ended with {again.code}: {again.said[-500:]}")
    found += half_files(folder)
    now, then = results(folder), reference.results
    found += [f"{name} is another one" for name in sorted(now.keys() | then.keys()) if now.get(name) != then.get(name)]
    left = [path for path in folder.rglob("*") if ".part" in path.suffixes or path.suffix == ".npy"]
    found += [f"left: {path.relative_to(folder)}" for path in left]
    if not found:
        shutil.rmtree(folder)
    return found, met


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--stages", nargs="+", choices=list(FILLS), default=list(FILLS))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    work = given.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    kills = [Kill.of(number, given.stages, given.seed) for number in range(given.count)]
    path = work / "kills.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    references: dict[int, Reference] = {}
    for name in ("torch._dynamo", "isonet2.pipeline", *(f"isonet2.stages.{stage}" for stage in FILLS)):
        importlib.import_module(name)  # here once, and not in every fork
    for kill in kills[len(lines) :]:
        for ranks in {1, kill.learners} - references.keys():
            references[ranks] = Reference(work / f"reference{ranks}", ranks)
        started = time.monotonic()
        found, met = outcome(kill, work, references[kill.learners], work / "reference1" / "stars")
        seconds = round(time.monotonic() - started, 1)
        lines.append({"kill": kill.number, "stage": met, "victim": kill.victim, "seconds": seconds, "trouble": found})
        print(
            f"{kill.number:3d}  {met:12s}  {kill.victim:16s}  {seconds:5.1f} s  {'; '.join(found) or 'well'}",
            flush=True,
        )
        with path.open("a") as file:
            file.write(json.dumps(lines[-1]) + "\n")
    well, every = (Counter(line["stage"] for line in lines if not (only and line["trouble"])) for only in (True, False))
    print("  ".join(f"{stage} {well[stage]}/{every[stage]}" for stage in FILLS if every[stage]))
    print(f"{well.total()} of {len(lines)} kills: nothing half, no orphan, the next run ended as if nothing had been")
    return 0 if well.total() == len(kills) else 1


if __name__ == "__main__":
    sys.exit(main())

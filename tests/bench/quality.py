"""The quality table: what each method makes of tomograms whose truth is known, for a given number of CPU-seconds.

    python tests/bench/quality.py WORK                          every cell that is not finished, then the table
    python tests/bench/quality.py WORK --plan                   only say what is still to run
    python tests/bench/quality.py WORK --table                  only print the table, in Markdown
    python tests/bench/quality.py WORK --conditions truth --methods isonet2-n2n --set refine.mw_weight=4     an idea

A cell is a condition, a method, a seed and a budget. isonet2 is only used through its command line, in processes of
one thread; the budget is the CPU time of the training's process. Its length is given by epochs and cubes, so two short
runs tell first what a cube costs here. Finished cells, and those runs, are lines of WORK/results.jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from cells import (
    BASELINES,
    COLUMNS,
    CONDITIONS,
    METHODS,
    Cell,
    Line,
    read_lines,
    samples_for,
    shared_out,
    table,
    unfinished,
    wanted,
)
from measures import linear, mean, measures
from phantoms import TomogramSet, link_truth_set, read_set, simulate_set

from isonet2.io.mrc import open_volume
from isonet2.io.star import read_star

ROOT = Path(__file__).resolve().parents[2]
CALIBRATION = ((4, 1), (12, 2))  # cubes of each tomogram and epochs of two short runs


def main() -> None:
    torch.set_num_threads(1)
    options = _options()
    cells = wanted(options.conditions, options.methods, options.seeds, options.budgets, options.set)
    results = options.work / "results.jsonl"
    if not options.table:
        left = unfinished(cells, read_lines(results))
        print(f"{len(cells) - len(left)} of {len(cells)} cells are finished; still to run:", flush=True)
        for cell in left:
            print(f"  {cell.condition}, {cell.method}, seed {cell.seed}, {cell.budget} CPU-s", flush=True)
        for cell in left if not options.plan else ():
            line = Bench(options.work, options.truth, options.set).run(cell)
            print(json.dumps({name: line[name] for name in (*Cell._fields, "cpu_s", *COLUMNS)}), flush=True)
    if not options.plan:
        print(table(read_lines(results)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder for data, runs and results.jsonl")
    parser.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=list(CONDITIONS))
    parser.add_argument("--methods", nargs="+", choices=[*BASELINES, *METHODS], default=[*BASELINES, *METHODS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--budgets", nargs="+", type=int, default=[300], help="CPU-seconds of a training")
    parser.add_argument("--set", nargs="+", default=[], help="settings of an idea, as section.key=value")
    data = Path(os.environ.get("ISONET2_REAL_DATA", ROOT.parent / "shared" / "data"))
    parser.add_argument("--truth", type=Path, default=data / "truth", help="folder of the truth set")
    parser.add_argument("--plan", action="store_true", help="only say what is still to run")
    parser.add_argument("--table", action="store_true", help="only print the table")
    return parser.parse_args()


class Bench:
    """Runs cells in the folder `work`, each by the command line of isonet2 in a folder of its own."""

    def __init__(self, work: Path, truth: Path, changes: Sequence[str]) -> None:
        self.work, self.truth, self.changes = work.absolute(), truth, changes
        self.results = self.work / "results.jsonl"

    def run(self, cell: Cell) -> Line:
        """The cell's line, once it is written."""
        data = self._data(cell)
        found = read_set(data)
        trained: Line = {"cpu_s": 0.0}
        files: dict[str, Path] = {}
        if cell.method not in BASELINES:
            cubes, epochs = shared_out(samples_for(cell.budget, self._points(cell, found)), len(found.tomograms))
            folder = self.work / "cells" / "-".join(map(str, cell)).replace("/", "_")
            trained = self._train(folder, cell, found, cubes, epochs)
            _isonet2(folder, {**_job(cell, data, found, cubes, epochs), "predict": {}}, self.changes)
            rows = read_star(folder / "tomograms.star")
            files = {row.name: folder / str(row.corrected or row.denoised) for row in rows}
        scores = []
        for tomogram in found.tomograms:
            even, odd, truth = (_read(data / kind / f"{tomogram.name}.mrc") for kind in ("even", "odd", "truth"))
            if cell.method in BASELINES:
                volume = (even + odd) / 2
                volume = linear(volume, truth, tomogram) if cell.method == "linear" else volume
            else:
                volume = _read(files[tomogram.name])
            scores.append(measures(volume, truth, tomogram, found.pixel_size_angstrom))
        line = {**cell._asdict(), **trained, **mean(scores)}
        self._write(line)
        return line

    def _data(self, cell: Cell) -> Path:
        """The folder of the cell's set, made if it is not there."""
        recording = CONDITIONS[cell.condition].recording
        folder = self.work / "data" / (cell.condition if recording is None else f"{cell.condition}-{cell.seed}")
        if not (folder / "set.json").exists():
            shutil.rmtree(folder, ignore_errors=True)
            if recording is None:
                link_truth_set(folder, self.truth)
            else:
                simulate_set(folder, recording, cell.seed, self.work)
        return folder

    def _points(self, cell: Cell, found: TomogramSet) -> list[tuple[float, float]]:
        """(cubes, CPU-seconds) of every training of this kind so far; of two short ones if there was none."""
        if not self._known(cell):
            for cubes, epochs in CALIBRATION:
                folder = self.work / "cells" / f"calibration-{cell.condition}-{cell.method}".replace("/", "_")
                line = self._train(folder, cell, found, cubes, epochs)
                self._write({"condition": cell.condition, "method": cell.method, **line})
        return self._known(cell)

    def _known(self, cell: Cell) -> list[tuple[float, float]]:
        return [
            (line["samples"], line["cpu_s"])
            for line in read_lines(self.results)
            if (line["condition"], line["method"]) == (cell.condition, cell.method) and "samples" in line
        ]

    def _train(self, folder: Path, cell: Cell, found: TomogramSet, cubes: int, epochs: int) -> Line:
        """Prepare, then train in a process of its own: what that cost."""
        shutil.rmtree(folder, ignore_errors=True)  # of a cell that was interrupted
        folder.mkdir(parents=True)
        job = _job(cell, self._data(cell), found, cubes, epochs)
        section, _ = METHODS[cell.method.split()[0]]
        _isonet2(folder, {name: value for name, value in job.items() if name != section}, self.changes)
        seconds = _isonet2(folder, job, self.changes)
        return {"cpu_s": round(seconds, 1), "samples": cubes * epochs * len(found.tomograms), "epochs": epochs}

    def _write(self, line: Line) -> None:
        with self.results.open("a") as file:
            file.write(json.dumps(line) + "\n")


def _job(cell: Cell, data: Path, found: TomogramSet, cubes: int, epochs: int) -> dict[str, Any]:
    """The job file up to the training: the defaults, but for what the data ask for, and without previews."""
    section, settings = METHODS[cell.method.split()[0]]
    settings = {**settings, **CONDITIONS[cell.condition].settings, "with_preview": False, "epochs": epochs}
    return {
        "version": 1,
        "seed": cell.seed,
        "resources": {"threads_per_rank": 1},
        "prepare_star": {
            "even": str(data / "even"),
            "odd": str(data / "odd"),
            "create_average": True,
            "pixel_size": found.pixel_size_angstrom,
            "defocus": found.defocus_angstrom,
            "tilt_min": [tomogram.tilt_min for tomogram in found.tomograms],
            "tilt_max": [tomogram.tilt_max for tomogram in found.tomograms],
            "number_subtomos": cubes,
        },
        "make_mask": {},
        section: settings,
    }


def _isonet2(folder: Path, job: Mapping[str, Any], changes: Sequence[str]) -> float:
    """Run a job; what is finished is skipped. The CPU-seconds of the process."""
    (folder / "job.json").write_text(json.dumps(job, indent=1))
    command = [sys.executable, "-m", "isonet2", "run", str(folder / "job.json")]
    for change in changes:
        if change.partition(".")[0] in job:
            command += ["--set", change]
    before = _children_cpu_s()
    with (folder / "log.txt").open("a") as log:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=environment, check=False).returncode
    if code:
        raise SystemExit(f"{' '.join(command)}: exit code {code}; see {folder / 'log.txt'}")
    return _children_cpu_s() - before


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _read(path: Path) -> torch.Tensor:
    with open_volume(path) as volume:
        return torch.from_numpy(volume[0 : volume.shape[0]])


if __name__ == "__main__":
    main()

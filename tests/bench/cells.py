"""The cells of the quality table: which there are, which are finished, how long their trainings are, and the table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from phantoms import Recording

BASELINES = ("raw", "linear")
METHODS = {  # section of the job file and what it says
    "denoise": ("denoise", {}),
    "isonet2": ("refine", {"method": "isonet2"}),
    "isonet2-n2n": ("refine", {"method": "isonet2-n2n"}),
    "isonet2-recipe": (  # what IsoNet2 does, in this program: two half cubes a step through its network, its loss
        "refine",
        {
            "method": "isonet2-n2n",
            "arch": "unet-small",
            "adds_input": True,
            "cube_size": 48,
            "batch_size": 2,
            "mw_weight": 0,
            "optimizer": "adamw",
            "learning_rate": 3e-4,
        },
    ),
}
CUBES = 100  # of each tomogram in an epoch, about
COLUMNS = {
    "cc": "overall",
    "cc_measured": "measured",
    "cc_wedge": "wedge",
    "particles": "particles",
    "resolution_measured_0.5": "Å, measured, 0.5",
    "resolution_measured_0.143": "0.143",
    "resolution_wedge_0.5": "Å, wedge, 0.5",
    "resolution_wedge_0.143": "0.143",
    "filled": "filled",
}
Line = dict[str, Any]


@dataclass(frozen=True)
class Condition:
    """Data: the truth set, or a set simulated anew for each seed; and what the training has to know about it."""

    recording: Recording | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


CONDITIONS = {
    "truth": Condition(),
    "snr1": Condition(Recording(snr=1.0)),
    "asymmetric": Condition(Recording(snr=1.0, tilts=((-51.0, 60.0), (-60.0, 42.0)))),
    "snr0.1-ctf": Condition(
        Recording(snr=0.1, pixel_size_angstrom=10.0, defocus_angstrom=4e4, ctf_in_truth=False),
        {"CTF_mode": "network"},
    ),
}


class Cell(NamedTuple):
    """One row for one seed; `method` also names what --set changes; the budget is in CPU-seconds."""

    condition: str
    method: str
    seed: int
    budget: int


def wanted(
    conditions: Iterable[str],
    methods: Sequence[str],
    seeds: Iterable[int],
    budgets: Sequence[int],
    changes: Sequence[str],
) -> list[Cell]:
    """All cells, seed by seed, so that a first table is there early. A baseline costs nothing and knows no change."""
    cells = []
    for seed, condition, method in product(seeds, conditions, methods):
        if method in BASELINES:
            cells.append(Cell(condition, method, seed, 0))
        else:
            label = " ".join([method, *sorted(change for change in changes if _concerns(change, method))])
            cells += [Cell(condition, label, seed, budget) for budget in budgets]
    return cells


def _concerns(change: str, method: str) -> bool:
    """Not if it is for the training of another method."""
    section, own = change.partition(".")[0], METHODS[method][0]
    return section == own or section not in {other for other, _ in METHODS.values()}


def unfinished(cells: Iterable[Cell], lines: Iterable[Line]) -> list[Cell]:
    """The cells without a line of their own, in their order."""
    done = {tuple(line[name] for name in Cell._fields) for line in lines if "budget" in line}
    return [cell for cell in cells if cell not in done]


def samples_for(budget: float, points: Sequence[tuple[float, float]]) -> float:
    """How many cubes a training of `budget` CPU-seconds sees, by a line through earlier ones: (cubes, CPU-seconds)."""
    cubes, seconds = np.array(points, float).T
    each, start = np.polyfit(cubes, seconds, 1)
    if each <= 0:
        raise SystemExit("calibration: the longer run was not the slower one; is the machine busy? try again")
    return float((budget - start) / each)


def shared_out(samples: float, tomograms: int) -> tuple[int, int]:
    """Cubes of each tomogram, about 100, and epochs, that together make about so many samples."""
    epochs = max(1, round(samples / (CUBES * tomograms)))
    return max(1, round(samples / (epochs * tomograms))), epochs


def read_lines(path: Path) -> list[Line]:
    """What was written so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def table(lines: Sequence[Line]) -> str:
    """Markdown: for each condition a table of methods, mean ± standard deviation over the seeds."""
    parts = []
    cells = [line for line in lines if "budget" in line]
    for condition in dict.fromkeys(line["condition"] for line in cells):
        head = ["method", "CPU-s", *COLUMNS.values(), "seeds"]
        parts += [f"### {condition}", "", f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
        rows: dict[tuple[str, int], list[Line]] = {}
        for line in cells:
            if line["condition"] == condition:
                rows.setdefault((line["method"], line["budget"]), []).append(line)
        for (method, _), group in rows.items():
            numbers = [_spread([line["cpu_s"] for line in group], 0)]
            numbers += [_spread([line[name] for line in group], 1 if "resol" in name else 3) for name in COLUMNS]
            parts.append(f"| {' | '.join([method, *numbers, str(len(group))])} |")
        parts.append("")
    return "\n".join(parts)


def _spread(values: Sequence[float], digits: int) -> str:
    text = f"{np.mean(values):.{digits}f}"
    return text if len(values) < 2 else f"{text} ± {np.std(values, ddof=1):.{digits}f}"

"""What the report proposes to run next: command lines that this program takes."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from report_job import SHAPE, job_at, put_metrics, put_records, row, write

from isonet2.cli import main
from isonet2.io.star import write_star
from isonet2.job.models import Job
from isonet2.report.judgement import Judged, Judgement
from isonet2.report.next_steps import next_steps
from isonet2.report.records import read_records
from isonet2.report.support import State, Verdict

REFINE: dict[str, Any] = {"cube_size": 32, "epochs": 10, "arch": "unet-small"}


def proposed(folder: Path, state: str, wedge: State, **refine: Any) -> list[str]:
    put_records(folder)
    if not (folder / "isonet_maps").exists():
        put_metrics(folder / "isonet_maps", [1.0 / n for n in range(1, 11)])
    job = job_at(folder, refine={**REFINE, "batch_size": 2, **refine})
    verdicts = {"missing wedge": Verdict(wedge, "", "")}
    one = Judged("t1", SHAPE, 10.0, (-50.0, 60.0), True, "corrected", {}, Judgement(verdicts, 0.9, {}), {}, 3.0)
    records = read_records(job)
    convergence = {course.name: {"state": state, "sentence": ""} for course in records.courses}
    return [step.command for step in next_steps(job, records, [one], convergence)]


@pytest.mark.parametrize(
    ("state", "wedge", "expected"),
    [
        ("learning", "good", ["refine.epochs=20"]),
        ("perhaps", "unknown", ["refine.epochs=20", "refine.split_halves=true"]),
        ("converged", "unknown", ["refine.split_halves=true"]),
        ("converged", "bad", []),
    ],
)
def test_by_a_job_file_the_run_is_repeated_with_one_change(
    state: str, wedge: State, expected: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("refine: {cube_size: 32, epochs: 10, arch: unet-small}\nreport:\n")
    commands = proposed(tmp_path, state, wedge)
    assert commands == [f"isonet2 run job.yaml --set {change}" for change in expected]


def test_without_a_job_file_the_command_names_what_was_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (command, split) = proposed(tmp_path, "learning", "unknown")
    assert command == "isonet2 refine tomograms.star --arch unet-small --epochs 20 --batch_size 2"
    assert split.endswith("--split_halves true")
    started: list[Job] = []
    pipeline = SimpleNamespace(run=lambda job, **_: started.append(job))
    monkeypatch.setitem(sys.modules, "isonet2.pipeline", pipeline)
    monkeypatch.chdir(tmp_path)
    for half in ("even.mrc", "odd.mrc"):
        write(tmp_path / half, np.random.default_rng(len(half)).standard_normal((32, 64, 64)).astype(np.float32))
    write_star(tmp_path / "tomograms.star", [row(1, half1="even.mrc", half2="odd.mrc")])
    assert [main(command.split()[1:]), main(split.split()[1:])] == [0, 0]
    trained = [job.refine for job in started if job.refine]
    assert [(one.arch, one.epochs, one.split_halves) for one in trained] == [
        ("unet-small", 20, False), ("unet-small", 10, True)]  # fmt: skip


def test_where_two_networks_were_trained_none_are_proposed(tmp_path: Path) -> None:
    put_metrics(tmp_path / "isonet_maps/top", [1.0] * 10)
    assert proposed(tmp_path, "converged", "unknown", split_halves=True) == []

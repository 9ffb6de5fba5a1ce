"""An estimate of time is given only where the same training was measured in the same folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isonet2.job.load import dump_job
from isonet2.job.models import Job
from isonet2.job.plan import Plan, TomogramFacts, make_plan, plan_table
from isonet2.report.pace import training_time

UNKNOWN = "not known before it has run here once; isonet2 status says what is left"


def measured(folder: Path, **facts: Any) -> None:
    """As a run of 100 cubes at 25 a second leaves it."""
    job = Job(refine={"cube_size": 16, "batch_size": 4, "epochs": 2})
    (folder / "resolved.yaml").write_text(dump_job(job))
    networks = ["isonet_maps/network_isonet2-n2n_unet-tiny_16_full.pt"]
    facts = {"networks": networks, "batch_size": 4, "samples_per_s": 25.0, "precision": "cpu bfloat16"} | facts
    record = {"seconds": 9.0, "ranks": 1, "finished": "2026-11-29T10:00:00+00:00"}
    record["facts"] = {"method": "isonet2-n2n", **facts}
    (folder / "stages").mkdir(exist_ok=True)
    (folder / "stages" / "refine.json").write_text(json.dumps(record))


def time_of(folder: Path, ranks: int = 1, threads: int | None = None, **refine: Any) -> str:
    job = Job(
        refine={"cube_size": 16, "batch_size": 4, "validation_share": 0, "epochs": 10, **refine},
        resources={"ranks_per_node": ranks, "threads_per_rank": threads},
    ).in_folder(folder)
    return training_time(job, plan_of(job))


def plan_of(job: Job) -> Plan:
    return make_plan(job, [TomogramFacts("t", (32, 32, 32), 1000)])


def test_the_time_is_that_of_the_cubes_at_the_measured_rate(tmp_path: Path) -> None:
    measured(tmp_path)
    assert time_of(tmp_path) == "6 min 40 s, by the 25 cubes/s that it had here before (cpu bfloat16)"
    assert time_of(tmp_path, epochs=100, learning_rate=2e-3, method="isonet2-n2n").startswith("1 h 06 min, by")


@pytest.mark.parametrize(
    "changed",
    [{"cube_size": 32}, {"arch": "unet-small"}, {"batch_size": 2}, {"ranks": 2}, {"threads": 3}, {"adds_input": True},
     {"CTF_mode": "network"}, {"mixed_precision": False}, {"method": "isonet2"}, {"pretrained_model": "net.pt"}],
)  # fmt: skip
def test_another_training_has_another_pace(tmp_path: Path, changed: dict[str, Any]) -> None:
    measured(tmp_path)
    assert time_of(tmp_path, **changed) == UNKNOWN


def test_what_was_not_measured_is_not_known(tmp_path: Path) -> None:
    assert time_of(tmp_path) == UNKNOWN
    measured(tmp_path, samples_per_s=0.0)  # all its steps were done before
    assert time_of(tmp_path) == UNKNOWN
    (tmp_path / "stages" / "refine.json").write_text("{damaged")
    assert time_of(tmp_path) == UNKNOWN
    assert training_time(Job(make_mask={}), plan_of(Job(make_mask={}))) == ""
    assert "time of" not in plan_table(plan_of(Job(make_mask={})))

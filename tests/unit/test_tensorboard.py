"""TensorBoard's own reader is the oracle: it finds the numbers of metrics.jsonl, no more and no less."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from common import absent

from isonet2 import log
from isonet2.training import tensorboard
from isonet2.training.metrics import Metrics


def epoch(number: int, loss: float) -> dict[str, Any]:
    return {"kind": "epoch", "epoch": number, "step": 10 * number, "loss": loss}


PREVIEW = {"kind": "preview", "epoch": 2, "step": 20, "image": "previews/epoch002.png", "wedge_power_ratio": 0.5}


@pytest.fixture
def metrics(tmp_path: Path) -> Metrics:
    if find_spec("tensorboard") is None:
        absent("tensorboard is not installed: pip install 'isonet2[tensorboard]'")
    return Metrics(tmp_path / "metrics.jsonl")


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """By tag, step and value, as a TensorBoard that is started now shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    by_tag = {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}
    return {tag: points for tag, points in by_tag.items() if points}


def test_every_number_of_a_line_is_there_at_its_step(metrics: Metrics, tmp_path: Path) -> None:
    for line in (epoch(1, 0.5), epoch(2, 0.25), PREVIEW):
        metrics.append(line)
    assert scalars(tmp_path) == {
        "epoch/epoch": [(10, 1.0), (20, 2.0)],
        "epoch/loss": [(10, 0.5), (20, 0.25)],
        "preview/epoch": [(20, 2.0)],
        "preview/wedge_power_ratio": [(20, 0.5)],
    }


def test_after_an_interruption_the_steps_that_are_done_again_are_there_once(metrics: Metrics, tmp_path: Path) -> None:
    for line in (epoch(1, 0.5), epoch(2, 0.25), PREVIEW, epoch(3, 9.0)):
        metrics.append(line)
    again = Metrics(tmp_path / "metrics.jsonl")
    again.cut_back(20, preview=False)
    assert scalars(tmp_path)["epoch/loss"] == [(10, 0.5), (20, 0.25)]
    assert not any(tag.startswith("preview") for tag in scalars(tmp_path))
    again.append(epoch(3, 0.125))
    assert scalars(tmp_path)["epoch/loss"] == [(10, 0.5), (20, 0.25), (30, 0.125)]


def test_who_looks_on_sees_the_steps_that_were_cut_back_disappear(metrics: Metrics, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for number in (1, 2, 3):
        metrics.append(epoch(number, 1.0))
    watcher = EventAccumulator(str(tmp_path / "tensorboard"))
    watcher.Reload()
    metrics.cut_back(10)
    metrics.append(epoch(2, 0.5))
    watcher.Reload()
    assert [(e.step, e.value) for e in watcher.Scalars("epoch/loss")] == [(10, 1.0), (20, 0.5)]


@pytest.mark.parametrize("broken", [False, True])
def test_a_training_goes_on_without_it(broken: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not installed, without a word; where it cannot be imported, with a warning."""
    warned: list[str] = []
    monkeypatch.setattr(log, "warn", warned.append)
    monkeypatch.setattr(tensorboard, "find_spec", lambda _: object() if broken else None)
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    tensorboard._is_usable.cache_clear()
    try:
        metrics = Metrics(tmp_path / "metrics.jsonl")
        metrics.append(epoch(1, 0.5))
        metrics.cut_back(0)
    finally:
        tensorboard._is_usable.cache_clear()
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]
    assert [line.split(" (")[0] for line in warned] == ["tensorboard is installed and cannot be used"] * broken

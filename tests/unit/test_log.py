"""What a log says while nothing happens."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from isonet2 import log


def test_a_log_that_stands_still_says_that_it_lives_and_since_when(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(log, "EVERY_S", 0.2)
    log.start_logging(rank=0)
    with log.signs_of_life(show=True):
        log.info("predict: starts")
        time.sleep(0.7)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) in (2, 3, 4)
    assert all("still at work; " in line and line.endswith("s ago: predict: starts") for line in lines[1:])


def test_other_ranks_and_busy_logs_say_nothing_of_the_kind(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(log, "EVERY_S", 0.5)
    log.start_logging(rank=0)
    with log.signs_of_life(show=False):
        time.sleep(0.7)
    with log.signs_of_life(show=True):
        for number in range(7):
            log.info(f"line {number}")
            time.sleep(0.1)
    assert "still at work" not in capsys.readouterr().err


def test_a_young_stage_is_told_of_sooner_than_every_ten_seconds() -> None:
    told: list[float] = []
    with log.telling(lambda work, ended: told.append(work.done)):
        log.begin("refine", "refine: starts")
        log.expect(100, "step")
        time.sleep(0.2)
        log.advance(30)
        deadline = time.monotonic() + 5
        while 30.0 not in told and time.monotonic() < deadline:
            time.sleep(0.05)
        assert told[-1] == 30.0


def test_a_log_on_a_full_disk_makes_no_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    log.start_logging(rank=0, file=Path("/dev/full"))
    log.info("epoch 1")
    log.start_logging(rank=0)
    assert capfd.readouterr().err.splitlines()[0].endswith(" I epoch 1")
    assert "Traceback" not in capfd.readouterr().err

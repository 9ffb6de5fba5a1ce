"""Asking a run to stop: by a signal, by a file, by the clock; and what it leaves then."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from isonet2.errors import Interrupted, LaunchError
from isonet2.parallel.collectives import on_shared_items, stop_if_asked
from isonet2.parallel.stopping import SIGNALS, STOP_AT, Stop, time_to_stop
from isonet2.parallel.world import World


def test_nobody_asked(tmp_path: Path) -> None:
    assert Stop().reason() == ""
    assert Stop(tmp_path / "stop", at=time.time() + 60).reason() == ""


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_to_one_rank_is_a_file_for_all(tmp_path: Path, number: signal.Signals) -> None:
    mine, others = Stop(tmp_path / "stop"), Stop(tmp_path / "stop")
    before = signal.getsignal(number)
    with mine.listening():
        os.kill(os.getpid(), number)
        assert mine.reason() == number.name
    assert others.reason() == number.name
    assert signal.getsignal(number) == before
    mine.forget()
    assert not (tmp_path / "stop").exists()
    assert mine.reason() == number.name  # what was asked stays asked


def test_a_person_may_put_the_file_there_and_the_clock_may_run_out(tmp_path: Path) -> None:
    (tmp_path / "stop").touch()
    assert Stop(tmp_path / "stop").reason() == f"the file {tmp_path / 'stop'}"
    assert Stop(tmp_path / "stop2", at=time.time() - 1).reason() == "the time is over"
    assert (tmp_path / "stop2").read_text() == "the time is over\n"


def test_the_file_is_not_looked_for_at_each_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop, now = Stop(tmp_path / "stop"), time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert stop.reason() == ""
    (tmp_path / "stop").touch()
    now += 0.3
    assert stop.reason() == ""
    now += 0.3
    assert stop.reason()


def test_a_second_sigint_ends_at_once(tmp_path: Path) -> None:
    stop = Stop(tmp_path / "stop")
    with stop.listening():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_signals_are_not_heard_outside_the_main_thread(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    seen: list[object] = []

    def listen() -> None:
        with Stop(tmp_path / "stop").listening():
            seen.extend(signal.getsignal(number) for number in SIGNALS)

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert seen == before


def test_the_environment_says_when_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(STOP_AT, raising=False)
    assert time_to_stop() is None
    monkeypatch.setenv(STOP_AT, "1234.5")
    assert time_to_stop() == 1234.5
    monkeypatch.setenv(STOP_AT, "soon")
    with pytest.raises(LaunchError, match="ISONET2_STOP_AT='soon' is no number of seconds"):
        time_to_stop()


def test_shared_items_end_after_the_one_at_hand(tmp_path: Path) -> None:
    world, done = World(stop=Stop(tmp_path / "stop")), []

    def work(item: int) -> None:
        done.append(item)
        if item == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with world.stop.listening(), pytest.raises(Interrupted, match=r"stopped \(SIGTERM\)") as caught:
        on_shared_items(world, range(5), [1.0] * 5, work)
    assert done == [0, 1, 2]
    assert caught.value.progress == "2 left"
    assert caught.value.on_every_rank


def test_a_stop_after_the_last_item_waits_for_the_next_chance(tmp_path: Path) -> None:
    world = World(stop=Stop(tmp_path / "stop"))
    assert on_shared_items(world, [1], [1.0], lambda _: (tmp_path / "stop").touch()) == [None]
    with pytest.raises(Interrupted):
        stop_if_asked(World(stop=Stop(tmp_path / "stop")), progress="")

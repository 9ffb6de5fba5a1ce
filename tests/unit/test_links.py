"""Sums over ranks by their own connections: here ranks are threads, and what each says passes through a dictionary."""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Barrier, BrokenBarrierError
from typing import Any

import pytest
import torch

from isonet2.errors import IsonetError
from isonet2.parallel import links
from isonet2.parallel.links import Links, linked


class Threads:
    """A group of threads."""

    def __init__(self, rank: int, said: dict[int, Any], meet: Barrier) -> None:
        self.rank, self.said, self.meet = rank, said, meet

    def all_gather(self, value: Any) -> list[Any]:
        self.said[self.rank] = value
        self.meet.wait()
        values = [self.said[rank] for rank in range(len(self.said))]
        self.meet.wait()
        return values

    def from_first(self, value: Any) -> Any:
        return self.all_gather(value)[0]


def on_ranks(size: int, work: Callable[[int, Links | None], Any]) -> list[Any]:
    said: dict[int, Any] = dict.fromkeys(range(size))
    meet = Barrier(size, timeout=20)

    def one(rank: int) -> Any:
        found = linked(Threads(rank, said, meet), rank=rank, size=size)
        try:
            return work(rank, found)
        except (IsonetError, BrokenBarrierError) as error:
            return error
        finally:
            if found:
                found.close()

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(one, range(size)))


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")


@pytest.mark.parametrize("size", [2, 3, 5])
def test_every_rank_has_the_sum_in_the_order_of_the_ranks(size: int) -> None:
    values = [torch.tensor([1.0, 1e16, -3.5 * rank], dtype=torch.float64) + rank / 3 for rank in range(size)]
    expected = values[0].clone()
    for value in values[1:]:
        expected += value

    def work(rank: int, found: Links | None) -> torch.Tensor:
        assert found is not None
        mine = values[rank].clone()
        found.add_up(mine)
        return mine

    assert all(torch.equal(got, expected) for got in on_ranks(size, work))


def test_sums_follow_each_other_in_any_size() -> None:
    def work(rank: int, found: Links | None) -> list[float]:
        assert found is not None
        sums = []
        for size in (1, 200_000, 7):
            mine = torch.full((size,), float(rank + 1))
            found.add_up(mine)
            sums.append(mine.mean().item())
        return sums

    assert on_ranks(3, work) == [[6.0, 6.0, 6.0]] * 3


def test_a_rank_that_cannot_reach_the_first_leaves_all_without_links(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "_CONNECT_S", 0.5)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.2.invalid")
    assert on_ranks(3, lambda _, found: found) == [None] * 3


def test_a_stranger_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever calls first without the key, or says nothing whole, is no rank."""
    calling = links._calling

    def after_strangers(port: int, key: bytes, rank: int, opened: ExitStack) -> socket.socket:
        for words in (b"x" * 20, b"short"):
            with socket.create_connection(("127.0.0.1", port)) as stranger:
                stranger.sendall(words)
                stranger.shutdown(socket.SHUT_WR)
                assert stranger.recv(1) == b""
        return calling(port, key, rank, opened)

    monkeypatch.setattr(links, "_calling", after_strangers)

    def work(rank: int, found: Links | None) -> float:
        assert found is not None
        mine = torch.ones(1)
        found.add_up(mine)
        return mine.item()

    assert on_ranks(2, work) == [2.0, 2.0]


def test_a_listener_that_is_not_the_first_rank_is_not_believed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, ThreadPoolExecutor(1) as pool:

        def answers() -> None:
            peer, _ = other.accept()
            with peer:
                peer.sendall(b"y" * 16)

        answered = pool.submit(answers)
        with pytest.raises(ConnectionError), ExitStack() as opened:
            links._calling(other.getsockname()[1], b"k" * 32, 1, opened)
        answered.result()


def test_a_rank_that_ends_is_noticed_at_once() -> None:
    def work(rank: int, found: Links | None) -> None:
        assert found is not None
        if rank == 1:
            return  # and closes its connection
        found.add_up(torch.ones(3))

    first, second = on_ranks(2, work)
    assert "another rank ended" in str(first)
    assert second is None

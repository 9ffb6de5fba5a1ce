"""Which way the ranks reach each other, and what is said where none works."""

from __future__ import annotations

import atexit
import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

import isonet2
from isonet2.errors import LaunchError, UserError
from isonet2.parallel import groups
from isonet2.parallel.groups import Alone, joined_group, mpi_group
from isonet2.parallel.launchers import Ranks

MPICH = Ranks(1, 4, 1, "PMI", speaks_mpi=True)
BOTH = Ranks(1, 4, 1, "torch", speaks_mpi=True)


@pytest.fixture
def mpi(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """In the place of MPI_COMM_WORLD: rank 1 of 4; `ended` is what it was ended with when the process ended."""
    comm = SimpleNamespace(rank=1, size=4, ended=[])
    comm.Abort = comm.ended.append
    monkeypatch.setattr(groups, "_mpi_world", lambda: comm)
    at_exit: list[tuple[Callable[..., Any], int]] = []
    monkeypatch.setattr(atexit, "register", lambda call, code: at_exit.append((call, code)))
    comm.exit = lambda: [call(code) for call, code in at_exit]
    return comm


@pytest.mark.parametrize(
    ("ranks", "training", "way"),
    [
        (Ranks(1, 4, 1, "torch"), True, "torch"),
        (Ranks(1, 4, 1, "torch"), False, "torch"),
        (MPICH, False, "mpi"),
        (BOTH, False, "mpi"),
        (BOTH, True, "torch"),
    ],
)
def test_what_is_shared_goes_through_mpi_where_it_is_spoken_and_training_through_torch(
    monkeypatch: pytest.MonkeyPatch, ranks: Ranks, training: bool, way: str
) -> None:
    monkeypatch.setattr(groups, "mpi_group", lambda _: nullcontext("mpi"))
    monkeypatch.setattr(groups, "torch_group", lambda _: nullcontext("torch"))
    with joined_group(ranks, training=training) as group:
        assert str(group) == way


@pytest.mark.parametrize("training", [True, False])
def test_one_rank_needs_nothing(training: bool) -> None:
    with joined_group(Ranks(0, 1, 0, "PMI", speaks_mpi=True), training=training) as group:
        assert group == Alone()
        assert group.all_gather(3) == [3]
        assert group.from_first(3) == 3


@pytest.mark.parametrize(("ranks", "training"), [(MPICH, True), (Ranks(1, 4, 1, "srun"), False)])
def test_ranks_that_torch_cannot_join_are_told_to_start_otherwise(ranks: Ranks, training: bool) -> None:
    with pytest.raises(LaunchError, match=rf"{ranks.launcher} started 4 ranks .*MASTER_ADDR.*launch/run\.sh.*torchrun"):
        joined_group(ranks, training=training)


def test_a_library_that_does_not_fit_the_launcher_is_found(mpi: SimpleNamespace) -> None:
    mpi.rank, mpi.size = 0, 1
    with (
        pytest.raises(LaunchError, match=r"rank 1 of 4, but the MPI library rank 0 of 1: .*--mpi=pmi2.*torchrun"),
        mpi_group(MPICH),
    ):
        raise AssertionError


def test_a_missing_library_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPI4PY_LIBMPI", "nowhere/libmpi.so")
    with (
        pytest.raises(LaunchError, match=r"^MPI does not start \(nowhere/libmpi\.so: .*\): .*pip install mpich.*$"),
        mpi_group(MPICH),
    ):
        raise AssertionError


@pytest.mark.parametrize(("error", "code"), [(UserError("mine alone"), 64), (KeyError("a bug"), 1)])
def test_a_rank_that_fails_alone_ends_the_others_once_it_has_said_why(
    mpi: SimpleNamespace, error: Exception, code: int
) -> None:
    with pytest.raises(type(error)), mpi_group(MPICH):
        raise error
    assert mpi.ended == []
    mpi.exit()
    assert mpi.ended == [code]


def test_ranks_that_fail_together_end_by_themselves(mpi: SimpleNamespace) -> None:
    error = UserError("said by the first")
    error.on_every_rank = True
    with pytest.raises(UserError), mpi_group(MPICH):
        raise error
    with mpi_group(MPICH):
        pass
    mpi.exit()
    assert mpi.ended == []


def test_no_import_starts_mpi() -> None:
    """A loader's worker imports what it needs, and is no rank."""
    for module in pkgutil.walk_packages(isonet2.__path__, "isonet2."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    assert "mpi4py.MPI" not in sys.modules


@pytest.mark.parametrize(("joined", "code"), [(True, 3), (False, -6)])
def test_a_rank_of_torch_ends_before_anything_can_abort_behind_python(joined: bool, code: int) -> None:
    """As a thread of torch does now and then, once all is done; here by a handler that stands for it."""
    lines = [
        "import atexit, os",
        "from isonet2.parallel import groups",
        "atexit.register(os.abort)",
        f"groups._JOINED.extend(['torch'] * {joined})",
        "print('done')",
        "groups.leave(3)",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, "done\n")

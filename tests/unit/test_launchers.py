"""Who am I: the environments of real launchers, whole, incomplete and contradictory."""

from __future__ import annotations

import environments as env
import pytest

from isonet2.errors import LaunchError
from isonet2.parallel.launchers import LAUNCHERS, Launcher, Ranks, detect, is_first_rank

KNOWN = {
    "WORKSTATION": Ranks(),
    "BATCH_SHELL": Ranks(),
    "SRUN": Ranks(3, 4, 0, "srun"),
    "SRUN_PMI2": Ranks(3, 4, 0, "PMI", speaks_mpi=True),
    "SRUN_PMIX": Ranks(3, 4, 0, "PMIx", speaks_mpi=True),
    "SRUN_CRAY": Ranks(3, 4, 0, "PALS", speaks_mpi=True),
    "TORCHRUN": Ranks(1, 3, 1, "torch"),
    "TORCHRUN_IN_SRUN": Ranks(1, 2, 0, "torch"),
    "RANK_SH_IN_SRUN": Ranks(3, 4, 0, "torch"),
    "HYDRA": Ranks(2, 3, 2, "PMI", speaks_mpi=True),
    "HYDRA_IN_ALLOCATION": Ranks(2, 4, 2, "PMI", speaks_mpi=True),
    "OPEN_MPI": Ranks(1, 3, 2, "Open MPI", speaks_mpi=True),
    "OPEN_MPI_IN_ALLOCATION": Ranks(3, 4, 0, "Open MPI", speaks_mpi=True),
    "PALS": Ranks(5, 8, 1, "PALS", speaks_mpi=True),
    "MVAPICH": Ranks(3, 4, 1, "MVAPICH", speaks_mpi=True),
    "JSRUN": Ranks(8, 12, 2, "jsrun", speaks_mpi=True),
    "JSRUN_PMIX": Ranks(8, 12, 2, "PMIx", speaks_mpi=True),
    "JSRUN_SPECTRUM": Ranks(8, 12, 2, "Open MPI", speaks_mpi=True),
}
ALONE_IN_SLURM = {**env.SRUN_PMI2, "PMI_RANK": "0", "PMI_SIZE": "1"}
BY_HAND = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "n1", "MASTER_PORT": "29500"}
OWN = {  # an environment in which this launcher alone speaks
    "torch": env.TORCHRUN,
    "Open MPI": env.OPEN_MPI,
    "PALS": env.PALS,
    "PMI": env.HYDRA,
    "MVAPICH": env.MVAPICH,
    "PMIx": env.SRUN_PMIX,
    "srun": env.SRUN,
    "jsrun": env.JSRUN,
}
INCOMPLETE = [
    (launcher, names)
    for launcher in LAUNCHERS
    for names in ((launcher.rank,), launcher.size, launcher.local_rank, launcher.also)
    if names and set(launcher.signs) - set(names)  # else nothing gives it away
]


@pytest.mark.parametrize("name", KNOWN)
def test_the_ranks_of_a_real_launcher_are_those_it_started(name: str) -> None:
    assert detect(getattr(env, name)) == KNOWN[name]
    assert is_first_rank(getattr(env, name)) == (KNOWN[name].rank == 0)


def test_every_launcher_of_the_table_has_such_an_environment() -> None:
    assert {known.launcher for known in KNOWN.values()} == {launcher.name for launcher in LAUNCHERS} | {"serial"}
    assert list(OWN) == [launcher.name for launcher in LAUNCHERS]


@pytest.mark.parametrize(
    ("launcher", "lacking"), INCOMPLETE, ids=[f"{one.name}-{names[0]}" for one, names in INCOMPLETE]
)
def test_a_launcher_that_says_too_little_is_refused_with_what_is_missing(
    launcher: Launcher, lacking: tuple[str, ...]
) -> None:
    rest = {name: text for name, text in OWN[launcher.name].items() if name not in lacking}
    with pytest.raises(LaunchError, match=f"^{launcher.name} set .* but not {lacking[0]}.*launch/run") as caught:
        detect(rest)
    assert launcher.cure in str(caught.value)


@pytest.mark.parametrize(("name", "cure"), [("PRTERUN", "mpirun of Open MPI"), ("PALS_PMIX", "mpiexec --pmi=cray")])
def test_a_rank_of_nobody_knows_how_many_is_refused(name: str, cure: str) -> None:
    with pytest.raises(LaunchError, match=cure):
        detect(getattr(env, name))


@pytest.mark.parametrize(
    "environment",
    [ALONE_IN_SLURM, {**env.SRUN, **BY_HAND}, {**env.SRUN, **env.OPEN_MPI, "OMPI_COMM_WORLD_SIZE": "1"} | {
        "OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_LOCAL_RANK": "0"
    }],
    ids=["wrong --mpi", "a torch set for one", "Open MPI without the step's PMIx"],
)  # fmt: skip
def test_tasks_that_each_take_themselves_for_the_only_one_are_refused(environment: dict[str, str]) -> None:
    with pytest.raises(LaunchError, match=r"step has 4 tasks.*only rank.*--mpi=pmi2.*--cleanenv.*launch/run\.sh"):
        detect(environment)


def test_the_tasks_of_an_allocation_are_no_ranks() -> None:
    """SLURM_NTASKS stands in the batch shell too, from which one may start one rank."""
    assert detect({**env.BATCH_SHELL, **env.HYDRA, "PMI_RANK": "0", "PMI_SIZE": "1", "MPI_LOCALRANKID": "0"}).size == 1
    assert detect({**env.BATCH_SHELL, **BY_HAND}).size == 1


def test_one_torchrun_a_task_may_start_one_rank_each() -> None:
    assert detect({**env.SRUN, **env.TORCHRUN_IN_SRUN, **BY_HAND, "SLURM_STEP_NUM_TASKS": "4"}).size == 1


def test_tasks_whose_environment_was_cleaned_but_for_the_step_are_refused() -> None:
    with pytest.raises(LaunchError, match=r"SLURM_PROCID, SLURM_LOCALID.*without --cleanenv"):
        detect({"SLURM_STEP_NUM_TASKS": "4"})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"RANK": "3"}, "rank 3 .* of 3"),
        ({"RANK": "-1"}, "rank -1"),
        ({"LOCAL_RANK": "3"}, "local rank 3"),
        ({"WORLD_SIZE": "0"}, "of 0"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two', and must be a number"),
        ({"RANK": ""}, "RANK is ''"),
    ],
)
def test_what_cannot_be_is_refused(changed: dict[str, str], said: str) -> None:
    with pytest.raises(LaunchError, match=said):
        detect({**env.TORCHRUN, **changed})


def test_mpi_is_used_beside_a_torch_set_where_the_launch_script_says_so() -> None:
    assert detect({**env.RANK_SH_IN_SRUN, "ISONET2_MPI": "1"}) == Ranks(3, 4, 0, "torch", speaks_mpi=True)
    assert not detect({**env.RANK_SH_IN_SRUN, "ISONET2_MPI": "0"}).speaks_mpi


def test_of_ranks_that_nobody_can_tell_the_first_task_speaks() -> None:
    for task in range(4):
        assert is_first_rank({**ALONE_IN_SLURM, "SLURM_PROCID": str(task)}) == (task == 0)
    assert is_first_rank({"RANK": "3"})  # better twice than never

"""Jobs that are done once for all who look at what they leave."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import small_job
from main_job import FLAGS, JOB, isonet2, prepared


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a job")  # a path with a space
    (folder / "job.yaml").write_text(JOB)
    isonet2("run", str(folder / "job.yaml"), cwd=folder.parent)  # started from another folder
    return folder


@pytest.fixture(scope="session")
def straight(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that nothing interrupts, with a preview after each epoch."""
    folder = prepared(run, tmp_path_factory.mktemp("straight") / "job")
    isonet2("refine", "tomograms.star", *FLAGS, "--save_interval", "1", cwd=folder)
    return folder


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small job, finished without a pause. To be looked at and copied only."""
    folder = tmp_path_factory.mktemp("whole") / "a job"
    folder.mkdir()
    (folder / "job.yaml").write_text(small_job.JOB)
    assert small_job.run(folder) == 0
    return folder


@pytest.fixture(autouse=True, scope="session")
def no_figures() -> Iterator[None]:
    """In this process: drawing takes longer than training."""

    class NoFigure:
        def __init__(self, lines: object) -> None: ...

        def savefig(self, path: Path, **_: object) -> None:
            path.touch()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("isonet2.training.exports.loss_figure", NoFigure)
        yield

"""A disk that is full: one sentence, wherever it is found out, and what a training needs of it."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path

import pytest
import tiny

from isonet2 import pipeline
from isonet2.cli import main
from isonet2.errors import DiskFull, UserError
from isonet2.io.atomic import naming_full_disks, replacing
from isonet2.job.models import Job
from isonet2.job.plan import training_bytes
from isonet2.report.status import read_status

FULL = OSError(errno.ENOSPC, "No space left on device")
SHORT = OSError("491520 requested and 261088 written")
VERDICT = Path("logs", "verdict")


def torch_error() -> Exception:
    """What torch.save raises while it closes a file that the disk had no room for."""
    try:
        try:
            raise FULL
        finally:
            raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 470")
    except RuntimeError as error:
        return error


@pytest.fixture
def no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disks that take not even a megabyte more."""

    def refuse(**_: object) -> None:
        raise FULL

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)


@pytest.mark.parametrize("error", [FULL, OSError(errno.EDQUOT, "Disk quota exceeded"), torch_error()])
def test_an_error_that_a_full_disk_led_to_names_the_folder(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(DiskFull) as caught, replacing(tmp_path / "a.pt") as part:
        raise error if part.write_bytes(b"half") else AssertionError
    assert str(caught.value) == f"disk full: {tmp_path}: make room; the same command goes on"
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DiskFull, match=f"^disk full: {tmp_path}:"), naming_full_disks(tmp_path / ".a.parts"):
        raise error


@pytest.mark.usefixtures("no_room")
def test_of_an_error_that_says_nothing_the_disk_is_asked(tmp_path: Path) -> None:
    for error in (SHORT, RuntimeError("unexpected pos")):
        with pytest.raises(DiskFull, match=f"^disk full: {tmp_path}: make room"), naming_full_disks(tmp_path):
            raise error


@pytest.mark.usefixtures("no_room")
@pytest.mark.parametrize("error", [UserError("job.yaml:1: wrong"), FileNotFoundError(errno.ENOENT, "x")])
def test_an_error_with_a_cause_of_its_own_stays_what_it_is(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(type(error)) as caught, naming_full_disks(tmp_path):
        raise error
    assert caught.value is error


def test_where_there_is_room_an_error_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="requested and") as caught, naming_full_disks(tmp_path):
        raise SHORT
    assert caught.value is SHORT
    assert list(tmp_path.iterdir()) == []


def test_a_command_says_it_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "rank0000.log"))

    monkeypatch.setattr("isonet2.cli._dispatch", fail)
    assert main(["report"]) == 1
    assert capsys.readouterr().err == f"isonet2: disk full: {tmp_path}: make room; the same command goes on\n"


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """One small tomogram, simulated and listed, and a deconvolution."""
    monkeypatch.setattr("isonet2.pipeline.check_in_run", lambda *_, **__: 0)
    job = Job(
        simulate={"size": [32, 48, 48], "particles": 4, "membranes": 0},
        prepare_star={"even": "simulated/even", "odd": "simulated/odd", "defocus": 30000},
        deconv={"chunk_size": 32, "highpassnyquist": 0.2},
    ).in_folder(tmp_path)
    pipeline.run(job, stages=["simulate", "prepare_star"])
    return job


def test_a_run_without_room_has_failed_and_keeps_room_to_say_so(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    spare: list[int] = []

    def fill(*_: object, **__: object) -> None:
        spare.append((job.folder / "logs" / ".spare").stat().st_size)
        raise torch_error()

    monkeypatch.setattr("isonet2.stages.deconv._put_together", fill)
    with pytest.raises(DiskFull, match="disk full: ") as caught:
        pipeline.run(job)
    found = read_status(job.folder)
    assert (found.state, found.stages[-1].state, found.exit_code) == ("failed", "failed", 1)
    assert found.sentence == str(caught.value)
    assert found.sentence.endswith(": make room; the same command goes on")
    assert spare == [1 << 16]
    assert not (job.folder / "logs" / ".spare").exists()


def test_a_verdict_that_cannot_be_written_hides_no_error(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise UserError("the first one")

    def refuse(*_: object) -> None:
        raise DiskFull("disk full")

    monkeypatch.setattr("isonet2.stages.deconv._put_together", fail)
    monkeypatch.setattr("isonet2.pipeline.write_text", refuse)
    with pytest.raises(UserError, match="the first one"):
        pipeline.run(job)
    assert not (job.folder / VERDICT).exists()


@pytest.mark.parametrize("place", ["isonet2.pipeline.check_in_run", "isonet2.stages.deconv.inputs"])
def test_a_stage_that_fails_before_it_begins_has_failed(place: str, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise UserError("check: the sign of the tilts")

    monkeypatch.setattr(place, stop)
    with pytest.raises(UserError):
        pipeline.run(job)
    assert [stage.state for stage in read_status(job.folder).stages] == ["done", "done", "failed"]


@pytest.mark.parametrize(("doubts", "said"), [(0, ""), (2, " check: had 2 doubts at first: see {}/check")])
def test_doubts_are_said_again_at_the_end(doubts: int, said: str, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isonet2.pipeline.check_in_run", lambda *_, **__: doubts)
    pipeline.run(job)
    last = (job.folder / "logs" / "rank0000.log").read_text().splitlines()[-1]
    assert last.endswith(said.format(job.folder)) if said else " deconv: done in " in last


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_what_a_training_writes_is_foreseen(optimizer: str, tmp_path: Path) -> None:
    """Beside what is left there was one more checkpoint for a moment."""
    settings = {**tiny.BRIEF, "arch": "unet-tiny", "epochs": 5, "save_interval": 2, "optimizer": optimizer}
    with tiny.trainer(tmp_path) as train:
        folder = train("isonet2-n2n", settings | {"validation_share": 0.3}).folder
    section = Job(refine={"method": "isonet2-n2n", **settings}).refine
    assert section is not None
    files = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    most = sum(files) + max(files)
    assert most <= training_bytes(section) <= 1.25 * most
    assert training_bytes(section.model_copy(update={"split_halves": True})) == 2 * training_bytes(section)

"""Files of other ranks that are not seen yet, and files that killed processes left half written."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from isonet2.errors import UserError
from isonet2.io.atomic import appeared, replacing, sweep


def test_a_file_that_is_there_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    started = time.monotonic()
    assert appeared(tmp_path / "a") == tmp_path / "a"
    assert time.monotonic() - started < 0.1


def test_a_file_of_another_rank_is_waited_for_also_while_its_folder_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a"

    def write() -> None:
        path.parent.mkdir()
        path.touch()

    later = threading.Timer(0.5, write)
    later.start()
    assert appeared(path, patience_s=20).exists()
    later.join()


def test_a_file_that_never_comes_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"new/a: written by another rank, and not seen here after 0\.3 s"):
        appeared(tmp_path / "new" / "a", patience_s=0.3)


def test_what_killed_processes_left_is_swept_whatever_machine_they_ran_on(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    left = [tmp_path / ".a.node7.4711.part.mrc", tmp_path / "deep" / ".b.c.node-8.site.12.part.json"]
    kept = [tmp_path / name for name in ("a.mrc", "b.part.mrc", ".a.particles.star", ".a.part.mrc", "deep/.a.1.parts")]
    for path in (*left, *kept):
        path.touch()
    with replacing(tmp_path / "a") as part:
        part.touch()
        sweep([tmp_path])
        assert not part.exists()
        part.touch()
    assert [path for path in (*left, *kept) if path.exists()] == kept

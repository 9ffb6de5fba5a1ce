from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from isonet2.errors import UserError
from isonet2.io.fingerprint import fingerprint

SIZE = 4 << 20


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "a.mrc"
    path.write_bytes(bytes(SIZE))
    return path


def change(path: Path, place: int) -> None:
    """One byte, with the time of the last change as it was."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(place)
        file.write(b"x")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("place", [0, 4095, SIZE - 1, SIZE - 4096, (SIZE - 4096) * 7 // 63])
def test_a_byte_in_a_sample_changes_it(large: Path, place: int) -> None:
    before = fingerprint(large)
    change(large, place)
    assert fingerprint(large) != before


def test_a_byte_between_the_samples_changes_only_the_whole(large: Path) -> None:
    before, whole = fingerprint(large), fingerprint(large, whole=True)
    change(large, 4096 * 3)
    assert fingerprint(large) == before
    assert fingerprint(large, whole=True) != whole


def test_the_time_of_the_last_change_counts_to_the_nanosecond(large: Path) -> None:
    about = large.stat()
    os.utime(large, ns=(about.st_atime_ns, 10**18))
    before = fingerprint(large)
    os.utime(large, ns=(about.st_atime_ns, 10**18 + 1))
    assert fingerprint(large) != before


def test_a_copy_has_the_whole_fingerprint_of_its_original(large: Path) -> None:
    copy = Path(shutil.copyfile(large, large.with_name("b.mrc")))
    assert fingerprint(copy, whole=True) == fingerprint(large, whole=True)


def test_small_and_empty_files_differ(tmp_path: Path) -> None:
    prints = set()
    for size in (0, 1, 100):
        path = tmp_path / f"{size}"
        path.write_bytes(bytes(size))
        os.utime(path, ns=(0, 0))
        prints.add(fingerprint(path))
    assert len(prints) == 3


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"b\.mrc: no such file"):
        fingerprint(tmp_path / "b.mrc")

"""Outputs that an interrupted run left: kept if whole and unharmed, else made again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from isonet2 import log
from isonet2.io.fingerprint import fingerprint
from isonet2.io.finished import content_of, is_finished, mark_finished, may_be_written
from isonet2.io.mrc import write_mrc


def flip_a_byte(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    path = tmp_path / "a map.mrc"
    path.write_bytes(np.random.default_rng(0).bytes(3_000_000))
    mark_finished(path, "k1")
    return path


def test_an_output_is_finished_with_its_key_alone(output: Path) -> None:
    assert is_finished(output, "k1")
    assert not is_finished(output, "k2")
    assert not is_finished(output.with_name("another.mrc"), "k1")
    output.unlink()
    assert not is_finished(output, "k1")


def test_an_output_that_was_only_copied_or_touched_stays_finished(output: Path, tmp_path: Path) -> None:
    os.utime(output, (1, 1))
    assert is_finished(output, "k1")
    moved = shutil.copytree(tmp_path, tmp_path.with_name("elsewhere"), copy_function=shutil.copyfile)
    assert is_finished(moved / output.name, "k1")


def test_a_harmed_output_is_not_finished_and_that_is_said(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(log, "warn", said.append)
    flip_a_byte(output, 2_999_999)
    assert not is_finished(output, "k1")
    output.write_bytes(output.read_bytes()[:-1])
    assert not is_finished(output, "k1")
    assert said == [f"{output}: not as it was written; it is made again"] * 2


def test_what_was_made_again_as_it_was_is_the_same_for_whoever_reads_it(output: Path) -> None:
    content, before = output.read_bytes(), fingerprint(output)
    assert before == content_of(output)
    output.write_bytes(content)
    os.utime(output, (1, 1))
    assert content_of(output) is None  # nobody has looked at it since
    assert fingerprint(output) != before
    assert is_finished(output, "k1")
    assert fingerprint(output) == before
    output.write_bytes(content[:-1])
    mark_finished(output, "k1")
    assert fingerprint(output) != before
    assert content_of(output.with_name("another.mrc")) is None


def test_a_harmed_record_says_no_more_from_what_an_output_was_made(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(log, "warn", said.append)
    before = fingerprint(output)
    record = output.parent / ".finished" / f"{output.name}.json"
    flip_a_byte(record, record.stat().st_size // 2)
    assert fingerprint(output) == before
    assert not is_finished(output, "k1")
    assert len(said) == 1
    assert str(record) in said[0]


def test_only_our_own_maps_are_written_over_also_if_they_cannot_be_read(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.mrc", tmp_path / "theirs.mrc"
    assert may_be_written(ours)
    write_mrc(ours, np.ones((4, 4, 4), np.float32), pixel_size_angstrom=10)
    assert may_be_written(ours)
    mark_finished(ours, "k1")
    for path in (ours, theirs):
        path.write_bytes(b"truncated")
    assert may_be_written(ours)
    assert not may_be_written(theirs)

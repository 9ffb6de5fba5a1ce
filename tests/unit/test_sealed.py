"""Records and networks: another byte is found, wherever it is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from isonet2 import log
from isonet2.inference.archive import load_archive, save_archive
from isonet2.io.sealed import read_sealed, write_sealed

RECORD = {"key": "a1", "files": {"ä.mrc": [1, 2.5, None], "b": [(3, 4)]}, "numbers": {10: 1e-300, 9: 0.1}, "on": True}


def with_another_byte(path: Path, place: int, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(log, "warn", lines.append)
    return lines


def test_a_record_comes_back_as_json_gives_it(tmp_path: Path, said: list[str]) -> None:
    write_sealed(tmp_path / "r.json", RECORD)
    assert read_sealed(tmp_path / "r.json") == {
        "key": "a1",
        "files": {"ä.mrc": [1, 2.5, None], "b": [[3, 4]]},
        "numbers": {"10": 1e-300, "9": 0.1},
        "on": True,
    }
    assert read_sealed(tmp_path / "other.json") is None
    assert not said


def test_no_byte_of_a_record_can_be_another_one(tmp_path: Path, said: list[str]) -> None:
    path = tmp_path / "r.json"
    write_sealed(path, RECORD)
    whole = path.read_bytes()
    for place in range(len(whole) - 1):  # all but the end of the last line
        with_another_byte(path, place, place % 7)
        assert read_sealed(path) is None, place
        path.write_bytes(whole)
    assert said == [f"{path}: damaged, or of another version; what it tells of is looked at anew"] * (len(whole) - 1)


@pytest.mark.parametrize("text", ["", "[1, 2]", "3", '"seal"', '{"key": "a1"}', '{"key": "a1", "seal": 1}', "\xff"])
def test_other_files_are_no_records(tmp_path: Path, text: str, said: list[str]) -> None:
    (tmp_path / "r.json").write_text(text, encoding="latin-1")
    assert read_sealed(tmp_path / "r.json") is None
    assert len(said) == 1


def content() -> dict[str, Any]:
    tensors = {f"w{n}": torch.arange(n, n + 9.0) for n in range(3)}
    return {"weights": tensors, "step": 3, "name": "n", "state": {0: {"step": torch.tensor(7.0)}}}


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else bool(one == other)


def loaded(load: Callable[[Path], Any], path: Path) -> bool | None:
    """Whether what was loaded is the content; None if it was refused."""
    try:
        return same(load(path), content())
    except Exception:  # of whatever kind
        return None


def test_a_network_file_has_the_same_bytes_whatever_its_name(tmp_path: Path) -> None:
    for name in ("a.pt", "another name.pt"):
        save_archive(tmp_path / name, content())
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "another name.pt").read_bytes()
    assert same(load_archive(tmp_path / "a.pt"), content())


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_no_byte_of_a_network_can_be_another_one_unless_nothing_hangs_on_it(tmp_path: Path) -> None:
    """torch itself reads other weights without a word."""
    path = tmp_path / "a.pt"
    save_archive(path, content())
    whole, passed_by_torch = path.read_bytes(), 0
    for place in range(0, len(whole), 7):
        with_another_byte(path, place, place % 8)
        assert loaded(load_archive, path) in (None, True), place
        passed_by_torch += loaded(partial(torch.load, weights_only=True), path) is False
        path.write_bytes(whole)
    assert passed_by_torch > 0
    for size in range(0, len(whole), 297):
        path.write_bytes(whole[:size])
        assert loaded(load_archive, path) is None, size

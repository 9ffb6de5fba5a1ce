"""Parts of outputs that an interrupted run left: kept if whole and unharmed, else made again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from isonet2.io.parts import Parts, has_part, read_plane, write_part


def test_a_part_comes_back_plane_by_plane(tmp_path: Path) -> None:
    values = np.random.default_rng(1).standard_normal((3, 5, 7), dtype=np.float32)
    assert not has_part(tmp_path / "p.npy")
    write_part(tmp_path / "p.npy", values)
    assert has_part(tmp_path / "p.npy")
    for number, plane in enumerate(values):
        np.testing.assert_array_equal(read_plane(tmp_path / "p.npy", number), plane)


@pytest.mark.parametrize("harm", [0, 40, 200, -1, "truncated", "empty"])
def test_a_harmed_part_is_removed(tmp_path: Path, harm: int | str) -> None:
    path = tmp_path / "p.npy"
    write_part(path, np.ones((3, 5, 7), np.float32))
    if isinstance(harm, int):
        content = bytearray(path.read_bytes())
        content[harm] ^= 1
        path.write_bytes(content)
    else:
        path.write_bytes(path.read_bytes()[:-9] if harm == "truncated" else b"")
    assert not has_part(path)
    assert not path.exists()


def test_parts_of_one_output_are_forgotten_whatever_they_were_made_from_and_no_others(tmp_path: Path) -> None:
    mine, older = (Parts(tmp_path / "a[1].mrc", key) for key in ("0123456789ab", "ba9876543210"))
    another = Parts(tmp_path / "a[1]_half1.mrc", "0123456789ab")
    for parts in (mine, older, another):
        write_part(parts.path("0"), np.zeros((1, 1, 1), np.float32))
    (tmp_path / ".a[1].notes").mkdir()
    mine.forget()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a[1].notes", another.folder.name]

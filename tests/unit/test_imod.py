from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from isonet2.errors import UserError
from isonet2.io.imod import read_contours


def model(*objects: list[np.ndarray]) -> bytes:
    """An IMOD model built field by field from the format's description, with the chunks that 3dmod adds."""
    parts = [b"IMODV1.2", struct.pack(">128s4iI", b"a model", 100, 100, 50, len(objects), 1 << 13).ljust(232, b"\0")]
    for contours in objects:
        parts.append(struct.pack(">64s64xiI", b"an object", len(contours), 8).ljust(176, b"\0"))
        for points in contours:
            parts.append(b"CONT" + struct.pack(">iIii", len(points), 0, 0, 0) + points.astype(">f4").tobytes())
        parts[-len(contours) - 1] = b"OBJT" + parts[-len(contours) - 1]
        parts.append(b"MESH" + struct.pack(">iiIhh", 2, 3, 0, 0, 0) + bytes(2 * 12 + 3 * 4))
        parts.append(b"IMAT" + struct.pack(">i16x", 16))
    return b"".join([*parts, b"MINX", struct.pack(">i72x", 72), b"IEOF"])


CONTOURS = [np.array([[1.5, 2.5, 3.0], [10.25, 2, 3], [4, 20, 3]]), np.zeros((0, 3)), np.array([[7.0, 8, 9]])]


def test_contours_come_with_their_object_and_their_points(tmp_path: Path) -> None:
    path = tmp_path / "a.mod"
    path.write_bytes(model(CONTOURS[:2], CONTOURS[2:]))
    found = read_contours(path)
    assert [number for number, _ in found] == [0, 0, 1]
    for (_, points), expected in zip(found, CONTOURS, strict=True):
        np.testing.assert_array_equal(points, expected)


def test_a_model_of_an_image_that_was_shown_with_y_and_z_swapped_is_swapped_back(tmp_path: Path) -> None:
    """What was drawn at the centre of voxel (x, y, z) = (4, 5, 6) lies at (4.5, 6.5, 5) in such a view."""
    content = bytearray(model([np.array([[4.5, 6.5, 5.0]])]))
    flags = 8 + 128 + 16
    content[flags : flags + 4] = struct.pack(">I", 1 << 13 | 1 << 16)
    (tmp_path / "a.mod").write_bytes(content)
    ((_, points),) = read_contours(tmp_path / "a.mod")
    np.testing.assert_array_equal(points, [[4.5, 5.5, 6.0]])


@pytest.mark.parametrize("end", [100, 300, 450, 460, -4])
def test_a_truncated_model_is_named(tmp_path: Path, end: int) -> None:
    path = tmp_path / "a.mod"
    path.write_bytes(model(CONTOURS[:2], CONTOURS[2:])[:end])
    with pytest.raises(UserError, match=r"a\.mod: truncated"):
        read_contours(path)


@pytest.mark.parametrize("content", [b"", b"imod 1\nobject 0 1 0\n", b"IMODV1.1" + bytes(300)])
def test_other_files_are_no_models(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mod"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.mod: not a binary IMOD model"):
        read_contours(path)

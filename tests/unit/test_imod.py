from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from isonet2.errors import UserError
from isonet2.io.imod import read_contours

AS_BYTES, ORIGIN, FLIPPED = 1 << 13, 1 << 14, 1 << 16


def model(*objects: list[np.ndarray], flags: int = AS_BYTES, image: tuple[float, ...] = (0.0,) * 18) -> bytes:
    """An IMOD model built field by field from the format's description, with the chunks that 3dmod adds.

    `image`: the old scale, translation (the file's origin) and rotation, then those of the part that was shown.
    """
    parts = [b"IMODV1.2", struct.pack(">128s4iI", b"a model", 100, 100, 50, len(objects), flags).ljust(232, b"\0")]
    for contours in objects:
        parts.append(struct.pack(">64s64xiI", b"an object", len(contours), 8).ljust(176, b"\0"))
        for points in contours:
            parts.append(b"CONT" + struct.pack(">iIii", len(points), 0, 0, 0) + points.astype(">f4").tobytes())
        parts[-len(contours) - 1] = b"OBJT" + parts[-len(contours) - 1]
        parts.append(b"MESH" + struct.pack(">iiIhh", 2, 3, 0, 0, 0) + bytes(2 * 12 + 3 * 4))
        parts.append(b"IMAT" + struct.pack(">i16x", 16))
    return b"".join([*parts, b"MINX", struct.pack(">i18f", 72, *image), b"IEOF"])


CONTOURS = [np.array([[1.5, 2.5, 3.0], [10.25, 2, 3], [4, 20, 3]]), np.zeros((0, 3)), np.array([[7.0, 8, 9]])]


def test_contours_come_with_their_object_and_their_points(tmp_path: Path) -> None:
    path = tmp_path / "a.mod"
    path.write_bytes(model(CONTOURS[:2], CONTOURS[2:]))
    found = read_contours(path)
    assert [number for number, _ in found] == [0, 0, 1]
    for (_, points), expected in zip(found, CONTOURS, strict=True):
        np.testing.assert_array_equal(points, expected)


@pytest.mark.parametrize(("flags", "read"), [(AS_BYTES, [4.5, 6.0, 5.5]), (AS_BYTES | FLIPPED, [4.5, 5.5, 6.0])])
def test_a_model_that_was_saved_with_y_and_z_swapped_is_swapped_back(
    flags: int, read: list[float], tmp_path: Path
) -> None:
    """Drawn at the centre of voxel (x, y, z) = (4, 5, 6), at (4.5, 5.5, 6), and saved while y and z were swapped."""
    (tmp_path / "a.mod").write_bytes(model([np.array([[4.5, 6.0, 5.5]])], flags=flags))
    ((_, points),) = read_contours(tmp_path / "a.mod")
    assert points.tolist() == [read]


ORIGIN_AT = (100.0, -40.0, 8.0)
FROM = (20, 30, 5)  # the first voxel x, y, z of the part that was shown
SCALE = (2.0, 2.0, 4.0)
SUBSET = tuple(origin - scale * first for origin, scale, first in zip(ORIGIN_AT, SCALE, FROM, strict=True))
SHOWN = (*SCALE, *ORIGIN_AT, 0.0, 0.0, 0.0, *SCALE, *SUBSET, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("flipped", [False, True])
def test_points_that_were_drawn_on_a_part_of_the_volume_are_moved_to_their_place_in_all_of_it(
    flipped: bool, tmp_path: Path
) -> None:
    """The part's origin is that of the file less the scale times its first voxel, whichever way it was shown."""
    drawn = np.array([[4.5, 6.0, 5.5]]) if flipped else np.array([[4.5, 5.5, 6.0]])
    content = model([drawn], [drawn], flags=ORIGIN | (FLIPPED if flipped else 0), image=SHOWN)
    (tmp_path / "a.mod").write_bytes(content)
    for _, points in read_contours(tmp_path / "a.mod"):
        assert points.tolist() == [[24.5, 35.5, 11.0]]


@pytest.mark.parametrize(
    ("flags", "image"), [(AS_BYTES, SHOWN), (ORIGIN, (0.0,) * 18)], ids=["without origins", "without scales"]
)
def test_a_model_that_does_not_say_where_its_part_began_is_taken_as_it_is(
    flags: int, image: tuple[float, ...], tmp_path: Path
) -> None:
    (tmp_path / "a.mod").write_bytes(model([np.array([[4.5, 5.5, 6.0]])], flags=flags, image=image))
    ((_, points),) = read_contours(tmp_path / "a.mod")
    assert points.tolist() == [[4.5, 5.5, 6.0]]


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

"""Boxes of volumes, also beyond their edges, and strips of them."""

from __future__ import annotations

import numpy as np
import pytest

from isonet2.data.window import Strip, read_window

SHAPE = (5, 7, 6)
VOLUME = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)


def mirrored(place: int, size: int) -> int:
    """Where a walker who turns back at each edge, standing there twice, has come to."""
    walk = [*range(size), *reversed(range(size))]
    return walk[place % (2 * size)]


def starts(size: int, side: int) -> list[int]:
    """Where a box may begin: at least as much of it lies inside as beyond an edge, or all of the axis does."""
    found = []
    for start in range(1 - side, size):
        inside = min(start + side, size) - max(start, 0)
        if inside == size or inside >= max(-start, start + side - size):
            found.append(start)
    return found


@pytest.mark.parametrize("side", [1, 2, 4, 7, 9, 20])
def test_beyond_its_edges_a_volume_is_mirrored(side: int) -> None:
    rng = np.random.default_rng(side)
    for _ in range(20):
        corner = tuple(int(rng.choice(starts(size, side))) for size in SHAPE)
        found = read_window(VOLUME, corner, side)
        at = [[mirrored(start + n, size) for n in range(side)] for start, size in zip(corner, SHAPE, strict=True)]
        assert np.array_equal(found, VOLUME[np.ix_(*at)])


@pytest.mark.parametrize("rows", [(0, 3), (3, 7), (2, 4)])
def test_a_strip_is_the_volume_of_its_rows(rows: tuple[int, int]) -> None:
    strip, cut = Strip(VOLUME, rows), VOLUME[:, rows[0] : rows[1]]
    assert strip.shape == cut.shape
    for y in (slice(None), slice(0, 2), slice(1, 99), slice(-1, None)):
        assert np.array_equal(strip[0:5, y, 1:4], cut[0:5, y, 1:4])


def test_a_window_of_a_strip_knows_nothing_of_the_rows_beside_it() -> None:
    strip, cut = Strip(VOLUME, (2, 5)), VOLUME[:, 2:5]
    for corner in [(0, -1, 0), (1, 1, 2), (3, 0, 4)]:
        assert np.array_equal(read_window(strip, corner, 3), read_window(cut, corner, 3))

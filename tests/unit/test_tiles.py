"""Tiles cover a volume once, whatever its size; cubes are drawn where the mask is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isonet2.data.positions import corners_of, draw_corners
from isonet2.data.tiles import tile_axis, tile_volume
from isonet2.data.window import read_window


@given(size=st.integers(1, 300), side=st.sampled_from([8, 16, 32, 96]), padding=st.floats(1.01, 3.0))
def test_the_weights_of_all_tiles_add_up_to_one_at_every_voxel(size: int, side: int, padding: float) -> None:
    total = np.zeros(size)
    for tile in tile_axis(size, side=side, padding_factor=padding):
        inside = range(max(0, tile.start), min(size, tile.start + side))
        total[inside.start : inside.stop] += tile.weight[inside.start - tile.start : inside.stop - tile.start]
        assert tile.start >= 0 or size < side
    assert np.allclose(total, 1, atol=1e-6)


def test_where_tiles_meet_their_outermost_voxels_have_no_weight() -> None:
    first, second = tile_axis(50, side=32, padding_factor=1.5)[:2]
    assert first.weight[0] == 1
    assert (first.weight[-2:] == 0).all()
    assert (second.weight[:2] == 0).all()


def test_a_row_reaches_the_planes_of_its_tiles() -> None:
    tiling = tile_volume((72, 40, 40), side=32, padding_factor=1.5)
    reached = [tiling.planes_of_row(row) for row in range(len(tiling.z))]
    assert reached[0].start == 0
    assert reached[-1].stop == 72
    assert all(later.start < earlier.stop for earlier, later in itertools.pairwise(reached))


def test_a_window_over_the_edge_is_mirrored() -> None:
    volume = np.arange(4**3, dtype=np.float32).reshape(4, 4, 4)
    found = read_window(volume, (-1, 2, 1), 3)
    assert (found == np.pad(volume, 1, mode="symmetric")[0:3, 3:6, 2:5]).all()


def test_cubes_are_drawn_in_proportion_to_the_mask() -> None:
    mask = np.zeros((40, 40, 40), np.float32)
    mask[20, 20, 10], mask[20, 20, 30] = 1, 3
    corners = draw_corners(mask.shape, mask, number=4000, side=8, rng=np.random.default_rng(0))
    assert set(map(tuple, corners.tolist())) == {(16, 16, 6), (16, 16, 26)}
    assert (corners[:, 2] == 26).mean() == pytest.approx(0.75, abs=0.03)


def test_cubes_stay_inside_and_a_thin_axis_is_centred() -> None:
    corners = draw_corners((10, 30, 30), None, number=500, side=16, rng=np.random.default_rng(0))
    assert (corners[:, 0] == -3).all()
    assert corners[:, 1:].min() == 0
    assert corners[:, 1:].max() == 14
    assert (np.diff(corners[:, 0]) >= 0).all()


def test_a_mask_at_the_edge_pushes_cubes_inside_and_an_empty_one_is_refused() -> None:
    mask = np.zeros((20, 20, 20), np.float32)
    mask[0, 0, 0] = 1
    corners = draw_corners(mask.shape, mask, number=3, side=8, rng=np.random.default_rng(0))
    assert (corners == 0).all()
    with pytest.raises(ValueError, match="empty"):
        draw_corners(mask.shape, np.zeros_like(mask), number=3, side=8, rng=np.random.default_rng(0))


def test_points_at_the_edge_become_cubes_inside() -> None:
    assert corners_of(np.array([[0, 19, 10]]), (20, 20, 20), 8).tolist() == [[0, 12, 6]]

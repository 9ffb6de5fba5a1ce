from __future__ import annotations

import numpy as np
import pytest

from isonet2.physics.mask import bin_planes, boundary_plane, darkness, highest, reach, smooth, texture, unbin_plane


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def slow_gaussian(volume: np.ndarray, sigma: float) -> np.ndarray:
    """By an explicit kernel up to 4 σ, the volume mirrored at its ends."""
    radius = int(4 * sigma + 0.5)
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    taps /= taps.sum()
    for axis in range(3):
        padded = np.pad(volume, [(radius, radius) if a == axis else (0, 0) for a in range(3)], mode="symmetric")
        volume = np.apply_along_axis(np.convolve, axis, padded, taps, mode="valid")
    return volume


def slow_specimen(volume: np.ndarray, patch: int, density: float, std: float) -> np.ndarray:
    """Window by window, in float64."""
    smooth = slow_gaussian(volume.astype(np.float64), patch / 2)
    padded = np.pad(smooth, patch, mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * patch + 1,) * 3)
    found = np.ones(volume.shape, bool)
    for values, percentage in ((-windows.min((3, 4, 5)), density), (windows.std((3, 4, 5)), std)):
        kept = round(volume.size * percentage / 100)
        limit = np.sort(values, axis=None)[volume.size - kept - 1] if kept < volume.size else -np.inf
        found &= values > limit
    return found


def find_specimen(
    volume: np.ndarray, *, patch_size: int, density_percentage: float, std_percentage: float
) -> np.ndarray:
    dark, varied = looked_at(volume, slice(None), patch_size)
    return highest(dark, density_percentage) & highest(varied, std_percentage)


def looked_at(volume: np.ndarray, inner: slice, patch_size: int) -> list[np.ndarray]:
    volume = volume.copy()
    smooth(volume, patch_size=patch_size)
    return [look(volume, inner, patch_size=patch_size) for look in (darkness, texture)]


@pytest.mark.parametrize(("density", "std"), [(50, 50), (30, 90), (100, 20), (100, 100)])
def test_the_specimen_is_what_a_loop_over_windows_finds(density: float, std: float) -> None:
    volume = noise(11, 14, 9)
    expected = slow_specimen(volume, 2, density, std)
    found = find_specimen(volume, patch_size=2, density_percentage=density, std_percentage=std)
    # float32 may put a voxel at the threshold on either side
    assert np.count_nonzero(found != expected) <= 2
    assert expected.any()


@pytest.mark.parametrize(("first", "last"), [(0, 9), (9, 20), (20, 31)])
def test_a_slab_with_its_reach_gives_what_the_whole_gives(first: int, last: int) -> None:
    patch, volume = 2, noise(31, 12, 14) + np.linspace(0, 50, 31, dtype=np.float32)[:, None, None]
    start, stop = max(0, first - reach(patch)), last + reach(patch)
    whole = looked_at(volume, slice(first, last), patch)
    slab = looked_at(volume[start:stop], slice(first - start, last - start), patch)
    np.testing.assert_array_equal(slab[0], whole[0])
    np.testing.assert_allclose(slab[1], whole[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1e-20, 0.0), (1e20, 0.0), (5.0, 60000.0)])
def test_scale_and_offset_of_the_density_do_not_matter(scale: float, shift: float) -> None:
    options = {"patch_size": 2, "density_percentage": 40.0, "std_percentage": 40.0}
    plain = find_specimen(noise(12, 12, 12), **options)
    moved = find_specimen(noise(12, 12, 12) * np.float32(scale) + np.float32(shift), **options)
    assert np.mean(plain != moved) < 0.01


def test_a_dark_ball_in_noise_is_found_and_a_bright_one_is_not() -> None:
    z, y, x = np.indices((40, 40, 40))
    dark = (z - 20) ** 2 + (y - 20) ** 2 + (x - 10) ** 2 < 36
    bright = (z - 20) ** 2 + (y - 20) ** 2 + (x - 30) ** 2 < 36
    volume = noise(40, 40, 40) - 5 * dark.astype(np.float32) + 5 * bright.astype(np.float32)
    found = find_specimen(volume, patch_size=2, density_percentage=5, std_percentage=100)
    assert found[dark].mean() > 0.99
    assert found[bright].mean() < 0.01
    assert found.mean() <= 0.05


def test_an_empty_frame_around_the_tomogram_is_left_out() -> None:
    volume = np.zeros((30, 30, 30), np.float32)
    volume[10:20, 10:20, 10:20] = noise(10, 10, 10)
    found = find_specimen(volume, patch_size=1, density_percentage=100, std_percentage=50)
    assert found[12:18, 12:18, 12:18].all()
    assert not found[:5].any()


def test_a_constant_tomogram_has_no_specimen() -> None:
    volume = np.full((8, 8, 8), 3.0, np.float32)
    assert not find_specimen(volume, patch_size=2, density_percentage=50, std_percentage=50).any()


@pytest.mark.parametrize("shape", [(2, 6, 8), (2, 7, 5), (1, 6, 5), (1, 1, 1)])
def test_binning_is_the_mean_of_the_voxels_that_are_there(shape: tuple[int, int, int]) -> None:
    slab = noise(*shape)
    binned = bin_planes(slab)
    for row in range(binned.shape[0]):
        for column in range(binned.shape[1]):
            block = slab[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            assert binned[row, column] == pytest.approx(block.mean(dtype=np.float64), rel=1e-5, abs=1e-6)
    assert binned.shape == (-(-shape[1] // 2), -(-shape[2] // 2))


def test_unbinning_gives_every_voxel_the_value_that_it_went_into() -> None:
    binned = noise(4, 3) > 0
    plane = unbin_plane(binned, (7, 5))
    assert plane.shape == (7, 5)
    assert all(plane[y, x] == binned[y // 2, x // 2] for y in range(7) for x in range(5))


def disc(radius: float, z: float, centre: tuple[float, float] = (20.3, 12.6)) -> np.ndarray:
    """A circle of 200 corners as x, y, z."""
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    x, y = centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle)
    return np.column_stack([x, y, np.full(200, z)])


def is_in_disc(radius: float, centre: tuple[float, float] = (20.3, 12.6)) -> np.ndarray:
    y, x = np.indices((30, 40))
    return (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2


def test_a_circle_holds_the_voxels_whose_centres_are_within_its_radius() -> None:
    assert np.count_nonzero(boundary_plane([disc(9.2, 5)], 5, (30, 40)) != is_in_disc(9.2)) <= 1


def test_a_concave_polygon_that_leaves_the_image_is_cut_off() -> None:
    corners = np.array([[-10, -10, 0], [60, -10, 0], [60, 50, 0], [19.5, 14.5, 0], [-10, 50, 0]], np.float64)
    y, x = np.indices((30, 40))
    under_the_v = np.where(x < 19.5, (y - 14.5) * 29.5 < (19.5 - x) * 35.5, (y - 14.5) * 40.5 < (x - 19.5) * 35.5)
    np.testing.assert_array_equal(boundary_plane([corners], 0, (30, 40)), under_the_v)


def test_contours_on_one_plane_hold_for_all_planes_and_unite() -> None:
    contours = [disc(5, 7.2), disc(5, 6.9, (9.4, 20.1))]
    expected = is_in_disc(5) | is_in_disc(5, (9.4, 20.1))
    for z in (0, 7, 100):
        assert np.count_nonzero(boundary_plane(contours, z, (30, 40)) != expected) <= 2


@pytest.mark.parametrize(("z", "radius"), [(9, 0), (10, 4), (14, 4), (16, 8), (20, 8), (26, 11), (30, 11), (31, 0)])
def test_between_planes_the_nearest_contour_holds_and_beyond_them_nothing(z: int, radius: float) -> None:
    contours = [disc(11, 30), disc(4, 10), disc(8, 20)]
    assert np.count_nonzero(boundary_plane(contours, z, (30, 40)) != is_in_disc(radius)) <= 1

"""The measured region against slow arithmetic from its definition, and against rotated volumes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from isonet2.physics.acquisition import Tilts
from isonet2.physics.fourier import filtered, frequencies, multiplicity
from isonet2.physics.rotation import (
    CUBE_ROTATIONS,
    WEDGE_MOVING_ROTATIONS,
    random_rotation,
    rotate,
    wedge_keeping_rotations,
)
from isonet2.physics.wedge import measured_region, rotated_wedges, wedge_mask


def slow_wedge(shape: tuple[int, int, int], low: float, high: float) -> np.ndarray:
    """One component at a time, by the arctangent."""
    z, y, x = shape
    mask = np.zeros((z, y, x // 2 + 1), bool)
    for i, j, k in np.ndindex(mask.shape):
        kz, ky, kx = np.fft.fftfreq(z)[i], np.fft.fftfreq(y)[j], np.fft.rfftfreq(x)[k]
        if kz * kz + ky * ky + kx * kx > 0.25 + 1e-12:
            continue
        if kx == 0 and kz == 0:
            mask[i, j, k] = True
            continue
        angle = 90.0 if kx == 0 else math.degrees(math.atan(kz / kx))
        mask[i, j, k] = low - 1e-9 <= angle <= high + 1e-9
    return mask


@pytest.mark.parametrize("shape", [(16, 16, 16), (10, 14, 18), (9, 11, 13)])
@pytest.mark.parametrize("tilts", [(-60.0, 60.0), (-51.0, 60.0), (-45.0, 45.0), (-90.0, 90.0), (10.0, 40.0)])
def test_the_wedge_is_the_one_of_its_definition(shape: tuple[int, int, int], tilts: tuple[float, float]) -> None:
    assert (wedge_mask(shape, *tilts).numpy() == slow_wedge(shape, *tilts)).all()


def test_positive_tilts_measure_the_quadrants_where_kx_and_kz_have_one_sign() -> None:
    mask = wedge_mask((32, 32, 32), -20.0, 50.0)
    kz, kx = 8, 8  # 45°
    assert mask[kz, 0, kx]
    assert not mask[-kz, 0, kx]


@pytest.mark.parametrize("shape", [(8, 12, 10), (7, 8, 9)])
def test_the_wedge_is_the_same_at_k_and_minus_k_so_that_filtered_volumes_are_real(shape: tuple[int, int, int]) -> None:
    half = wedge_mask(shape, -51.0, 60.0)
    full = np.zeros(shape, bool)
    for i, j, k in np.ndindex(shape):
        full[i, j, k] = half[i, j, k] if k < half.shape[2] else half[-i, -j, shape[2] - k]
    minus = np.roll(full[::-1, ::-1, ::-1], 1, axis=(0, 1, 2))
    assert (full == minus).all()
    volume = np.random.default_rng(0).standard_normal(shape)
    expected = np.fft.ifftn(np.fft.fftn(volume) * full)
    assert np.abs(expected.imag).max() < 1e-12
    assert np.allclose(filtered(torch.from_numpy(volume), half).numpy(), expected.real)


@pytest.mark.parametrize("tilts", [(-60.0, 60.0), (-51.0, 60.0)])
def test_filtering_then_rotating_is_rotating_then_filtering_with_the_rotated_wedge(tilts: tuple[float, float]) -> None:
    volume = torch.randn(1, 16, 16, 16, dtype=torch.float64)
    wedge = wedge_mask((16, 16, 16), *tilts)
    for matrix in CUBE_ROTATIONS:
        rotation = torch.from_numpy(matrix)
        turned = rotated_wedges(16, torch.tensor([tilts]), rotation[None])[0]
        assert torch.allclose(
            rotate(filtered(volume, wedge), rotation), filtered(rotate(volume, rotation), turned), atol=1e-10
        )


def test_twenty_rotations_move_the_wedge_and_four_leave_a_symmetric_one_alone() -> None:
    alone = wedge_mask((16, 16, 16), -60.0, 60.0)
    stay = 0
    for matrix in CUBE_ROTATIONS:
        turned = rotated_wedges(16, torch.tensor([[-60.0, 60.0]]), torch.from_numpy(matrix)[None])[0, 0]
        moves = bool((turned != alone).any())
        assert moves == any(matrix is other for other in WEDGE_MOVING_ROTATIONS)
        stay += not moves
    assert len(WEDGE_MOVING_ROTATIONS) == 20
    assert stay == 4


def test_every_rotated_wedge_keeps_the_mean_and_the_number_of_components() -> None:
    count = (wedge_mask((16, 16, 16), -51.0, 60.0) * multiplicity((16,))).sum()
    for matrix in CUBE_ROTATIONS:
        turned = rotated_wedges(16, torch.tensor([[-51.0, 60.0]]), torch.from_numpy(matrix)[None])[0, 0]
        assert turned[0, 0, 0]
        assert (turned * multiplicity((16,))).sum() == count


def test_a_wedge_turned_by_any_angle_is_the_definition_at_the_turned_frequencies() -> None:
    rotation = random_rotation(np.random.default_rng(3))
    turned = rotated_wedges(12, torch.tensor([[-51.0, 60.0]]), torch.from_numpy(rotation)[None])[0, 0].numpy()
    k = frequencies((12, 12, 12)).numpy() @ rotation
    angle = np.degrees(np.arctan(k[..., 0] / np.where(k[..., 2] == 0, 1e-30, k[..., 2])))
    expected = (angle >= -51) & (angle <= 60) & ((k**2).sum(-1) <= 0.25 + 1e-9)
    expected[0, 0, 0] = True
    border = np.minimum(abs(angle + 51), abs(angle - 60)) < 1e-6
    assert (turned == expected)[~border].all()


def test_the_24_rotations_are_proper_distinct_and_move_voxels_without_changing_them() -> None:
    assert len({matrix.tobytes() for matrix in CUBE_ROTATIONS}) == 24
    volume = torch.arange(4**3, dtype=torch.float32).view(1, 4, 4, 4)
    for matrix in CUBE_ROTATIONS:
        assert np.linalg.det(matrix) == pytest.approx(1)
        turned = rotate(volume, torch.from_numpy(matrix))[0]
        for place in [(0, 1, 3), (2, 2, 0)]:
            back = matrix.T @ (np.array(place) - 1.5) + 1.5
            z, y, x = np.rint(back).astype(int)
            assert turned[place] == volume[0, z, y, x]


def test_interpolated_rotation_agrees_with_scipy() -> None:
    from scipy import ndimage

    rotation = random_rotation(np.random.default_rng(0))
    volume = ndimage.gaussian_filter(np.random.default_rng(1).standard_normal((20, 20, 20)), 2).astype(np.float32)
    centre = (np.array(volume.shape) - 1) / 2
    expected = ndimage.affine_transform(volume, rotation.T, offset=centre - rotation.T @ centre, order=1)
    found = rotate(torch.from_numpy(volume)[None], torch.from_numpy(rotation))[0].numpy()
    inside = np.s_[5:15, 5:15, 5:15]
    assert np.abs(found - expected)[inside].max() < 1e-5


def test_random_rotations_are_uniform() -> None:
    rng = np.random.default_rng(0)
    matrices = np.array([random_rotation(rng) for _ in range(4000)])
    assert np.allclose(matrices @ matrices.transpose(0, 2, 1), np.eye(3), atol=1e-12)
    assert np.abs(matrices.mean(0)).max() < 0.04  # Haar: every entry has mean 0 and variance 1/3
    assert np.abs(matrices.var(0) - 1 / 3).max() < 0.03
    angles = np.arccos((np.trace(matrices, axis1=1, axis2=2) - 1) / 2)
    assert angles.mean() == pytest.approx(np.pi / 2 + 2 / np.pi, abs=0.03)  # its density is (1 − cos θ)/π


INTERVALS: list[Tilts] = [
    ((-60.0, 60.0),),
    ((-51.0, 60.0),),
    ((-60.0, -20.0), (20.0, 60.0)),
    ((-60.0, -10.0), (13.5, 60.0)),
    ((-48.0, -30.0), (-10.0, 10.0), (30.0, 48.0)),
]


@pytest.mark.parametrize("tilts", INTERVALS)
def test_several_intervals_measure_what_each_of_them_measures(tilts: Tilts) -> None:
    shape = (10, 12, 14)
    slow = np.any([slow_wedge(shape, *interval) for interval in tilts], axis=0)
    assert (measured_region(shape, tilts).numpy() == slow).all()


def test_samples_with_fewer_intervals_are_filled_up_with_nan_that_measures_nothing() -> None:
    most = max(map(len, INTERVALS))
    padded = torch.full((len(INTERVALS), most, 2), torch.nan)
    for n, tilts in enumerate(INTERVALS):
        padded[n, : len(tilts)] = torch.tensor(tilts)
    rotation = random_rotation(np.random.default_rng(5))
    together = rotated_wedges(12, padded, torch.from_numpy(np.array([rotation] * len(INTERVALS))))
    for found, tilts in zip(together, INTERVALS, strict=True):
        alone = rotated_wedges(12, torch.tensor([tilts]), torch.from_numpy(rotation)[None])
        assert torch.equal(found, alone[0])
    unturned = rotated_wedges(12, padded, torch.eye(3).expand(len(INTERVALS), 3, 3))
    for found, tilts in zip(unturned, INTERVALS, strict=True):
        assert torch.equal(found[0], measured_region((12, 12, 12), tilts))


@pytest.mark.parametrize("tilts", INTERVALS)
def test_the_rotations_that_keep_a_wedge_are_all_that_do(tilts: Tilts) -> None:
    """Brute force: the wedge turned by each of the 24, compared component by component."""
    alone = measured_region((16, 16, 16), tilts)
    turns = torch.from_numpy(np.array(CUBE_ROTATIONS))
    turned = rotated_wedges(16, torch.tensor([tilts]).expand(24, -1, 2), turns)[:, 0]
    expected = [matrix for matrix, wedge in zip(CUBE_ROTATIONS, turned, strict=True) if wedge.equal(alone)]
    found = wedge_keeping_rotations(tilts)
    assert sorted(matrix.tolist() for matrix in found) == sorted(matrix.tolist() for matrix in expected)
    assert np.array_equal(found[0], np.eye(3))

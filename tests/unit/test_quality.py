"""Correlations against numpy, shell correlations against a package, the yardstick against theory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch_fourier_shell_correlation import fsc as reference_fsc

from isonet2.physics.fourier import filtered
from isonet2.physics.quality import (
    best_radial_filter,
    compare_with_truth,
    correlation,
    measured_and_missing,
    region_correlation,
    shell_correlation,
    tapered,
    wedge_power_ratio,
)
from isonet2.physics.wedge import measured_region

TILTS = ((-60.0, 60.0),)


@pytest.fixture
def truth() -> torch.Tensor:
    noise = torch.randn(24, 32, 32, generator=torch.Generator().manual_seed(1))
    kernel = torch.exp(-((torch.arange(7) - 3.0) ** 2) / 4)[None, None, None, None]
    for axes in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        moved = noise.permute(axes)[None, None]
        noise = torch.nn.functional.conv3d(moved, kernel, padding=(0, 0, 3))[0, 0].permute(
            tuple(int(i) for i in np.argsort(axes))
        )
    return noise


def noise(seed: int, shape: torch.Size) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_correlation_is_that_of_numpy(truth: torch.Tensor) -> None:
    other = truth + noise(2, truth.shape)
    expected = np.corrcoef(truth.numpy().ravel(), other.numpy().ravel())[0, 1]
    assert correlation(truth, other) == pytest.approx(expected, abs=1e-6)


def test_region_correlation_is_the_one_of_the_filtered_maps(truth: torch.Tensor) -> None:
    other = truth + noise(2, truth.shape)
    inside, outside = measured_and_missing(truth.shape, TILTS)
    for region in (inside, outside):
        a, b = (filtered(tapered(v), region).numpy().ravel() for v in (truth, other))
        assert region_correlation(truth, other, region) == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-5)


def test_the_regions_are_disjoint_and_leave_out_the_mean_and_the_corners(truth: torch.Tensor) -> None:
    inside, outside = measured_and_missing(truth.shape, TILTS)
    assert not (inside & outside).any()
    assert not inside[0, 0, 0]
    assert not (inside | outside)[12, 16, 16]


def test_shell_correlation_is_the_sum_over_the_full_transform() -> None:
    a = noise(3, torch.Size((16, 20, 24)))
    b = a + noise(4, a.shape)
    k = np.stack(np.meshgrid(*(np.fft.fftfreq(n) for n in a.shape), indexing="ij"))
    shell = np.rint(np.linalg.norm(k, axis=0) * 16)
    A, B = (np.fft.fftn(tapered(v).numpy()) for v in (a, b))
    _, found = shell_correlation(a, b, torch.ones(16, 20, 13, dtype=torch.bool))
    for n in range(1, 9):
        s = shell == n
        expected = (A * B.conj())[s].sum().real / np.sqrt((abs(A[s]) ** 2).sum() * (abs(B[s]) ** 2).sum())
        assert found[n] == pytest.approx(expected, abs=1e-6)


def test_shell_correlation_agrees_with_an_independent_package_but_for_its_shells() -> None:
    a = noise(3, torch.Size((32, 32, 32)))
    b = a + noise(4, a.shape)
    frequency, found = shell_correlation(a, b, torch.ones(32, 32, 17, dtype=torch.bool))
    expected = reference_fsc(tapered(a), tapered(b))
    assert frequency[-1] == 0.5
    assert (found[1:] - expected[1:]).abs().max() < 0.04  # it weighs the plane kx = 0 twice
    assert (found[1:] - expected[1:]).mean().abs() < 0.01


def test_a_shell_with_nothing_in_it_has_no_correlation() -> None:
    a = noise(3, torch.Size((16, 16, 16)))
    region = torch.zeros(16, 16, 9, dtype=torch.bool)
    region[0, 0, 3] = True
    _, found = shell_correlation(a, a, region)
    assert found[3] == pytest.approx(1)
    assert found[5].isnan()


def test_the_best_radial_filter_beats_every_other_gain_in_the_measured_region(truth: torch.Tensor) -> None:
    wedge = measured_region(truth.shape, TILTS)
    raw = filtered(truth + 2 * noise(5, truth.shape), wedge)
    best = best_radial_filter(raw, truth, wedge)
    error = (filtered(truth, wedge) - best - truth.mean()).square().mean()
    for scale in (0.9, 1.1):
        assert (filtered(truth, wedge) - scale * best - truth.mean()).square().mean() > error
    assert correlation(best, truth) > correlation(raw, truth)
    assert filtered(best, ~wedge).abs().max() < 1e-4


def test_a_map_is_judged_where_it_was_measured_and_where_it_was_not(truth: torch.Tensor) -> None:
    wedge = measured_region(truth.shape, TILTS)
    empty = compare_with_truth(filtered(truth, wedge), truth, TILTS)
    assert empty["cc_measured"] > 0.97
    assert empty["cc_wedge"] < 0.5
    whole = compare_with_truth(3 * truth + 7, truth, TILTS)
    assert min(whole.values()) == pytest.approx(1, abs=1e-4)


def test_wedge_power_tells_an_empty_wedge_from_a_full_one() -> None:
    white = noise(6, torch.Size((32, 32, 32)))
    assert wedge_power_ratio(white, TILTS) == pytest.approx(1, abs=0.1)
    assert wedge_power_ratio(filtered(white, measured_region(white.shape, TILTS)), TILTS) < 0.15

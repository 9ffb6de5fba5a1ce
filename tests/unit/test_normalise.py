"""What networks see, and its exact undoing."""

from __future__ import annotations

import numpy as np
import pytest

from isonet2.physics.normalise import Normalisation, central_slab, measure_normalisation, percentile_normalisation


def test_mean_and_deviation_are_those_of_both_halves() -> None:
    rng = np.random.default_rng(0)
    halves = [rng.normal(5, 2, (10, 8, 8)).astype(np.float32) for _ in range(2)]
    found = measure_normalisation([list(half) for half in halves])
    assert found.mean == pytest.approx(np.mean(halves))
    assert found.std == pytest.approx(np.sqrt((halves[0].var() + halves[1].var()) / 2))


def test_large_float16_values_do_not_overflow() -> None:
    plane = np.full((64, 64), 60000, np.float16)
    plane[::2] = 50000
    found = measure_normalisation([[plane]])
    assert found.mean == pytest.approx(55000, rel=1e-3)
    assert found.std == pytest.approx(5000, rel=1e-2)


def test_what_was_inverted_and_standardised_comes_back() -> None:
    volume = np.random.default_rng(1).normal(100, 3, (4, 5, 6)).astype(np.float32)
    map_ = Normalisation(100.0, 3.0)
    assert np.allclose(map_.to_file(map_.to_network(volume)), volume, atol=1e-4)
    assert map_.to_network(np.array([103.0], np.float32))[0] == pytest.approx(-1)  # bright on disk is dark for networks


@pytest.mark.parametrize(("planes", "slab"), [(200, (68, 132)), (64, (0, 64)), (36, (0, 36)), (65, (0, 64))])
def test_the_slab_is_the_middle_or_all_of_a_thin_tomogram(planes: int, slab: tuple[int, int]) -> None:
    assert central_slab(planes) == slab


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_constant_and_broken_tomograms_are_refused(value: float) -> None:
    plane = np.full((4, 4), value)
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match=r"constant|not numbers"):
        measure_normalisation([[plane]])


def test_networks_of_isonet2s_own_method_see_the_inverted_percentiles_at_zero_and_one() -> None:
    volume = np.random.default_rng(0).gamma(2.0, 3.0, (40, 64, 64)).astype(np.float32)
    found = percentile_normalisation([(plane[None] for plane in volume)])
    low, high = np.percentile(-volume, (5, 95))
    expected = (-volume - low) / (high - low)
    assert np.abs(found.to_network(volume) - expected).max() < 0.05
    assert np.abs(found.to_file(found.to_network(volume)) - volume).max() < 1e-4

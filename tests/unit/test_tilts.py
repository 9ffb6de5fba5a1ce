from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from isonet2.errors import UserError
from isonet2.io.tilts import read_tilts
from isonet2.physics.fourier import transform
from isonet2.physics.tilts import intervals_of, median_step
from isonet2.physics.wedge import measured_region
from isonet2.simulation.tilt_series import back_project, white_noise

SERIES = [-51.0 + 3 * n for n in range(38)]  # to 60


def test_a_list_without_gaps_is_the_plain_range_from_its_first_to_its_last_tilt() -> None:
    assert intervals_of(SERIES) == ((-51, 60),)
    dose_symmetric = sorted(SERIES, key=abs)
    assert intervals_of(dose_symmetric) == ((-51, 60),)
    uneven = [-40.03, -36.9, -34.02, -30.5, -28.0, -25.01]
    assert intervals_of(uneven) == ((-40.03, -25.01),)


def test_a_missing_tilt_leaves_a_gap_of_one_step() -> None:
    assert intervals_of([tilt for tilt in SERIES if tilt != 12]) == ((-51, 10.5), (13.5, 60))


def test_tilts_taken_twice_do_not_count_as_steps() -> None:
    twice = [tilt + shift for tilt in SERIES for shift in (0, 0.02)]
    assert median_step(twice) == pytest.approx(2.98)
    assert intervals_of(twice) == ((-51, 60.02),)


def test_every_direction_nearer_to_a_tilt_than_half_a_step_is_measured_and_no_other() -> None:
    """Brute force: a fine fan of directions, each compared with each tilt."""
    rng = np.random.default_rng(3)
    for _ in range(20):
        tilts = np.array(SERIES)[np.sort(rng.choice(38, 30, replace=False))]
        fan = rng.uniform(-90, 90, 500)
        nearest = np.abs(fan[:, None] - tilts).min(axis=1)
        expected = (nearest < 1.5) & (fan > tilts[0]) & (fan < tilts[-1])
        found = np.any([(fan >= low) & (fan <= high) for low, high in intervals_of(tilts.tolist())], axis=0)
        np.testing.assert_array_equal(found, expected)


@given(st.lists(st.floats(-90, 90).map(lambda tilt: round(tilt, 2)), min_size=2, unique=True))
def test_whatever_the_list_its_tilts_are_measured_and_intervals_rise_without_touching(tilts: list[float]) -> None:
    intervals = intervals_of(tilts)
    ends = [end for interval in intervals for end in interval]
    assert ends == sorted(ends)
    assert (ends[0], ends[-1]) == (min(tilts), max(tilts))
    assert all(high < low for (_, high), (low, _) in pairwise(intervals))
    assert all(any(low <= tilt <= high for low, high in intervals) for tilt in tilts)


def test_a_series_with_a_missing_stretch_has_power_inside_its_region_and_none_outside() -> None:
    """The oracle is a simulated series of pure noise, back-projected image by image."""
    tilts = [tilt for tilt in SERIES if not 6 <= tilt <= 27]
    shape = (48, 16, 64)
    series = white_noise(shape, np.array(tilts), 1.0, np.random.default_rng(1))
    power = transform(back_project(series, shape, np.array(tilts), 3.0)).abs().square()
    away = torch.fft.rfftfreq(shape[2]) > 0.2  # near the axis a Fourier voxel is wider than the gap
    inside = measured_region(shape, intervals_of(tilts))
    plain = measured_region(shape, ((-51.0, 60.0),))
    mean = power[inside & away].mean()
    assert power[plain & ~inside & away].mean() < 0.1 * mean
    assert (plain & ~inside & away).sum() > 0.1 * (plain & away).sum()
    edge = measured_region(shape, ((1.5, 4.5), (28.5, 31.5))) & away  # the region reaches up to the gap
    assert power[edge & inside].mean() > 0.5 * mean


@pytest.mark.parametrize("name", ["a.tlt", "a.rawtlt", "a.txt"])
def test_tilts_are_read_one_a_line_in_their_order(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("  0.00\r\n3.05\n-3.0\n\n 6 # the last\n\n")
    assert read_tilts(tmp_path / name) == (0, 3.05, -3, 6)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"1 2 3\n4 5 6\n", "not a list of tilts"),
        (b"tilt\n-60\n", "not a list of tilts"),
        (b"\x93NUMPY\x00\xff", "not a list of tilts"),
        (b"-60\nnan\n", "nan is not a tilt"),
        (b"-60\n120\n", "120 is not a tilt"),
        (b"\n", "0 tilts within 1°"),
        (b"10\n10.02\n", "2 tilts within 1°"),
    ],
)
def test_what_is_no_list_of_tilts_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.tlt").write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        read_tilts(tmp_path / "a.tlt")
    assert str(caught.value).startswith(str(tmp_path / "a.tlt"))
    assert "\n" not in str(caught.value)

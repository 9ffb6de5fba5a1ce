"""What is read off spectra and voxels, against spectra and voxels that were made so."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from isonet2.data.glimpse import glimpse
from isonet2.io.mrc import write_mrc
from isonet2.physics.acquisition import Optics
from isonet2.physics.compared_halves import compare_halves, signature, skewness
from isonet2.physics.ctf import ctf_of
from isonet2.physics.found_rings import find_rings, first_zeros
from isonet2.physics.found_wedge import fan, find_wedge
from isonet2.physics.fourier import filtered
from isonet2.physics.spectra import Radial, near_xz, radial, spectra_of
from isonet2.physics.voxel_values import bead_share, measure_values, same_but_for_scale
from isonet2.physics.wedge import measured_region, wedge_mask


def noise(shape: tuple[int, int, int] = (48, 64, 64), seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape, dtype=np.float32))


def tilted(low: float, high: float, shape: tuple[int, int, int] = (48, 64, 64), seed: int = 0) -> torch.Tensor:
    return filtered(noise(shape, seed), wedge_mask(shape, low, high).float())


@pytest.mark.parametrize(("low", "high"), [(-60, 60), (-40, 40), (-65, 65), (-51, 60), (-66, 57), (-20, 60)])
def test_the_edges_of_a_wedge_are_found_to_two_degrees(low: float, high: float) -> None:
    spectra = spectra_of([(tilted(low, high), None)])
    wedge = find_wedge(spectra.power, spectra.shape)
    assert (wedge.tilt_axis, wedge.beam_axis, wedge.bands) == (1, 0, 4)
    assert wedge.low_deg == pytest.approx(low, abs=2)
    assert wedge.high_deg == pytest.approx(high, abs=2)


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (0, 2, 1), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
def test_the_axes_are_found_in_any_order(order: tuple[int, int, int]) -> None:
    volume = tilted(-55, 55, (48, 48, 48)).permute(order)
    spectra = spectra_of([(volume, None)])
    wedge = find_wedge(spectra.power, spectra.shape)
    assert (wedge.tilt_axis, wedge.beam_axis) == (order.index(1), order.index(0))


def test_dimmed_high_tilts_do_not_narrow_the_wedge() -> None:
    """To a quarter of the power from 40° on."""
    shape = (48, 64, 64)
    gain = torch.zeros(48, 64, 33)
    for tilt, amplitude in ((60, 0.5), (40, 0.75), (20, 1.0)):
        gain[wedge_mask(shape, -tilt, tilt)] = amplitude
    spectra = spectra_of([(filtered(noise(), gain), None)])
    wedge = find_wedge(spectra.power, spectra.shape)
    assert (wedge.low_deg, wedge.high_deg) == pytest.approx((-60, 60), abs=2.5)


def test_white_noise_has_no_wedge() -> None:
    spectra = spectra_of([(noise(), None)])
    assert find_wedge(spectra.power, spectra.shape).contrast < 0.5


def test_the_fan_of_a_wedge_is_the_measured_region() -> None:
    spectra = spectra_of([(tilted(-60, 60), None)])
    wedge = find_wedge(spectra.power, spectra.shape)
    ours, expected = fan(spectra.shape, wedge, within_deg=30), measured_region(spectra.shape, ((-30, 30),))
    assert float((ours != expected).float().mean()) < 0.03


def test_the_xz_picture_is_that_of_a_whole_transform() -> None:
    box = noise((10, 6, 8))
    window = [np.hanning(side + 2)[1:-1] for side in box.shape]
    values = (box - box.mean()).numpy() * window[0][:, None, None] * window[1][:, None] * window[2]
    power = np.abs(np.fft.fftn(values)) ** 2
    expected = np.fft.fftshift(np.log10(power[:, [0, 1, 2, -2, -1]].mean(1)))
    # The last column of the half transform is Nyquist, which shifting puts first.
    np.testing.assert_allclose(near_xz(spectra_of([(box, None)])).numpy()[:, :8][:, 1:], expected[:, 1:], atol=1e-3)


def test_shells_correlate_as_numpy_says() -> None:
    a = noise((24, 24, 24))
    b = a + noise((24, 24, 24), 1)
    shells = radial(spectra_of([(a, b)]), torch.ones(24, 24, 13, dtype=torch.bool))
    window = np.hanning(26)[1:-1]
    A, B = (
        np.fft.fftn((v - v.mean()).numpy() * window[:, None, None] * window[:, None] * window) for v in (a, b)
    )  # fmt: skip
    k = np.fft.fftfreq(24)
    index = np.round(24 * np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2)).astype(int)
    for shell in (1, 5, 12):
        inside = index == shell
        cross = (A * B.conj()).real[inside].mean()
        power = (np.abs(A) ** 2 + np.abs(B) ** 2)[inside].mean() / 2
        assert float(shells.correlation[shell - 1]) == pytest.approx(cross / power, rel=1e-4)
        # of a component and its opposite one is free
        assert float(shells.independent[shell - 1]) == pytest.approx(inside.sum() / 2 / 1.5**3)


OPTICS = Optics(5.0, 4e4, 300.0, 2.7, 0.1)


def shells_of(optics: Optics | None, *, width: float = 0.12, seed: int = 0) -> Radial:
    """The spectrum of a smooth specimen under this CTF, with white noise of its own in each half."""
    frequency = torch.arange(1, 49, dtype=torch.float64) / 96
    number = 4000 * frequency**2 * 4 + 5
    signal = 40 * torch.exp(-(frequency**2) / (2 * width**2))
    if optics is not None:
        signal = signal * ctf_of(optics, frequency).square()
    rng = np.random.default_rng(seed)
    spread = ((signal**2 + signal + 0.5) / number).sqrt() * torch.from_numpy(rng.standard_normal(48))
    return Radial(frequency, signal + spread, torch.ones(48, dtype=torch.float64), torch.ones(48).double(), number)


@pytest.mark.parametrize("defocus", [3e4, 4e4, 6e4])
def test_rings_tell_the_defocus_whatever_is_declared(defocus: float) -> None:
    true = Optics(5.0, defocus, 300.0, 2.7, 0.1)
    found = find_rings(shells_of(true), OPTICS, halves=True)
    assert found.best_angstrom is not None
    assert found.best_angstrom[1] == pytest.approx(defocus, rel=0.06)
    assert found.seen


def test_without_rings_none_is_seen_and_the_declared_one_is_contradicted() -> None:
    found = find_rings(shells_of(None), OPTICS, halves=True)
    assert not found.seen
    assert found.declared_gain is not None
    assert found.declared_gain < -40


def test_a_zero_without_signal_behind_it_is_not_in_question() -> None:
    declared = Optics(5.0, 1.2e4, 300.0, 2.7, 0.1)  # first zero at 0.32 cycles per voxel, where only noise is left
    found = find_rings(shells_of(None, width=0.06), declared, halves=True)
    assert found.declared_gain is None
    assert 0.15 < found.reach < 0.3


def test_zeros_without_aberration_are_those_of_the_formula() -> None:
    wavelength, phase = 0.0196875, math.pi - math.asin(0.1)
    expected = 5 * math.sqrt(phase / (math.pi * wavelength * 4e4))
    assert first_zeros(Optics(5.0, 4e4, 300.0, 0.0, 0.1))[0] == pytest.approx(expected, rel=1e-3)
    assert first_zeros(Optics(15.0, 3e4, 300.0, 2.7, 0.1)) == []
    assert first_zeros(Optics(5.0, 0.0, 300.0, 2.7, 0.1)) == []


def compared(a: torch.Tensor, b: torch.Tensor) -> object:
    spectra = spectra_of([(a, b)])
    return compare_halves(spectra, radial(spectra, torch.ones_like(spectra.power, dtype=torch.bool)))


def test_halves_are_compared_by_what_they_share() -> None:
    common = 4 * filtered(noise(), measured_region((48, 64, 64), ((-90, 90),)).float())
    halves = compared(common + noise(seed=1), common + noise(seed=2))
    assert (halves.low, halves.medium, halves.top) == pytest.approx((16 / 17,) * 3, abs=0.02)
    assert halves.fall == pytest.approx(1, abs=0.3)  # what is shared is white
    assert halves.ratio == pytest.approx(1, abs=0.05)
    assert halves.shift == (0, 0, 0)
    unrelated = compared(noise(seed=1), noise(seed=2))
    assert abs(unrelated.low) < 0.1
    assert unrelated.sigmas < 4
    assert halves.sigmas > 20
    assert not unrelated.shifted
    assert not unrelated.related
    assert halves.related


def test_a_shift_is_found() -> None:
    halves = compared(noise(), noise().roll((-2, 3, 5), (0, 1, 2)))
    assert halves.shift == (2, -3, -5)
    assert halves.shifted
    assert halves.there > 0.5
    assert abs(halves.here) < 0.1


def test_signatures_of_one_place_agree() -> None:
    one, same, other = (signature(v) for v in (noise(), 3 * noise() + 1, noise(seed=1)))
    assert float((one * same.conj()).sum().real) == pytest.approx(1, abs=1e-3)
    assert abs(float((one * other.conj()).sum().real)) < 0.2


def test_dark_blobs_make_the_density_skewed_whatever_the_noise_of_the_halves() -> None:
    specimen = torch.zeros(48, 64, 64)
    for place in np.random.default_rng(0).integers(4, 44, (150, 3)):
        specimen[tuple(slice(c - 2, c + 2) for c in place)] = -4
    halves = [(specimen + 2 * noise(seed=1), specimen + 2 * noise(seed=2))]
    found, turned = skewness(halves), skewness([(-a, -b) for a, b in halves])
    assert found.value < -4 * found.sigma
    assert turned.value == pytest.approx(-found.value, rel=1e-3)
    assert abs(skewness([(noise(), noise(seed=1) + noise())]).value) < 0.2


def planes(*, mean: float = 0.0, std: float = 1.0) -> list[np.ndarray]:
    return [(mean + std * noise((1, 64, 64), seed)[0]).numpy() for seed in range(6)]


def test_values_of_plain_noise() -> None:
    values = measure_values(planes(mean=3, std=2), range(6), mode=2)
    assert (values.mean, values.std) == pytest.approx((3, 2), abs=0.05)
    assert (values.empty, values.flat, values.edge_shift) == ((), 0.0, pytest.approx(0, abs=0.3))
    assert max(values.at_least, values.at_most) < 1e-4
    assert values.edge_spread == pytest.approx(1, abs=0.15)
    assert values.step < 1e-6


def test_what_is_wrong_with_planes_is_measured() -> None:
    made = planes()
    made[5][:] = 7
    for plane in made[:5]:
        plane[:60] = plane[:60].clip(-1)
        plane[:60, :16] = 0
        plane[60:] += 5
    values = measure_values(made, range(6), mode=2)
    assert values.empty == (5,)
    assert values.flat == pytest.approx(9 / 57 * 60 / 64, abs=0.01)  # starts of runs of 8, of 57 places
    assert values.at_least == pytest.approx(40 / 48 * 0.1587, abs=0.01)  # of columns 8 to 55, the middle
    assert values.edge_shift > 1


def test_steps_are_those_of_the_type() -> None:
    assert measure_values(planes(std=2), range(6), mode=0).step == pytest.approx(0.5, rel=0.05)
    assert measure_values(planes(mean=1500, std=2), range(6), mode=12).step == pytest.approx(0.5, rel=0.05)


def test_beads_are_told_from_noise_and_from_protein() -> None:
    box = noise()
    assert bead_share([box]) == (0.0, 0.0)
    with_protein = box.clone()
    with_protein[:, :16, :16] -= 6
    assert max(bead_share([with_protein])) < 0.001
    box[20:26, 20:26, 20:26] -= 40
    dark, bright = bead_share([box])
    assert dark > 0.2
    assert bright == 0


def test_a_scaled_copy_is_the_same_map() -> None:
    one = planes()
    assert same_but_for_scale(one, [3 * plane + 2 for plane in one])
    assert not same_but_for_scale(one, [-plane for plane in one])
    assert not same_but_for_scale(one, [plane + 0.1 * noise((1, 64, 64), 9)[0].numpy() for plane in one])


def test_a_glimpse_is_a_part_of_the_map(tmp_path) -> None:
    volume = noise((20, 130, 210)).numpy()
    write_mrc(tmp_path / "t.mrc", volume, pixel_size_angstrom=10)
    seen = glimpse([tmp_path / "t.mrc"])
    assert len(seen.corners) == 2 * 3
    for (z, y, x), box in zip(seen.corners, seen.boxes[0], strict=True):
        assert box.shape == (20, 96, 96)
        np.testing.assert_array_equal(box.numpy(), volume[z : z + 20, y : y + 96, x : x + 96])
    assert seen.heights == (0, 2, 3, 5, 7, 9, 10, 12, 14, 16, 17, 19)
    np.testing.assert_array_equal(seen.planes[0][3], volume[5])


def test_blank_boxes_are_left_out_as_long_as_others_remain(tmp_path) -> None:
    volume = noise((20, 96, 200)).numpy()
    volume[:, :, 150:] = 0
    write_mrc(tmp_path / "t.mrc", volume, pixel_size_angstrom=10)
    seen = glimpse([tmp_path / "t.mrc"])
    assert len(seen.boxes[0]) == 3
    assert len(seen.pairs) == 2

"""Predictions whose error is known, against halves that are simulated; sums against numpy's full transform."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from isonet2.physics.acquisition import Optics
from isonet2.physics.consistency import consistency, wedge_filling
from isonet2.physics.ctf import ctf_gain, phase_flip_gain
from isonet2.physics.fourier import filtered, frequencies
from isonet2.physics.quality import measured_and_missing, tapered

SHAPE = torch.Size((40, 48, 44))
TILTS = ((-60.0, 54.0),)
OPTICS = Optics(pixel_size_angstrom=10, defocus_angstrom=40000, voltage_kv=300, cs_mm=2.7, amplitude_contrast=0.1)


def white(seed: int) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def pink(seed: int) -> Tensor:
    """A specimen: its power falls with frequency, as that of blobs does."""
    k2 = frequencies(SHAPE).square().sum(-1).float()
    map_ = filtered(white(seed), torch.exp(-12 * k2))
    return map_ / map_.std()


class Taken(NamedTuple):
    signal: Tensor
    halves: tuple[Tensor, Tensor]
    measured: Tensor
    missing: Tensor


@pytest.fixture(scope="module")
def taken() -> Taken:
    """A specimen, what tilts measured of it twice with noise, and where."""
    measured, missing = measured_and_missing(SHAPE, TILTS)
    signal = pink(1)
    a, b = (filtered(signal + 0.7 * white(seed), measured) for seed in (2, 3))
    return Taken(signal, (a, b), measured, missing)


def numpy_fsc(a: Tensor, b: Tensor, region: Tensor) -> np.ndarray:
    """By shell, from the full complex transform of the tapered maps."""
    A, B = (np.fft.fftn(tapered(v.double()).numpy()) for v in (a, b))
    k = np.stack(np.meshgrid(*(np.fft.fftfreq(n) for n in SHAPE), indexing="ij"))
    shell = np.rint(np.linalg.norm(k, axis=0) * min(SHAPE))
    whole = np.fft.fftn(np.fft.irfftn(region.numpy(), s=SHAPE, axes=(0, 1, 2)))  # from the half to the full transform
    inside = whole.real > 0.5
    chosen = [inside & (shell == n) for n in range(1, min(SHAPE) // 2 + 1)]
    return np.array(
        [(A * B.conj())[s].sum().real / np.sqrt((abs(A[s]) ** 2).sum() * (abs(B[s]) ** 2).sum()) for s in chosen]
    )


def test_the_curves_are_those_of_the_full_transform(taken: Taken) -> None:
    a, b = taken.halves
    P, Q = taken.signal + 0.2 * white(5), taken.signal + 0.2 * white(6)
    found = consistency((P, Q), (a, b), taken.measured)
    expected = (numpy_fsc(P, b, taken.measured) + numpy_fsc(Q, a, taken.measured)) / 2
    np.testing.assert_allclose(found.found[1:], expected, atol=2e-3)  # which takes the mean of powers, not of ratios
    allowed = np.sqrt(np.maximum(numpy_fsc(a, b, taken.measured), 0))
    np.testing.assert_allclose(found.allowed[1:], allowed, atol=1e-6)


def test_a_perfect_prediction_reaches_all_that_the_noise_allows(taken: Taken) -> None:
    found = consistency((taken.signal, taken.signal), taken.halves, taken.measured)
    assert found.share == pytest.approx(1, abs=0.04)
    assert found.kept == pytest.approx(1, abs=0.06)
    assert found.noise == pytest.approx(0, abs=0.01)
    assert found.neither == pytest.approx(0, abs=0.06)


def test_an_invention_reaches_nothing_and_is_neither_signal_nor_noise(taken: Taken) -> None:
    found = consistency((pink(8), pink(8)), taken.halves, taken.measured)
    assert abs(found.share) < 0.06
    assert found.neither > 0.95


def test_what_is_invented_beside_the_signal_is_found_in_its_share_of_the_power(taken: Taken) -> None:
    mixed = taken.signal + pink(8)
    found = consistency((mixed, mixed), taken.halves, taken.measured)
    assert found.share == pytest.approx(math.sqrt(0.5), abs=0.06)
    assert found.neither == pytest.approx(0.5, abs=0.06)


def test_a_blur_takes_amplitude_and_invents_nothing(taken: Taken) -> None:
    k2 = frequencies(SHAPE).square().sum(-1).float()
    blurred = filtered(taken.signal, torch.exp(-6 * k2))
    found = consistency((blurred, blurred), taken.halves, taken.measured)
    assert 0.3 < found.kept < 0.8
    assert found.neither < 0.06


def test_data_left_as_they_are_keep_their_signal_and_all_of_their_noise(taken: Taken) -> None:
    found = consistency(taken.halves, taken.halves, taken.measured)
    assert found.kept == pytest.approx(1, abs=1e-6)
    assert found.neither == pytest.approx(0, abs=0.01)
    assert found.noise == pytest.approx(1 - found.share**2, abs=0.06)
    assert found.noise > 0.3


def test_the_share_is_the_correlation_with_the_signal_that_nobody_has_seen(taken: Taken) -> None:
    """Oracle: the FSC of the prediction with the noise-free signal, averaged with the same weights."""
    gain = torch.exp(-4 * frequencies(SHAPE).square().sum(-1).float())
    P, Q = (filtered(half, gain) + 0.3 * pink(9) for half in taken.halves)
    found = consistency((P, Q), taken.halves, taken.measured)
    truth = (numpy_fsc(P, taken.signal, taken.measured) + numpy_fsc(Q, taken.signal, taken.measured)) / 2
    allowed = found.allowed.numpy()[1:]
    shells = np.arange(1, len(allowed) + 1)
    weight = np.where(allowed**2 >= 0.143, shells**2 * allowed, 0)  # components of a shell go with its area
    assert found.share == pytest.approx((weight * truth).sum() / weight.sum(), abs=0.03)


def test_what_fills_the_wedge_is_not_held_against_the_data(taken: Taken) -> None:
    filled = filtered(taken.signal, taken.measured) + 3 * filtered(pink(8), taken.missing)
    found = consistency((filled, filled), taken.halves, taken.measured)
    assert found.share == pytest.approx(1, abs=0.08)


def test_a_prediction_without_a_ctf_meets_its_data_through_the_ctf_and_flipped_phases() -> None:
    measured, _ = measured_and_missing(SHAPE, TILTS)
    signal, ctf = white(1), ctf_gain(SHAPE, OPTICS)
    a, b = (filtered(filtered(signal, ctf) + 0.2 * white(seed), measured) for seed in (2, 3))
    flip, transfer = phase_flip_gain(SHAPE, OPTICS), ctf_gain(SHAPE, OPTICS, flipped=True)
    right = consistency((signal, signal), (a, b), measured, transfer=transfer, flip=flip)
    assert right.share == pytest.approx(1, abs=0.04)
    assert right.kept == pytest.approx(1, abs=0.06)
    unflipped = consistency((signal, signal), (a, b), measured, transfer=transfer)
    assert unflipped.share < 0.6
    bare = consistency((signal, signal), (a, b), measured, flip=flip)
    assert bare.kept > 1.2


def test_halves_that_agree_nowhere_tell_nothing(taken: Taken) -> None:
    found = consistency((taken.signal, taken.signal), (taken.halves[0], -taken.halves[1]), taken.measured)
    assert math.isnan(found.share)


def test_one_map_is_its_own_other_half(taken: Taken) -> None:
    a, _ = taken.halves
    found = consistency((a, a), (a, a), taken.measured)
    assert found.share == pytest.approx(1)
    assert found.noise == 0


def test_tilts_that_are_left_out_are_missing() -> None:
    whole = measured_and_missing(SHAPE, TILTS)
    inside, outside = measured_and_missing(SHAPE, ((-60.0, -20.0), (0.0, 54.0)))
    assert outside[38, 0, 10]  # −11°
    assert inside[2, 0, 10]
    assert torch.equal(inside | outside, whole[0] | whole[1])


@pytest.mark.parametrize(("amplitude", "expected"), [(1.0, 1.0), (0.5, 0.25)])
def test_the_filling_of_the_wedge_is_its_power_over_that_of_the_measured_region(
    amplitude: float, expected: float, taken: Taken
) -> None:
    a, b = (filtered(white(seed), torch.where(taken.missing, amplitude, 1.0)) for seed in (4, 5))
    filling = wedge_filling(a, b, taken.measured, taken.missing)
    assert filling[0].isnan()
    assert filling[6:].numpy() == pytest.approx(expected, abs=0.12)
    assert float(filling[6:].mean()) == pytest.approx(expected, abs=0.05)


def test_what_leaks_into_an_empty_wedge_is_little(taken: Taken) -> None:
    filling = wedge_filling(*taken.halves, taken.measured, taken.missing)
    assert float(filling[4:].max()) < 0.1

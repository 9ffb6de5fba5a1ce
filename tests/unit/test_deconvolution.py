"""The Wiener filter against its formula in numpy, and what is filtered in pieces against the whole."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from isonet2.data.filtered import Averaged, Filtered
from isonet2.data.window import Array
from isonet2.physics.acquisition import Optics
from isonet2.physics.ctf import ctf, ctf_gain, phase_flip_gain
from isonet2.physics.deconvolution import Wiener, wiener_gain, wiener_halo_voxels

OPTICS = Optics(pixel_size_angstrom=10.0, defocus_angstrom=30000.0, voltage_kv=300.0, cs_mm=2.7, amplitude_contrast=0.1)
WIENER = Wiener(snrfalloff=0.8, deconvstrength=1.5, highpassnyquist=0.1)
PIECES = [slice(0, 30), slice(30, 64)]


def numpy_snr(shape: tuple[int, int, int], wiener: Wiener) -> tuple[np.ndarray, np.ndarray]:
    """|k| in cycles per voxel of the whole transform, and what science.md assumes there, line by line."""
    z, y, x = np.meshgrid(*(np.fft.fftfreq(side) for side in shape), indexing="ij")
    k = np.sqrt(z**2 + y**2 + x**2)
    f = np.minimum(1, 2 * k)
    h = 1 - np.cos(np.pi * np.minimum(1, f / wiener.highpassnyquist))
    return k, np.exp(-f * wiener.snrfalloff * 100 / OPTICS.pixel_size_angstrom) * 10**wiener.deconvstrength * h


def numpy_wiener(shape: tuple[int, int, int], wiener: Wiener, *, flipped: bool) -> np.ndarray:
    k, snr = numpy_snr(shape, wiener)
    c = ctf(torch.from_numpy(k / 10.0), defocus_angstrom=30000.0, voltage_kv=300.0, cs_mm=2.7, amplitude_contrast=0.1)
    c = np.abs(c.numpy()) if flipped else c.numpy()
    return c * snr / (1 + c**2 * snr)


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("shape", [(24, 20, 26), (17, 22, 15)])
@pytest.mark.parametrize(
    "wiener", [WIENER, replace(WIENER, snrfalloff=0.0), replace(WIENER, highpassnyquist=1.0, deconvstrength=0.3)]
)
def test_the_gain_is_that_of_the_formula(shape, wiener, flipped):
    found = wiener_gain(shape, OPTICS, wiener, flipped=flipped)
    assert found.dtype == torch.float32
    assert found[0, 0, 0] == 0
    expected = numpy_wiener(shape, wiener, flipped=flipped)[..., : shape[2] // 2 + 1]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("of_the_ctf", [{"clip_first_peak_mode": 2}, {"bfactor_angstrom2": 900.0}])
def test_the_ctf_in_it_is_clipped_and_damped_as_everywhere(of_the_ctf):
    shape = (24, 24, 24)
    c = ctf_gain(shape, OPTICS, **of_the_ctf).numpy()
    snr = numpy_snr(shape, WIENER)[1][..., :13]
    found = wiener_gain(shape, OPTICS, WIENER, **of_the_ctf).numpy()
    np.testing.assert_allclose(found, c * snr / (1 + c**2 * snr), atol=1e-4)
    assert np.abs(found - wiener_gain(shape, OPTICS, WIENER).numpy()).max() > 0.01


def test_a_strong_filter_undoes_the_ctf():
    """Far above the noise, W → 1/CTF: CTF·W is 1 wherever the CTF is not near a zero."""
    k = torch.from_numpy(np.fft.rfftfreq(64))
    transfer = ctf(k / 10, defocus_angstrom=30000.0, voltage_kv=300.0, cs_mm=2.7, amplitude_contrast=0.1)
    gain = wiener_gain((1, 1, 64), OPTICS, Wiener(0.0, 6.0, 0.02))[0, 0]
    clear = (transfer.abs() > 0.1) & (k > 0)
    assert (gain * transfer)[clear].numpy() == pytest.approx(1, abs=1e-3)


def noise(shape: tuple[int, int, int], seed: int = 1) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def numpy_filtered(volume: Array, gain: np.ndarray, halo: int) -> np.ndarray:
    """The whole at once: mirrored by the halo on all sides, one transform."""
    padded = np.pad(volume, halo, mode="symmetric")
    result = np.fft.ifftn(np.fft.fftn(padded.astype(np.float64)) * gain).real
    return result[halo:-halo, halo:-halo, halo:-halo]


def test_pieces_of_a_deconvolved_volume_are_parts_of_the_whole():
    volume = noise((64, 64, 64))
    halo = wiener_halo_voxels(OPTICS, WIENER)
    assert halo == 24
    whole = numpy_filtered(volume, numpy_wiener((160, 160, 160), WIENER, flipped=False), halo=48)
    pieces = Filtered(volume, partial(wiener_gain, optics=OPTICS, wiener=WIENER), halo)
    found = np.block([[[pieces[z, y, x] for x in PIECES] for y in PIECES] for z in PIECES])
    assert found.dtype == np.float32
    assert np.sqrt(np.mean((found - whole) ** 2)) < 0.01 * whole.std()
    jump = np.abs(np.diff(found, axis=0)).mean(axis=(1, 2))
    assert jump[29] == pytest.approx(np.median(jump), rel=0.1)  # no seam between planes 29 and 30


def test_without_a_halo_there_is_a_seam():
    """That the test above would see it."""
    volume = noise((64, 64, 64))
    whole = numpy_filtered(volume, numpy_wiener((160, 160, 160), WIENER, flipped=False), halo=48)
    pieces = Filtered(volume, partial(wiener_gain, optics=OPTICS, wiener=WIENER), halo=2)
    found = np.block([[[pieces[z, y, x] for x in PIECES] for y in PIECES] for z in PIECES])
    assert np.sqrt(np.mean((found - whole) ** 2)) > 0.05 * whole.std()


@pytest.mark.parametrize(
    ("wiener", "flipped"), [(replace(WIENER, highpassnyquist=0.05, deconvstrength=1.0), False), (WIENER, True)]
)
def test_what_lies_beyond_the_halo_matters_less_than_a_hundredth_and_within_half_of_it_more(wiener, flipped):
    """At the corners of a box, where most is missing, in noise whose amplitude falls as 1/k."""
    side = 160
    k = torch.fft.fftfreq(side).double()
    k = (k[:, None, None] ** 2 + k[:, None] ** 2 + torch.fft.rfftfreq(side).double() ** 2).sqrt()
    pink = torch.fft.irfftn(torch.fft.rfftn(torch.from_numpy(noise((side,) * 3))) / (k + 0.01), s=(side,) * 3)
    gain = partial(wiener_gain, optics=OPTICS, wiener=wiener, flipped=flipped)
    halo = wiener_halo_voxels(OPTICS, wiener, flipped=flipped)
    box = (slice(side // 2 - 8, side // 2 + 8),) * 3
    volume = pink.float().numpy()
    whole = numpy_filtered(volume, numpy_wiener((side + 2,) * 3, wiener, flipped=flipped), halo=1)[box]
    errors = [np.sqrt(np.mean((Filtered(volume, gain, h)[box] - whole) ** 2)) / whole.std() for h in (halo // 2, halo)]
    assert errors[1] < 0.01 < errors[0]


def test_the_halo_ends_at_160_voxels():
    halos = [wiener_halo_voxels(OPTICS, replace(WIENER, highpassnyquist=share)) for share in (0.02, 0.001)]
    assert 80 <= halos[0] < halos[1] == 160


def test_a_gain_of_one_returns_any_box_also_at_the_edges_of_a_thin_volume():
    volume = noise((5, 20, 30))
    same = Filtered(volume, lambda shape: torch.ones(*shape[:2], shape[2] // 2 + 1), halo=16)
    assert same.shape == volume.shape
    for box in ((slice(0, 5), slice(0, 20), slice(0, 30)), (slice(1, 3), slice(7, 8), slice(25, 99))):
        np.testing.assert_allclose(same[box], volume[box], atol=1e-5)


def test_phases_flipped_in_boxes_are_those_of_the_whole_where_there_is_signal():
    """White density as imaged: what is left lies at the zeros of the CTF; see halo_voxels."""
    optics = replace(OPTICS, pixel_size_angstrom=15.0)
    density = torch.from_numpy(noise((128, 128, 128)))
    k = torch.fft.fftfreq(128).double()
    k = (k[:, None, None] ** 2 + k[:, None] ** 2 + torch.fft.rfftfreq(128).double() ** 2).sqrt()
    transfer = ctf(k / 15, defocus_angstrom=30000.0, voltage_kv=300.0, cs_mm=2.7, amplitude_contrast=0.1)
    shape = (1 + (k / 15 * 60) ** 2).reciprocal()
    imaged, flipped = (
        torch.fft.irfftn(torch.fft.rfftn(density) * shape * gain, s=(128, 128, 128)).float().numpy()
        for gain in (transfer, transfer.abs())
    )
    box = (slice(48, 80),) * 3
    found = Filtered(imaged, partial(phase_flip_gain, optics=optics), halo=19)[box]
    assert np.sqrt(np.mean((found - flipped[box]) ** 2)) < 0.035 * flipped[box].std()
    assert np.sqrt(np.mean((imaged - flipped)[box] ** 2)) > 0.2 * flipped[box].std()


def test_gains_are_made_once_for_boxes_of_almost_one_size():
    made = []

    def gain(shape):
        made.append(tuple(shape))
        return torch.ones(*shape[:2], shape[2] // 2 + 1)

    volume = Filtered(noise((40, 40, 40)), gain, halo=4)
    for box in ((slice(0, 14), slice(0, 13), slice(0, 14)), (slice(20, 33), slice(3, 17), slice(1, 15))):
        volume[box]
    assert len(made) == 1


def test_halves_are_averaged_in_float32():
    halves = [np.full((2, 2, 2), value, np.float32) for value in (1.0, 4.0)]
    mean = Averaged(halves)
    assert mean.shape == (2, 2, 2)
    everything = slice(0, 2)
    assert (mean[everything, everything, everything] == 2.5).all()
    assert (halves[0] == 1).all()  # and are not changed by it

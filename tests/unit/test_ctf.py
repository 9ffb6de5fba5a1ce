"""The CTF against torch-ctf, which has its own derivation of every term, and against zeros known in closed form."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch_ctf

from isonet2.physics.acquisition import Optics
from isonet2.physics.ctf import (
    ctf,
    ctf_gain,
    first_peak,
    halo_voxels,
    phase_flip_gain,
    reach_voxels,
    wavelength_angstrom,
)

MICROSCOPE = {"voltage_kv": 300.0, "cs_mm": 2.7, "amplitude_contrast": 0.1}


@pytest.mark.parametrize("voltage_kv", [80.0, 120.0, 200.0, 300.0])
def test_the_wavelength_is_relativistic(voltage_kv):
    metres = torch_ctf.calculate_relativistic_electron_wavelength(voltage_kv * 1e3)
    assert wavelength_angstrom(voltage_kv) == pytest.approx(float(metres) * 1e10, rel=1e-6)


@pytest.mark.parametrize("phase_shift_deg", [0.0, 70.0])
@pytest.mark.parametrize("defocus_angstrom", [-5000.0, 20000.0, 45000.0])
def test_a_plane_of_frequencies_gives_the_2d_ctf_of_torch_ctf(defocus_angstrom, phase_shift_deg):
    height, width, pixel = 48, 64, 4.0
    oracle = torch_ctf.calculate_ctf_2d(
        defocus=defocus_angstrom / 1e4, astigmatism=0.0, astigmatism_angle=0.0, voltage=300.0, spherical_aberration=2.7,
        amplitude_contrast=0.1, phase_shift=phase_shift_deg, pixel_size=pixel, image_shape=(height, width), rfft=True,
        fftshift=False,
    )  # fmt: skip
    k = torch.fft.fftfreq(height, pixel).double()[:, None].hypot(torch.fft.rfftfreq(width, pixel).double())
    ours = ctf(k, defocus_angstrom=defocus_angstrom, phase_shift_deg=phase_shift_deg, **MICROSCOPE)
    torch.testing.assert_close(ours, oracle.double(), atol=2e-4, rtol=0)  # torch-ctf's grid is float32


def test_without_cs_and_amplitude_contrast_the_zeros_lie_at_the_roots_of_n_over_wavelength_times_defocus():
    defocus = 30000.0
    zeros = torch.sqrt(torch.arange(1, 9, dtype=torch.float64) / (wavelength_angstrom(300) * defocus))
    values = ctf(zeros, defocus_angstrom=defocus, voltage_kv=300, cs_mm=0, amplitude_contrast=0)
    assert values.abs().max() < 1e-9
    between = ctf((zeros[1:] + zeros[:-1]) / 2, defocus_angstrom=defocus, voltage_kv=300, cs_mm=0, amplitude_contrast=0)
    assert torch.equal(between.sign(), torch.tensor([-1, 1, -1, 1, -1, 1, -1]).double())


def test_underfocus_starts_positive_at_the_amplitude_contrast():
    low = ctf(torch.linspace(0, 0.02, 50, dtype=torch.float64), defocus_angstrom=30000, **MICROSCOPE)
    assert float(low[0]) == pytest.approx(0.1)
    assert (low > 0).all()


def test_the_bfactor_enters_once():
    k = torch.linspace(0.001, 0.1, 30, dtype=torch.float64)
    plain = ctf(k, defocus_angstrom=20000, **MICROSCOPE)
    damped = ctf(k, defocus_angstrom=20000, bfactor_angstrom2=200, **MICROSCOPE)
    expected = [math.exp(-50 * float(value) ** 2) for value in k]
    torch.testing.assert_close(damped / plain, torch.tensor(expected, dtype=torch.float64))


def numpy_frequency(shape: tuple[int, int, int]) -> np.ndarray:
    """|k| in cycles per voxel, on the half grid, of numpy's own making."""
    z, y, x = shape
    grid = np.meshgrid(np.fft.fftfreq(z), np.fft.fftfreq(y), np.fft.rfftfreq(x), indexing="ij")
    return np.sqrt(sum(axis**2 for axis in grid))


def numpy_ctf(k: np.ndarray, optics: Optics, bfactor: float = 0.0) -> np.ndarray:
    """As written in Rohou & Grigorieff (2015), with the amplitude contrast as a phase; λ from torch-ctf."""
    wavelength = float(torch_ctf.calculate_relativistic_electron_wavelength(optics.voltage_kv * 1e3)) * 1e10
    q = k / optics.pixel_size_angstrom
    chi = np.pi * wavelength * q**2 * (optics.defocus_angstrom - 0.5 * wavelength**2 * q**2 * optics.cs_mm * 1e7)
    return np.sin(chi + np.arcsin(optics.amplitude_contrast)) * np.exp(-bfactor * q**2 / 4)


OPTICS = Optics(pixel_size_angstrom=8.0, defocus_angstrom=25000.0, voltage_kv=300.0, cs_mm=2.7, amplitude_contrast=0.1)
SHAPES = [(24, 20, 26), (17, 22, 15)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("optics", [OPTICS, replace(OPTICS, voltage_kv=200.0, cs_mm=2.0, amplitude_contrast=0.07)])
def test_the_gain_of_a_volume_is_the_radial_ctf_in_cycles_per_voxel_of_each_axis(shape, optics):
    expected = numpy_ctf(numpy_frequency(shape), optics, bfactor=150)
    found = ctf_gain(shape, optics, bfactor_angstrom2=150)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-5)
    np.testing.assert_allclose(
        ctf_gain(shape, optics, bfactor_angstrom2=150, flipped=True), np.abs(expected), atol=2e-5
    )


@pytest.mark.parametrize("mode", [1, 2, 3])
@pytest.mark.parametrize("bfactor", [0.0, 400.0])
def test_the_first_peak_is_clipped_as_written(mode, bfactor):
    """k₁ by a million steps: the first of them from which |CTF| falls."""
    fine = np.linspace(0, 0.5, 1_000_001)
    values = np.abs(numpy_ctf(fine, OPTICS, bfactor))
    first = fine[np.argmax(np.diff(values) < 0)]
    height = numpy_ctf(first, OPTICS, bfactor)
    assert first_peak(OPTICS, bfactor) == pytest.approx(first, abs=1e-5)
    k = numpy_frequency((24, 20, 26))
    plain = numpy_ctf(k, OPTICS, bfactor)
    ramps = {
        1: np.full_like(k, height),
        2: np.maximum(plain, height * (1 - np.sin(np.pi / 2 * k / first))),
        3: np.maximum(plain, height * np.cos(np.pi / 2 * k / first)),
    }
    expected = np.where(k < first, ramps[mode], plain)
    assert np.abs(expected - plain).max() > 0.3
    found = ctf_gain((24, 20, 26), OPTICS, clip_first_peak_mode=mode, bfactor_angstrom2=bfactor)
    np.testing.assert_allclose(found.numpy(), expected, atol=3e-5)


def test_without_cs_and_bfactor_the_first_peak_is_known_in_closed_form():
    optics = replace(OPTICS, cs_mm=0.0)
    phase = math.pi / 2 - math.asin(0.1)
    expected = 8.0 * math.sqrt(phase / (math.pi * wavelength_angstrom(300) * 25000))
    assert first_peak(optics) == pytest.approx(expected, rel=1e-5)
    assert first_peak(replace(optics, amplitude_contrast=1.0)) == 0  # a phase plate's: nothing lies before it
    with pytest.raises(ValueError, match="no first peak"):
        first_peak(replace(optics, defocus_angstrom=0.0))


def test_phases_are_flipped_by_the_sign_of_the_ctf_and_never_lost():
    gain = phase_flip_gain((24, 20, 26), OPTICS)
    np.testing.assert_array_equal(gain.numpy(), np.sign(numpy_ctf(numpy_frequency((24, 20, 26)), OPTICS)))
    assert {*gain.unique().tolist()} == {-1.0, 1.0}
    without = phase_flip_gain((8, 8, 8), replace(OPTICS, defocus_angstrom=0.0, cs_mm=0.0, amplitude_contrast=0.0))
    assert (without == 1).all()  # where the CTF is zero everywhere


def test_the_halo_grows_with_what_defocus_moves_and_ends_at_64():
    assert reach_voxels(OPTICS) == pytest.approx(wavelength_angstrom(300) * 25000 * (0.5 / 8) / 8)
    halos = [halo_voxels(replace(OPTICS, pixel_size_angstrom=p, defocus_angstrom=3e4)) for p in (15, 10, 5, 2)]
    assert halos == [19, 22, 40, 64]

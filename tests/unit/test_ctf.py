"""The CTF against torch-ctf, which has its own derivation of every term, and against zeros known in closed form."""

import math

import pytest
import torch
import torch_ctf

from isonet2.physics.ctf import ctf, wavelength_angstrom

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

"""The contrast transfer function: what defocus and spherical aberration do to each frequency.

χ(k) = πλΔf k² − (π/2) Cs λ³ k⁴ + φ, CTF(k) = (A cos χ + √(1 − A²) sin χ) exp(−B k²/4), Δf > 0 for underfocus. With this
sign the CTF is positive at low frequency, so that it multiplies density that is already inverted: an image on disk,
protein dark, is −CTF × density. Sources: Rohou & Grigorieff, J Struct Biol 192:216 (2015); science.md of the project.
"""

from __future__ import annotations

import math

import torch
from scipy import constants
from torch import Tensor


def wavelength_angstrom(voltage_kv: float) -> float:
    """De Broglie's wavelength of the electron, with the relativistic correction: 0.0197 Å at 300 kV."""
    energy = constants.e * voltage_kv * 1e3
    rest_energy = constants.m_e * constants.c**2
    momentum = math.sqrt(2 * constants.m_e * energy * (1 + energy / (2 * rest_energy)))
    return constants.h / momentum * 1e10


def ctf(
    frequency: Tensor,
    *,
    defocus_angstrom: float,
    voltage_kv: float,
    cs_mm: float,
    amplitude_contrast: float,
    phase_shift_deg: float = 0.0,
    bfactor_angstrom2: float = 0.0,
) -> Tensor:
    """The CTF at each |k| in `frequency` (any shape), in cycles per Å; float, of the same shape and precision.

    A line of frequencies gives the 1-D CTF, a plane the 2-D one, a grid the radial 3-D one. `phase_shift_deg` is the φ
    of a phase plate. The B-factor enters here, once, and nowhere else.
    """
    wavelength = wavelength_angstrom(voltage_kv)
    k2 = frequency.square()
    chi = (
        math.pi * wavelength * defocus_angstrom * k2
        - math.pi / 2 * cs_mm * 1e7 * wavelength**3 * k2.square()
        + math.radians(phase_shift_deg)
    )
    oscillation = amplitude_contrast * chi.cos() + math.sqrt(1 - amplitude_contrast**2) * chi.sin()
    return oscillation * torch.exp(-bfactor_angstrom2 / 4 * k2)

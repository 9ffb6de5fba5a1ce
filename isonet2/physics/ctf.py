"""The contrast transfer function: what defocus and spherical aberration do to each frequency.

χ(k) = πλΔf k² − (π/2) Cs λ³ k⁴ + φ, CTF(k) = (A cos χ + √(1 − A²) sin χ) exp(−B k²/4), Δf > 0 for underfocus. With this
sign the CTF is positive at low frequency, so that it multiplies density that is already inverted: an image on disk,
protein dark, is −CTF × density. Sources: Rohou & Grigorieff, J Struct Biol 192:216 (2015); science.md of the project.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from scipy import constants
from torch import Tensor

from isonet2.physics.acquisition import Optics
from isonet2.physics.fourier import radial_gain

_SAMPLES = 1001  # twice: the second time between two neighbours of the first


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


def ctf_of(optics: Optics, k: Tensor, bfactor_angstrom2: float = 0.0) -> Tensor:
    """The CTF of a tomogram at each |k| (any shape), in cycles per voxel."""
    return ctf(
        k / optics.pixel_size_angstrom,
        defocus_angstrom=optics.defocus_angstrom,
        voltage_kv=optics.voltage_kv,
        cs_mm=optics.cs_mm,
        amplitude_contrast=optics.amplitude_contrast,
        bfactor_angstrom2=bfactor_angstrom2,
    )


def ctf_gain(
    shape: Sequence[int],
    optics: Optics,
    *,
    clip_first_peak_mode: int = 0,
    bfactor_angstrom2: float = 0.0,
    flipped: bool = False,
) -> Tensor:
    """Float32 (z, y, x//2+1), zero frequency at [0, 0, 0]: the radial 3-D CTF; of phase-flipped data, |CTF|.

    `clip_first_peak_mode` raises what lies below the first maximum: see `clipped_ctf`.
    """
    values = radial_gain(shape, clipped_ctf(optics, clip_first_peak_mode, bfactor_angstrom2))
    return values.abs() if flipped else values


def phase_flip_gain(shape: Sequence[int], optics: Optics) -> Tensor:
    """Float32 (z, y, x//2+1), zero frequency at [0, 0, 0]: the sign of the radial CTF, 1 or −1."""
    return torch.where(ctf_gain(shape, optics) < 0, -1.0, 1.0)


def clipped_ctf(optics: Optics, mode: int, bfactor_angstrom2: float = 0.0) -> Callable[[Tensor], Tensor]:
    """The CTF as a function of |k| in cycles per voxel, up to its first maximum k₁ according to `mode`.

    0: as it is; 1: constant, CTF(k₁); 2: max(CTF, CTF(k₁)(1 − sin(π/2·k/k₁))); 3: max(CTF, CTF(k₁) cos(π/2·k/k₁)).
    ValueError where `mode` asks for a peak and the defocus has none: it must be an underfocus, above 0.
    """

    def plain(k: Tensor) -> Tensor:
        return ctf_of(optics, k, bfactor_angstrom2)

    if mode == 0:
        return plain
    peak = first_peak(optics, bfactor_angstrom2)
    height = plain(torch.tensor(peak, dtype=torch.float64))
    raised = _RAISED[mode]

    def clipped(k: Tensor) -> Tensor:
        return torch.where(k < peak, raised(plain(k), height, math.pi / 2 * k / peak), plain(k))

    return clipped


_RAISED: dict[int, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    1: lambda ctf, height, angle: height.expand_as(ctf),
    2: lambda ctf, height, angle: torch.maximum(ctf, height * (1 - angle.sin())),
    3: lambda ctf, height, angle: torch.maximum(ctf, height * angle.cos()),
}


def first_peak(optics: Optics, bfactor_angstrom2: float = 0.0) -> float:
    """Where |CTF| has its first maximum, in cycles per voxel; it may lie beyond Nyquist. ValueError without underfocus.

    Without Cs, χ = π at k² = 1/λΔf, and Cs delays it: the CTF rises and falls once before that.
    """
    if optics.defocus_angstrom <= 0:
        raise ValueError(f"a defocus of {optics.defocus_angstrom:g} Å has no first peak of the CTF to clip")
    wavelength = wavelength_angstrom(optics.voltage_kv)
    last = optics.pixel_size_angstrom / math.sqrt(wavelength * optics.defocus_angstrom)
    k = torch.linspace(0, last, _SAMPLES, dtype=torch.float64)
    highest = int(ctf_of(optics, k, bfactor_angstrom2).argmax())
    if highest == 0:
        return 0.0
    around = torch.linspace(float(k[highest - 1]), float(k[min(highest + 1, _SAMPLES - 1)]), _SAMPLES, dtype=k.dtype)
    return float(around[ctf_of(optics, around, bfactor_angstrom2).argmax()])


def reach_voxels(optics: Optics) -> float:
    """How far, in voxels, defocus moves what has the Nyquist frequency: (dχ/dk)/2π = λΔf k, the Cs term being small."""
    pixel = optics.pixel_size_angstrom
    return wavelength_angstrom(optics.voltage_kv) * abs(optics.defocus_angstrom) / (2 * pixel**2)


def halo_voxels(optics: Optics) -> int:
    """How many voxels around a box should be known to flip its phases: 16 and twice the reach of defocus, at most 64.

    No halo makes it exact: the sign jumps at each zero of the CTF, and the ring of a jump fades with the root of the
    distance. Against the flip of the whole, in white noise as imaged under a CTF, falling as 1/(1 + (60 Å·k)²), this
    leaves 2 % rms (15 Å per pixel, defocus 3 µm), 5 % (10 Å, 3 µm) and 11 % (5 Å, 3 µm), all of it at the zeros, where
    there is little but noise; four times the halo would halve that.
    """
    return min(64, 16 + math.ceil(2 * reach_voxels(optics)))

"""psf: what the missing wedge, and the CTF, make of a single point."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from isonet2.data.acquired import optics_of, tilts_of
from isonet2.errors import UserError
from isonet2.io.mrc import write_mrc
from isonet2.io.star import COLUMNS, read_star, select_rows
from isonet2.job.tools import Psf
from isonet2.physics.acquisition import Optics, Tilts
from isonet2.physics.ctf import ctf_gain
from isonet2.physics.fourier import inverse
from isonet2.physics.wedge import measured_region


def psf(section: Psf) -> list[Path]:
    """Write a point spread function for each tomogram, or for the settings: the files, in order.

    F⁻¹[M], or F⁻¹[M·CTF], with the point in the middle (side//2), as float32. Memory: some 50 bytes a voxel.
    """
    shape = (section.cube_size,) * 3
    written = []
    for name, optics, tilts in _acquisitions(section):
        filter_ = measured_region(shape, tilts).float()
        if section.with_ctf:
            filter_ *= ctf_gain(shape, optics)
        maps = {"psf": inverse(filter_.to(torch.complex64), shape)}
        if section.fourier:
            maps["fourier"] = _whole(filter_)
        for kind, volume in maps.items():
            path = Path(section.output_dir) / f"{name}_{kind}.mrc"
            centred = torch.fft.fftshift(volume).numpy().astype(np.float32, copy=False)
            write_mrc(path, centred, pixel_size_angstrom=optics.pixel_size_angstrom)
            written.append(path)
    return written


def _acquisitions(section: Psf) -> Iterator[tuple[str, Optics, Tilts]]:
    """Name, optics and tilts of each one to make. UserError for a tomogram without the defocus that it needs."""
    if section.star_file is None:
        optics = Optics(section.pixel_size, section.defocus, section.voltage, section.cs, section.ac)
        name = f"tilts_{section.tilt_min:g}_{section.tilt_max:g}"
        _check_defocus(section, optics, "--defocus")
        yield name, optics, ((section.tilt_min, section.tilt_max),)
        return
    star = Path(section.star_file)
    for row in select_rows(read_star(star), section.tomo_idx):
        optics = optics_of(row)
        _check_defocus(section, optics, f"{star}: {COLUMNS['defocus_angstrom']} of {row.name}")
        yield row.name, optics, tilts_of(row, Path)


def _check_defocus(section: Psf, optics: Optics, place: str) -> None:
    if section.with_ctf and optics.defocus_angstrom <= 0:
        raise UserError(f"{place} is {optics.defocus_angstrom:g}: set it to the underfocus in Å, as in 30000")


def _whole(half: Tensor) -> Tensor:
    """(s, s, s//2+1) → (s, s, s): a real filter that is the same at k and −k, with its other half."""
    side = half.shape[0]
    turned = half[..., 1 : (side + 1) // 2].flip(0, 1, 2).roll((1, 1), (0, 1))
    return torch.cat([half, turned], dim=-1)

"""How the tomogram of a row was taken, as the physics wants to know it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from isonet2.errors import UserError
from isonet2.io.star import PHASES_FLIPPED, TomogramRow
from isonet2.io.tilts import read_tilts
from isonet2.physics.acquisition import Optics, Tilts
from isonet2.physics.tilts import intervals_of


def optics_of(row: TomogramRow) -> Optics:
    """What its CTF depends on."""
    return Optics(
        pixel_size_angstrom=row.pixel_size_angstrom,
        defocus_angstrom=row.defocus_angstrom,
        voltage_kv=row.voltage_kv,
        cs_mm=row.cs_mm,
        amplitude_contrast=row.amplitude_contrast,
    )


def tilts_of(row: TomogramRow, path: Callable[[str], Path]) -> Tilts:
    """The measured tilts: those of its list, which `path` finds, a stretch that is missing there being a gap; or else
    all from the lowest to the highest."""
    if row.tilt_file is not None:
        return intervals_of(read_tilts(path(row.tilt_file)))
    return ((row.tilt_min_deg, row.tilt_max_deg),)


def check_phases(rows: Iterable[TomogramRow], option: str, *, phaseflipped: bool) -> None:
    """UserError if the list says of a tomogram the contrary of an option: its CTF would be corrected twice, or not."""
    for row in rows:
        if row.phases_flipped is (not phaseflipped):
            raise UserError(
                f"{option}: {row.name} is {'not ' if phaseflipped else ''}phase-flipped, as {PHASES_FLIPPED} in the "
                f"list says: {'leave the option out' if phaseflipped else 'set it'}, or correct the list"
            )

"""One tomogram as another program left it: its maps, and what that program says of how they were made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from isonet2.errors import UserError
from isonet2.io.star import TomogramRow

Warn = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Series:
    """Files by role (full, even, odd) and metadata; None, or nothing, where the program does not say.

    `tilts_deg` are those of the images that were used, in the convention of isonet2: an image at θ measures the plane
    through y and (kx, kz) = (cos θ, sin θ). Without `sign_known` nothing tells which way z runs, and all of them may
    have the other sign.
    """

    name: str
    files: Mapping[str, Path]
    metadata: tuple[Path, ...] = ()
    tilts_deg: tuple[float, ...] = ()
    sign_known: bool = True
    pixel_size_angstrom: float | None = None
    defocus_angstrom: float | None = None
    voltage_kv: float | None = None
    cs_mm: float | None = None
    amplitude_contrast: float | None = None
    phases_flipped: bool | None = None
    row: TomogramRow | None = None
    """All that IsoNet2's own list says."""
    relion_list: Path | None = None
    """RELION's own, into a copy of which results go."""


def folder_above(path: Path, name: str) -> Path:
    """The folder that a list names its files from: the first above it in which one of them lies. UserError if none."""
    for folder in path.absolute().parents:
        if (folder / name).is_file():
            return folder
    raise UserError(
        f"{path}: {name} lies in no folder above it, from which it could be named: "
        "take the list from where it was made, or correct the name"
    )


def at_zero_tilt(tilts_deg: Sequence[float], values: Sequence[float]) -> float:
    """The value that belongs to the tilt nearest to 0°."""
    return min(zip(tilts_deg, values, strict=True), key=lambda pair: abs(pair[0]))[1]


def number(text: str | None) -> float | None:
    """The number in a text; None if there is none, or none that is finite."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None  # also not for nan

"""One tomogram as another program left it: its maps, and what that program says of how they were made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, wraps
from pathlib import Path
from typing import TypeVar

from isonet2.errors import UserError
from isonet2.io.atomic import existing_file
from isonet2.io.star import TomogramRow

Warn = Callable[[str], None]
_T = TypeVar("_T")


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
    phase_shift_rad: float = 0.0
    """The largest that a phase plate made."""
    row: TomogramRow | None = None
    """All that IsoNet2's own list says."""
    relion_list: Path | None = None
    """RELION's own, into a copy of which results go."""


def once(read: Callable[[Path], _T]) -> Callable[[Path], _T]:
    """`read`, whose results are kept while the process runs and the file keeps its time and size."""
    kept = lru_cache(maxsize=4096)(lambda path, mtime_ns, size: read(path))

    @wraps(read)
    def reading(path: Path) -> _T:
        state = path.stat()
        return kept(path, state.st_mtime_ns, state.st_size)

    return reading


@once
def text_of(path: Path) -> str:
    """A whole text without a byte order mark; what is not UTF-8 is replaced. UserError if it cannot be read."""
    return existing_file(path, what="metadata").read_text(encoding="utf-8-sig", errors="replace")


def subfolders(folder: Path) -> list[Path]:
    """Those in a folder, in the order of their names, without hidden ones and those that may not be looked into."""
    return [path for path in sorted(folder.iterdir()) if path.name[0] != "." and _can_be_listed(path)]


def _can_be_listed(path: Path) -> bool:
    try:
        next(path.iterdir(), None)
    except OSError:  # a file, or such as lost+found
        return False
    return True


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

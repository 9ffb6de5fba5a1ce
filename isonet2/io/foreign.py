"""What other programs left: which one it was, and its tomograms."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from isonet2.errors import UserError
from isonet2.io.aretomo import aretomo_maps, read_aretomo
from isonet2.io.imod_folder import check_trimmed, imod_datasets, read_imod
from isonet2.io.relion import is_relion, read_relion
from isonet2.io.series import Series, Warn, folder_above
from isonet2.io.star import COLUMNS, FILES, read_star
from isonet2.io.star_text import read_loops
from isonet2.io.warp import read_warp, warp_folders
from isonet2.job.container import missing_hint

_PHASE_SHIFT_RAD = 0.1  # below that it is an error of the fit


@dataclass(frozen=True)
class Recognised:
    """A program, its list or folder, and by what it was recognised."""

    source: str
    path: Path
    why: str


def recognise(path: Path, asked: str = "auto", *, cure: str | None = None) -> Recognised:
    """Which program made `path`, a STAR file or a folder; "folders" for a plain folder of tomograms.

    With `asked` only that one comes into question. UserError, in one line, if several do, which says the `cure`, or if
    it is not there, or only in parts.
    """
    with _said_in_a_line(path):
        found = _of_list(path) if path.is_file() else _of_folder(path) if path.is_dir() else []
        fitting = [each for each in found if asked in ("auto", each.source)]
        if not fitting and asked in ("auto", "imod") and path.is_dir():
            check_trimmed(path)
    if asked == "folders" or (asked == "auto" and not found and not path.is_file()):
        return Recognised("folders", path, "it holds tomograms, and no metadata of a program that is known")
    if not fitting:
        what = path if path.exists() else f"{path} (no such file or folder{missing_hint(os.environ)})"
        raise UserError(f"{what}: nothing of {asked} there, which would be {_LOOKS[asked]}")
    if len({each.path for each in fitting}) > 1:
        paths = ", ".join(f"{each.path} ({each.source}: {each.why})" for each in fitting)
        raise UserError(f"{path}: several things to list: {paths}: {cure or 'name one, and its program by --from'}")
    if len(fitting) > 1:
        looks = " and of ".join(f"{each.source} ({each.why})" for each in fitting)
        raise UserError(f"{path}: may be of {looks}: {cure or f'name the program, as in --from {fitting[0].source}'}")
    return fitting[0]


def read_series(found: Recognised, warn: Warn, *, pixel_size_angstrom: float | None) -> list[Series]:
    """The tomograms that a program left; `warn` is told what is doubtful. UserError if they cannot be used."""
    with _said_in_a_line(found.path):
        if found.source == "warp":
            series = read_warp(found.path, warn, pixel_size_angstrom)
        else:
            series = _READERS[found.source](found.path, warn)
    shifted = [each for each in series if each.phase_shift_rad > _PHASE_SHIFT_RAD]
    if shifted:
        warn(
            f"prepare_star: {shifted[0].name} (of {len(shifted)}): taken with a phase plate, whose shift "
            f"({shifted[0].phase_shift_rad:.2f} rad) neither deconv nor a CTF_mode models: take CTF_mode None"
        )
    return series


@contextmanager
def _said_in_a_line(path: Path) -> Iterator[None]:
    """UserError for a file or folder, in `path` or that one itself, that cannot be read."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{error.filename or path}: cannot be read: {error.strerror}") from None


def _of_list(path: Path) -> list[Recognised]:
    if path.suffix.lower() != ".star":
        raise UserError(f"{path}: neither a folder nor a STAR file")
    for columns, _ in read_loops(path):
        if is_relion(columns):
            return [Recognised("relion", path, "its column rlnTomoName beside tilt series")]
        if COLUMNS["index"] in columns and COLUMNS["tilt_min_deg"] in columns:
            return [Recognised("isonet", path, "its columns rlnIndex and rlnTiltMin")]
        if COLUMNS["index"] in columns:
            raise UserError(f"{path}: a list of IsoNet 1, without tilts: prepare_star FOLDER makes one of isonet2")
    raise UserError(f"{path}: no list of tomograms of RELION 5 or IsoNet2")


def _of_folder(folder: Path) -> list[Recognised]:
    lists = (folder / "tomograms.star", *sorted(folder.glob("Tomograms/job*/tomograms.star")))
    found = [Recognised("relion", path, "tomograms.star with rlnTomoName") for path in lists if _is_relion(path)]
    found += [Recognised("warp", place, f"{first.parent.name}/{first.name}") for place, first in warp_folders(folder)]
    if series := aretomo_maps(folder):
        first = next(iter(next(iter(series.values())).values())).name
        found.append(Recognised("aretomo", folder, f"{first} beside .aln or AreTomo3_Session.json"))
    if datasets := imod_datasets(folder):
        tilts, files = datasets[0]
        found.append(Recognised("imod", folder, f"{next(iter(files.values())).name} and {tilts.name}"))
    return found


def _is_relion(path: Path) -> bool:
    with suppress(UserError):  # a file of that name which is something else is no business of ours
        return path.is_file() and any(is_relion(columns) for columns, _ in read_loops(path))
    return False


def _read_isonet(path: Path, warn: Warn) -> list[Series]:
    rows = read_star(path)
    base = folder_above(path, str(rows[0].tomogram or rows[0].half1))
    found = []
    for row in rows:
        names: dict[str, Any] = {name: str(base / value) for name in FILES if (value := getattr(row, name))}
        roles = {"full": row.tomogram, "even": row.half1, "odd": row.half2}
        files = {role: base / name for role, name in roles.items() if name is not None}
        found.append(Series(name=row.name, files=files, metadata=(path,), row=replace(row, **names)))
    return found


_READERS: dict[str, Callable[[Path, Warn], list[Series]]] = {
    "isonet": _read_isonet,
    "relion": read_relion,
    "aretomo": read_aretomo,
    "imod": read_imod,
}
_LOOKS = {
    "isonet": "a STAR file with rlnIndex and rlnTiltMin",
    "relion": "RELION 5's tomograms.star with rlnTomoName",
    "warp": "a folder with reconstruction/NAME_10.00Apx.mrc",
    "aretomo": "a folder with NAME_Vol.mrc (or NAME_rec.mrc, or NAME.rec) and NAME.aln",
    "imod": "a folder with NAME.rec (or NAME_rec.mrc) and NAME.tlt, or one folder for each",
    "auto": "a folder of tomograms, or a STAR file of RELION 5 or IsoNet2",
}

"""Folders of AreTomo3: NAME_Vol.mrc, NAME_EVN_Vol.mrc, NAME_ODD_Vol.mrc, NAME.aln, NAME_CTF.txt, AreTomo3_Session.json.

After AreTomo3's own source: an image at TILT (AlphaOffset is in it already) is projected by x' = x cos θ + z sin θ with
z along the rows of the volume (GBackProjWbp.cu); -FlipVol 0, the default, leaves these as rows, 2 makes planes of them
in the same order, 1 in the reverse one, as IMOD's rotation does (CTiltSeries::FlipVol).
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isonet2.errors import UserError
from isonet2.io.mrc import read_header
from isonet2.io.series import Series, Warn, at_zero_tilt, number

_MAP = re.compile(r"(?P<name>[^.].*?)(?:_(?P<half>EVN|ODD))?_Vol\.mrc")
_ROLES = {None: "full", "EVN": "even", "ODD": "odd"}
_SESSION = "AreTomo3_Session.json"
_ROW = 10  # numbers of an image in an .aln: SEC ROT GMAG TX TY SMEAN SFIT SCALE BASE TILT


def aretomo_maps(folder: Path) -> dict[str, dict[str, Path]]:
    """{NAME: {role: volume}} of the series in a folder that have a NAME.aln; where one has, also of the others."""
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    for path in sorted(folder.glob("*_Vol.mrc")):
        if match := _MAP.fullmatch(path.name):
            found[match["name"]][_ROLES[match["half"]]] = path
    series = {name: {role: files[role] for role in _ROLES.values() if role in files} for name, files in found.items()}
    return series if any((folder / f"{name}.aln").is_file() for name in found) else {}


def read_aretomo(folder: Path, warn: Warn) -> list[Series]:
    """Every tomogram of a folder. UserError for volumes whose planes are xz."""
    said = _session(folder)
    if said is None:
        warn(f"prepare_star: {folder / _SESSION}: missing: a corrected CTF (-CorrCTF 1) and -FlipVol 1 are assumed")
    return [_series(folder, name, files, said or {}) for name, files in aretomo_maps(folder).items()]


def _session(folder: Path) -> Mapping[str, Any] | None:
    """The parameters that AreTomo3 ran with."""
    path = folder / _SESSION
    if not path.is_file():
        return None
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["parameters"])
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}: not the record of AreTomo3: repair it, or remove it") from None


def _first(value: Any) -> float | None:
    """Of a list of numbers or a number."""
    return number(str(value[0] if isinstance(value, list) and value else value))


def _series(folder: Path, name: str, files: Mapping[str, Path], said: Mapping[str, Any]) -> Series:
    if ("even" in files) != ("odd" in files):
        raise UserError(f"{next(iter(files.values()))}: only one half is there: make both, or move it away")
    common: dict[str, Any] = {
        "name": name,
        "files": files,
        "voltage_kv": _first(said.get("kV")),
        "cs_mm": _first(said.get("Cs")),
        "amplitude_contrast": _first(said.get("AmpContrast")),
    }
    aln, ctf = folder / f"{name}.aln", folder / f"{name}_CTF.txt"
    if not aln.is_file():
        return Series(**common)
    size, images = _alignment(aln)
    _check_planes(next(iter(files.values())), size)
    defocus = _defocus(ctf, images, size[2]) if ctf.is_file() else None
    flip, corrects = _first(said.get("FlipVol")), _first(said.get("CorrCTF"))
    sign = 1 if flip == 2 else -1
    session = folder / _SESSION
    return Series(
        **common,
        metadata=tuple(path for path in (aln, ctf, session) if path.is_file()),
        tilts_deg=tuple(0.0 + sign * tilt for tilt in images.values()),
        sign_known=flip is not None,
        defocus_angstrom=defocus,
        phases_flipped=None if defocus is None or (said and corrects is None) else corrects != 0,
    )


def _alignment(path: Path) -> tuple[tuple[int, int, int], dict[int, float]]:
    """Columns, rows and number of the raw images, and the tilts (°) of those that were used by their number.

    Dark images are left out by AreTomo3. Lines that it has not meant for us, such as a first "Hello", are passed over.
    """
    size: tuple[int, int, int] | None = None
    images: dict[int, float] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        if match := re.search(r"RawSize\s*=\s*(\d+)\s+(\d+)\s+(\d+)", line):
            size = (int(match[1]), int(match[2]), int(match[3]))
        elif "Local Alignment" in line:
            break
        values = [number(text) for text in line.split()]
        if len(values) == _ROW and values[0] is not None and values[-1] is not None:
            images[int(values[0])] = values[-1]
    if size is None or not images:
        raise UserError(f"{path}: not an alignment of AreTomo, with RawSize and a line for each image")
    return size, images


def _check_planes(path: Path, size: tuple[int, int, int]) -> None:
    """UserError if the planes are xz, as AreTomo3 leaves them unless it is told otherwise."""
    planes, rows, columns = read_header(path).shape
    height = columns * size[1] / size[0]  # of a plane xy; a binned size is rounded
    if abs(planes - height) < abs(rows - height):
        raise UserError(
            f"{path}: its planes are xz ({planes}×{rows}×{columns} voxels): reconstruct with -FlipVol 1, or turn it by "
            "IMOD's trimvol -rx"
        )


def _defocus(path: Path, images: Mapping[int, float], count: int) -> float | None:
    """Å, nearest to 0°: mean of the two. Rows are those of the raw images, or of the ones that were used."""
    rows = [line.split() for line in path.read_text(encoding="utf-8", errors="replace").split("\n")]
    means = [
        (u + v) / 2
        for row in rows
        if len(row) >= 7 and (u := number(row[1])) is not None and (v := number(row[2])) is not None and row[0] != "#"
    ]
    if len(means) == count:
        first = min(images) if min(images) == 0 else 1  # old alignments count from 0
        means = [means[section - first] for section in images if section - first < count]
    if len(means) != len(images) or not any(means):
        return None
    return float(f"{at_zero_tilt(list(images.values()), means):.6g}")

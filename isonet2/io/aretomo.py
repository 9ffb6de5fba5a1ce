"""Folders of AreTomo3: NAME_Vol.mrc, NAME_EVN_Vol.mrc, NAME_ODD_Vol.mrc, NAME.aln, NAME_CTF.txt, AreTomo3_Session.json.

After AreTomo3's own source: an image at TILT (AlphaOffset is in it already) is projected by x' = x cos θ + z sin θ
(GBackProjWbp.cu), but the rows r of a slice are reversed before it is kept ("Flip z to match IMOD handedness",
CDoWbpRecon and CDoSartRecon::mGetReconResult), and obey x' = x cos θ - r sin θ as IMOD's. -FlipVol 0, the default,
leaves these as rows; 2 makes planes of them in the same order, which gives a tilt the other sign here; 1 in the reverse
one, as IMOD's rotation does, so that TILT holds as it is (CTiltSeries::FlipVol).
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from isonet2.errors import UserError
from isonet2.io.mrc import read_header
from isonet2.io.series import Series, Warn, at_zero_tilt, number, text_of

_MAP = re.compile(r"(?P<name>[^.].*?)(?:_(?P<half>EVN|ODD))?_Vol\.mrc")
_BINNED = re.compile(r"(.+)_(?:2ND|3RD)")  # further ones by -AtBin, of the same series
_ROLES = {None: "full", "EVN": "even", "ODD": "odd"}
_SESSION = "AreTomo3_Session.json"
_PHASES_ALONE = 2  # -CorrCTF; 1 is like Wiener's filter
_ROW = 10  # numbers of an image in an .aln: SEC ROT GMAG TX TY SMEAN SFIT SCALE BASE TILT


def aretomo_maps(folder: Path) -> dict[str, dict[str, Path]]:
    """{NAME: {role: volume}} of the series in a folder that have a NAME.aln; where one has, also of the others.

    Without NAME_2ND and NAME_3RD, which are NAME at other binnings.
    """
    found = _volumes(folder)
    series = {
        name: {role: files[role] for role in _ROLES.values() if role in files}
        for name, files in found.items()
        if not _is_further_binning(name, found)
    }
    return series if any((folder / f"{name}.aln").is_file() for name in found) else {}


def _volumes(folder: Path) -> dict[str, dict[str, Path]]:
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    for path in sorted(folder.glob("*_Vol.mrc")):
        if match := _MAP.fullmatch(path.name):
            found[match["name"]][_ROLES[match["half"]]] = path
    return found


def _is_further_binning(name: str, found: Container[str]) -> bool:
    match = _BINNED.fullmatch(name)
    return match is not None and match[1] in found


def read_aretomo(folder: Path, warn: Warn) -> list[Series]:
    """Every tomogram of a folder. UserError for volumes whose planes are xz."""
    said = _session(folder)
    if said is None:
        warn(f"prepare_star: {folder / _SESSION}: missing: a corrected CTF (-CorrCTF 1) and -FlipVol 1 are assumed")
    found = _volumes(folder)
    further = [files for name, files in found.items() if _is_further_binning(name, found)]
    if further:
        first = next(iter(further[0].values()))
        warn(f"prepare_star: {first} (of {len(further)}): another binning of a series that is listed: left out")
    series = [_series(folder, name, files, said or {}) for name, files in aretomo_maps(folder).items()]
    if any(each.phases_flipped for each in series) and _first((said or {}).get("CorrCTF", 1)) != _PHASES_ALONE:
        warn(
            f"prepare_star: {folder}: -CorrCTF 1, the default, has filtered amplitudes as well, which no CTF_mode "
            "models: -CorrCTF 2 or 0, or CTF_mode None"
        )
    return series


def _session(folder: Path) -> Mapping[str, Any] | None:
    """The parameters that AreTomo3 ran with."""
    path = folder / _SESSION
    if not path.is_file():
        return None
    try:
        return dict(json.loads(text_of(path))["parameters"])
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
    defocus, phase_shift = _fitted(ctf, images, size[2]) if ctf.is_file() else (None, 0.0)
    flip, corrects = _first(said.get("FlipVol")), _first(said.get("CorrCTF"))
    sign = -1 if flip == 2 else 1
    session = folder / _SESSION
    return Series(
        **common,
        metadata=tuple(path for path in (aln, ctf, session) if path.is_file()),
        tilts_deg=tuple(0.0 + sign * tilt for tilt in images.values()),
        sign_known=flip is not None,
        defocus_angstrom=defocus,
        phases_flipped=None if defocus is None or (said and corrects is None) else corrects != 0,
        phase_shift_rad=phase_shift,
    )


def _alignment(path: Path) -> tuple[tuple[int, int, int], dict[int, float]]:
    """Columns, rows and number of the raw images, and the tilts (°) of those that were used by their number.

    Dark images are left out by AreTomo3. Lines that it has not meant for us, such as a first "Hello", are passed over.
    """
    size: tuple[int, int, int] | None = None
    images: dict[int, float] = {}
    for line in text_of(path).split("\n"):
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


def _fitted(path: Path, images: Mapping[int, float], count: int) -> tuple[float | None, float]:
    """Å, nearest to 0°: mean of the two; and the largest phase shift (rad). Rows are those of the raw images, or of the
    ones that were used."""
    rows = [[number(text) for text in line.split()] for line in text_of(path).split("\n")]
    fits = [
        (u, v, shift or 0.0)
        for image, u, v, _, shift, *_ in (row for row in rows if len(row) >= 7)
        if image is not None and u is not None and v is not None
    ]
    means = [(u + v) / 2 for u, v, _ in fits]
    phase_shift = max((abs(shift) for _, _, shift in fits), default=0.0)
    if len(means) == count:
        first = min(images) if min(images) == 0 else 1  # old alignments count from 0
        means = [means[section - first] for section in images if section - first < count]
    if len(means) != len(images) or not any(means):
        return None, phase_shift
    return float(f"{at_zero_tilt(list(images.values()), means):.6g}"), phase_shift

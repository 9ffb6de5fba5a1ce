"""Folders of AreTomo3: NAME_Vol.mrc, NAME_EVN_Vol.mrc, NAME_ODD_Vol.mrc, NAME.aln, NAME_CTF.txt, AreTomo3_Session.json;
of AreTomo and AreTomo2, whose maps are called as the user likes: NAME_rec.mrc or NAME.rec, NAME.aln, NAME_ctf.txt.

After AreTomo3's own source: an image at TILT (AlphaOffset is in it already) is projected by x' = x cos θ + z sin θ
(GBackProjWbp.cu), but the rows r of a slice are reversed before it is kept ("Flip z to match IMOD handedness",
CDoWbpRecon and CDoSartRecon::mGetReconResult), and obey x' = x cos θ - r sin θ as IMOD's. -FlipVol 0, the default,
leaves these as rows; 2 makes planes of them in the same order, which gives a tilt the other sign here; 1 in the reverse
one, as IMOD's rotation does, so that TILT holds as it is (CTiltSeries::FlipVol). Where the tilt axis is nearer to x,
the sides of an image are swapped (CCorrectUtil::CalcAlignedSize). SEC counts all images in some versions, in others
only those that were used; the first number of DarkFrame always counts all, from 0, in the order of the tilts.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Container, Mapping
from dataclasses import dataclass
from math import radians, sin
from pathlib import Path
from typing import Any

from isonet2.errors import UserError
from isonet2.io.mrc import read_header
from isonet2.io.series import Series, Warn, at_zero_tilt, number, text_of

_MAP = re.compile(r"(?P<name>[^.].*?)(?:_(?P<half>EVN|ODD))?_Vol\.mrc")
_BINNED = re.compile(r"(.+)_(?:2ND|3RD)")  # further ones by -AtBin, of the same series
_ROLES = {None: "full", "EVN": "even", "ODD": "odd"}
_OLDER = ("_rec.mrc", ".rec")  # what maps of AreTomo and AreTomo2 are mostly called
_SESSION = "AreTomo3_Session.json"
_SAID = re.compile(r'"(kV|Cs|AmpContrast|FlipVol|CorrCTF)"\s*:\s*\[?\s*([-+.\deE]+)')  # of a list the first
_PHASES_ALONE = 2  # -CorrCTF; 1 is like Wiener's filter
_ROW = 10  # numbers of an image in an .aln: SEC ROT GMAG TX TY SMEAN SFIT SCALE BASE TILT
_NEARER_TO_X = 0.707  # a sine


def aretomo_maps(folder: Path) -> dict[str, dict[str, Path]]:
    """{NAME: {role: volume}} of the series in a folder that have a NAME.aln; where one of AreTomo3 has, or where its
    record lies, also of the others.

    Without NAME_2ND and NAME_3RD, which are NAME at other binnings.
    """
    found = _volumes(folder)
    series = {
        name: {role: files[role] for role in _ROLES.values() if role in files}
        for name, files in found.items()
        if not _is_further_binning(name, found)
    }
    records = (folder / _SESSION, *(folder / f"{name}.aln" for name in found))
    return (series if any(path.is_file() for path in records) else {}) | _older(folder, found)


def _volumes(folder: Path) -> dict[str, dict[str, Path]]:
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    for path in sorted(folder.glob("*_Vol.mrc")):
        if match := _MAP.fullmatch(path.name):
            found[match["name"]][_ROLES[match["half"]]] = path
    return found


def _older(folder: Path, without: Container[str]) -> dict[str, dict[str, Path]]:
    """As AreTomo and AreTomo2 leave them; with NAME.tlt they are IMOD's."""
    found: dict[str, dict[str, Path]] = {}
    for aln in sorted(folder.glob("*.aln")):
        name = aln.stem
        if name not in without and not aln.with_suffix(".tlt").is_file() and not name.endswith(("_EVN", "_ODD")):
            found[name] = {
                role: path
                for half, role in _ROLES.items()
                for end in _OLDER
                if (path := folder / f"{name}{f'_{half}' if half else ''}{end}").is_file()
            }
    return {name: files for name, files in found.items() if files}


def _is_further_binning(name: str, found: Container[str]) -> bool:
    match = _BINNED.fullmatch(name)
    return match is not None and match[1] in found


def read_aretomo(folder: Path, warn: Warn) -> list[Series]:
    """Every tomogram of a folder. UserError for volumes whose planes are xz."""
    said = _session(folder)
    found = _volumes(folder)
    if said is None and found:
        warn(f"prepare_star: {folder / _SESSION}: missing: a corrected CTF (-CorrCTF 1) and -FlipVol 1 are assumed")
    further = [files for name, files in found.items() if _is_further_binning(name, found)]
    if further:
        first = next(iter(further[0].values()))
        warn(f"prepare_star: {first} (of {len(further)}): another binning of a series that is listed: left out")
    series = [_series(folder, name, files, said or {}) for name, files in aretomo_maps(folder).items()]
    if any(each.phases_flipped for each in series) and (said or {}).get("CorrCTF") != _PHASES_ALONE:
        warn(
            f"prepare_star: {folder}: -CorrCTF 1, the default, has filtered amplitudes as well, which no CTF_mode "
            "models: -CorrCTF 2 or 0, or CTF_mode None"
        )
    return series


def _session(folder: Path) -> Mapping[str, float] | None:
    """The parameters that AreTomo3 ran with. Versions nest them differently, and some write what is no JSON."""
    path = folder / _SESSION
    if not path.is_file():
        return None
    said = {name: value for name, text in _SAID.findall(text_of(path)) if (value := number(text)) is not None}
    if not said:
        raise UserError(f"{path}: not the record of AreTomo3: repair it, or remove it")
    return said


def _series(folder: Path, name: str, files: Mapping[str, Path], said: Mapping[str, float]) -> Series:
    if ("even" in files) != ("odd" in files):
        raise UserError(f"{next(iter(files.values()))}: only one half is there: make both, or move it away")
    first = next(iter(files.values()))
    common: dict[str, Any] = {
        "name": name,
        "files": files,
        "voltage_kv": said.get("kV"),
        "cs_mm": said.get("Cs"),
        "amplitude_contrast": said.get("AmpContrast"),
    }
    aln, session = folder / f"{name}.aln", folder / _SESSION
    if not aln.is_file():
        return Series(**common)
    alignment = _alignment(aln)
    _check_planes(first, alignment)
    of_aretomo3 = _MAP.fullmatch(first.name) is not None
    ctf = folder / f"{name}{'_CTF' if of_aretomo3 else '_ctf'}.txt"
    defocus, phase_shift = _fitted(ctf, alignment) if ctf.is_file() else (None, 0.0)
    flip, corrects = said.get("FlipVol"), said.get("CorrCTF")
    sign = -1 if flip == 2 else 1
    return Series(
        **common,
        metadata=tuple(path for path in (aln, ctf, session) if path.is_file()),
        tilts_deg=tuple(0.0 + sign * tilt for tilt in alignment.tilts_deg),
        sign_known=flip is not None,
        defocus_angstrom=defocus,
        phases_flipped=None if defocus is None or not of_aretomo3 or (said and corrects is None) else corrects != 0,
        phase_shift_rad=phase_shift,
    )


@dataclass(frozen=True)
class _Alignment:
    """Columns and rows of a raw image as they are after the turn of the tilt axis (None before AreTomo 1.3), the tilts
    (°) of the images that were used, and the numbers of the dark ones among all."""

    size: tuple[int, int] | None
    tilts_deg: tuple[float, ...]
    dark: frozenset[int]


def _alignment(path: Path) -> _Alignment:
    """Dark images are left out by AreTomo. Lines that it has not meant for us, such as a first "Hello", are passed
    over."""
    size: tuple[int, int] | None = None
    images: list[tuple[float, float]] = []
    dark: set[int] = set()
    for line in text_of(path).split("\n"):
        if match := re.search(r"RawSize\s*=\s*(\d+)\s+(\d+)", line):
            size = (int(match[1]), int(match[2]))
        elif match := re.search(r"DarkFrame\s*=\s*(\d+)", line):
            dark.add(int(match[1]))
        elif "Local Alignment" in line:
            break
        values = [value for text in line.split() if (value := number(text)) is not None]
        if len(values) == len(line.split()) == _ROW:
            images.append((values[1], values[-1]))
    if not images:
        raise UserError(f"{path}: not an alignment of AreTomo, with a line of {_ROW} numbers for each image")
    if size is not None and abs(sin(radians(images[0][0]))) > _NEARER_TO_X:
        size = size[::-1]
    return _Alignment(size, tuple(tilt for _, tilt in images), frozenset(dark))


def _check_planes(path: Path, alignment: _Alignment) -> None:
    """UserError if the planes are xz, as AreTomo leaves them unless it is told otherwise."""
    if alignment.size is None:
        return
    planes, rows, columns = read_header(path).shape
    height = columns * alignment.size[1] / alignment.size[0]  # of a plane xy; a binned size is rounded
    if abs(planes - height) < abs(rows - height):
        raise UserError(
            f"{path}: its planes are xz ({planes}×{rows}×{columns} voxels): reconstruct with -FlipVol 1, or turn it by "
            "IMOD's trimvol -rx"
        )


def _fitted(path: Path, alignment: _Alignment) -> tuple[float | None, float]:
    """Å, nearest to 0°: mean of the two; and the largest phase shift (rad). Rows are those of the images that were
    used, or of all."""
    rows = [[number(text) for text in line.split()] for line in text_of(path).split("\n")]
    fits = [
        (u, v, shift or 0.0)
        for image, u, v, _, shift, *_ in (row for row in rows if len(row) >= 7)
        if image is not None and u is not None and v is not None
    ]
    means = [(u + v) / 2 for u, v, _ in fits]
    phase_shift = max((abs(shift) for _, _, shift in fits), default=0.0)
    if len(means) != len(alignment.tilts_deg):
        means = [mean for image, mean in enumerate(means) if image not in alignment.dark]
    if len(means) != len(alignment.tilts_deg) or not any(means):
        return None, phase_shift
    return float(f"{at_zero_tilt(alignment.tilts_deg, means):.6g}"), phase_shift

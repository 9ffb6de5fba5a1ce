"""Folders of IMOD and Etomo: NAME.rec or NAME_rec.mrc beside NAME.tlt; tilt.com and NAME.defocus where they are.

After IMOD's own source: tilt takes the negative of the sine, so that the rows r of what it writes obey x' = x cos θ -
r sin θ (tilt.f90); it adds OFFSET to every angle, and takes the views of INCLUDE without those of EXCLUDELIST, counted
from 1. `clip flipyz` makes planes of these rows in the same order, which gives a tilt the other sign here; `clip rotx`,
which Etomo takes, in the reverse one, so that its .tlt holds as it is; both leave a label in the header.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import pi
from pathlib import Path

from isonet2.errors import UserError
from isonet2.io.imod_commands import command_of, views_of
from isonet2.io.mrc import MrcHeader, read_header
from isonet2.io.series import Series, Warn, at_zero_tilt, number, subfolders, text_of
from isonet2.io.star import half_of
from isonet2.io.tilts import read_tilts

_SUFFIXES = (".rec", ".mrc", ".map")
_LISTS = (".rawtlt", ".tlt")
_HALF = r"(?:[_.-](?P<half{}>even|evn|half1|odd|half2))?"
_ROLES: dict[str, str] = {"": "full", "even": "even", "evn": "even", "half1": "even", "odd": "odd", "half2": "odd"}
_NO_TOMOGRAM = re.compile(r".+_(?:full|full_rec|ali|preali)")  # planes xz, or images
_DARK_VIEWS = 3  # by so many a list may differ from the stack
_ANGSTROM = 10.0  # in a nm
_ASTIGMATIC, _PHASE_SHIFT, _PHASE_IN_RAD = 1, 4, 8  # flags in the first line of a defocus file of version 3


def imod_datasets(folder: Path) -> list[tuple[Path, dict[str, Path]]]:
    """(list of tilts, {role: tomogram}) of every series in a folder, or in the folders in it; not in those that hold
    one half of each."""
    return [dataset for place in _places(folder) for dataset in _datasets(place)]


def read_imod(folder: Path, warn: Warn) -> list[Series]:
    """Every tomogram of a folder, or of the folders in it. UserError for volumes whose planes are xz, and for two tilt
    axes."""
    datasets = imod_datasets(folder)
    names = tuple(tilts.stem for tilts, _ in datasets)
    others = [path for path in _volumes(folder) if not path.name.startswith(names)]
    if others:
        warn(f"prepare_star: {others[0]} (of {len(others)}): no list of tilts is called like it: left out")
    unfinished = [why for place in _places(folder) if (why := _unfinished(place))]
    if unfinished:
        warn(f"prepare_star: {unfinished[0]}: left out (of {len(unfinished)})")
    return [_series(tilts, files) for tilts, files in datasets]


def check_trimmed(folder: Path) -> None:
    """UserError if what lies in a folder, or in each folder in it, is Etomo's, but no tomogram yet."""
    places = _places(folder)
    reasons = [why for place in places if (why := _unfinished(place))]
    if reasons and all(_unfinished(place) for place in places if _volumes(place)):
        raise UserError(reasons[0])


def _places(folder: Path) -> list[Path]:
    return [place for place in (folder, *subfolders(folder)) if half_of(place) is None]


def _volumes(place: Path) -> list[Path]:
    return [path for path in sorted(place.iterdir()) if path.suffix.lower() in _SUFFIXES and path.name[0] != "."]


def _tilts_in(place: Path) -> dict[str, Path]:
    """Lists of tilts by their names; that of the alignment before the raw one, which is not IMOD's beside NAME.aln."""
    found = {path.stem: path for suffix in _LISTS for path in sorted(place.glob(f"*{suffix}"))}
    return {
        name: path for name, path in found.items() if path.suffix == ".tlt" or not path.with_suffix(".aln").is_file()
    }


def _unfinished(place: Path) -> str | None:
    """Why nothing can be taken from a folder in which Etomo worked; None where it can, or where it did not."""
    if (place / "tilta.com").is_file() and (place / "tiltb.com").is_file():
        return f"{place}: two tilt axes are not modelled: reconstruct one of them, in a folder of its own"
    lists, volumes = _tilts_in(place), _volumes(place)
    com = place / "tilt.com"
    if _datasets(place) or not (lists or com.is_file()):
        return None
    stacks = {Path(name).stem for name in command_of(com).get("INPUTPROJECTIONS", [])} | set(lists)
    none = [path for path in volumes if _NO_TOMOGRAM.fullmatch(path.stem) or path.stem in stacks]
    if none or (com.is_file() and not volumes):
        what = f"{none[0].name} is no tomogram" if none else "no tomogram is there"
        return f"{place}: Etomo is not done here, {what}: trim the volume (trimvol -rx) to NAME_rec.mrc beside NAME.tlt"
    return None


def _datasets(place: Path) -> list[tuple[Path, dict[str, Path]]]:
    if (place / "tilta.com").is_file() and (place / "tiltb.com").is_file():
        return []
    volumes = _volumes(place)
    found = []
    for name, tilts in sorted(_tilts_in(place).items()):
        pattern = re.compile(re.escape(name) + _HALF.format(1) + "(?:_rec)?" + _HALF.format(2), re.IGNORECASE)
        fitting = [(path, match) for path in volumes if (match := pattern.fullmatch(path.stem))]
        fitting = [each for each in fitting if not _is_stack(each[0], tilts)]
        if sum(not (match["half1"] or match["half2"]) for _, match in fitting) > 1:  # then NAME.mrc is the tilt series
            fitting = [each for each in fitting if each[0].name != f"{name}.mrc"]
        files: dict[str, Path] = {}
        for path, match in fitting:
            role = _ROLES[(match["half1"] or match["half2"] or "").lower()]
            other = files.setdefault(role, path)
            if other is not path:
                raise UserError(f"{place}: {other.name} and {path.name}: two tomograms of one series: leave one")
        if files:
            if ("even" in files) != ("odd" in files):
                raise UserError(f"{files.get('even') or files['odd']}: the other half is missing")
            found.append((tilts, {role: files[role] for role in dict.fromkeys(_ROLES.values()) if role in files}))
    return found


def _is_stack(path: Path, tilts: Path) -> bool:
    """Whether a file is the tilt series itself: a plane for each tilt, or for nearly each."""
    if path.suffix != ".mrc" or "_rec" in path.stem.lower():
        return False
    count = sum(bool(line.split("#")[0].strip()) for line in text_of(tilts).split("\n"))
    return abs(read_header(path).shape[0] - count) <= _DARK_VIEWS


def _series(tilts: Path, files: Mapping[str, Path]) -> Series:
    place, name = tilts.parent, tilts.stem
    command = command_of(place / "tilt.com")
    asked = command.get("TILTFILE", [f"{name}.tlt"])[0]
    if Path(asked).stem != name:
        command = {}  # of another series in this folder
    elif (place / asked).is_file():
        tilts = place / asked
    first = next(iter(files.values()))
    header = read_header(first)
    turned = _turned(header)
    _check_planes(first, header, turned, command)
    tilts_deg = _tilts(tilts, place / "tilt.com", command)
    sign = -1 if turned == "flipyz" else 1
    correction = command_of(place / "ctfcorrection.com") or command_of(place / "ctfplotter.com")
    optics = {
        key: number(correction.get(key, [""])[0]) for key in ("VOLTAGE", "SPHERICALABERRATION", "AMPLITUDECONTRAST")
    }
    fitted = place / f"{name}.defocus"
    defocus, phase_shift = _defocus(fitted) if fitted.is_file() else (None, 0.0)
    return Series(
        name=name,
        files=files,
        metadata=tuple(path for path in (tilts, place / "tilt.com", fitted) if path.is_file()),
        tilts_deg=tuple(float(f"{0.0 + sign * tilt:.6g}") for tilt in tilts_deg),
        sign_known=turned is not None,
        defocus_angstrom=defocus,
        voltage_kv=optics["VOLTAGE"],
        cs_mm=optics["SPHERICALABERRATION"],
        amplitude_contrast=optics["AMPLITUDECONTRAST"],
        phases_flipped=True if any("ctfphaseflip" in label.lower() for label in header.labels) else None,
        phase_shift_rad=phase_shift,
    )


def _tilts(tilts: Path, com: Path, command: Mapping[str, Sequence[str]]) -> list[float]:
    """Those of the views that tilt used, as it turned them."""
    listed = read_tilts(tilts)
    excluded = views_of(command.get("EXCLUDELIST", ()), com)
    included = views_of(command.get("INCLUDE", ()), com) or set(range(1, len(listed) + 1))
    offset = number(re.split(r"[,\s]", command.get("OFFSET", ["0"])[0])[0]) or 0.0
    used = [tilt + offset for view, tilt in enumerate(listed, start=1) if view in included - excluded]
    if len(used) < 2:
        raise UserError(f"{com}: leaves {len(used)} of {len(listed)} tilts")
    return used


def _turned(header: MrcHeader) -> str | None:
    """How planes xy were made of what tilt wrote, from IMOD's labels; the last one counts."""
    found = [kind for label in header.labels for kind in ("rotx", "flipyz") if f"clip: {kind}" in label]
    return found[-1] if found else None


def _check_planes(path: Path, header: MrcHeader, turned: str | None, command: Mapping[str, Sequence[str]]) -> None:
    """UserError if the rows of a volume are as many as tilt.com says it is thick, and its planes are not; and if tilt
    itself made planes xy."""
    made = {"PARALLEL", "ROTATEBY90"} & command.keys()
    if made:
        raise UserError(
            f"{path}: made with {min(made)} in tilt.com, and which way z runs then is not known here: leave it out "
            "there and turn the volume by trimvol -rx, or name the tilts yourself by --tilt_folder"
        )
    thickness = number(command.get("THICKNESS", [""])[0])
    if turned is not None or thickness is None:
        return
    rows = round(thickness / (number(command.get("IMAGEBINNED", ["1"])[0]) or 1))
    if abs(header.shape[1] - rows) <= 1 < abs(header.shape[0] - rows):
        raise UserError(f"{path}: its planes are xz, as tilt leaves them: turn it by trimvol -rx")


def _defocus(path: Path) -> tuple[float | None, float]:
    """Å, nearest to 0°, and the largest phase shift (rad) of a defocus file: first and last view, first and last tilt,
    nm (two and their axis if astigmatic), phase shift.

    Version 3 begins with a line of flags and its own number; of older ones the first line ends with theirs.
    """
    rows = [[number(text) or 0.0 for text in line.split()] for line in text_of(path).split("\n")]
    rows = [row for row in rows if row]
    has_flags = bool(rows) and len(rows[0]) == 6 and rows[0][-1] == 3
    flags = int(rows[0][0]) if has_flags else 0
    astigmatic = bool(flags & _ASTIGMATIC)
    fitted = [row for row in rows[has_flags:] if len(row) >= (6 if astigmatic else 5)]
    if not fitted:
        return None, 0.0
    at = 7 if astigmatic else 5
    shifts = [abs(row[at]) for row in fitted if flags & _PHASE_SHIFT and len(row) > at]
    values = [(row[4] + row[5]) / 2 if astigmatic else row[4] for row in fitted]
    defocus = float(f"{at_zero_tilt([(row[2] + row[3]) / 2 for row in fitted], values) * _ANGSTROM:.6g}")
    return defocus, max(shifts, default=0.0) * (1 if flags & _PHASE_IN_RAD else pi / 180)

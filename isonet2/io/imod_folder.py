"""Folders of IMOD and Etomo: NAME.rec or NAME_rec.mrc beside NAME.tlt; tilt.com and NAME.defocus where they are.

After IMOD's own source: tilt projects by x' = x cos θ + z sin θ with z along the rows of what it writes (tilt.f90),
adds OFFSET to every angle and leaves out the views of EXCLUDELIST, counted from 1; `clip flipyz` makes planes of these
rows in the same order, `clip rotx`, which Etomo takes, in the reverse one; both leave a label in the header.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from isonet2.errors import UserError
from isonet2.io.mrc import MrcHeader, read_header
from isonet2.io.series import Series, Warn, at_zero_tilt, number
from isonet2.io.star import half_of
from isonet2.io.tilts import read_tilts

_SUFFIXES = (".rec", ".mrc", ".map")
_HALF = r"(?:[_.-](?P<half{}>even|evn|half1|odd|half2))?"
_ROLES: dict[str, str] = {"": "full", "even": "even", "evn": "even", "half1": "even", "odd": "odd", "half2": "odd"}
_ANGSTROM = 10.0  # in a nm
_ASTIGMATIC = 1  # a flag in the first line of a defocus file of version 3


def imod_datasets(folder: Path) -> list[tuple[Path, dict[str, Path]]]:
    """(list of tilts, {role: tomogram}) of every series in a folder, or in the folders in it; not in those that hold
    one half of each."""
    inner = sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
    return [dataset for place in (folder, *inner) if half_of(place) is None for dataset in _datasets(place)]


def read_imod(folder: Path, warn: Warn) -> list[Series]:
    """Every tomogram of a folder, or of the folders in it. UserError for volumes whose planes are xz."""
    datasets = imod_datasets(folder)
    names = tuple(tilts.stem for tilts, _ in datasets)
    others = [path for path in _volumes(folder) if not path.name.startswith(names)]
    if others:
        warn(f"prepare_star: {others[0]} (of {len(others)}): no list of tilts is called like it: left out")
    return [_series(tilts, files) for tilts, files in datasets]


def _volumes(place: Path) -> list[Path]:
    return [path for path in sorted(place.iterdir()) if path.suffix.lower() in _SUFFIXES and path.name[0] != "."]


def _datasets(place: Path) -> list[tuple[Path, dict[str, Path]]]:
    lists = {path.stem: path for suffix in (".rawtlt", ".tlt") for path in sorted(place.glob(f"*{suffix}"))}
    volumes = _volumes(place)
    found = []
    for name, tilts in sorted(lists.items()):
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
    """Whether a file is the tilt series itself: one plane for each tilt."""
    lines = tilts.read_text(encoding="utf-8", errors="replace").split("\n")
    return path.suffix == ".mrc" and read_header(path).shape[0] == sum(bool(line.strip()) for line in lines)


def _series(tilts: Path, files: Mapping[str, Path]) -> Series:
    place, name = tilts.parent, tilts.stem
    command = _command(place / "tilt.com")
    asked = command.get("TILTFILE", [f"{name}.tlt"])[0]
    if Path(asked).stem != name:
        command = {}  # of another series in this folder
    elif (place / asked).is_file():
        tilts = place / asked
    header = read_header(next(iter(files.values())))
    turned = _turned(header)
    if turned is None and _has_xz_planes(header, command):
        raise UserError(f"{next(iter(files.values()))}: its planes are xz, as tilt leaves them: turn it by trimvol -rx")
    excluded = _views(command.get("EXCLUDELIST", []) + command.get("EXCLUDELIST2", []), place / "tilt.com")
    offset = number(re.split(r"[,\s]", command.get("OFFSET", ["0"])[0])[0]) or 0.0
    listed = read_tilts(tilts)
    used = [(view, tilt + offset) for view, tilt in enumerate(listed, start=1) if view not in excluded]
    if len(used) < 2:
        raise UserError(f"{place / 'tilt.com'}: leaves {len(used)} of {len(listed)} tilts")
    sign = 1 if turned == "flipyz" else -1
    correction = _command(place / "ctfcorrection.com") or _command(place / "ctfplotter.com")
    optics = {
        key: number(correction.get(key, [""])[0]) for key in ("VOLTAGE", "SPHERICALABERRATION", "AMPLITUDECONTRAST")
    }
    fitted = place / f"{name}.defocus"
    return Series(
        name=name,
        files=files,
        metadata=tuple(path for path in (tilts, place / "tilt.com", fitted) if path.is_file()),
        tilts_deg=tuple(float(f"{0.0 + sign * tilt:.6g}") for _, tilt in used),
        sign_known=turned is not None,
        defocus_angstrom=_defocus(fitted) if fitted.is_file() else None,
        voltage_kv=optics["VOLTAGE"],
        cs_mm=optics["SPHERICALABERRATION"],
        amplitude_contrast=optics["AMPLITUDECONTRAST"],
        phases_flipped=True if any("ctfphaseflip" in label.lower() for label in header.labels) else None,
    )


def _turned(header: MrcHeader) -> str | None:
    """How planes xy were made of what tilt wrote, from IMOD's labels; the last one counts."""
    found = [kind for label in header.labels for kind in ("rotx", "flipyz") if f"clip: {kind}" in label]
    return found[-1] if found else None


def _has_xz_planes(header: MrcHeader, command: Mapping[str, Sequence[str]]) -> bool:
    """Whether the rows of a volume are as many as tilt.com says it is thick, and its planes are not."""
    thickness = number(command.get("THICKNESS", [""])[0])
    if thickness is None:
        return False
    rows = round(thickness / (number(command.get("IMAGEBINNED", ["1"])[0]) or 1))
    return abs(header.shape[1] - rows) <= 1 < abs(header.shape[0] - rows)


def _command(path: Path) -> dict[str, list[str]]:
    """{KEYWORD: its values} of a command file of IMOD; nothing if there is no such file."""
    found: dict[str, list[str]] = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
            words = line.split(maxsplit=1)
            if len(words) == 2 and line[0] not in "#$":
                found.setdefault(words[0].upper(), []).append(words[1].strip())
    return found


def _views(lists: Sequence[str], path: Path) -> set[int]:
    """Of lists as in 1,3-5 the numbers."""
    views: set[int] = set()
    for part in re.split(r"[,\s]+", " ".join(lists).strip()):
        ends = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if ends:
            views.update(range(int(ends[1]), int(ends[2] or ends[1]) + 1))
        elif part not in ("", "/"):
            raise UserError(f"{path}: {part!r} is no list of views, as in 1,3-5")
    return views


def _defocus(path: Path) -> float | None:
    """Å, nearest to 0°, from a defocus file: first and last view, first and last tilt, then nm (two if astigmatic).

    Version 3 begins with a line of flags and its own number; of older ones the first line ends with theirs.
    """
    rows = [
        [number(text) or 0.0 for text in line.split()]
        for line in path.read_text(encoding="utf-8", errors="replace").split("\n")
    ]
    rows = [row for row in rows if row]
    has_flags = bool(rows) and len(rows[0]) == 6 and rows[0][-1] == 3
    astigmatic = has_flags and bool(int(rows[0][0]) & _ASTIGMATIC)
    fitted = [row for row in rows[has_flags:] if len(row) >= (6 if astigmatic else 5)]
    if not fitted:
        return None
    values = [(row[4] + row[5]) / 2 if astigmatic else row[4] for row in fitted]
    return float(f"{at_zero_tilt([(row[2] + row[3]) / 2 for row in fitted], values) * _ANGSTROM:.6g}")

"""The list of tomograms, `tomograms.star`: one row for each, with IsoNet2's columns and whatever else it holds.

Here is the only place where an empty cell is the word None.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

from isonet2 import log
from isonet2.errors import UserError
from isonet2.io.atomic import write_text
from isonet2.io.star_text import Loop, quoted, read_loops

COLUMNS = {
    "index": "rlnIndex",
    "tomogram": "rlnTomoName",
    "half1": "rlnTomoReconstructedTomogramHalf1",
    "half2": "rlnTomoReconstructedTomogramHalf2",
    "pixel_size_angstrom": "rlnPixelSize",
    "defocus_angstrom": "rlnDefocus",
    "voltage_kv": "rlnVoltage",
    "cs_mm": "rlnSphericalAberration",
    "amplitude_contrast": "rlnAmplitudeContrast",
    "tilt_min_deg": "rlnTiltMin",
    "tilt_max_deg": "rlnTiltMax",
    "tilt_step_deg": "rlnTiltStep",
    "tilt_file": "rlnTiltFile",
    "deconvolved": "rlnDeconvTomoName",
    "mask_boundary": "rlnMaskBoundary",
    "mask": "rlnMaskName",
    "coordinates": "rlnBoxFile",
    "number_subtomos": "rlnNumberSubtomo",
    "corrected": "rlnCorrectedTomoName",
    "denoised": "rlnDenoisedTomoName",
}
_OURS = {"tilt_file"}  # unknown to IsoNet2, so only written where it says something
PHASES_FLIPPED = "rlnCtfDataArePhaseFlipped"  # RELION's word: 1 if they are, 0 if not, absent where nobody knows
_FIELDS = {label: name for name, label in COLUMNS.items()}
_EMPTY = {"", "none", "nan", "<na>"}
_BETWEEN = r"[ _.\-]"
_HALF = re.compile(rf"(?:^|{_BETWEEN})(evn|even|half1|odd|half2)(?={_BETWEEN}|$)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class TomogramRow:
    """One tomogram: files (relative to the job's folder, or absolute) and how it was taken. Å, kV, mm, degrees."""

    index: int
    tomogram: str | None = None
    half1: str | None = None
    half2: str | None = None
    pixel_size_angstrom: float
    defocus_angstrom: float = 0.0
    voltage_kv: float = 300.0
    cs_mm: float = 2.7
    amplitude_contrast: float = 0.1
    tilt_min_deg: float
    tilt_max_deg: float
    tilt_step_deg: float = 3.0
    tilt_file: str | None = None
    deconvolved: str | None = None
    mask_boundary: str | None = None
    mask: str | None = None
    coordinates: str | None = None
    number_subtomos: int
    """Without meaning where there are coordinates: a cube is cut around each point."""
    corrected: str | None = None
    denoised: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What outputs are called: the tomogram's name without folder and extension, or what its halves share."""
        if self.tomogram is not None:
            return Path(self.tomogram).stem
        assert self.half1 is not None
        return name_without_half(Path(self.half1))

    @property
    def phases_flipped(self) -> bool | None:
        """Whether the maps are phase-flipped; None where the list does not say."""
        return {"1": True, "0": False}.get(self.extra.get(PHASES_FLIPPED, ""))


_INTEGERS = {"index", "number_subtomos"}
_NUMBERS = {column.name for column in fields(TomogramRow) if column.type == "float"}
FILES = set(COLUMNS) - _INTEGERS - _NUMBERS
_REQUIRED = ("index", "pixel_size_angstrom", "tilt_min_deg", "tilt_max_deg", "number_subtomos")


def half_of(path: Path) -> int | None:
    """1 or 2 if the file's name says which half it is (EVN, even, half1; ODD, odd, half2, between separators)."""
    tokens = _HALF.findall(path.stem)
    return None if not tokens else 2 if tokens[-1].lower() in ("odd", "half2") else 1


def name_without_half(path: Path) -> str:
    """The file's name without extension and (last) word for the half; its folder's name if nothing is left."""
    found = list(_HALF.finditer(path.stem))
    if not found:
        return path.stem
    rest = path.stem[: found[-1].start()] + path.stem[found[-1].end() :]
    return rest.strip(" _.-") or path.parent.name or path.stem


def read_star(path: Path) -> list[TomogramRow]:
    """The rows of `path`. UserError for a missing column or value, and for two rows with one index or one name."""
    columns, table = read_table(path)
    if "rlnImageName" in columns and COLUMNS["tomogram"] not in columns:
        raise UserError(
            f"{path}: a list of subtomograms, as extract of IsoNet 1 writes it: here the list of tomograms is what is "
            "asked for, and cubes are cut when they are needed: isonet2 prepare_star makes it"
        )
    for name in _REQUIRED:
        if COLUMNS[name] not in columns:
            raise UserError(f"{path}: column {COLUMNS[name]} is missing; make the file with prepare_star, or add it")
    rows = [_row(dict(zip(columns, cells, strict=True)), f"{path}: row {n}") for n, cells in enumerate(table, start=1)]
    _check_distinct(rows, path)
    return rows


def _row(cells: Mapping[str, str], place: str) -> TomogramRow:
    count, points = (cells.get(COLUMNS[name], "") for name in ("number_subtomos", "coordinates"))
    if count.lower() in _EMPTY and points.lower() not in _EMPTY:  # IsoNet2 leaves it so: there is one for each point
        cells = {**cells, COLUMNS["number_subtomos"]: "0"}
    known = {_FIELDS[label]: _value(_FIELDS[label], text, place) for label, text in cells.items() if label in _FIELDS}
    row = TomogramRow(**known, extra={label: text for label, text in cells.items() if label not in _FIELDS})
    if (row.half1 is None) != (row.half2 is None):
        raise UserError(f"{place}: {COLUMNS['half1']} and {COLUMNS['half2']} go together: give both, or None")
    if row.tomogram is None and row.half1 is None:
        raise UserError(f"{place}: no tomogram: fill {COLUMNS['tomogram']}, or {COLUMNS['half1']} and its other half")
    if row.pixel_size_angstrom <= 0:
        raise UserError(f"{place}: {COLUMNS['pixel_size_angstrom']} is {row.pixel_size_angstrom:g}; give it in Å")
    if row.voltage_kv <= 0:
        raise UserError(f"{place}: {COLUMNS['voltage_kv']} is {row.voltage_kv:g}; give it in kV, as in 300")
    if not 0 <= row.amplitude_contrast <= 1:
        raise UserError(
            f"{place}: {COLUMNS['amplitude_contrast']} is {row.amplitude_contrast:g}; give it as a share, as in 0.1"
        )
    if row.tilt_min_deg >= row.tilt_max_deg:
        raise UserError(f"{place}: {COLUMNS['tilt_min_deg']} is not below {COLUMNS['tilt_max_deg']}; swap them")
    return row


def _value(name: str, text: str, place: str) -> Any:
    if name in FILES:
        return None if text.lower() in _EMPTY else text
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or (name in _INTEGERS and not number.is_integer()):
        kind = "a whole number" if name in _INTEGERS else "a number"
        raise UserError(f"{place}: {COLUMNS[name]} is {text!r} and should be {kind}")
    return int(number) if name in _INTEGERS else number


def _check_distinct(rows: Sequence[TomogramRow], path: Path) -> None:
    for what, cure in (("index", "number one anew"), ("name", "their outputs would overwrite each other: rename one")):
        seen: dict[Any, TomogramRow] = {}
        for row in rows:
            other = seen.setdefault(getattr(row, what), row)
            if other is not row:
                files = f"{other.tomogram or other.half1} and {row.tomogram or row.half1}"
                raise UserError(f"{path}: {files} have the same {what} {getattr(row, what)}; {cure}")


def file_in_column(row: TomogramRow, column: str) -> str | None:
    """The file that `row` names in the column with this label, known or not; for want of a deconvolved tomogram, with a
    warning, the one that it would be made of. UserError if there is no such column."""
    name = _FIELDS.get(column)
    if name in FILES:
        file: str | None = getattr(row, name)
        if name == "deconvolved" and file is None and row.tomogram is not None:
            _warn_once(f"{row.name}: {column} is empty, {COLUMNS['tomogram']} is read instead")
            return row.tomogram
        return file
    if column not in row.extra:
        known = ", ".join(COLUMNS[name] for name in COLUMNS if name in FILES)
        raise UserError(f"input_column {column}: not a column of files; take one of {known}")
    return None if row.extra[column].lower() in _EMPTY else row.extra[column]


_warn_once = cache(log.warn)


def write_star(path: Path, rows: Sequence[TomogramRow]) -> None:
    """Write all rows: the known columns in the order of COLUMNS, then the others as they came."""
    _check_distinct(rows, path)
    known = [name for name in COLUMNS if name not in _OURS or any(getattr(row, name) for row in rows)]
    extra = list(dict.fromkeys(label for row in rows for label in row.extra))
    table = [
        [cell_text(getattr(row, name)) for name in known] + [cell_text(row.extra.get(x)) for x in extra] for row in rows
    ]
    write_table(path, [*(COLUMNS[name] for name in known), *extra], table)


def update_rows(path: Path, changes: Mapping[int, Mapping[str, Any]]) -> None:
    """Set fields of the rows with these indices, as in {3: {"mask": "mask/a.mrc"}}; every other cell stays as it is."""
    columns, table = read_table(path)
    place = {int(float(cells[columns.index(COLUMNS["index"])])): cells for cells in table}
    for index, change in changes.items():
        for name, value in change.items():
            if COLUMNS[name] not in columns:
                columns.append(COLUMNS[name])
                for cells in table:
                    cells.append(cell_text(None))
            place[index][columns.index(COLUMNS[name])] = cell_text(value)
    write_table(path, columns, table)


def update_row(path: Path, index: int, **changed: Any) -> None:
    """Set fields of the row with this index: `update_row(path, 3, mask="mask/a.mrc")`; the rest stays as it is."""
    update_rows(path, {index: changed})


def select_rows(rows: Sequence[TomogramRow], tomo_idx: str | None) -> list[TomogramRow]:
    """The rows that `tomo_idx` names by rlnIndex, as in "1,3,5-7", in the order of `rows`; all of them for None."""
    if tomo_idx is None:
        return list(rows)
    wanted: set[int] = set()
    for part in re.split(r"[,\s]+", tomo_idx.strip(" ,")):
        ends = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        indices = range(int(ends[1]), int(ends[2] or ends[1]) + 1) if ends else range(0)
        if not indices:
            raise UserError(f"tomo_idx {tomo_idx!r}: {part!r} is no number and no range; write it as in 1,3,5-7")
        wanted.update(indices)
    unknown = sorted(wanted - {row.index for row in rows})
    if unknown:
        known = ", ".join(str(row.index) for row in rows)
        raise UserError(
            f"tomo_idx {tomo_idx!r}: there is no tomogram {', '.join(map(str, unknown))}; there are {known}"
        )
    return [row for row in rows if row.index in wanted]


def read_table(path: Path) -> Loop:
    """The labels and rows of the only block of `path`, as text. UserError if there are more, or no row."""
    loops = read_loops(path)
    if len(loops) != 1 or not loops[0][1]:
        raise UserError(f"{path}: not a list of tomograms, which is one block of at least one row")
    columns, table = loops[0]
    twice = {label for label in columns if columns.count(label) > 1}
    if twice:
        raise UserError(f"{path}: {', '.join(sorted(twice))} is there twice; leave one column")
    return columns, table


def cell_text(value: Any) -> str:
    """A value as it stands in a cell: the word None where there is none."""
    if value is None or value == "":
        return "None"
    return repr(float(value)) if isinstance(value, float) else str(value)


def write_table(path: Path, columns: Sequence[str], table: Sequence[Sequence[str]]) -> None:
    """A file of one block, with these labels and rows, in place of `path`."""
    labels = [f"_{label} #{n}" for n, label in enumerate(columns, start=1)]
    lines = ["\t".join(quoted(cell, path) for cell in cells) for cells in table]
    write_text(path, "\n".join(["", "data_", "", "loop_", *labels, *lines, "", ""]))

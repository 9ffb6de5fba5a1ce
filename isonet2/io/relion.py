"""RELION 5's tomograms.star: read, and given back with a column more, without a change to anything else in it.

After RELION's own source: rlnTomoYTilt turns the specimen by Ry, x' = x cos θ + z sin θ (tomogram.cpp), which is the
convention of isonet2; files are named from the project's folder; the pixel size of a tomogram is that of its tilt
series times rlnTomoTomogramBinning. Reconstruct tomograms corrects the CTF, amplitudes too, by Fourier inversion and if
it is told --ctf or --skip_wiener, otherwise not (reconstruct_tomogram.cpp); its job.star says which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import radians
from pathlib import Path

from isonet2 import log
from isonet2.errors import UserError
from isonet2.io.atomic import write_text
from isonet2.io.series import Series, Warn, at_zero_tilt, folder_above, number, once
from isonet2.io.star import cell_text, read_star
from isonet2.io.star_text import Loop, cells_of, quoted, read_loops

LIST = "rlnTomoTomogramsFile"  # RELION's word for its list, kept in ours, so that results find their way back
_NAME, _TILTS, _DENOISED = "rlnTomoName", "rlnTomoTiltSeriesStarFile", "rlnTomoReconstructedTomogramDenoised"
_MAPS = {
    "full": "rlnTomoReconstructedTomogram",
    "even": "rlnTomoReconstructedTomogramHalf1",
    "odd": "rlnTomoReconstructedTomogramHalf2",
}
_OPTION = "rlnJobOptionVariable"
_ANGLES = ("rlnTomoYTilt", "rlnTomoNominalStageTiltAngle")
_EMPTY = ("", "none", "<na>", "nan")
_CORRECTING = {"--ctf", "--skip_wiener", "--fourier"}
_loops = once(read_loops)


def is_relion(columns: Sequence[str]) -> bool:
    """Whether a block with these columns is RELION's list of tomograms."""
    return _NAME in columns and (_TILTS in columns or "rlnTomoTiltSeriesPixelSize" in columns)


def read_relion(path: Path, warn: Warn) -> list[Series]:
    """Every tomogram of RELION's list; its series' own star says tilts and defocus. UserError if it has no maps."""
    rows, project = _rows(path)
    left_out = len(_list_in(_loops(path), path)[1]) - len(rows)
    if left_out:
        warn(f"prepare_star: {path}: {left_out} of its tomograms are not reconstructed: left out")
    found = []
    for cells in rows:
        files = {role: project / cells[label] for role, label in _MAPS.items() if _named(cells, label)}
        if ("even" in files) != ("odd" in files):
            raise UserError(f"{path}: {cells[_NAME]} has one half only: reconstruct it with both, or without")
        star = project / cells.get(_TILTS, "")
        job = next(iter(files.values())).parent.parent / "job.star"
        tilted = _tilted(star) if star.is_file() else _Tilted()
        size, binning = (number(cells.get(f"rlnTomo{name}")) for name in ("TiltSeriesPixelSize", "TomogramBinning"))
        found.append(
            Series(
                name=cells[_NAME],
                files=files,
                metadata=tuple(said for said in (star, path, job) if said.is_file()),
                tilts_deg=tilted.tilts_deg,
                pixel_size_angstrom=float(f"{size * binning:.6g}") if size and binning else None,
                defocus_angstrom=tilted.defocus_angstrom,
                voltage_kv=number(cells.get("rlnVoltage")),
                cs_mm=number(cells.get("rlnSphericalAberration")),
                amplitude_contrast=number(cells.get("rlnAmplitudeContrast")),
                phases_flipped=_corrected(job) if job.is_file() else None,
                phase_shift_rad=tilted.phase_shift_rad,
                relion_list=path,
            )
        )
    if any(_named(cells, _DENOISED) for cells in rows):
        warn(f"prepare_star: {path} names denoised tomograms too: not taken, since networks learn from raw ones")
    corrected = [each.name for each in found if each.phases_flipped]
    if corrected:
        warn(
            f"prepare_star: {path}: {corrected[0]} (of {len(corrected)}): RELION has filtered amplitudes by the CTF as "
            "well, which no CTF_mode models: reconstruct without Fourier inversion and --ctf, or CTF_mode None"
        )
    return found


def _corrected(job: Path) -> bool | None:
    """Whether a job of RELION's has corrected the CTF of its tomograms; None where its record does not tell, as that of
    another job, or of a version that does not ask."""
    options: dict[str, str] = {}
    with suppress(UserError):  # how well it is written is no business of ours
        options = {row[0]: row[1] for columns, table in _loops(job) if _OPTION in columns for row in table}
    if "do_fourier" not in options:
        return None
    return options["do_fourier"].lower() == "yes" or not _CORRECTING.isdisjoint(options.get("other_args", "").split())


def _rows(path: Path) -> tuple[list[dict[str, str]], Path]:
    """The rows of the list that name a map, and the project's folder. UserError if there are none."""
    columns, table = _list_in(_loops(path), path)
    rows = [dict(zip(columns, cells, strict=True)) for cells in table]
    with_maps = [cells for cells in rows if any(_named(cells, label) for label in _MAPS.values())]
    if not with_maps:
        raise UserError(
            f"{path}: names no reconstructed tomograms: take the tomograms.star of RELION 5's job Reconstruct tomograms"
        )
    first = next(with_maps[0][label] for label in _MAPS.values() if _named(with_maps[0], label))
    return with_maps, folder_above(path, first)


def _list_in(loops: Sequence[Loop], path: Path) -> Loop:
    for columns, table in loops:
        if is_relion(columns):
            return columns, table
    raise UserError(f"{path}: no block of it is RELION 5's list of tomograms, with {_NAME} and {_TILTS}")


def _named(cells: Mapping[str, str], label: str) -> bool:
    return cells.get(label, "").lower() not in _EMPTY


@dataclass(frozen=True)
class _Tilted:
    """What a series' own star says: its tilts, its mean defocus nearest to 0°, its largest phase shift."""

    tilts_deg: tuple[float, ...] = ()
    defocus_angstrom: float | None = None
    phase_shift_rad: float = 0.0


@once
def _tilted(path: Path) -> _Tilted:
    """As far as there are any. RELION takes excluded images out of that file."""
    for columns, table in read_loops(path):
        label = next((label for label in _ANGLES if label in columns), None)
        if label is None:
            continue
        rows = [dict(zip(columns, line, strict=True)) for line in table]
        tilts = [number(row[label]) for row in rows]
        if not tilts or None in tilts:
            raise UserError(f"{path}: {label} is not a number in every row")
        known = tuple(tilt for tilt in tilts if tilt is not None)
        means = [_mean_defocus(row) for row in rows]
        fitted = [(tilt, mean) for tilt, mean in zip(known, means, strict=True) if mean]
        shifts = [abs(number(row.get("rlnPhaseShift")) or 0.0) for row in rows]
        return _Tilted(known, at_zero_tilt(*zip(*fitted, strict=True)) if fitted else None, radians(max(shifts)))
    return _Tilted()


def _mean_defocus(row: Mapping[str, str]) -> float | None:
    u, v = number(row.get("rlnDefocusU")), number(row.get("rlnDefocusV"))
    return None if u is None or v is None else (u + v) / 2


def offer_to_relion(star: Path, path: Callable[[str], Path]) -> list[Path]:
    """Write RELION's list once more beside ours, `star`, with its denoised tomograms named: what was written.

    Of a tomogram without a result the column says None. RELION's own file is left alone; `path` finds what ours names.
    """
    rows = [row for row in read_star(star) if LIST in row.extra]
    written = []
    for number_of, name in enumerate(dict.fromkeys(row.extra[LIST] for row in rows)):
        source = path(name)
        if not source.is_file():
            log.warn(f"{source}: RELION's list is gone: its results are only in {star}")
            continue
        cells, project = _rows(source)
        results = {
            path(named).resolve(): result
            for row in rows
            if row.extra[LIST] == name and (result := row.corrected or row.denoised)
            for named in (row.tomogram, row.half1)
            if named
        }
        of_name = {
            each[_NAME]: _from(project, path(result))
            for each in cells
            for label in _MAPS.values()
            if (result := results.get((project / each.get(label, "")).resolve()))
        }
        target = star.with_name(f"{star.stem}_relion{number_of + 1 if number_of else ''}.star")
        write_text(target, _with_denoised(source, of_name))
        written.append(target)
    return written


def _from(project: Path, file: Path) -> str:
    """A file as RELION names it: from the project's folder if it lies in there."""
    file, project = file.resolve(), project.resolve()
    return str(file.relative_to(project)) if file.is_relative_to(project) else str(file)


def _with_denoised(path: Path, results: Mapping[str, str]) -> str:
    """The text of RELION's list, with its line ends, with one column more or with the cells of that column replaced."""
    lines = path.read_bytes().decode("utf-8-sig").split("\n")
    block = _block(lines)
    labels = [cells_of(lines[n])[0][0] for n in block if lines[n].lstrip().startswith("_")]
    at, name = (labels.index(f"_{label}") if f"_{label}" in labels else None for label in (_DENOISED, _NAME))
    assert name is not None
    last = max(n for n in block if lines[n].lstrip().startswith("_"))
    end = "\r" * lines[last].endswith("\r")
    if len(cells_of(lines[last])) == 2:  # one label and one value a line
        value = quoted(cell_text(results.get(cells_of(lines[block[name]])[1][0])), path)
        if at is None:
            lines.insert(last + 1, f"_{_DENOISED} {value}{end}")
        else:
            lines[block[at]] = _replaced(lines[block[at]], 1, value)
        return "\n".join(lines)
    for n in block:
        if n > last:
            value = quoted(cell_text(results.get(cells_of(lines[n])[name][0])), path)
            lines[n] = _replaced(lines[n], at, value)
    if at is None:
        lines.insert(last + 1, f"_{_DENOISED} #{len(labels) + 1} {end}")
    return "\n".join(lines)


def _replaced(line: str, cell: int | None, value: str) -> str:
    """The line with another value in one of its cells, or in a new one behind them."""
    cells = cells_of(line)
    if cell is None:
        end = cells[-1][1].stop
        return f"{line[:end]} {value}{line[end:]}"
    where = cells[cell][1]
    return line[: where.start] + value + line[where.stop :]


def _block(lines: Sequence[str]) -> list[int]:
    """The numbers of the lines that hold labels and rows of the list."""
    block: list[int] = []
    for n, line in enumerate([*lines, "data_"]):
        cells = [cell for cell, _ in cells_of(line)]
        if cells and cells[0].startswith("data_") and len(cells) == 1:
            labels = [cells_of(lines[m])[0][0][1:] for m in block if lines[m].lstrip().startswith("_")]
            if is_relion(labels):
                return block
            block = []
        elif cells and cells != ["loop_"]:
            block.append(n)
    raise AssertionError("read before, with such a block")

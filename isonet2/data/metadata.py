"""What a list of tomograms says of tilts and optics: what the user says, else the metadata, else a default, which is
said."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isonet2.errors import UserError
from isonet2.io.series import Series
from isonet2.io.tilts import read_tilts
from isonet2.job.models import PrepareStar
from isonet2.job.preparing import TILT_MAX, TILT_MIN, TILT_STEP
from isonet2.physics.tilts import median_step

_SAME_TILT_DEG = 0.5  # the alignment of a series may turn all of it by so much
_ASYMMETRIC_DEG = 2.0  # below that it hardly matters which way z runs
_LISTS = (".tlt", ".rawtlt", ".aln")
_OPTICS = {  # field of a row: option, default
    "defocus_angstrom": ("defocus", 0.0),
    "voltage_kv": ("voltage", 300.0),
    "cs_mm": ("cs", 2.7),
    "amplitude_contrast": ("ac", 0.1),
}


@dataclass(frozen=True)
class TiltsOf:
    """The fields of a row that say how it was tilted, and the tilts that are still to be written as its list."""

    fields: Mapping[str, Any]
    listed: tuple[float, ...] = ()


def optics_of(
    section: PrepareStar, series: Sequence[Series], warn: Callable[[str], None], *, imported: bool
) -> list[dict[str, float]]:
    """Defocus (Å), voltage (kV), spherical aberration (mm) and amplitude contrast of each; of `imported` ones `warn` is
    told what the metadata lack."""
    given = {
        name: one_for_each(option, value if isinstance(value, tuple) else (value,), len(series))
        for name, (option, _) in _OPTICS.items()
        if (value := getattr(section, option)) not in (None, ())
    }
    said = {name: [getattr(each.row or each, name) for each in series] for name in _OPTICS}
    values = {name: given.get(name, said[name]) for name in _OPTICS}
    lacking = [name for name in _OPTICS if None in values[name]]
    if imported and lacking:
        first = next(each.name for n, each in enumerate(series) if any(values[name][n] is None for name in lacking))
        defaults = ", ".join("{} ({:g})".format(*_OPTICS[name]) for name in lacking)
        without_ctf = "; without a defocus no CTF can be corrected" if "defocus_angstrom" in lacking else ""
        warn(f"prepare_star: the metadata of {first} do not say {defaults}: give what is other than that{without_ctf}")
    return [
        {name: default if (value := values[name][n]) is None else value for name, (_, default) in _OPTICS.items()}
        for n in range(len(series))
    ]


def tilts_of(
    section: PrepareStar, series: Sequence[Series], warn: Callable[[str], None], *, imported: bool
) -> list[TiltsOf]:
    """How each was tilted. UserError for ends that contradict the user's own lists; of metadata `warn` is told."""
    lows = one_for_each("tilt_min", section.tilt_min or (None,), len(series))
    highs = one_for_each("tilt_max", section.tilt_max or (None,), len(series))
    asked = list(zip(lows, highs, strict=True))
    of_user = _from_lists if section.tilt_folder is not None else _from_metadata
    found = [of_user(section, each, *ends) for each, ends in zip(series, asked, strict=True)]
    if not imported:
        if section.tilt_folder is None and any(None in ends for ends in asked):
            _say_unused_lists(series, warn)
        return found
    unsaid = [
        each.name for each, ends in zip(series, asked, strict=True) if None in ends and not (each.tilts_deg or each.row)
    ]
    if unsaid:
        warn(f"prepare_star: the metadata of {unsaid[0]} (of {len(unsaid)}) say no tilts: give tilt_min and tilt_max, "
             f"where they are not {TILT_MIN:g} and {TILT_MAX:g}")  # fmt: skip
    doubtful = [
        each.name
        for each, tilts in zip(series, found, strict=True)
        if not each.sign_known and abs(tilts.fields["tilt_min_deg"] + tilts.fields["tilt_max_deg"]) > _ASYMMETRIC_DEG
    ]
    if doubtful:
        warn(f"prepare_star: {doubtful[0]} (of {len(doubtful)}): asymmetric tilts, and nothing tells which way z runs: "
             "isonet2 check measures it, flip_tilts turns them")  # fmt: skip
    return found


def _say_unused_lists(series: Sequence[Series], warn: Callable[[str], None]) -> None:
    folders = {path.parent for each in series for path in each.files.values()}
    lists = sorted(path for folder in folders for path in folder.iterdir() if path.suffix in _LISTS)
    if lists:
        warn(
            f"prepare_star: {lists[0]} (of {len(lists)}): not used, and the tilts are taken as {TILT_MIN:g} to "
            f"{TILT_MAX:g} where nothing is said: name the lists by tilt_folder, or give tilt_min and tilt_max"
        )


def one_for_each(option: str, values: Sequence[Any], count: int) -> list[Any]:
    """One value for each tomogram; UserError if there are neither one nor as many."""
    if len(values) not in (1, count):
        raise UserError(f"prepare_star.{option}: {len(values)} values for {count} tomograms; give one, or one for each")
    return list(values) * (count if len(values) == 1 else 1)


def _from_lists(section: PrepareStar, series: Series, low: float | None, high: float | None) -> TiltsOf:
    """By the user's own list, which his ends have to agree with."""
    (path,) = series.metadata
    tilts = _turned(series.tilts_deg, section)
    _check_tilt("tilt_min", low, min(tilts), path)
    _check_tilt("tilt_max", high, max(tilts), path)
    if section.flip_tilts:
        return TiltsOf(_range(section, tilts), tilts)
    return TiltsOf({"tilt_file": str(Path(str(section.tilt_folder)) / path.name), **_range(section, tilts)})


def _check_tilt(option: str, given: float | None, listed: float, path: Path) -> None:
    if given is not None and abs(given - listed) > _SAME_TILT_DEG:
        raise UserError(f"prepare_star.{option}: {given:g}, but {path} says {listed:g}; correct one, or leave it out")


def _from_metadata(section: PrepareStar, series: Series, low: float | None, high: float | None) -> TiltsOf:
    """By what a program says; the user's ends win, and then there is no list. Without any, the usual range."""
    row = series.row
    tilts = series.tilts_deg or (read_tilts(Path(row.tilt_file)) if row and row.tilt_file else ())
    if tilts and (max(map(abs, tilts)) > 90 or max(tilts) - min(tilts) < 1):
        raise UserError(
            f"{series.metadata[0]}: {len(tilts)} tilts from {min(tilts):g} to {max(tilts):g}°: those of no series"
        )
    if tilts and low is None and high is None:
        tilts = _turned(tilts, section)
        kept = row is not None and row.tilt_file is not None and not section.flip_tilts
        fields = _range(section, tilts) | ({"tilt_file": row.tilt_file} if row and kept else {})
        return TiltsOf(fields, () if kept else tilts)
    usual = (row.tilt_min_deg, row.tilt_max_deg) if row else (TILT_MIN, TILT_MAX)
    ends = _turned((min(tilts), max(tilts)) if tilts else usual, section)
    fields = _range(section, (min(ends) if low is None else low, max(ends) if high is None else high))
    step = row.tilt_step_deg if row else median_step(tilts) if tilts else TILT_STEP
    return TiltsOf(fields | {"tilt_step_deg": section.tilt_step or float(f"{step:.6g}")})


def _turned(tilts_deg: Sequence[float], section: PrepareStar) -> tuple[float, ...]:
    return tuple(0.0 - tilt for tilt in tilts_deg) if section.flip_tilts else tuple(tilts_deg)


def _range(section: PrepareStar, tilts_deg: Sequence[float]) -> dict[str, Any]:
    return {
        "tilt_min_deg": min(tilts_deg),
        "tilt_max_deg": max(tilts_deg),
        "tilt_step_deg": section.tilt_step
        or float(f"{median_step(tilts_deg):.6g}"),  # differences of decimal fractions
    }

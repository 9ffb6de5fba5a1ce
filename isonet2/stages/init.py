"""init: look around in a folder of tomograms and write a commented job file for them."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from isonet2.errors import UserError
from isonet2.io.atomic import replacing
from isonet2.io.foreign import Recognised, read_series, recognise
from isonet2.io.mrc import read_header
from isonet2.io.pairing import TOMOGRAMS, pair_by_name
from isonet2.io.star import half_of, name_without_half, read_star
from isonet2.job.examples import run_command
from isonet2.job.load import load_job
from isonet2.job.models import STAGES, Job, Refine, Section
from isonet2.job.preparing import TILT_MAX, TILT_MIN
from isonet2.job.settings import Setting, sections, settings_of, written
from isonet2.parallel.machine import gpu_count

Chosen = Mapping[str, Mapping[str, object]]  # values by section and key; sections that are not there do not run

_NO_INPUT = re.compile(r"mask|truth|corrected|deconv|denoised", re.IGNORECASE)  # words of folders that hold results
_NOISE_LEVEL = 0.2  # of the tutorial, for tomograms without halves
_TILTS = {"tilt_min": TILT_MIN, "tilt_max": TILT_MAX}  # to be looked at: no file has them
_CURE = "list one by isonet2 prepare_star PATH --from PROGRAM, then init again"
_OTHER_STAR = "isonet2.star"  # where tomograms.star is RELION's
_BRIEF = {  # the keys that are changed most, by section
    "resources": ("nodes", "ranks_per_node", "wall_time", "partition"),
    "prepare_star": ("pixel_size", "defocus", "tilt_min", "tilt_max", "number_subtomos"),
    "deconv": (),
    "make_mask": ("z_crop",),
    "refine": ("method", "arch", "cube_size", "epochs", "batch_size", "CTF_mode"),
    "predict": ("tomo_idx",),
    "report": (),
}
_COLUMN = 28  # where the comments of these begin
_PLAIN = re.compile(r"(?!null$|Null$|NULL$)[\w./][\w./-]*")  # text that needs no quotes in YAML


@dataclass(frozen=True)
class _Found:
    """What a folder holds: sentences about it, its tomograms' shape, and what that means for the job."""

    sentence: str
    shape: tuple[int, int, int]
    has_halves: bool
    prepare_star: Mapping[str, object] | None
    notes: tuple[str, ...] = ()
    dark: bool = True
    """Whether protein is, as make_mask wants it."""
    star_file: str | None = None


def init(folder: Path, *, full: bool = False) -> Path:
    """Write `folder`/job.yaml, which loads, and return its path: with the keys that are changed most or, if `full`,
    with all. UserError if it is there or no tomogram is found."""
    path = folder / "job.yaml"
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    if path.exists():
        raise UserError(f"{path}: is there already: edit it, or rename it first")
    found = _look(folder)
    with replacing(path) as part:
        part.write_text(_job_text(found, _chosen(found), path, full=full), encoding="utf-8")
        load_job(part)
    return path


def _look(folder: Path) -> _Found:
    """A STAR file before what another program left before halves before full tomograms."""
    star = folder / "tomograms.star"
    program = recognise(star if star.exists() else folder, cure=_CURE)
    if program.source == "isonet":
        rows = read_star(star)
        shape = read_header(folder / str(rows[0].half1 or rows[0].tomogram)).shape
        return _Found(f"{star.name} with {len(rows)} tomograms", shape, rows[0].half1 is not None, None)
    if program.source != "folders":
        return _imported(folder, program)
    holding = {place: files for place in (folder, *_folders_below(folder)) if (files := _tomograms_in(place))}
    if not holding:
        raise UserError(f"{folder}: no {', '.join(TOMOGRAMS)} files in it or below it")
    roles = _halves(holding) or {"full": next(iter(holding))}
    paired = pair_by_name(roles)
    header = read_header(next(iter(next(iter(paired.values())).values())))
    size = f"{'×'.join(map(str, header.shape))} voxels of {header.pixel_size_angstrom[2]:.4g} Å (z, y, x)"
    kind = "pairs of half tomograms" if "even" in roles else "tomograms without halves"
    names = {role: str(place.relative_to(folder)) for role, place in roles.items()}
    asked = {**names, **_TILTS}
    return _Found(f"{kind}: {len(paired)}; the first has {size}", header.shape, "even" in roles, asked)


def _imported(folder: Path, program: Recognised) -> _Found:
    """Tomograms of another program, whose metadata prepare_star reads."""
    notes: list[str] = []
    series = read_series(program, notes.append, pixel_size_angstrom=None)
    shape = read_header(next(iter(series[0].files.values()))).shape
    if any(each.phases_flipped for each in series):
        notes.append("The tomograms are phase-flipped: deconv, and refine with a CTF_mode, need phaseflipped: true.")
    untilted = {} if all(each.tilts_deg for each in series) else _TILTS
    size = "×".join(map(str, shape))
    return _Found(
        f"{len(series)} tomograms of {program.source} ({program.why}); the first has {size} voxels",
        shape,
        all("even" in each.files for each in series),
        {"full": str(program.path.relative_to(folder)), "source": program.source, **untilted},
        notes=tuple(note.removeprefix("prepare_star: ") for note in notes),
        dark=program.source != "warp",
        star_file=_OTHER_STAR if program.path == folder / "tomograms.star" else None,
    )


def _folders_below(folder: Path) -> list[Path]:
    """All but hidden ones and those of results, in the order of their names."""
    below = {path: path.relative_to(folder).parts for path in sorted(folder.rglob("*")) if path.is_dir()}
    return [path for path, parts in below.items() if not any(p[0] == "." or _NO_INPUT.search(p) for p in parts)]


def _tomograms_in(place: Path) -> list[Path]:
    return [path for path in place.iterdir() if path.suffix.lower() in TOMOGRAMS and not path.name.startswith(".")]


def _halves(holding: Mapping[Path, list[Path]]) -> dict[str, Path] | None:
    """The folders of even and odd halves: two whose names say so, or one in which the names of the files do."""
    for even in holding:
        for odd in holding:
            rest = [name_without_half(place.absolute()) for place in (even, odd)]  # of "even" it is the parent's name
            alike = even.parent == odd.parent and rest[0] == rest[1]
            if alike and (half_of(even), half_of(odd)) == (1, 2):
                return {"even": even, "odd": odd}
    for place, files in holding.items():
        if {half_of(path) for path in files} >= {1, 2}:
            return {"even": place, "odd": place}
    return None


def _chosen(found: _Found) -> dict[str, dict[str, object]]:
    """The sections that are to run, and what in them is not by default: sizes for this machine."""
    chosen: dict[str, dict[str, object]] = {"make_mask": {} if found.dark else {"bright_protein": True}}
    if found.star_file is not None:
        chosen[""] = {"star_file": found.star_file}
    if found.prepare_star is not None:
        chosen["prepare_star"] = dict(found.prepare_star)
    if gpu_count() > 1:
        chosen["resources"] = {"ranks_per_node": gpu_count()}
    method: dict[str, object] = {"method": "isonet2-n2n"}
    if not found.has_halves:
        method = {"method": "isonet2", "noise_level": (_NOISE_LEVEL,)}
    refine = Refine()
    divisor = refine.shape.divisor
    cube_size = min(refine.cube_size, *found.shape) // divisor * divisor
    if cube_size < divisor:
        raise UserError(f"tomograms of {'×'.join(map(str, found.shape))} voxels are too thin for {refine.arch}")
    return chosen | {
        "refine": {**method, "cube_size": cube_size},
        "predict": {},
        "report": {},
    }


def _job_text(found: _Found, chosen: Chosen, path: Path, *, full: bool) -> str:
    head = [f"# What isonet2 init found here: {found.sentence}.", *(f"# {note}" for note in found.notes)]
    if "tilt_min" in (found.prepare_star or {}):
        head.append("# Look at tilt_min and tilt_max first: they are not in the tomograms.")
    if not found.has_halves:
        head.append("# With two halves of each tomogram (even and odd frames) refine would denoise better.")
    head += [
        "#",
        "# A section that is here is a stage that runs, in this order. Behind a # is what holds without the line.",
    ]
    if not full:
        head.append("# These are the keys that are changed most; all of them: isonet2 reference, or init --full")
    head += ["#", f"#   isonet2 validate {shlex.quote(str(path))}", f"#   {run_command(path)}"]
    lines = [*head, "", "version: 1"]
    for setting in settings_of(Job):
        if setting.name in chosen.get("", {}) or (full and setting.name != "version"):
            lines += ["", *_setting_lines(setting, chosen.get("", {}), "", full=full)]
    for name, section in sections().items():
        if name in chosen or (name != "simulate" if full else name in _BRIEF and name != "prepare_star"):
            lines += _section_lines(name, section, chosen, full=full)
    return "\n".join(lines) + "\n"


def _section_lines(name: str, section: type[Section], chosen: Chosen, *, full: bool) -> Iterator[str]:
    active = name in chosen or name not in (*STAGES, "container")
    yield ""
    yield f"# {' '.join((section.__doc__ or '').split())}"
    yield f"{'' if active else '#'}{name}:"
    for setting in settings_of(section):
        if full or setting.name in (*chosen.get(name, ()), *_BRIEF.get(name, ())):
            yield from _setting_lines(setting, chosen.get(name, {}), "  ", full=full)


def _setting_lines(setting: Setting, chosen: Mapping[str, object], indent: str, *, full: bool) -> list[str]:
    value = chosen.get(setting.name, setting.default)
    text = "" if value is None else written(value)
    if setting.is_text and text and not _PLAIN.fullmatch(text):
        text = json.dumps(text, ensure_ascii=False)
    line = f"{indent}{'' if setting.name in chosen else '#'}{setting.name}: {text}".rstrip()
    if not full:
        return [f"{line:<{_COLUMN}}  # {setting.explained}"]
    needs = "" if setting.is_text else f" ({setting.needs})"
    return [f"{indent}# {setting.explained}{needs}", line]

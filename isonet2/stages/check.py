"""check: what is declared of tomograms against what a few boxes and planes of each show, before anything is trained."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from isonet2 import __version__
from isonet2.data.acquired import optics_of, tilts_of
from isonet2.data.glimpse import Glimpse, glimpse
from isonet2.data.listing import list_tomograms
from isonet2.data.sources import any_maps
from isonet2.errors import UserError
from isonet2.io.atomic import replacing, write_text
from isonet2.io.fingerprint import fingerprint
from isonet2.io.mrc import read_header
from isonet2.io.star import TomogramRow, read_star, select_rows
from isonet2.job.load import load_job
from isonet2.job.models import Job, Predict, Refine
from isonet2.job.plan import TomogramFacts, make_plan
from isonet2.job.tools import Check
from isonet2.log import info, warn
from isonet2.parallel.collectives import on_first_rank, on_shared_items
from isonet2.parallel.machine import memory_bytes
from isonet2.parallel.world import World
from isonet2.physics.acquisition import Tilts
from isonet2.physics.compared_halves import compare_halves, noise_fall, signature, skewness
from isonet2.physics.found_phases import flipped_sigmas
from isonet2.physics.found_rings import find_rings
from isonet2.physics.found_wedge import fan, find_wedge
from isonet2.physics.spectra import Spectra, near_xz, radial, spectra_of
from isonet2.physics.voxel_values import bead_share, measure_values, same_but_for_scale
from isonet2.report.check_figure import check_figure
from isonet2.report.findings import Evidence, Finding, summary, table
from isonet2.report.judged import judged, room_finding, with_partners

FOLDER = "check"
IN_A_RUN = 4
"""Tomograms that `run` looks at, evenly spread over the list."""
_BOXES_OF_PHASES = 4
_LOW_TILTS_DEG = 40.0  # rings are sharpest there: a tilted specimen has many defoci
_LEAST = 32  # voxels along a side that leave enough components to tell anything by
_DPI = 90
_SHOWN = 10  # errors: one habit makes one for each tomogram

Path_of = Callable[[str], Path]


def check(section: Check) -> Iterator[str]:
    """What is found about every tomogram of a list or of a job, as a table. UserError at its end where something is
    certain to be wrong.

    Writes check.json, and NAME.png for each. Memory of a tomogram: 9 boxes of 96³ and 12 planes of each map, and a
    strip of 96 planes of 96 rows; of two halves of 320×1024×1024 voxels 312 MB and 2.6 CPU-s.
    """
    path = Path(section.star_file)
    of_job = path.suffix in (".yaml", ".yml", ".json")
    job = load_job(path) if of_job else Job(star_file=str(path)).in_folder(Path())
    rows = select_rows(rows_of(job), section.tomo_idx)
    findings = examine(rows, job.path, Path(section.output_dir), World(), flipped=_flipped(job))
    findings.append(_room(job if of_job else _by_default(job, rows), rows))
    yield table(findings)
    yield f"{summary(findings)}; pictures in {section.output_dir}/"
    if any(finding.verdict == "error" for finding in findings):
        raise UserError(_sentences(findings))


def check_in_run(job: Job, world: World, *, force: bool) -> None:
    """A few tomograms of a job before its long work, on all ranks; once, as long as nothing changes.

    UserError, with a line for each, for what is certain to be wrong, unless `force`; the rest is warned of.
    """
    rows = on_first_rank(world, lambda: _some(rows_of(job)))
    folder = job.path(FOLDER)
    key = on_first_rank(world, lambda: _key(rows, job.path, _flipped(job)))
    known = on_first_rank(world, lambda: _known(folder / "check.json", key))
    if known is None:
        info(f"check: looks at {len(rows)} tomogram{'s' * (len(rows) > 1)}")
        known = examine(rows, job.path, folder, world, flipped=_flipped(job), key=key)
        for finding in known:
            if finding.verdict == "doubt":
                warn(f"check: {finding}")
    errors = [finding for finding in known if finding.verdict == "error"]
    on_first_rank(world, lambda: _stop_or_warn(errors, folder, force=force))
    if not errors:
        info(f"check: {summary(known)}: {folder}")


def _stop_or_warn(errors: Sequence[Finding], folder: Path, *, force: bool) -> None:
    if errors and not force:
        raise UserError(
            f"{_sentences(errors)}\ncheck: look at {folder}, correct this, or go on as it is: isonet2 run --force"
        )
    for finding in errors:
        warn(f"check: {finding}")


def rows_of(job: Job) -> list[TomogramRow]:
    """The tomograms of a job: those of its list or, where that is not made yet, those that it will have."""
    star = job.path(job.star_file)
    if job.prepare_star is not None and not star.exists():
        return list_tomograms(job, job.prepare_star, warn)
    return read_star(star)


def examine(
    rows: Sequence[TomogramRow],
    path: Path_of,
    folder: Path,
    world: World,
    *,
    flipped: bool | None = None,
    key: str = "",
) -> list[Finding]:
    """What is found about these tomograms, on every rank; the ranks share them. Writes NAME.png and check.json.

    `flipped`: what is declared of the phases where the list does not say it.
    """
    work = partial(_examined, path=path, folder=folder, flipped=flipped)
    found = on_shared_items(world, rows, [1.0] * len(rows), work)
    evidence = with_partners([one for one in found if isinstance(one, Evidence)])
    findings = [one for one in found if isinstance(one, Finding)]
    for one in evidence:
        findings += judged(one)
    order = {row.name: n for n, row in enumerate(rows)}
    findings.sort(key=lambda finding: order[finding.tomogram])
    findings += _named_twice(rows, path)
    on_first_rank(world, lambda: _write(folder / "check.json", findings, evidence, key))
    return findings


def _examined(row: TomogramRow, *, path: Path_of, folder: Path, flipped: bool | None) -> Evidence | Finding:
    """Measure one tomogram and draw it; or why it could not be read."""
    try:
        paths = [path(name) for name in any_maps(row)]
        shapes = {read_header(map_).shape for map_ in paths}
        if len(shapes) > 1:
            sizes = " and ".join("×".join(map(str, shape)) for shape in sorted(shapes))
            raise UserError(f"{paths[1]}: the halves have {sizes} voxels (z, y, x): they must be alike")
        if min(first := shapes.pop()) < _LEAST:
            size = "×".join(map(str, first))
            return Finding(row.name, "files", "cannot tell", f"{size} voxels (z, y, x): too small to be judged")
        seen = glimpse(paths)
        tilts = tilts_of(row, path)
        for map_, planes in zip(paths, seen.planes, strict=True):
            if np.ptp(np.stack(planes)) == 0:
                raise UserError(f"{map_}: constant: every voxel is {planes[0].flat[0]:g}")
    except UserError as error:
        return Finding(row.name, "files", "error", str(error))
    spectra = spectra_of(seen.pairs, seen.apart)
    evidence = _evidence(row, seen, spectra, tilts, flipped)
    with replacing(folder / f"{row.name}.png") as part:
        check_figure(evidence, near_xz(spectra)).savefig(part, format="png", dpi=_DPI)
    return evidence


def _evidence(row: TomogramRow, seen: Glimpse, spectra: Spectra, tilts: Tilts, flipped: bool | None) -> Evidence:
    wedge = find_wedge(spectra.power, spectra.shape)
    shells = radial(spectra, fan(spectra.shape, wedge, within_deg=_LOW_TILTS_DEG))
    optics = optics_of(row)
    middle = len(seen.boxes[0]) // 2
    first = seen.headers[0]
    return Evidence(
        name=row.name,
        optics=optics,
        tilts_deg=tilts,
        mode=first.mode,
        header_pixels_angstrom=first.pixel_size_angstrom,
        wedge=wedge,
        radial=shells,
        rings=find_rings(shells, optics, halves=spectra.halves),
        halves=compare_halves(spectra, shells) if spectra.halves else None,
        same=spectra.halves and same_but_for_scale(*seen.planes),
        skewness=skewness(seen.pairs),
        flipped=flipped if row.phases_flipped is None else row.phases_flipped,
        flipped_sigmas=flipped_sigmas(seen.pairs[:_BOXES_OF_PHASES], optics),
        values=tuple(measure_values(planes, seen.heights, mode=first.mode) for planes in seen.planes),
        beads=bead_share(seen.boxes[0]),
        fall=noise_fall(shells, shells.signal + shells.noise),
        signatures=tuple(signature(boxes[middle]) for boxes in seen.boxes),
        boxes=(len(seen.pairs), spectra.shape),
    )


def _flipped(job: Job) -> bool | None:
    """What the job says of the phases of its tomograms; None if nothing in it depends on them."""
    users = [section for section in (job.deconv, *job.trainings.values()) if section is not None]
    says = [section.phaseflipped for section in users if getattr(section, "CTF_mode", "deconv") is not None]
    return any(says) if says else None


def _named_twice(rows: Sequence[TomogramRow], path: Path_of) -> Iterator[Finding]:
    """Files that more than one row names."""
    seen: dict[Path, str] = {}
    for row in rows:
        for name in set(any_maps(row)):
            other = seen.setdefault(path(name).resolve(), row.name)
            if other != row.name:
                yield Finding(row.name, "files", "error", f"{name} is also a map of {other}", "correct one of the rows")


def _by_default(job: Job, rows: Sequence[TomogramRow]) -> Job:
    """A list alone says nothing of what is to be done with it: refine and predict as they are by default."""
    method = "isonet2-n2n" if all(row.half1 for row in rows) else "isonet2"
    return job.model_copy(update={"refine": Refine(method=method), "predict": Predict()})


def _room(job: Job, rows: Sequence[TomogramRow]) -> Finding:
    try:
        facts = [
            TomogramFacts(row.name, read_header(job.path(any_maps(row)[0])).shape, row.number_subtomos) for row in rows
        ]
        plan = make_plan(job, facts)
    except UserError as error:
        return Finding("", "room", "cannot tell", str(error).replace("\n", "; "))
    return room_finding(plan, disk=shutil.disk_usage(job.folder).free, memory=memory_bytes())


def _some(rows: Sequence[TomogramRow]) -> list[TomogramRow]:
    chosen = sorted({round(place) for place in np.linspace(0, len(rows) - 1, IN_A_RUN)})
    return [rows[place] for place in chosen]


def _key(rows: Sequence[TomogramRow], path: Path_of, flipped: bool | None) -> str:
    """Changes with what is declared and with the files."""
    content: list[str] = [__version__, str(flipped)]
    for row in rows:
        content += [str(optics_of(row)), str(tilts_of(row, path)), str(row.phases_flipped)]
        content += [fingerprint(path(name)) for name in any_maps(row)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _known(path: Path, key: str) -> list[Finding] | None:
    """What was found before, with the same key."""
    try:
        content = json.loads(path.read_text())
        return [Finding(**found) for found in content["findings"]] if content["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _sentences(findings: Sequence[Finding]) -> str:
    errors = [f"check: {finding}" for finding in findings if finding.verdict == "error"]
    more = [f"… and {len(errors) - _SHOWN} more"] if len(errors) > _SHOWN else []
    return "\n".join(errors[:_SHOWN] + more)


def _write(path: Path, findings: Sequence[Finding], evidence: Sequence[Evidence], key: str) -> None:
    measured = {
        one.name: {
            "boxes": one.boxes,
            "tilts_deg": [round(one.wedge.low_deg, 2), round(one.wedge.high_deg, 2)],
            "tilts_spread_deg": round(one.wedge.spread_deg, 2),
            "wedge_contrast": round(one.wedge.contrast, 3),
            "tilt_axis": "zyx"[one.wedge.tilt_axis],
            "beam_axis": "zyx"[one.wedge.beam_axis],
            "defocus_angstrom": one.rings.best_angstrom,
            "correlation_of_halves": one.halves and round(one.halves.low, 4),
            "skewness": [round(one.skewness.value, 3), round(one.skewness.sigma, 3)],
            "picture": f"{one.name}.png",
        }
        for one in evidence
    }
    content = {"key": key, "findings": [finding.as_dict() for finding in findings], "measured": measured}
    write_text(path, json.dumps(content, indent=1) + "\n")

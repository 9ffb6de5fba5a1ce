"""check: what is declared of tomograms against what a few boxes and planes of each show, before anything is trained."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from isonet2.data.acquired import optics_of, tilts_of
from isonet2.data.glimpse import Glimpse, glimpse
from isonet2.data.listing import list_tomograms
from isonet2.data.looked_at import keys_of, maps_read, names_read, rows_read
from isonet2.data.sources import Choice, any_maps
from isonet2.errors import UserError
from isonet2.io.atomic import replacing
from isonet2.io.mrc import read_header
from isonet2.io.star import TomogramRow, read_star, select_rows
from isonet2.job.load import load_job
from isonet2.job.models import STAGES, Job, Predict, Refine
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
from isonet2.report.check_record import FOLDER, RECORD, known_findings, write_record
from isonet2.report.findings import Evidence, Finding, summary, table
from isonet2.report.judged import judged, room_finding, with_partners

IN_A_RUN = 4
"""Tomograms that `run` looks at, evenly spread over the list."""
_BOXES_OF_PHASES = 4
_LOW_TILTS_DEG = 40.0  # rings are sharpest there: a tilted specimen has many defoci
_LEAST = 32  # voxels along a side that leave enough components to tell anything by
_DPI = 90
_CURE = "mend or replace the file, or name another one in the row"
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
    listed = rows_of(job)
    rows, choice = select_rows(listed, section.tomo_idx), maps_read(job, listed, job.path)
    findings = examine(rows, job.path, Path(section.output_dir), World(), choice=choice, flipped=_flipped(job))
    room = _room(job if of_job else _by_default(job, rows), rows, choice)
    yield table([*findings, room])
    yield f"{summary(findings)}; room: {room.verdict}; pictures in {section.output_dir}/"
    if any(finding.verdict == "error" for finding in findings):
        raise UserError(_sentences(findings))


def check_in_run(job: Job, world: World, stages: Collection[str] = STAGES, *, force: bool) -> int:
    """A few of the tomograms that these stages of a job read, before the long work, on all ranks: how many doubts there
    are. Of those that were looked at before, by `isonet2 check` too, what was found then, as long as nothing changes.

    UserError, with a line for each, for what is certain to be wrong, unless `force`; the rest is warned of.
    """
    listed = on_first_rank(world, lambda: rows_of(job))
    rows = _some(rows_read(job, listed, stages))
    choice, flipped, folder = maps_read(job, listed, job.path), _flipped(job), job.path(FOLDER)
    known = on_first_rank(world, lambda: known_findings(folder / RECORD, keys_of(rows, job.path, choice, flipped)))
    if known is None:
        info(f"check: looks at {len(rows)} tomogram{'s' * (len(rows) > 1)}")
        known = examine(rows, job.path, folder, world, choice=choice, flipped=flipped)
        for finding in known:
            if finding.verdict == "doubt":
                warn(f"check: {finding}")
    errors = [finding for finding in known if finding.verdict == "error"]
    on_first_rank(world, lambda: _stop_or_warn(errors, folder, force=force))
    if not errors:
        info(f"check: {summary(known)}: {folder}")
    return len(errors) + sum(finding.verdict == "doubt" for finding in known)


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
    choice: Choice = any_maps,
    flipped: bool | None = None,
) -> list[Finding]:
    """What is found about these tomograms, on every rank; the ranks share them. Writes NAME.png, and check.json as
    tomograms are finished.

    `choice`: which of their maps are looked at. `flipped`: what is declared of the phases where the list does not say
    it; None where nothing depends on them.
    """
    done: list[Evidence | Finding] = []
    keys = on_first_rank(world, lambda: keys_of(rows, path, choice, flipped))

    def work(row: TomogramRow) -> Evidence | Finding:
        done.append(_examined(row, path=path, folder=folder, choice=choice, flipped=flipped))
        if world.rank == 0 and len(rows) > 1:
            findings = _findings(rows, done)
            said = summary([finding for finding in findings if finding.tomogram == row.name])
            info(f"check: {row.name} ({len(done)} of {len(rows)}): {said}")
            write_record(
                folder / RECORD, findings, done, {name: keys[name] for name in {one.tomogram for one in findings}}
            )
        return done[-1]

    found = on_shared_items(world, rows, [1.0] * len(rows), work)
    evidence = with_partners([one for one in found if isinstance(one, Evidence)])
    findings = _findings(rows, [*evidence, *(one for one in found if isinstance(one, Finding))])
    findings += list(_named_twice(rows, path, choice))
    on_first_rank(world, lambda: write_record(folder / RECORD, findings, found, keys))
    return findings


def _findings(rows: Sequence[TomogramRow], found: Sequence[Evidence | Finding]) -> list[Finding]:
    """All that is to be said of them, in the order of the rows."""
    findings = [one for one in found if isinstance(one, Finding)]
    for one in (one for one in found if isinstance(one, Evidence)):
        try:
            findings += judged(one)
        except Exception as error:  # whatever it is, no run is to end by being looked at
            findings.append(_not_measured(one.name, error))
    order = {row.name: n for n, row in enumerate(rows)}
    return sorted(findings, key=lambda finding: order[finding.tomogram])


def _examined(
    row: TomogramRow, *, path: Path_of, folder: Path, choice: Choice, flipped: bool | None
) -> Evidence | Finding:
    """Measure one tomogram and draw it; or why it could not be read, or be measured."""
    try:
        with np.errstate(all="ignore"):
            measured = _measured(row, [path(name) for name in choice(row)], path, flipped)
    except UserError as error:
        return Finding(row.name, "files", "error", str(error), _CURE)
    except Exception as error:  # whatever it is, no run is to end by being looked at
        return _not_measured(row.name, error)
    if isinstance(measured, Finding):
        return measured
    evidence, spectrum = measured
    try:
        from isonet2.report.check_figure import check_figure

        with replacing(folder / f"{row.name}.png") as part:
            check_figure(evidence, spectrum).savefig(part, format="png", dpi=_DPI)
    except Exception as error:
        warn(f"check: no picture of {row.name}: {_in_a_line(error)}")
    return evidence


def _not_measured(name: str, error: Exception) -> Finding:
    return Finding(name, "values", "cannot tell", f"could not be measured ({_in_a_line(error)})")


def _in_a_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _measured(
    row: TomogramRow, paths: Sequence[Path], path: Path_of, flipped: bool | None
) -> tuple[Evidence, Tensor] | Finding:
    """The evidence and the spectrum to be drawn; or why there is nothing to be measured."""
    shapes = {read_header(map_).shape for map_ in paths}
    if len(shapes) > 1:
        sizes = " and ".join("×".join(map(str, shape)) for shape in sorted(shapes))
        raise UserError(f"{paths[1]}: the halves have {sizes} voxels (z, y, x): they must be alike")
    if min(first := shapes.pop()) < _LEAST:
        size = "×".join(map(str, first))
        return Finding(row.name, "files", "cannot tell", f"{size} voxels (z, y, x): too small to be judged")
    seen = glimpse(paths)
    tilts = tilts_of(row, path)
    for map_, planes, boxes in zip(paths, seen.planes, seen.boxes, strict=True):
        if np.ptp(np.stack(planes)) == 0:
            raise UserError(f"{map_}: constant: every voxel is {planes[0].flat[0]:g}")
        if all(np.ptp(plane) == 0 for plane in planes):
            raise UserError(f"{map_}: every plane is constant, from {planes[0].flat[0]:g} to {planes[-1].flat[0]:g}")
        if all(bool((box == box[0, 0, 0]).all()) for box in boxes):
            return Finding(row.name, "values", "cannot tell", f"{map_}: empty in the middle, where it is looked at")
    spectra = spectra_of(seen.pairs, seen.apart)
    return _evidence(row, seen, spectra, tilts, flipped), near_xz(spectra)


def _evidence(row: TomogramRow, seen: Glimpse, spectra: Spectra, tilts: Tilts, flipped: bool | None) -> Evidence:
    wedge = find_wedge(spectra.power, spectra.shape)
    shells = radial(spectra, fan(spectra.shape, wedge, within_deg=_LOW_TILTS_DEG))
    optics = optics_of(row)
    middle = len(seen.boxes[0]) // 2
    return Evidence(
        name=row.name,
        optics=optics,
        tilts_deg=tilts,
        modes=tuple(header.mode for header in seen.headers),
        header_pixels_angstrom=tuple(header.pixel_size_angstrom for header in seen.headers),
        wedge=wedge,
        radial=shells,
        rings=find_rings(shells, optics, halves=spectra.halves),
        halves=compare_halves(spectra, shells) if spectra.halves else None,
        same=spectra.halves and same_but_for_scale(*seen.planes),
        skewness=skewness(seen.pairs),
        alone=tuple(
            skewness([(box, None) for pair in seen.pairs if (box := pair[part]) is not None])
            for part in range(len(seen.boxes))
        ),
        corrects_ctf=flipped is not None,
        flipped=flipped if row.phases_flipped is None else row.phases_flipped,
        flipped_sigmas=flipped_sigmas(seen.pairs[:_BOXES_OF_PHASES], optics),
        values=tuple(
            measure_values(planes, seen.heights, mode=header.mode)
            for planes, header in zip(seen.planes, seen.headers, strict=True)
        ),
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


def _named_twice(rows: Sequence[TomogramRow], path: Path_of, choice: Choice) -> Iterator[Finding]:
    """Files that more than one row names."""
    seen: dict[Path, str] = {}
    for row in rows:
        for name in names_read(row, choice):
            other = seen.setdefault(path(name).resolve(), row.name)
            if other != row.name:
                yield Finding(row.name, "files", "error", f"{name} is also a map of {other}", "correct one of the rows")


def _by_default(job: Job, rows: Sequence[TomogramRow]) -> Job:
    """A list alone says nothing of what is to be done with it: refine and predict as they are by default."""
    method = "isonet2-n2n" if all(row.half1 for row in rows) else "isonet2"
    return job.model_copy(update={"refine": Refine(method=method), "predict": Predict()})


def _room(job: Job, rows: Sequence[TomogramRow], choice: Choice) -> Finding:
    try:
        facts = [
            TomogramFacts(row.name, read_header(job.path(choice(row)[0])).shape, row.number_subtomos) for row in rows
        ]
        plan = make_plan(job, facts)
    except UserError as error:
        return Finding("", "room", "cannot tell", str(error).replace("\n", "; "))
    return room_finding(plan, disk=shutil.disk_usage(job.folder).free, memory=memory_bytes())


def _some(rows: Sequence[TomogramRow]) -> list[TomogramRow]:
    chosen = sorted({round(place) for place in np.linspace(0, len(rows) - 1, IN_A_RUN)})
    return [rows[place] for place in chosen]


def _sentences(findings: Sequence[Finding]) -> str:
    errors = [f"check: {finding}" for finding in findings if finding.verdict == "error"]
    more = [f"… and {len(errors) - _SHOWN} more"] if len(errors) > _SHOWN else []
    return "\n".join(errors[:_SHOWN] + more)

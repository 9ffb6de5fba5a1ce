"""Put what was run, learned and made into one HTML file; what is to be believed of a map, also beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isonet2 import __version__, log
from isonet2.data.acquired import optics_of, tilts_of
from isonet2.errors import UserError
from isonet2.io.atomic import write_text
from isonet2.io.fingerprint import fingerprint
from isonet2.io.star import TomogramRow, read_star
from isonet2.job.models import Job, Report
from isonet2.job.resolved import resolved_job, with_stages_of
from isonet2.parallel.collectives import on_first_rank, on_shared_items
from isonet2.parallel.world import World
from isonet2.report.block import TomogramBlock, tomogram_block
from isonet2.report.check_record import FOLDER, RECORD
from isonet2.report.comparison import write_comparison
from isonet2.report.input_check import input_check
from isonet2.report.judgement import Judged, judged
from isonet2.report.origin import Origin
from isonet2.report.page import render_page
from isonet2.report.records import RunRecords, read_records, record_files
from isonet2.report.tomogram import Scores, TomogramVolumes, compared_with_truth, is_there, mean_scores, opened
from isonet2.report.unfinished import unfinished
from isonet2.training.validation import validation_course, verdict

SHOWN = 6
"""Tomograms that are drawn, so that the page stays below 6 MB."""
_TRUTH = "truth.json"
_LONGEST = 512  # pixels of the longest side of a slice of the only tomogram; more tomograms share these pixels


def inputs(job: Job) -> dict[str, Any]:
    """The finished stages and the files that the page is made from; the tomograms are known by their stages' keys."""
    section, rows = job.report or Report(), read_star(job.path(job.star_file))
    files = [job.path(job.star_file), *record_files(job), job.path(FOLDER) / RECORD]
    folder = _truth_folder(job, section, rows)
    files += [folder / f"{row.name}.mrc" for row in rows] if folder else []
    return {str(path): fingerprint(path) for path in files if path.is_file()}


@dataclass(frozen=True)
class _Looked:
    """What was found in one tomogram; `verdict` is the file that says it, beside a prediction of this job; `comparison`
    are the picture and the movie of it."""

    judged: Judged
    block: TomogramBlock | None
    scores: Scores | None
    verdict: str | None
    comparison: list[str]


def run(job: Job, world: World) -> dict[str, Any]:
    """Write the page, beside every prediction what is to be believed of it, pictures and movies of what it changed, and
    truth.json if a truth folder is given.

    Ranks share the tomograms; rank 0 writes the page. Facts: the page, its size, the verdicts, the scores.
    """
    section = job.report or Report()
    rows = on_first_rank(world, lambda: read_star(job.path(job.star_file)))
    records = on_first_rank(world, lambda: read_records(job))
    truth_folder = on_first_rank(world, lambda: _truth_folder(job, section, rows))
    origin = _origin(records, rows)
    there = on_first_rank(world, lambda: [row for row in rows if is_there(job, row)])
    drawn = {row.index for row in there[:SHOWN]}
    longest = round(_LONGEST / math.sqrt(min(len(rows), SHOWN)))

    def look(row: TomogramRow) -> _Looked:
        with opened(job, row, optics_of(row), tilts_of(row, job.path), origin, truth_folder) as volumes:
            comparison = compared_with_truth(volumes) if volumes.truth is not None else None
            block = tomogram_block(volumes, comparison, longest=longest) if row.index in drawn else None
            told = block.judged if block else judged(volumes)
            verdict = _leave_beside(job, volumes, told) if told.judgement.verdicts else None
            wanted = section.with_comparison and volumes.result is not None
            files = write_comparison(volumes, job.path(section.comparison_dir)) if wanted else []
        log.info(f"report: {row.name} is looked at")
        scores = comparison.scores if comparison else None
        return _Looked(told, block, scores, verdict, [job.name(path) for path in files])

    found = on_shared_items(world, there, [2.0 if row.index in drawn else 1.0 for row in there], look)
    return on_first_rank(
        world, lambda: _write(job, section, records, rows, found, origin, with_truth=truth_folder is not None)
    )


def _origin(records: RunRecords, rows: Sequence[TomogramRow]) -> Origin:
    """As predict has recorded it; of one that has not finished, what the list tells."""
    facts = records.facts("predict")
    if not facts and any(row.denoised for row in rows) and not any(row.corrected for row in rows):
        facts = {"method": "n2n"}
    return Origin.of(facts)


def _leave_beside(job: Job, volumes: TomogramVolumes, judged: Judged) -> str | None:
    """Write what is to be believed of a prediction beside it, if predict says that it made it."""
    result = getattr(volumes.row, volumes.origin.result)
    if result not in volumes.origin.outputs:
        return None
    verdict = str(Path(result).with_suffix(".json"))
    content = {"tomogram": judged.name, "map": result, "isonet2": __version__, **judged.told()}
    write_text(job.path(verdict), json.dumps(content, indent=1) + "\n")
    return verdict


def _write(
    job: Job,
    section: Report,
    records: RunRecords,
    rows: Sequence[TomogramRow],
    found: Sequence[_Looked],
    origin: Origin,
    *,
    with_truth: bool,
) -> dict[str, Any]:
    scores = {one.judged.name: one.scores for one in found if one.scores}
    means, seen, total = mean_scores(scores), {one.judged.name for one in found}, len(rows)
    whole = with_stages_of(resolved_job(job.folder), job)
    page = render_page(
        whole,
        records,
        [one.block for one in found if one.block],
        [one.judged for one in found],
        total=total,
        missing=[row.name for row in rows if row.name not in seen],
        scores=means,
        convergence=_convergence(records),
        comparisons=[name for one in found for name in one.comparison],
        left_out=unfinished(whole, rows, records, origin.result),
        check=input_check(job, rows),
    )
    write_text(job.path(section.output), page)
    facts: dict[str, Any] = {
        "outputs": [section.output, *(name for one in found for name in (one.verdict, *one.comparison) if name)],
        "megabytes": len(page.encode()) / 1e6,
        "tomograms": total,
        "support": {one.judged.name: one.judged.told() for one in found if one.judged.predicted},
    }
    if with_truth:
        truth = {**means, "tomograms": scores}
        write_text(job.folder / _TRUTH, json.dumps(truth, indent=1) + "\n")
        facts |= {"outputs": [*facts["outputs"], _TRUTH], "truth": truth}
        _say(means)
    return facts


def _convergence(records: RunRecords) -> dict[str, dict[str, Any]]:
    """The verdict on each course of training that held out cubes, also on one that has not come to its end."""
    return {c.name: verdict(*validation_course(c.epochs)) for c in records.courses if c.held_out_losses}


def _say(means: Scores) -> None:
    """The table of correlations with the truth, for whoever watches."""
    log.info("correlation with the truth   overall  measured  wedge")
    for name, score in means.items():
        log.info(f"{name:>26}   {score['cc']:7.3f}  {score['cc_measured']:8.3f}  {score['cc_wedge']:5.3f}")


def _truth_folder(job: Job, section: Report, rows: list[TomogramRow]) -> Path | None:
    """The folder of true maps, if one is named. UserError if it holds none with the name of a tomogram."""
    if section.truth_folder is None:
        return None
    folder = job.path(section.truth_folder)
    if not any((folder / f"{row.name}.mrc").is_file() for row in rows):
        raise UserError(
            f"report.truth_folder: {folder} holds no map that is named as a tomogram is, such as {rows[0].name}.mrc"
        )
    return folder

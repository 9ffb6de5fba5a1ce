"""Put what was run, learned and made into one HTML file; with known truth, also truth.json."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from isonet2 import log
from isonet2.data.acquired import optics_of, tilts_of
from isonet2.errors import UserError
from isonet2.io.atomic import write_text
from isonet2.io.fingerprint import fingerprint
from isonet2.io.star import TomogramRow, read_star
from isonet2.job.models import Job, Report
from isonet2.parallel.collectives import on_first_rank
from isonet2.parallel.world import World
from isonet2.report.block import TomogramBlock, tomogram_block
from isonet2.report.origin import Origin
from isonet2.report.page import render_page
from isonet2.report.records import RunRecords, read_records, record_files
from isonet2.report.tomogram import Scores, compared_with_truth, mean_scores, opened
from isonet2.training.validation import validation_course, verdict

SHOWN = 6
"""Tomograms that are drawn, so that the page stays below 6 MB."""
_TRUTH = "truth.json"
_LONGEST = 512  # pixels of the longest side of a slice of the only tomogram; more tomograms share these pixels


def inputs(job: Job) -> dict[str, Any]:
    """The finished stages and the files that the page is made from; the tomograms are known by their stages' keys."""
    section, rows = job.report or Report(), read_star(job.path(job.star_file))
    files = [job.path(job.star_file), *record_files(job)]
    folder = _truth_folder(job, section, rows)
    files += [folder / f"{row.name}.mrc" for row in rows] if folder else []
    return {str(path): fingerprint(path) for path in files if path.is_file()}


def run(job: Job, world: World) -> dict[str, Any]:
    """Write the page on rank 0, and truth.json if a truth folder is given. Facts: the page, its size, the scores."""
    return on_first_rank(world, lambda: _write(job, job.report or Report()))


def _write(job: Job, section: Report) -> dict[str, Any]:
    rows, records = read_star(job.path(job.star_file)), read_records(job)
    truth_folder = _truth_folder(job, section, rows)
    origin = Origin.of(records.facts("predict"))
    blocks: list[TomogramBlock] = []
    missing: list[str] = []
    scores: dict[str, Scores] = {}
    longest = round(_LONGEST / math.sqrt(min(len(rows), SHOWN)))
    for row in rows:
        shown = len(blocks) < SHOWN
        if not shown and truth_folder is None:
            break
        with opened(job, row, optics_of(row), tilts_of(row, job.path), origin, truth_folder) as volumes:
            if volumes is None:
                missing.append(row.name)
                continue
            comparison = compared_with_truth(volumes) if volumes.truth is not None else None
            if comparison:
                scores[row.name] = comparison.scores
            if shown:
                blocks.append(tomogram_block(volumes, comparison, longest=longest))
    means = mean_scores(scores)
    page = render_page(
        job, records, blocks, total=len(rows), missing=missing, scores=means, convergence=_convergence(records)
    )
    write_text(job.path(section.output), page)
    facts: dict[str, Any] = {
        "outputs": [section.output],
        "megabytes": len(page.encode()) / 1e6,
        "tomograms": len(rows),
        "support": {block.name: _support(block) for block in blocks if block.predicted},
    }
    if truth_folder is not None:
        truth = {**means, "tomograms": scores}
        write_text(job.folder / _TRUTH, json.dumps(truth, indent=1) + "\n")
        facts |= {"outputs": [section.output, _TRUTH], "truth": truth}
        _say(means)
    return facts


def _convergence(records: RunRecords) -> dict[str, dict[str, Any]]:
    """The verdict on each course of training that held out cubes, also on one that has not come to its end."""
    return {c.name: verdict(*validation_course(c.epochs)) for c in records.courses if c.held_out_losses}


def _support(block: TomogramBlock) -> dict[str, Any]:
    """What the page says of a prediction, for programs: by region a state and a sentence."""
    found: dict[str, Any] = {
        region: {"state": verdict.state, "sentence": verdict.sentence}
        for region, verdict in block.agreement.judgement.verdicts.items()
    }
    limit, share = block.agreement.judgement.verdicts["missing wedge"].limit_angstrom, block.agreement.judgement.share
    found["wedge_limit_angstrom"] = limit if math.isfinite(limit) else None
    found["share_of_allowed_fsc"] = share if math.isfinite(share) else None
    return found


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

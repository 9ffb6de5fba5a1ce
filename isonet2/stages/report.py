"""Put what was run, learned and made into one HTML file; with known truth, also truth.json."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from isonet2.errors import UserError
from isonet2.io.atomic import write_text
from isonet2.io.fingerprint import fingerprint
from isonet2.io.star import read_star
from isonet2.job.models import STAGES, Job, Report
from isonet2.parallel.collectives import on_first_rank
from isonet2.parallel.world import World
from isonet2.report.block import TomogramBlock, tomogram_block
from isonet2.report.page import render_page
from isonet2.report.records import metrics_folder, read_records, stage_path
from isonet2.report.tomogram import Scores, compared_with_truth, mean_scores, opened

SHOWN = 6
"""Tomograms that are drawn, so that the page stays below 6 MB."""


def inputs(job: Job) -> dict[str, Any]:
    """The finished stages and the files that the page is made from; the tomograms are known by their stages' keys."""
    section = job.report or Report()
    files = [job.path(job.star_file), metrics_folder(job) / "metrics.jsonl"]
    files += [stage_path(job, stage) for stage in STAGES if stage != "report"]
    files += sorted(_truth_folder(job, section).glob("*.mrc")) if section.truth_folder else []
    return {str(path): fingerprint(path) for path in files if path.is_file()}


def run(job: Job, world: World) -> dict[str, Any]:
    """Write the page on rank 0, and truth.json if a truth folder is given. Facts: the page, its size, the scores."""
    return on_first_rank(world, lambda: _write(job, job.report or Report()))


def _write(job: Job, section: Report) -> dict[str, Any]:
    rows = read_star(job.path(job.star_file))
    truth_folder = _truth_folder(job, section) if section.truth_folder else None
    blocks: list[TomogramBlock] = []
    missing: list[str] = []
    scores: dict[str, Scores] = {}
    longest = round(512 / math.sqrt(max(1.0, min(len(rows), SHOWN) / 2)))
    for row in rows:
        shown = len(blocks) < SHOWN
        if not shown and truth_folder is None:
            break
        with opened(job, row, truth_folder) as volumes:
            if volumes is None:
                missing.append(row.name)
                continue
            comparison = compared_with_truth(volumes) if volumes.truth is not None else None
            if comparison:
                scores[row.name] = comparison.scores
            if shown:
                blocks.append(tomogram_block(volumes, comparison, longest=longest))
    means = mean_scores(scores)
    page = render_page(job, read_records(job), blocks, total=len(rows), missing=missing, scores=means)
    output = job.path(section.output)
    write_text(output, page)
    facts: dict[str, Any] = {"report": str(output), "megabytes": len(page.encode()) / 1e6, "tomograms": len(blocks)}
    if truth_folder is not None:
        truth = {**means, "tomograms": scores}
        write_text(job.folder / "truth.json", json.dumps(truth, indent=2) + "\n")
        facts["truth"] = truth
    return facts


def _truth_folder(job: Job, section: Report) -> Path:
    """The folder of true maps. UserError if it is not there or holds none of them."""
    folder = job.path(section.truth_folder or "")
    if not any(folder.glob("*.mrc")):
        raise UserError(f"report.truth_folder: {folder} holds no MRC file; name the folder that simulate wrote")
    return folder

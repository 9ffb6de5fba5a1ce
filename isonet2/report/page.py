"""The whole page: what the template needs, and the template filled in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2

from isonet2 import __version__, log
from isonet2.job.models import Job
from isonet2.report import words
from isonet2.report.agreement import Picture, picture, score_table, verdict_table
from isonet2.report.block import Panel, TomogramBlock
from isonet2.report.images import data_uri, smaller_png
from isonet2.report.input_check import InputCheck
from isonet2.report.judgement import Judged
from isonet2.report.methods import methods
from isonet2.report.next_steps import next_steps
from isonet2.report.origin import SAME_NETWORK
from isonet2.report.overview import overview
from isonet2.report.plots import COLOURS, epoch_figure, loss_figure
from isonet2.report.records import Course, RunRecords
from isonet2.report.tomogram import Scores
from isonet2.report.unfinished import Unfinished

_PREVIEWS = 4
_PREVIEW_PIXELS = 1000
_SERIES = {
    "learning_rate": "learning rate",
    "samples_per_s": "cubes per second",
    "gradient_norm": "gradient norm",
}
_PLACES = {"measured": "where tilts have measured", "wedge": "in the missing wedge"}
_PREVIEW_NUMBERS = {
    "wedge_power_ratio": "power inside the wedge over measured",
    "cc_halves_measured": "correlation of the predicted halves, measured",
    "cc_halves_wedge": "wedge",
}


@dataclass(frozen=True)
class CourseBlock:
    """What the page shows of one course of training."""

    name: str
    pictures: list[Picture]
    previews: list[Panel]


def render_page(
    job: Job,
    records: RunRecords,
    blocks: list[TomogramBlock],
    tomograms: list[Judged],
    *,
    total: int,
    missing: list[str],
    scores: Scores,
    convergence: Mapping[str, Mapping[str, Any]],
    comparisons: Sequence[str],
    left_out: Unfinished | None,
    check: InputCheck | None,
) -> str:
    """One HTML file that needs no other.

    `job`: with the stages that ran before it in its folder; `blocks` are the tomograms that are drawn, `tomograms` all
    that are there, of `total`; `missing` those whose files are gone; `scores` the means over all tomograms with a known
    truth, or empty; `convergence`: see `overview`; `comparisons`: pictures and movies that lie beside the page, two for
    each tomogram; `left_out`: what predict was to make and has not; `check`: what was found of the input.
    """
    drawn = {block.name: f"tomogram-{number}" for number, block in enumerate(blocks, start=1)}
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("isonet2.report", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(duration=log.duration, memory=words.memory_range, fact=words.fact)
    return environment.get_template("template.html.j2").render(
        title=job.folder.resolve().name,
        version=__version__,
        top=overview(
            job,
            records,
            tomograms,
            total=total,
            scores=scores,
            convergence=convergence,
            pages=drawn,
            comparisons=comparisons,
            check=check,
        ),
        next_steps=next_steps(job, records, tomograms, convergence),
        methods=methods(job, records, tomograms, total=total, scores=scores),
        records=records,
        longest_s=max((record.seconds for record in records.stages), default=0.0),
        courses=[CourseBlock(course.name, _pictures(course), _previews(course)) for course in records.courses],
        blocks=blocks,
        left_out=left_out,
        check=check,
        masked_share=records.facts("make_mask").get("masks", {}),
        verdicts=verdict_table(tomograms),
        drawn=drawn,
        pages=["overview", "tomograms", *drawn.values(), "training", "methods", "run", "limits", "glossary", "all"],
        total=total,
        missing=missing,
        scores=score_table(scores) if scores else None,
        same_network=SAME_NETWORK,
        colours=COLOURS,
    )


def _pictures(course: Course) -> list[Picture]:
    """The loss, then every other number that the epochs, and the previews, have recorded."""
    epochs, previews = course.epochs, course.previews
    held_out = "; dashed: of cubes that were held out" if course.held_out_losses else ""
    title, alt = "Loss; the first epoch may lie above the frame", f"loss of each epoch and its parts{held_out}"
    pictures = [picture(title, loss_figure(epochs), alt)]
    regions = {f"val_fsc_{place}": (_PLACES[place], colour) for place, colour in COLOURS.items()}
    if any(key in line for line in epochs for key in regions):
        title = f"Held-out cubes: predicted halves ({SAME_NETWORK})"
        pictures.append(
            picture(
                title,
                epoch_figure(epochs, regions, "FSC, mean over the shells"),
                "Fourier shell correlation of predicted halves of held-out cubes",
            )
        )
    for key, label in _SERIES.items():
        if any(key in line for line in epochs):
            figure = epoch_figure(epochs, {key: (label, None)}, label)
            pictures.append(picture(label.capitalize(), figure, f"{label} of each epoch"))
    compared = [line for line in previews if "cc_halves_measured" in line]
    if len(compared) > 1:
        places = {f"cc_halves_{place}": (_PLACES[place], colour) for place, colour in COLOURS.items()}
        figure = epoch_figure(compared, places, "correlation")
        title = f"Previews: predicted halves ({SAME_NETWORK})"
        pictures.append(picture(title, figure, "correlation of the predictions of the two halves at each preview"))
    return pictures


def _previews(course: Course) -> list[Panel]:
    """A few of the pictures that training drew, evenly spread, the last one included."""
    drawn = [line for line in course.previews if (course.folder / line["image"]).is_file()]
    chosen = drawn[:: -max(1, -(-len(drawn) // _PREVIEWS))][::-1]
    panels = []
    for line in chosen:
        numbers = "; ".join(f"{label} {line[key]:.2f}" for key, label in _PREVIEW_NUMBERS.items() if key in line)
        label = f"Epoch {line['epoch']}: {numbers}"
        png = (course.folder / line["image"]).read_bytes()
        alt = f"slices and spectrum before and after, epoch {line['epoch']}"
        panels.append(Panel(label, data_uri(smaller_png(png, _PREVIEW_PIXELS)), alt))
    return panels

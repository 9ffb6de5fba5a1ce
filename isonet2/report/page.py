"""The whole page: what the template needs, and the template filled in."""

from __future__ import annotations

from functools import partial

import jinja2

from isonet2 import __version__
from isonet2.job.models import Job
from isonet2.report import words
from isonet2.report.agreement import SAME_NETWORK, Picture, picture, score_table
from isonet2.report.block import Panel, TomogramBlock
from isonet2.report.images import data_uri, smaller_png
from isonet2.report.overview import overview
from isonet2.report.plots import COLOURS, epoch_figure, loss_figure
from isonet2.report.records import RunRecords, metrics_folder
from isonet2.report.tomogram import Scores

_PREVIEWS = 4
_PREVIEW_PIXELS = 1000
_SERIES = {
    "learning_rate": "learning rate",
    "samples_per_s": "samples per second",
    "gradient_norm": "gradient norm",
}
_PREVIEW_NUMBERS = {
    "wedge_power_ratio": "power inside the wedge over measured",
    "cc_halves_measured": "correlation of the predicted halves, measured",
    "cc_halves_wedge": "wedge",
}


def render_page(
    job: Job, records: RunRecords, blocks: list[TomogramBlock], *, total: int, missing: list[str], scores: Scores
) -> str:
    """One HTML file that needs no other.

    `blocks` are the tomograms that are shown, of `total`; `missing` those whose files are gone; `scores` the means
    over all tomograms with a known truth, or empty.
    """
    paragraph, key_numbers = overview(job, records, blocks, total, scores)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("isonet2.report", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(duration=words.duration, memory=words.memory_range, fact=words.fact)
    return environment.get_template("template.html.j2").render(
        title=job.folder.resolve().name,
        version=__version__,
        paragraph=paragraph,
        key_numbers=key_numbers,
        records=records,
        longest_s=max((record.seconds for record in records.stages), default=0.0),
        training=_training_pictures(records),
        previews=_previews(job, records),
        blocks=blocks,
        total=total,
        missing=missing,
        scores=score_table(scores) if scores else None,
        same_network=SAME_NETWORK,
        colours=COLOURS,
    )


def _training_pictures(records: RunRecords) -> list[Picture]:
    """The loss, then every other number that the epochs, and the previews, have recorded."""
    epochs, previews = records.epochs, records.previews
    if not epochs:
        return []
    pictures = [picture("Loss", partial(loss_figure, epochs), "loss of each epoch: total, measured part, wedge part")]
    for key, label in _SERIES.items():
        if any(key in line for line in epochs):
            draw = partial(epoch_figure, epochs, {key: (label, None)}, label)
            pictures.append(picture(label.capitalize(), draw, f"{label} of each epoch"))
    if len(previews) > 1:
        places = {f"cc_halves_{place}": (place, colour) for place, colour in COLOURS.items()}
        draw = partial(epoch_figure, previews, places, "correlation")
        title = f"Predicted halves ({SAME_NETWORK})"
        pictures.append(picture(title, draw, "correlation of the predictions of the two halves at each preview"))
    return pictures


def _previews(job: Job, records: RunRecords) -> list[Panel]:
    """A few of the pictures that training drew, evenly spread, the last one included."""
    folder = metrics_folder(job)
    drawn = [line for line in records.previews if (folder / line["image"]).is_file()]
    chosen = drawn[:: -max(1, -(-len(drawn) // _PREVIEWS))][::-1]
    panels = []
    for line in chosen:
        numbers = "; ".join(f"{label} {line[key]:.2f}" for key, label in _PREVIEW_NUMBERS.items() if key in line)
        label = f"Epoch {line['epoch']}: {numbers}"
        png = (folder / line["image"]).read_bytes()
        alt = f"slices and spectrum before and after, epoch {line['epoch']}"
        panels.append(Panel(label, data_uri(smaller_png(png, _PREVIEW_PIXELS)), alt))
    return panels

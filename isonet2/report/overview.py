"""The first paragraph of the page and its main numbers, from whatever the job has come to."""

from __future__ import annotations

from dataclasses import dataclass

from isonet2.job.architectures import ARCHITECTURES
from isonet2.job.models import Job
from isonet2.report import words
from isonet2.report.agreement import SAME_NETWORK
from isonet2.report.block import TomogramBlock
from isonet2.report.records import RunRecords
from isonet2.report.tomogram import Scores

_PLACES = {"cc": "overall", "cc_measured": "in the measured region", "cc_wedge": "inside the wedge"}


@dataclass(frozen=True)
class KeyNumber:
    """A number that is set large, and what it is."""

    value: str
    label: str


def overview(
    job: Job, records: RunRecords, blocks: list[TomogramBlock], total: int, scores: Scores
) -> tuple[str, list[KeyNumber]]:
    """The paragraph and the numbers; `total` tomograms of which `blocks` are shown, `scores` empty without truth."""
    sentences = [_data(blocks, total), _training(job, records), _quality(blocks, scores), _cost(records)]
    return " ".join(sentence for sentence in sentences if sentence), _key_numbers(records, blocks, scores)


def _data(blocks: list[TomogramBlock], total: int) -> str:
    if not blocks:
        return f"The list holds {words.count(total, 'tomogram')}, none of which is there any more."
    kinds = {f"{words.size(block.shape)} voxels of {block.pixel_size_angstrom:.4g} Å" for block in blocks}
    kind = f" ({kinds.pop()})" if len(kinds) == 1 and len(blocks) == total else ""
    corrected = sum(block.corrected for block in blocks)
    if not corrected:
        return f"This job holds {words.count(total, 'tomogram')}{kind}; nothing has been corrected yet."
    if corrected < len(blocks):
        return f"Of {words.count(total, 'tomogram')}{kind}, some have been corrected and some have not."
    return f"The missing wedge of {words.count(total, 'tomogram')}{kind} was filled and their noise reduced."


def _training(job: Job, records: RunRecords) -> str:
    epochs = records.epochs
    if not epochs:
        return ""
    network = "The network"
    if job.refine:
        millions = ARCHITECTURES[job.refine.arch].parameters / 1e6
        network = f"A network of {millions:.1f} million parameters ({job.refine.arch}, {job.refine.method})"
    first, last = epochs[0], epochs[-1]
    return (
        f"{network} learned from these tomograms alone for {words.count(last['epoch'], 'epoch')} "
        f"({words.count(last['step'], 'step')}); its loss went from {first['loss']:.3g} to {last['loss']:.3g}."
    )


def _quality(blocks: list[TomogramBlock], scores: Scores) -> str:
    if "corrected" in scores:
        (raw, raw_wedge), (linear, linear_wedge), (corrected, corrected_wedge) = (
            [words.correlation(scores[name][key]) for key in ("cc", "cc_wedge")]
            for name in ("raw", "linear", "corrected")
        )
        return (
            f"The correlation with the known truth went from {raw} to {corrected}, inside the missing wedge from "
            f"{raw_wedge} to {corrected_wedge}; the best linear filter, which knows the truth, reaches {linear} and "
            f"{linear_wedge}."
        )
    kept = [block for block in blocks if block.agreement.predicted]
    if not kept:
        return ""
    measured, wedge = (
        words.resolution(curve.resolution_angstrom(0.143), 2 * kept[0].pixel_size_angstrom)
        for curve in kept[0].agreement.predicted.values()
    )
    return (
        f"Predictions from the two halves of {kept[0].name} agree to {measured} in the measured region and to {wedge} "
        f"in the missing wedge (FSC 0.143; {SAME_NETWORK}: this bounds the noise, not the invention)."
    )


def _cost(records: RunRecords) -> str:
    done = [record for record in records.stages if record.finished]
    if not done:
        return ""
    seconds, memory = sum(record.seconds for record in done), _peak(records)
    most = max(done, key=lambda record: record.seconds)
    share = f", {100 * most.seconds / seconds:.0f} % of it in {most.stage}" if seconds else ""
    peak = f"; no rank needed more than {words.gigabytes(memory)} of memory" if memory else ""
    return f"All stages together took {words.duration(seconds)}{share}{peak}."


def _key_numbers(records: RunRecords, blocks: list[TomogramBlock], scores: Scores) -> list[KeyNumber]:
    numbers = []
    if "corrected" in scores:
        for key, place in _PLACES.items():
            before, after = (words.correlation(scores[name][key]) for name in ("raw", "corrected"))
            numbers.append(KeyNumber(f"{before} → {after}", f"correlation with the truth {place}"))
    else:
        numbers += _wedge_power(blocks)
    done = [record for record in records.stages if record.finished]
    if done:
        numbers.append(KeyNumber(words.duration(sum(record.seconds for record in done)), "all stages"))
    if memory := _peak(records):
        numbers.append(KeyNumber(words.gigabytes(memory), "highest memory of a rank"))
    return numbers


def _wedge_power(blocks: list[TomogramBlock]) -> list[KeyNumber]:
    """How full the wedge is, on average: before, and after where there is an after."""
    means = []
    for label in ("raw", "corrected"):
        ratios = [block.wedge_power[label] for block in blocks if label in block.wedge_power]
        if ratios:
            means.append(f"{sum(ratios) / len(ratios):.2f}")
    return [KeyNumber(" → ".join(means), "power inside the wedge over power where the tilts measured")] if means else []


def _peak(records: RunRecords) -> float:
    return max((max(record.peak_memory_gb, default=0.0) for record in records.stages), default=0.0)

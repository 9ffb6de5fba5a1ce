"""The first page: what was done, with what, how good it is and what to look at, from whatever the job has come to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from isonet2 import log
from isonet2.job.models import Job
from isonet2.report import words
from isonet2.report.input_check import InputCheck
from isonet2.report.judgement import Judged
from isonet2.report.records import Course, RunRecords
from isonet2.report.support import Finding, State
from isonet2.report.tomogram import Scores

_PLACES = {"cc": "overall", "cc_measured": "in the measured region", "cc_wedge": "inside the wedge"}
_STATES: dict[str, State] = {
    "converged": "good",
    "learning": "caution",
    "perhaps": "caution",
    "overfitting": "bad",
    "unknown": "unknown",
}
_MOST_POINTERS = 6
_WORST: tuple[State, ...] = ("bad", "caution", "unknown", "good")


@dataclass(frozen=True)
class KeyNumber:
    """A number that is set large, and what it is."""

    value: str
    label: str


class Pointer(NamedTuple):
    """Something to look at: a sentence, and the id of the page where it is found."""

    text: str
    page: str


@dataclass(frozen=True)
class Overview:
    """What a reader sees first. `done`: in a sentence or two; `tools`: the network, the program, time and memory."""

    done: str
    tools: list[str]
    findings: list[Finding]
    numbers: list[KeyNumber]
    pointers: list[Pointer]


def overview(
    job: Job,
    records: RunRecords,
    tomograms: list[Judged],
    *,
    total: int,
    scores: Scores,
    convergence: Mapping[str, Mapping[str, Any]],
    pages: Mapping[str, str],
    comparisons: Sequence[str],
    check: InputCheck | None,
) -> Overview:
    """`tomograms` are those of `total` that are there; `scores`: empty without truth; `convergence`: state and sentence
    for each course of training that held out cubes, by its name; `pages`: by tomogram, the id of its page."""
    done, convergences = [_data(tomograms, total), _quality(scores)], _convergence(records, convergence)
    tools = [_training(job, records), _program(records), _cost(records)]
    if check and not check.warnings:
        tools.append(check.sentence)
    return Overview(
        done=" ".join(sentence for sentence in done if sentence),
        tools=[sentence for sentence in tools if sentence],
        findings=convergences + _support(tomograms),
        numbers=_key_numbers(records, tomograms, scores),
        pointers=_pointers(tomograms, convergences, pages, comparisons),
    )


def _data(tomograms: list[Judged], total: int) -> str:
    if not tomograms:
        return f"The list holds {words.count(total, 'tomogram')}, none of which is there any more."
    kinds = {f"{words.size(one.shape)} voxels of {one.pixel_size_angstrom:.4g} Å" for one in tomograms}
    kind = f" ({kinds.pop()})" if len(kinds) == 1 and len(tomograms) == total else ""
    predicted = sum(one.predicted for one in tomograms)
    if not predicted:
        return f"This job holds {words.count(total, 'tomogram')}{kind}; nothing has been corrected yet."
    if predicted < len(tomograms):
        has = "has" if predicted == 1 else "have"
        return f"Of {words.count(total, 'tomogram')}{kind}, {predicted:,} {has} been corrected."
    if tomograms[0].result == "denoised":
        return f"The noise of {words.count(total, 'tomogram')}{kind} was reduced; the missing wedge was left as it is."
    return f"The missing wedge of {words.count(total, 'tomogram')}{kind} was filled and their noise reduced."


def _training(job: Job, records: RunRecords) -> str:
    """A sentence for each stage of training, of one network or of two, each on one half of the specimen."""
    stages: dict[str, list[Course]] = {}
    for course in records.courses:
        stages.setdefault(course.stage, []).append(course)
    return " ".join(_network(job, courses, records.facts(stage).get("method")) for stage, courses in stages.items())


def _network(job: Job, courses: list[Course], method: str | None) -> str:
    section, several = job.trainings.get(courses[0].stage), len(courses) > 1
    network = "Two networks" if several else "The network"
    if section is not None:
        kind = ", ".join(filter(None, (section.arch, method)))
        network = "Two networks" if several else "A network"
        network += f" of {section.shape.parameters / 1e6:.1f} million parameters ({kind})"
    what = "the top and from the bottom half of these tomograms" if several else "these tomograms"
    last = courses[-1].epochs[-1]
    losses = " and ".join(f"from {c.epochs[0]['loss']:.3g} to {c.epochs[-1]['loss']:.3g}" for c in courses)
    return (
        f"{network} learned from {what} alone for {words.count(last['epoch'], 'epoch')} "
        f"({words.count(last['step'], 'step')}); {'their losses' if several else 'its loss'} went {losses}."
    )


def _program(records: RunRecords) -> str:
    """As in: isonet2 0.1.0 on one machine (node017), 4 ranks, cuda."""
    known = records.provenance
    if not known:
        return ""
    hosts = known.get("hosts") or []
    where = f"{words.count(len(hosts), 'machine')} ({words.fact(hosts)})" if hosts else "a machine"
    ranks = f", {words.count(known['ranks'], 'rank')}" if "ranks" in known else ""
    device = f", {known['device']}" if "device" in known else ""
    return f"isonet2 {known.get('isonet2', '')} ran on {where}{ranks}{device}."


def _pointers(
    tomograms: list[Judged], convergences: Sequence[Finding], pages: Mapping[str, str], comparisons: Sequence[str]
) -> list[Pointer]:
    """What a reader should see for himself, the doubtful first."""
    found = [
        Pointer(f"{finding.about}: look at the losses of the held-out cubes before anything else.", "training")
        for finding in convergences
        if finding.state in ("bad", "caution")
    ]
    for one in tomograms:
        for region, verdict in one.judgement.verdicts.items():
            if verdict.state == "bad" and len(found) < _MOST_POINTERS:
                text = f"{one.name}, {region}: {words.uncapitalised(verdict.headline)}."
                found.append(Pointer(text, pages.get(one.name, "tomograms")))
    if first := next((one for one in tomograms if one.predicted), None):
        text = "the planes xz and yz, where the missing wedge smears raw, and the power spectra, where it is dark."
        found.append(Pointer(f"{first.name}: {text}", pages.get(first.name, "tomograms")))
        found.append(Pointer("What such maps can and cannot show, before you interpret one.", "limits"))
        found.append(Pointer("A paragraph for your paper, with its references.", "methods"))
    elif tomograms:
        text = "the power spectrum: if its dark wedge does not end at the lines, the declared tilts are wrong."
        found.append(Pointer(f"{tomograms[0].name}: {text}", pages.get(tomograms[0].name, "tomograms")))
    if comparisons:
        others = len(comparisons) // 2 - 1
        more = f", and of {words.count(others, 'other tomogram')}" if others else ""
        text = f"Slices and a movie for talks, beside this file: {' and '.join(comparisons[:2])}{more}."
        found.append(Pointer(text, ""))
    return found


def _convergence(records: RunRecords, convergence: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    several = len(records.courses) > 1
    findings = []
    for course in records.courses:
        about = f"Training ({course.name})" if several else "Training"
        found = convergence.get(course.name)
        if found is None:
            text = "Nobody can tell whether it has converged: no cubes were held out; set validation_share."
            findings.append(Finding(about, "unknown", text))
        else:
            word = "Overfitting. " if found["state"] == "overfitting" else ""  # the other sentences begin with theirs
            findings.append(Finding(about, _STATES[found["state"]], word + found["sentence"]))
    return findings


def _support(tomograms: list[Judged]) -> list[Finding]:
    """Of one tomogram the whole sentence, of several what they have in common."""
    judged = {one.name: one.judgement.verdicts for one in tomograms if one.judgement.verdicts}
    findings = []
    for region in ("measured region", "missing wedge") if judged else ():
        verdicts = {name: found[region] for name, found in judged.items()}
        states = {verdict.state for verdict in verdicts.values()}
        headlines: dict[str, list[str]] = {}
        for name, verdict in verdicts.items():
            headlines.setdefault(verdict.headline, []).append(name)
        found = [f"{', '.join(names)}: {words.uncapitalised(headline)}" for headline, names in headlines.items()]
        text = f"{'; '.join(found)}."
        if len(judged) == 1:
            text = next(iter(verdicts.values())).sentence
        findings.append(Finding(region.capitalize(), next(s for s in _WORST if s in states), text))
    return findings


def _quality(scores: Scores) -> str:
    result = result_of(scores)
    if not result:
        return ""
    (raw, raw_wedge), (linear, linear_wedge), (found, found_wedge) = (
        [words.correlation(scores[name][key]) for key in ("cc", "cc_wedge")] for name in ("raw", "linear", result)
    )
    return (
        f"The correlation with the known truth went from {raw} to {found}, inside the missing wedge from {raw_wedge} "
        f"to {found_wedge}; the best linear filter, which knows the truth, reaches {linear} and {linear_wedge}."
    )


def result_of(scores: Scores) -> str:
    """What the predictions are called in `scores`; empty if nothing was predicted."""
    return next((name for name in ("corrected", "denoised") if name in scores), "")


def _cost(records: RunRecords) -> str:
    done = [record for record in records.stages if record.finished]
    if not done:
        return ""
    seconds, memory = sum(record.seconds for record in done), _peak(records)
    most = max(done, key=lambda record: record.seconds)
    share = f", {100 * most.seconds / seconds:.0f} % of it in {most.stage}" if seconds else ""
    peak = f"; no rank needed more than {words.gigabytes(memory)} of memory" if memory else ""
    begun = " since the last interruption" if any(record.facts.get("steps_before") for record in done) else ""
    return f"All stages together took {log.duration(seconds)}{begun}{share}{peak}."


def _key_numbers(records: RunRecords, tomograms: list[Judged], scores: Scores) -> list[KeyNumber]:
    numbers = []
    if result := result_of(scores):
        for key, place in _PLACES.items():
            before, after = (words.correlation(scores[name][key]) for name in ("raw", result))
            numbers.append(KeyNumber(f"{before} → {after}", f"correlation with the truth {place}: 1 would be perfect"))
    else:
        numbers += _wedge_power(tomograms)
    shares = [one.judgement.share for one in tomograms if math.isfinite(one.judgement.share)]
    if shares:
        label = "of the agreement with the other half that its noise allows: 100 % would be perfect"
        numbers.append(KeyNumber(words.percent(sum(shares) / len(shares)), label))
    done = [record for record in records.stages if record.finished]
    if done:
        numbers.append(KeyNumber(log.duration(sum(record.seconds for record in done)), "all stages"))
    if memory := _peak(records):
        numbers.append(KeyNumber(words.gigabytes(memory), "highest memory of a rank"))
    return numbers


def _wedge_power(tomograms: list[Judged]) -> list[KeyNumber]:
    """How full the wedge is, on average: before, and after where there is an after."""
    means = []
    for labels in (("raw",), ("corrected", "denoised")):
        ratios = [ratio for one in tomograms for label, ratio in one.wedge_power.items() if label in labels]
        if ratios:
            means.append(f"{sum(ratios) / len(ratios):.2f}")
    label = "power inside the wedge over power where the tilts measured: at 1 it is as full"
    return [KeyNumber(" → ".join(means), label)] if means else []


def _peak(records: RunRecords) -> float:
    return max((max(record.peak_memory_gb, default=0.0) for record in records.stages), default=0.0)

"""How this job would be described in a paper: sentences with its own numbers, and what they cite."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from isonet2.job.models import Job, Training
from isonet2.job.shapes import HSFormerShape, NetworkShape, SCUNetShape, UNetShape, VTUNetShape
from isonet2.report import words
from isonet2.report.judgement import Judged
from isonet2.report.records import RunRecords
from isonet2.report.references import Citations, Reference
from isonet2.report.tomogram import Scores

_LOSSES = {"L2": "the mean squared error", "L1": "the mean absolute error", "Huber": "the Huber loss",
           "FSC": "one minus the Fourier shell correlation"}  # fmt: skip
_TRANSFORMERS: dict[type[NetworkShape], tuple[str, tuple[str, ...]]] = {
    HSFormerShape: ("a transformer with shifted windows in the manner of Swin UNETR", ("swin", "swin_unetr")),
    VTUNetShape: ("a volumetric transformer in the manner of VT-UNet", ("swin", "vtunet")),
    SCUNetShape: ("a network of convolutions and shifted windows in the manner of SCUNet", ("swin", "scunet")),
}
_CTF = {
    "network": "the network was left to undo the CTF, which its output passes through before it is compared",
    "wiener": "the target was filtered by a Wiener filter of the CTF",
    "phase_only": "only the phases of the CTF were corrected",
}


@dataclass(frozen=True)
class Methods:
    """Paragraphs of plain text, and what their numbers in brackets stand for."""

    paragraphs: list[str]
    references: list[Reference]


def methods(job: Job, records: RunRecords, tomograms: Sequence[Judged], *, total: int, scores: Scores) -> Methods:
    """Of what has finished; `job`: with the settings of all stages that ran, also in earlier runs in its folder."""
    cite = Citations()
    parts = (
        [_program(records, cite), *_data(tomograms, total), *_preparation(job, records, cite)],
        [sentence for course in records.courses for sentence in _training(job, records, course.stage, cite)],
        [*_prediction(job, records), *_quality(tomograms, scores, cite)],
    )
    return Methods([" ".join(dict.fromkeys(part)) for part in parts if part], cite.listed)


def _program(records: RunRecords, cite: Citations) -> str:
    known = records.provenance
    version = f"isonet2 {known.get('isonet2', '')}".strip()
    revision = f" (revision {known['git_revision']})" if known.get("git_revision") else ""
    followed = cite("isonet", "isonet2")
    torch = f", on PyTorch {known['torch']} {cite('pytorch')}" if "torch" in known else ""
    return f"Tomograms were processed with {version}{revision}, which follows IsoNet and IsoNet2 {followed}{torch}."


def _data(tomograms: Sequence[Judged], total: int) -> Iterator[str]:
    if not tomograms:
        return
    one = tomograms[0]
    alike = all((t.shape, t.pixel_size_angstrom, t.tilts_deg) == (one.shape, one.pixel_size_angstrom, one.tilts_deg)
                for t in tomograms)  # fmt: skip
    halves = ", each as two half maps," if all("raw" in t.halves for t in tomograms) else ""
    size = f" of {words.size(one.shape)} voxels (z × y × x) at {one.pixel_size_angstrom:.4g} Å per voxel"
    if not alike:
        pixels = sorted({t.pixel_size_angstrom for t in tomograms})
        size = f" at {' to '.join(f'{p:.4g}' for p in dict.fromkeys((pixels[0], pixels[-1])))} Å per voxel"
    about = f"{size}, from {_tilts(tomograms)}{halves or ','}"
    yield f"The data were {words.count(total, 'tomogram')}{about} with protein dark."


def _tilts(tomograms: Sequence[Judged]) -> str:
    """As in: tilts of −60° to 60° and −51° to 60° in steps of 3°."""
    ranges = list(dict.fromkeys(words.tilts(*one.tilts_deg) for one in tomograms))
    steps = _range([one.tilt_step_deg for one in tomograms])
    return f"tilts of {' and '.join(ranges) if len(ranges) < 4 else _widest(tomograms)} in steps of {steps}°"


def _widest(tomograms: Sequence[Judged]) -> str:
    """As in: −60 to −51° up to 60°."""
    first, last = zip(*(one.tilts_deg for one in tomograms), strict=True)
    return f"{_range(first)}° up to {_range(last)}°".replace("-", "−")


def _preparation(job: Job, records: RunRecords, cite: Citations) -> Iterator[str]:
    if job.deconv and records.facts("deconv"):
        s = job.deconv
        yield (
            f"They were deconvolved by their CTF {cite('ctf')} with a Wiener-like filter {cite('warp', 'isonet')} "
            f"(strength {s.deconvstrength:g}, falloff {s.snrfalloff:g}, high-pass to {s.highpassnyquist:g} of Nyquist)."
        )
    if job.make_mask and (facts := records.facts("make_mask")):
        m = job.make_mask
        kept = [mask["kept"] for mask in facts.get("masks", {}).values()]
        share = f", which kept {_range([100 * k for k in kept])} % of the voxels" if kept else ""
        yield (
            f"Masks were made from local density and local standard deviation as in IsoNet {cite('isonet')} (the upper "
            f"{m.density_percentage:g} % and {m.std_percentage:g} %){share}."
        )


def _training(job: Job, records: RunRecords, stage: str, cite: Citations) -> Iterator[str]:
    section, facts = job.trainings.get(stage), records.facts(stage)
    courses = [course for course in records.courses if course.stage == stage]
    epochs, steps = courses[0].epochs[-1]["epoch"], courses[0].epochs[-1]["step"]
    method, many = facts.get("method"), len(courses) > 1
    kind = f" {_network(section, cite, many=many)}" if section else ""
    who = "Two networks" if many else "A network"
    where = ", one on each half of the specimen along y," if many else ""
    yield f"{who}{kind} {'were' if many else 'was'} trained{where} on these tomograms alone{_method(method, cite)}."
    if not section:
        yield f"Training took {words.count(epochs, 'epoch')} ({words.count(steps, 'step')})."
        return
    size, held_out = facts.get("batch_size", section.batch_size), facts.get("held_out")
    cubes = f"{facts['samples']:,} cubes of {section.cube_size}³ voxels" if "samples" in facts else "cubes"
    rates = f"learning rate {section.learning_rate:g}, falling to {section.learning_rate_min:g} along a cosine"
    muon = f"Muon {cite('muon')} and " if section.optimizer == "muon" else ""
    begun = "" if section.pretrained_model is None else " from the weights of an earlier one"
    yield (
        f"It saw {cubes} for {words.count(epochs, 'epoch')} ({words.count(steps, 'step')} of {size} cubes){begun}, "
        f"turned at random, with {muon}AdamW {cite('adamw')} ({rates}), and minimised {_LOSSES[section.loss_func]}"
        f"{_weight(section, method)}; its exponentially averaged weights were used."
    )
    if section.CTF_mode:
        yield f"For the CTF {cite('ctf')}, {_CTF[section.CTF_mode]}."
    elif not records.facts("deconv"):
        yield "The CTF was left as it was in the tomograms."
    if held_out:
        were = "was" if held_out == 1 else "were"
        yield f"Another {words.count(held_out, 'cube')} {were} held out to watch progress."


def _network(section: Training, cite: Citations, *, many: bool) -> str:
    shape = section.shape
    if isinstance(shape, UNetShape):
        parts = ["unet"] + ["residual"] * (shape.block == "residual") + ["attention"] * shape.attention
        kind = "a 3-D U-Net" + " of residual blocks" * (shape.block == "residual")
        kind += " with attention gates" * shape.attention + f" {cite(*parts)}"
    else:
        kind, keys = _TRANSFORMERS[type(shape)]
        kind = f"{kind} {cite(*keys)}"
    each = " each" if many else ""
    return f"({section.arch}: {kind}, {shape.parameters / 1e6:.1f} million parameters{each})"


def _method(method: str | None, cite: Citations) -> str:
    if method == "n2n":
        return f" by Noise2Noise {cite('noise2noise')}: from each half map it predicts the other"
    if method == "isonet2-n2n":
        return (
            f" to fill the missing wedge {cite('isonet', 'isonet2', 'deepdewedge')} and, by Noise2Noise "
            f"{cite('noise2noise')} between the half maps, to remove noise"
        )
    return f" to fill the missing wedge {cite('isonet', 'isonet2')}" if method else ""


def _weight(section: Training, method: str | None) -> str:
    weight = getattr(section, "mw_weight", 0.0)
    if method in (None, "n2n") or weight <= 0:
        return ""
    return f" over measured Fourier components, those inside the artificial wedge weighted by {weight:g}"


def _prediction(job: Job, records: RunRecords) -> Iterator[str]:
    facts = records.facts("predict")
    if not facts:
        return
    p, each = job.predict, any("_half1" in name for name in facts.get("outputs", ()))
    if job.predict and job.predict.model and not records.courses:
        yield f"A network that was trained before (method {facts.get('method')}, epoch {facts.get('epoch')}) was used."
    turned = ", averaged with that of the tomogram turned by 180° about the tilt axis" if p and p.average_turns else ""
    mean = "; the two half maps were predicted apart and averaged" if each else ""
    yield f"The prediction for whole tomograms was put together from overlapping, blended tiles{turned}{mean}."


def _quality(tomograms: Sequence[Judged], scores: Scores, cite: Citations) -> Iterator[str]:
    shares = [100 * t.judgement.share for t in tomograms if math.isfinite(t.judgement.share)]
    if shares:
        yield (
            f"In the measured region the Fourier shell correlation {cite('fsc')} of the prediction from one half map "
            f"with the other half map was, on average over the shells, {_range(shares)} % of the square root of that "
            f"of the two half maps, the highest value that their noise allows {cite('frank', 'rosenthal')}."
        )
    limits = [t.judgement.verdicts["missing wedge"] for t in tomograms if t.judgement.verdicts]
    found = [verdict.limit_angstrom for verdict in limits if verdict.state in ("good", "caution")]
    if any(math.isfinite(limit) for limit in found):
        yield (
            "Inside the missing wedge two independently trained networks agreed (FSC 0.5) up to "
            f"{_range([limit for limit in found if math.isfinite(limit)])} Å in "
            f"{sum(math.isfinite(limit) for limit in found)} of {words.count(len(limits), 'tomogram')}."
        )
    if result := next((name for name in ("corrected", "denoised") if name in scores), ""):
        (all_before, all_after), (wedge_before, wedge_after) = (
            [words.correlation(scores[name][key]) for name in ("raw", result)] for key in ("cc", "cc_wedge")
        )
        yield (
            f"The correlation with the known truth went from {all_before} to {all_after}, inside the missing wedge "
            f"from {wedge_before} to {wedge_after}."
        )


def _range(values: Sequence[float]) -> str:
    """As in 86, or 81 to 86."""
    return " to ".join(dict.fromkeys(f"{value:.3g}" for value in (min(values), max(values))))

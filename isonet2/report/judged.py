"""All that is to be said of a tomogram from what was measured in it, but for what follows from a worse mistake."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from isonet2.job.plan import Plan
from isonet2.report.findings import Evidence, Finding
from isonet2.report.signal_findings import (
    contrast_findings,
    ctf_findings,
    half_findings,
    noise_findings,
    phase_findings,
    pixel_findings,
    unit_findings,
)
from isonet2.report.value_findings import value_findings
from isonet2.report.wedge_findings import wedge_findings


def judged(one: Evidence) -> Iterator[Finding]:
    """All that is to be said of a tomogram; but not what follows from halves that are none."""
    of_halves = list(half_findings(one))
    yield from of_halves
    if one.halves is None or one.same or one.halves.related:
        yield from wedge_findings(one)
        yield from contrast_findings(one)
    if all(finding.verdict == "fine" for finding in of_halves):
        of_rings = list(ctf_findings(one))
        yield from of_rings
        if not any(finding.verdict == "doubt" for finding in of_rings):  # else nobody knows where the zero is
            yield from phase_findings(one)
        yield from noise_findings(one)
    yield from pixel_findings(one)
    yield from unit_findings(one)
    yield from value_findings(one)


def with_partners(evidence: Sequence[Evidence]) -> list[Evidence]:
    """Those whose halves have nothing in common look for the second half of another tomogram that fits the first."""
    found = []
    for one in evidence:
        lost = one.halves is not None and not one.same and not one.halves.related
        others = [
            (float((one.signatures[0] * other.signatures[1].conj()).sum().real), other.name)
            for other in evidence
            if lost and other is not one and other.halves is not None and other.boxes == one.boxes
        ]
        best, name = max(others, default=(0.0, ""))
        found.append(replace(one, swapped_with=name) if best > 8 / math.sqrt(2 * len(one.signatures[0])) else one)
    return found


def room_finding(plan: Plan, *, disk: int, memory: int) -> Finding:
    """Disk and memory that a plan needs, against the bytes that there are."""
    on_disk = (plan.cache_bytes, plan.mask_bytes, plan.prediction_bytes, plan.deconvolution_bytes, plan.training_bytes)
    of_a_rank = (plan.training_memory_bytes, plan.prediction_memory_bytes, plan.deconvolution_memory_bytes)
    needed = sum(size or 0 for size in on_disk)
    held = plan.ranks_per_node * max(size or 0 for size in of_a_rank)
    seen = (
        f"{' → '.join(plan.stages)}: {needed / 1e9:.1f} GB of disk ({disk / 1e9:.1f} GB free), "
        f"at most {held / 1e9:.1f} GB of memory ({memory / 1e9:.1f} GB here)"
    )
    if needed > disk:
        return Finding("", "room", "doubt", seen, "cut fewer or smaller cubes (number_subtomos, cube_size)")
    if held > memory:
        return Finding("", "room", "doubt", seen, "on a CPU take a smaller cube_size, batch_size or arch")
    return Finding("", "room", "fine", seen)

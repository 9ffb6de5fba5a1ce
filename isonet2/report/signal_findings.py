"""Rings, pixel size, halves, noise and contrast in the data against what was declared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from isonet2.job.preparing import unit_of_defocus
from isonet2.physics.compared_halves import ComparedHalves
from isonet2.physics.found_rings import first_zeros
from isonet2.report.findings import Evidence, Finding, micrometres

_AGAINST = 80.0  # of χ², for a ring that does not agree with what is declared
_SAME_DEFOCUS = 0.2
_PIXEL = 0.01
_PIXELS = (0.1, 500.0)  # Å: of no tomogram is it beyond
_PHASE_SIGMAS = 5.0
_SHARED_NOISE, _FLAT = 0.3, 4.0
_NOISE_LEFT = 0.98
_FILTERED = 0.1
_UNEQUAL = 1.5
_DIP = 0.5


def pixel_findings(evidence: Evidence) -> Iterator[Finding]:
    """The header's pixel size and the STAR file's."""
    declared, (z, y, x) = evidence.optics.pixel_size_angstrom, evidence.header_pixels_angstrom[0]
    name, second = evidence.name, evidence.header_pixels_angstrom[-1][2]
    if _is_set(x) and _is_set(second) and abs(second / x - 1) > _PIXEL:
        yield Finding(
            name,
            "pixel size",
            "doubt",
            f"{x:.4g} Å in the header of the first half, {second:.4g} Å in that of the second",
            "bring both halves to one pixel size, or correct the header that is wrong (alterheader -del)",
        )
    if not _is_set(x):
        yield Finding(name, "pixel size", "cannot tell", f"the header has none; {declared:g} Å declared")
        return
    if max(abs(z / x - 1), abs(y / x - 1)) > _PIXEL:
        yield Finding(
            name,
            "pixel size",
            "doubt",
            f"the header's voxels are no cubes: {z:.4g} × {y:.4g} × {x:.4g} Å (z, y, x)",
            "bring it to cubic voxels (isonet2 resize does not), or correct the header",
        )
    elif abs(x / declared - 1) <= _PIXEL:
        yield Finding(name, "pixel size", "fine", f"{declared:g} Å, as in the header")
    else:
        better = _rings_agree_with(evidence, x)
        yield Finding(
            name,
            "pixel size",
            "error" if better else "doubt",
            f"{declared:g} Å declared, {x:.4g} Å in the header" + (", and the rings agree with the header" * better),
            f"set rlnPixelSize {x:.4g} (prepare_star --pixel_size {x:.4g}), or correct the header (alterheader -del)",
        )


def _is_set(pixel_angstrom: float) -> bool:
    """Whether a header says anything: programs that do not know it write 0, 1, or what was in memory."""
    return pixel_angstrom != 1 and _PIXELS[0] <= pixel_angstrom <= _PIXELS[1]


def _rings_agree_with(evidence: Evidence, pixel_angstrom: float) -> bool:
    """Whether, at this pixel size, the rings mean the declared defocus; at the declared one they do not."""
    rings, declared = evidence.rings, evidence.optics.defocus_angstrom
    if rings.best_angstrom is None or not rings.seen or declared <= 0:
        return False
    scale = (pixel_angstrom / evidence.optics.pixel_size_angstrom) ** 2
    low, _, high = rings.best_angstrom
    return _fits(low * scale, high * scale, declared) and not _fits(low, high, declared)


def _fits(low: float, high: float, declared: float) -> bool:
    return low * (1 - _SAME_DEFOCUS) <= declared <= high * (1 + _SAME_DEFOCUS)


def unit_findings(evidence: Evidence) -> Iterator[Finding]:
    """Whether the declared defocus can be one in Å at all."""
    declared = evidence.optics.defocus_angstrom
    unit, factor = unit_of_defocus(declared)
    if unit != "Å":
        yield Finding(
            evidence.name,
            "defocus",
            "error" if evidence.corrects_ctf else "doubt",
            f"{declared:g} declared: looks like {unit}; rlnDefocus is in Å",
            f"set rlnDefocus {factor * declared:g} (prepare_star --defocus {factor * declared:g})",
        )


def ctf_findings(evidence: Evidence) -> Iterator[Finding]:
    """The rings, and whether the noise has them too."""
    rings, declared = evidence.rings, evidence.optics.defocus_angstrom
    if unit_of_defocus(declared)[0] != "Å":
        return  # unit_findings says it
    if not _rings_agree_with(evidence, evidence.header_pixels_angstrom[0][2]):  # else it is said of the pixel size
        yield _defocus(evidence)
    if rings.noise_dip is not None and rings.noise_dip < _DIP:
        yield Finding(
            evidence.name,
            "CTF",
            "doubt",
            f"the noise dips at the zero too, to {100 * rings.noise_dip:.0f} %: deconvolved, or multiplied by the CTF",
            "give the reconstruction before that; to train on such maps take CTF_mode None",
        )


def _defocus(evidence: Evidence) -> Finding:
    name, rings, declared = evidence.name, evidence.rings, evidence.optics.defocus_angstrom
    if rings.best_angstrom is not None and rings.seen and (evidence.halves or _has_two_rings(evidence)):
        low, best, high = rings.best_angstrom
        seen = f"rings of {micrometres(best)} ({micrometres(low)} to {micrometres(high)})"
        cure = f"set rlnDefocus {best:.0f} (prepare_star --defocus {best:.0f})"
        if declared <= 0:
            return Finding(name, "defocus", "fine", f"{seen}; none declared", f"to use the CTF, {cure}")
        seen = f"{seen}, {micrometres(declared)} declared"
        if _fits(low, high, declared):
            return Finding(name, "defocus", "fine", seen)
        if rings.gain > _AGAINST:
            return Finding(name, "defocus", "doubt", seen, f"{cure}, or look at the pixel size")
    if rings.declared_gain is not None and rings.declared_gain < -_AGAINST and evidence.halves:
        return Finding(
            name,
            "defocus",
            "doubt",
            f"{_first_zero(evidence)}, but there is signal without a dip",
            "look at rlnDefocus (in Å) and rlnPixelSize; without a CTF in the data take CTF_mode None",
        )
    pixel = evidence.optics.pixel_size_angstrom
    reach = f"; signal to {pixel / rings.reach:.0f} Å" if rings.reach and evidence.halves else ""
    return Finding(name, "defocus", "cannot tell", f"no clear ring; {_first_zero(evidence)}{reach}")


def _has_two_rings(evidence: Evidence) -> bool:
    """In a single map a ring and the noise's own shape are told apart only where there are two."""
    assert evidence.rings.best_angstrom is not None
    return len(first_zeros(replace(evidence.optics, defocus_angstrom=evidence.rings.best_angstrom[1]))) > 1


def _first_zero(evidence: Evidence) -> str:
    optics, zeros = evidence.optics, first_zeros(evidence.optics)
    declared, pixel = micrometres(optics.defocus_angstrom), optics.pixel_size_angstrom
    if optics.defocus_angstrom <= 0:
        return "no underfocus is declared"
    if not zeros:
        return f"the first zero of {declared} lies beyond {2 * pixel:.3g} Å, which is Nyquist"
    return f"the first zero of {declared} lies at {pixel / zeros[0]:.0f} Å"


def phase_findings(evidence: Evidence) -> Iterator[Finding]:
    """Whether the phases are flipped, where that can be seen."""
    sigmas = evidence.flipped_sigmas
    if sigmas is None:
        return
    measured = sigmas > 0
    seen = f"{'flipped' if measured else 'as they were taken'}, by {abs(sigmas):.0f} standard deviations"
    if abs(sigmas) < _PHASE_SIGMAS:
        yield Finding(evidence.name, "phases", "cannot tell", f"perhaps {seen}")
    elif evidence.flipped is None or evidence.flipped == measured:
        yield Finding(evidence.name, "phases", "fine", seen)
    else:
        yield Finding(
            evidence.name,
            "phases",
            "doubt",
            f"{seen}; declared otherwise",
            f"set phaseflipped (isCTFflipped) {'true' if measured else 'false'}, or rlnCtfDataArePhaseFlipped "
            f"{int(measured)} if the list has it",
        )


def half_findings(evidence: Evidence) -> Iterator[Finding]:
    """Whether the two halves are what Noise2Noise needs."""
    halves, name = evidence.halves, evidence.name
    if halves is None:
        return
    low = f"correlation {halves.low:.2f} at low frequency"
    again = "reconstruct the halves from different frames or tilts (even and odd)"
    if evidence.same:
        yield Finding(name, "halves", "error", "the two halves are the same map", f"name two files; {again}")
    elif halves.negative:
        yield Finding(name, "halves", "error", f"one half is the other's negative ({low})", "invert one of them")
    elif not halves.related:
        yield _unrelated(evidence, low)
    elif halves.shifted:
        yield _shifted(evidence)
    elif halves.medium > _NOISE_LEFT:
        yield Finding(
            name,
            "halves",
            "doubt",
            f"hardly any noise of their own (correlation {halves.medium:.3f} at medium frequency)",
            f"denoised halves teach nothing: {again}",
        )
    elif _noise_is_shared(halves):
        yield Finding(
            name, "halves", "doubt", f"they share noise: correlation {halves.top:.2f} even near Nyquist", again
        )
    elif not 1 / _UNEQUAL < halves.ratio < _UNEQUAL:
        yield Finding(
            name,
            "halves",
            "doubt",
            f"the first has {halves.ratio:.2g} times the power of the second",
            "bring them to one scale and one dose",
        )
    else:
        yield Finding(name, "halves", "fine", f"{low}, {halves.top:.2f} near Nyquist")


def _noise_is_shared(halves: ComparedHalves) -> bool:
    """Whether signal over noise stays where it is up to Nyquist, unless a filter left nothing there."""
    flat = halves.fall is not None and halves.fall < _FLAT
    return flat and halves.top > _SHARED_NOISE and halves.noise_fall > _FILTERED


def _unrelated(evidence: Evidence, low: str) -> Finding:
    assert evidence.halves is not None
    name, halves = evidence.name, evidence.halves
    columns = "rlnTomoReconstructedTomogramHalf1 and …Half2"
    if evidence.swapped_with is not None:
        seen = f"the first half belongs to the second of {evidence.swapped_with} ({low})"
        return Finding(name, "halves", "error", seen, f"correct {columns} of the two rows, or the files' names")
    if halves.shifted:
        return _shifted(evidence)
    seen = f"nothing in common ({low}, {halves.sigmas:.1f} standard deviations)"
    if all(skew.seen for skew in evidence.alone):
        return Finding(name, "halves", "error", f"{seen}: not of one tomogram", f"look at {columns} of this row")
    seen += ": not of one tomogram, or next to no signal in them"
    return Finding(name, "halves", "doubt", seen, f"look at them, and at {columns} of this row")


def _shifted(evidence: Evidence) -> Finding:
    assert evidence.halves is not None
    halves = evidence.halves
    by = ", ".join(map(str, halves.shift))
    return Finding(
        evidence.name,
        "halves",
        "error",
        f"shifted by {by} voxels (z, y, x): correlation {halves.there:.2f} there, {halves.here:.2f} here",
        "reconstruct both with the same alignment, or move the second by that",
    )


def noise_findings(evidence: Evidence) -> Iterator[Finding]:
    """Whether the noise was filtered away."""
    fall = evidence.halves.noise_fall if evidence.halves else evidence.fall
    if fall < _FILTERED:
        yield Finding(
            evidence.name,
            "noise",
            "doubt" if evidence.halves else "cannot tell",
            f"it falls to {100 * fall:.1g} % between 0.1 and 0.25 cycles per voxel: filtered, deconvolved or denoised",
            "give the reconstruction without a low-pass filter",
        )


def contrast_findings(evidence: Evidence) -> Iterator[Finding]:
    """Whether protein is dark, from the skewness of the density."""
    skew = evidence.skewness
    seen = f"skewness {skew.value:.2f} ± {skew.sigma:.2f} of the density at low resolution"
    if not skew.seen:
        yield Finding(evidence.name, "contrast", "cannot tell", seen)
    elif skew.value > 0:
        yield Finding(
            evidence.name,
            "contrast",
            "doubt",
            f"{seen}: protein seems to be bright",
            "set make_mask bright_protein, or invert the map (IMOD: newstack -mult -1); others' networks want it dark",
        )
    else:
        yield Finding(evidence.name, "contrast", "fine", f"protein is dark ({seen})")

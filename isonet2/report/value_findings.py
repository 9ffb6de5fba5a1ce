"""What is wrong with the numbers in a map: range, type, empty planes, padding, beads and edges."""

from __future__ import annotations

from collections.abc import Iterator

from isonet2.physics.voxel_values import Values
from isonet2.report.findings import Evidence, Finding

_CLIPPED, _PADDED, _COARSE = 0.002, 0.01, 0.25
_BEADS = 0.01
_EDGE_SHIFT, _EDGE_SPREAD = 0.7, 2.5
_HALF_LARGEST = 6e4  # float16 ends at 65504
_AS_FLOAT = "write the map as float32 (mode 2)"
_TYPES = {0: "int8", 1: "int16", 2: "float32", 6: "uint16", 12: "float16"}


def value_findings(evidence: Evidence) -> Iterator[Finding]:
    """Of each map; one line of all that is fine."""
    name, faults = evidence.name, []
    for values, mode in zip(evidence.values, evidence.modes, strict=True):
        faults += list(_faults(name, values, mode))
    if len(set(evidence.modes)) > 1:
        one, other = (_TYPES[mode] for mode in evidence.modes)
        faults.append(
            Finding(
                name,
                "values",
                "doubt",
                f"the first half is {one}, the second {other}",
                "bring both to one type (mode 2 is float32)",
            )
        )
    share, kind = max(zip(evidence.beads, ("dark", "bright"), strict=True))
    if share > _BEADS:
        faults.append(
            Finding(
                name,
                "beads",
                "doubt",
                f"{100 * share:.0f} % of the variance lies in a few very {kind} spots: gold or ice",
                "erase the beads, or leave them out of the mask: they set the scale of all else",
            )
        )
    if not faults:
        first = evidence.values[0]
        seen = f"{_TYPES[evidence.modes[0]]}, {first.least:.4g} to {first.most:.4g}, standard deviation {first.std:.3g}"
        faults = [Finding(name, "values", "fine", seen)]
    yield from dict.fromkeys(faults)


def _faults(name: str, values: Values, mode: int) -> Iterator[Finding]:
    kind = _TYPES[mode]
    if values.empty:
        where = ", ".join(map(str, values.empty[:6]))
        yield Finding(
            name,
            "planes",
            "doubt",
            f"{len(values.empty)} of {values.planes} planes are empty (z = {where})",
            "cut them off, or leave them out by a mask (make_mask --z_crop)",
        )
    if values.step > _COARSE:
        yield Finding(
            name,
            "values",
            "doubt",
            f"coarse: the standard deviation is {1 / values.step:.1f} steps of {kind}",
            f"{_AS_FLOAT}, or scale it before" if mode != 2 else "take off the mean, which is far from 0",
        )
    elif padded := _padding(values):
        yield Finding(
            name,
            "padding",
            "doubt",
            padded,
            "cut the blank borders off, or use a mask: cubes there teach nothing",
        )
    elif max(values.at_least, values.at_most) > _CLIPPED:
        share, end = max((values.at_least, values.least), (values.at_most, values.most))
        yield Finding(
            name,
            "values",
            "doubt",
            f"{100 * share:.1g} % of the voxels are exactly {end:g}: clipped",
            _AS_FLOAT if mode != 2 else "give the map as it was before it was clipped",
        )
    if mode == 12 and max(abs(values.least), abs(values.most)) > _HALF_LARGEST:
        yield Finding(
            name,
            "values",
            "doubt",
            f"up to {max(abs(values.least), abs(values.most)):.0f}: float16 ends at 65504",
            f"{_AS_FLOAT}, or scale it before",
        )
    if not _padding(values) and (
        values.edge_shift > _EDGE_SHIFT or not 1 / _EDGE_SPREAD < values.edge_spread < _EDGE_SPREAD
    ):
        yield Finding(
            name,
            "edges",
            "doubt",
            f"of an edge in x or y the mean is off by {values.edge_shift:.1f} standard deviations, and the standard "
            f"deviation {values.edge_spread:.2g} times that inside",
            "cut a few voxels off, or leave them out by a mask",
        )


def _padding(values: Values) -> str:
    """What there is of it; nothing where there is none."""
    if values.flat > _PADDED:
        return f"{100 * values.flat:.0f} % of the voxels lie in runs of one value: padding"
    return f"{100 * values.blank:.3g} % of the rows and columns hold one value: padding" * (values.blank > _CLIPPED)

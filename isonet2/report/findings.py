"""What measurements of a tomogram say of its metadata: what was seen, how sure that is, and what to change."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from torch import Tensor

from isonet2.physics.acquisition import Optics, Tilts
from isonet2.physics.compared_halves import ComparedHalves, Skewness
from isonet2.physics.found_rings import FoundRings
from isonet2.physics.found_wedge import FoundWedge
from isonet2.physics.spectra import Radial
from isonet2.physics.voxel_values import Values

Verdict = Literal["error", "doubt", "cannot tell", "fine"]
VERDICTS: tuple[Verdict, ...] = ("error", "doubt", "cannot tell", "fine")
"""Certain and harmful; probably not what was meant; the data do not say; as declared."""


@dataclass(frozen=True)
class Finding:
    """One line about one tomogram (or, without a name, about all): its subject, what was seen, and what to change."""

    tomogram: str
    subject: str
    verdict: Verdict
    seen: str
    cure: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def __str__(self) -> str:
        """As one line."""
        return f"{self.tomogram}: {self.subject}: {self.seen}" + (f": {self.cure}" if self.cure else "")


@dataclass(frozen=True)
class Evidence:
    """What was declared of a tomogram, and what was measured in boxes and planes of it."""

    name: str
    optics: Optics
    tilts_deg: Tilts
    modes: tuple[int, ...]
    header_pixels_angstrom: tuple[tuple[float, float, float], ...]
    """Of each map, z, y and x."""
    wedge: FoundWedge
    radial: Radial
    rings: FoundRings
    halves: ComparedHalves | None
    same: bool
    """Whether both halves hold the same voxels, or one is a multiple of the other."""
    skewness: Skewness
    alone: tuple[Skewness, ...]
    """Of each map by itself."""
    corrects_ctf: bool
    """Whether anything that is to be done depends on the CTF."""
    flipped: bool | None
    """What was declared of the phases; None: nothing."""
    flipped_sigmas: float | None
    """What the data say: see physics.found_phases."""
    values: tuple[Values, ...]
    beads: tuple[float, float]
    fall: float
    """Of the whole power, as `ComparedHalves.noise_fall` is of the noise."""
    signatures: tuple[Tensor, ...]
    """Of a box in the middle of each map."""
    boxes: tuple[int, tuple[int, int, int]]
    """How many, and their shape (z, y, x)."""
    swapped_with: str | None = None
    """The tomogram whose other half fits."""

    @property
    def declared_deg(self) -> tuple[float, float]:
        return self.tilts_deg[0][0], self.tilts_deg[-1][1]


def table(findings: Sequence[Finding], *, width: int = 110) -> str:
    """For a terminal: the tomograms in their order, of each what is wrong first."""
    lines = []
    for name in dict.fromkeys(finding.tomogram for finding in findings):
        lines.append(name or "all tomograms")
        own = [finding for finding in findings if finding.tomogram == name]
        for finding in sorted(own, key=lambda finding: VERDICTS.index(finding.verdict)):
            head = f"  {finding.verdict.replace('error', 'ERROR'):<13}{finding.subject:<14}"
            lines += textwrap.wrap(finding.seen, width, initial_indent=head, subsequent_indent=" " * len(head))
            if finding.cure:
                first = " " * len(head) + "→ "
                lines += textwrap.wrap(finding.cure, width, initial_indent=first, subsequent_indent=first[:-2] + "  ")
    return "\n".join(lines)


def summary(findings: Sequence[Finding]) -> str:
    """How many there are of each verdict, as in 2 × doubt, 5 × fine."""
    verdicts = [finding.verdict for finding in findings]
    return ", ".join(f"{verdicts.count(verdict)} × {verdict}" for verdict in VERDICTS if verdict in verdicts)


def degrees(low: float, high: float) -> str:
    """As in −60…57°."""
    return f"{low:.0f}…{high:.0f}°".replace("-", "−")


def micrometres(angstrom: float) -> str:
    """As in 3.1 µm."""
    return f"{angstrom / 1e4:.2g} µm"

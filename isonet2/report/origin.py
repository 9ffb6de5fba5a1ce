"""How the maps were predicted, as predict has recorded it: what they may be compared with, and what that can tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from isonet2.physics.acquisition import Optics
from isonet2.physics.ctf import ctf_gain, phase_flip_gain

SAME_NETWORK = "same network, not independent"
INDEPENDENT = "independent networks: each saw one half of the specimen"
PERHAPS_SHARED = "two networks, not known to be independent"


@dataclass(frozen=True)
class CtfRecord:
    """What the network was to do about the CTF. `flips`: its input was phase-flipped by us; `flipped`: whoever did it,
    CTF means |CTF|."""

    CTF_mode: str | None = None
    flips: bool = False
    flipped: bool = False
    clip_first_peak_mode: int = 0
    bfactor: float = 0.0


@dataclass(frozen=True)
class Origin:
    """Of the predictions of a job; `method` is unknown (None) if predict has left no record.

    `maps`: by tomogram, the files that were read; `independent`: whether two networks saw two halves of the specimen.
    """

    method: str | None = None
    outputs: frozenset[str] = frozenset()
    maps: Mapping[str, Sequence[str]] = field(default_factory=dict)
    two_networks: bool = False
    independent: bool = False
    ctf: CtfRecord = field(default=CtfRecord())

    @staticmethod
    def of(facts: Mapping[str, Any]) -> Origin:
        """From what predict has found."""
        return Origin(
            method=facts.get("method"),
            outputs=frozenset(facts.get("outputs", ())),
            maps=facts.get("maps", {}),
            two_networks=len(facts.get("networks", ())) == 2,
            independent=set(facts.get("parts", ())) == {"top", "bottom"},
            ctf=CtfRecord(**facts.get("ctf", {})),
        )

    @property
    def result(self) -> str:
        """The column of the STAR file that names the predictions."""
        return "denoised" if self.method == "n2n" else "corrected"

    @property
    def kinship(self) -> str:
        """What the predictions of the two halves have in common."""
        if self.independent:
            return INDEPENDENT
        return PERHAPS_SHARED if self.two_networks else SAME_NETWORK

    def transfer(self, shape: torch.Size, optics: Optics) -> Tensor | None:
        """Float32 (z, y, x//2+1): what a prediction goes through to be compared with what was measured; None: nothing.

        Predictions of the modes network and wiener are without a CTF.
        """
        if self.ctf.CTF_mode not in ("network", "wiener"):
            return None
        return ctf_gain(
            shape,
            optics,
            clip_first_peak_mode=self.ctf.clip_first_peak_mode,
            bfactor_angstrom2=self.ctf.bfactor,
            flipped=self.ctf.flipped,
        )

    def flip(self, shape: torch.Size, optics: Optics) -> Tensor | None:
        """Float32 (z, y, x//2+1): what the measured maps went through before the network; None: nothing."""
        return phase_flip_gain(shape, optics) if self.ctf.flips else None

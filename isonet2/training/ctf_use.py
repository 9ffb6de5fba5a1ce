"""Where the CTF enters training: on what the network found, in what fills the wedge, or on what it is to find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from isonet2.data.dataset import Batch
from isonet2.job.models import Training
from isonet2.physics.acquisition import Optics
from isonet2.physics.ctf import ctf_gain
from isonet2.physics.deconvolution import Wiener, wiener_gain


@dataclass(frozen=True)
class CtfUse:
    """A CTF_mode with its settings. Each gain is (B, 1, s, s, s//2+1), real and radial, so that
    rotations keep it; None stands for 1."""

    mode: str | None
    flipped: bool
    clip_first_peak_mode: int
    bfactor_angstrom2: float
    wiener: Wiener

    @staticmethod
    def of(training: Training) -> CtfUse:
        """What the settings ask for; phases that are flipped, by us or before, leave |CTF|."""
        return CtfUse(
            mode=training.CTF_mode,
            flipped=training.phaseflipped or training.flips_phases,
            clip_first_peak_mode=training.clip_first_peak_mode,
            bfactor_angstrom2=training.bfactor,
            wiener=Wiener(training.snrfalloff, training.deconvstrength, training.highpassnyquist),
        )

    def of_output(self, batch: Batch) -> Tensor | None:
        """C for what the student found: its maps have no CTF, so it is put on before they are compared."""
        return self._ctf(batch) if self.mode == "network" else None

    def in_fill(self, batch: Batch) -> Tensor | None:
        """C for what the teacher found: the measured data around it have the CTF."""
        return self._ctf(batch) if self.mode in ("network", "wiener") else None

    def of_target(self, batch: Batch) -> Tensor | None:
        """W for what the student is to find."""
        if self.mode != "wiener":
            return None
        return _gains(batch, lambda optics, side: _wiener(optics, side, self))

    def _ctf(self, batch: Batch) -> Tensor:
        return _gains(batch, lambda optics, side: _one_ctf(optics, side, self))


def _gains(batch: Batch, gain: Callable[[Optics, int], Tensor]) -> Tensor:
    side = batch.maps.shape[-1]
    each = [gain(Optics(*values), side) for values in batch.optics.tolist()]
    return torch.stack(each)[:, None].to(batch.maps.device)


@lru_cache(maxsize=64)
def _one_ctf(optics: Optics, side: int, use: CtfUse) -> Tensor:
    return ctf_gain((side, side, side), optics, **_shape(use))


@lru_cache(maxsize=64)
def _wiener(optics: Optics, side: int, use: CtfUse) -> Tensor:
    return wiener_gain((side, side, side), optics, use.wiener, **_shape(use))


def _shape(use: CtfUse) -> dict[str, Any]:
    return {
        "flipped": use.flipped,
        "clip_first_peak_mode": use.clip_first_peak_mode,
        "bfactor_angstrom2": use.bfactor_angstrom2,
    }

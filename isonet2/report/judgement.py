"""What the volumes of one tomogram say of its prediction: measured here, put into words by support.py."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from isonet2.physics.consistency import LEAST_FSC, Consistency, consistency, wedge_filling
from isonet2.physics.quality import measured_and_missing, wedge_power_ratio
from isonet2.report.measures import ShellCurve, ShellCurves, middle
from isonet2.report.support import Compared, Verdict, data_verdict, wedge_verdict
from isonet2.report.tomogram import TomogramVolumes, curves_of

_REFERENCE = {"halves": "the other half", "mean": "the halves", "one map": "its input"}


@dataclass(frozen=True)
class Judgement:
    """By region what is to be believed; `share`: of the agreement with the other half that noise allows, NaN where
    nobody can tell; `curves`, by label: of the prediction with the data, and the most that their noise allows."""

    verdicts: dict[str, Verdict]
    share: float
    curves: dict[str, ShellCurve]


@dataclass(frozen=True)
class Judged:
    """What there is to say of one tomogram, drawn or not.

    `result`: what its prediction is called; `halves`: curves of the raw and of the predicted halves, if it has them;
    `wedge_power`: of each volume, that of the wedge over that of the measured region.
    """

    name: str
    shape: tuple[int, ...]
    pixel_size_angstrom: float
    tilts_deg: tuple[float, float]
    predicted: bool
    result: str
    halves: dict[str, ShellCurves]
    judgement: Judgement
    wedge_power: dict[str, float]
    tilt_step_deg: float

    def told(self) -> dict[str, Any]:
        """For programs: by region a state and a sentence; null where there is no number."""
        verdicts = self.judgement.verdicts
        told: dict[str, Any] = {
            region: {"state": verdict.state, "sentence": verdict.sentence} for region, verdict in verdicts.items()
        }
        limit, share = verdicts["missing wedge"].limit_angstrom, self.judgement.share
        told["wedge_limit_angstrom"] = limit if math.isfinite(limit) else None
        told["share_of_allowed_fsc"] = share if math.isfinite(share) else None
        return told


def judged(volumes: TomogramVolumes) -> Judged:
    """All of it, from the middle of the volumes."""
    halves = halves_curves(volumes)
    crops = {label: torch.from_numpy(middle(volume)) for label, volume in volumes.shown.items()}
    return Judged(
        name=volumes.row.name,
        shape=volumes.raw.shape,
        pixel_size_angstrom=volumes.row.pixel_size_angstrom,
        tilts_deg=(volumes.row.tilt_min_deg, volumes.row.tilt_max_deg),
        predicted=volumes.result is not None,
        result=volumes.origin.result,
        halves=halves,
        judgement=judge(volumes, halves) if volumes.result is not None else Judgement({}, math.nan, {}),
        wedge_power={label: wedge_power_ratio(crop, volumes.tilts_deg) for label, crop in crops.items()},
        tilt_step_deg=volumes.row.tilt_step_deg,
    )


def judge(volumes: TomogramVolumes, halves: dict[str, ShellCurves]) -> Judgement:
    """Of a tomogram that has a prediction; `halves`: the curves of its raw and its predicted halves, if it has them."""
    compared = _compared(volumes)
    found = _consistency(volumes)
    frequency = np.arange(len(found.found)) / (2 * (len(found.found) - 1) * volumes.row.pixel_size_angstrom)
    curves = {f"with {_REFERENCE[compared]}": ShellCurve(frequency, found.found.numpy())}
    if compared != "one map":
        curves["allowed by noise"] = ShellCurve(frequency, found.allowed.numpy())
    return Judgement(
        verdicts={
            "measured region": data_verdict(found, compared, gain_is_free=volumes.origin.ctf.CTF_mode == "wiener"),
            "missing wedge": _wedge_verdict(volumes, halves, one_map=compared == "one map"),
        },
        share=found.share if compared == "halves" else math.nan,
        curves=curves,
    )


def halves_curves(volumes: TomogramVolumes) -> dict[str, ShellCurves]:
    """Of the raw and the predicted halves. Of the raw ones in the measured region alone: their wedge holds only what
    the edges leak into it."""
    halves = {}
    if volumes.halves is not None:
        halves["raw"] = {"measured": curves_of(volumes, *map(middle, volumes.halves))["measured"]}
    if volumes.predicted is not None:
        halves["predicted"] = curves_of(volumes, *map(middle, volumes.predicted))
    return halves


def _compared(volumes: TomogramVolumes) -> Compared:
    if volumes.given[0] is volumes.given[1]:
        return "one map"
    return "halves" if volumes.predicted is not None else "mean"


def _consistency(volumes: TomogramVolumes) -> Consistency:
    """Of the middle of the predictions with that of what the network read, passed through the CTF and the wedge."""
    assert volumes.result is not None
    predictions = volumes.predicted or (volumes.result, volumes.result)
    P, Q, a, b = (torch.from_numpy(middle(volume)) for volume in (*predictions, *volumes.given))
    measured, _ = measured_and_missing(a.shape, volumes.tilts_deg)
    transfer, flip = (of(a.shape, volumes.optics) for of in (volumes.origin.transfer, volumes.origin.flip))
    return consistency((P, Q), (a, b), measured, transfer=transfer, flip=flip)


def _wedge_verdict(volumes: TomogramVolumes, halves: dict[str, ShellCurves], *, one_map: bool) -> Verdict:
    filling = np.zeros(0)
    if volumes.predicted is not None:
        a, b = (torch.from_numpy(middle(volume)) for volume in volumes.predicted)
        filling = wedge_filling(a, b, *measured_and_missing(a.shape, volumes.tilts_deg)).numpy()
    data_limit = halves["raw"]["measured"].resolution_angstrom(LEAST_FSC) if "raw" in halves else 0.0
    return wedge_verdict(
        halves.get("predicted", {}), filling, volumes.origin, one_map=one_map, data_limit_angstrom=data_limit
    )

"""Signal or invention, in words: what the measured data say about a prediction, and two predictions about its wedge.

The limits were set on two simulated tomograms of known truth. In the measured region, 9 to 24 % of the power of what
networks of 45 to 450 steps predict is neither signal nor noise; with another specimen added at full strength, 39 to
63 %. In the wedge, two such networks agree (FSC 0.5) with a fifth of the power of the measured region up to where the
correlation with the truth is 0.44 to 0.61. The FSC alone would not do: what leaks into an empty wedge from beside it is
alike in both halves, to 40 % of Nyquist; but beyond the first shell it has 4 to 14 % of the power.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from isonet2.physics.consistency import LEAST_FSC, Consistency
from isonet2.report import words
from isonet2.report.measures import ShellCurve, ShellCurves
from isonet2.report.origin import SAME_NETWORK, Origin

State = Literal["good", "caution", "bad", "unknown"]
Compared = Literal["halves", "mean", "one map"]
"""With what: each prediction with the half that it has not seen; the mean of both with both; with the only map."""

LEAST_AGREEMENT = 0.5
LEAST_FILLING = 0.2
_FEWEST_SHELLS = 5  # the first have few components, and what the taper of the edges smears into them
_ONLY = 1.5  # times coarser than the measured region
_MOST_NEITHER = 1 / 3
_MOST_NOISE = 1 / 3
_LEAST_KEPT = 0.5
_LEAST_OF_MEAN = 0.75
_UNKNOWN = "Cannot tell"
_KEEPS = "Keeps to the measured data"
_DOES_NOT_KEEP = "Does not keep to the measured data"
_SAME_MAKER = (
    f"one network made both ({SAME_NETWORK}) and would invent the same twice; train with split_halves to learn more"
)
_MAYBE_SHARED = "nobody knows whether these networks saw different specimens; those of split_halves did"
_NEW_ALONG_Z = "What the map shows along z and raw does not is not to be interpreted."
_SAME_NOISE = "both saw the same noise, and may take it for the same signal"


@dataclass(frozen=True)
class Verdict:
    """About one region of one tomogram; `limit_angstrom`: up to which detail two predictions of the wedge agree."""

    state: State
    headline: str
    reason: str
    limit_angstrom: float = math.inf

    @property
    def sentence(self) -> str:
        return f"{self.headline}: {self.reason}"


class Finding(NamedTuple):
    """What is to be believed of one thing, in words."""

    about: str
    state: State
    text: str


def data_verdict(found: Consistency, compared: Compared, *, gain_is_free: bool) -> Verdict:
    """Whether a prediction keeps to what was measured; `gain_is_free`: it is not meant to keep the amplitudes."""
    if compared == "one map":
        return Verdict(
            "unknown",
            _UNKNOWN,
            "there is only one map, so that noise counts as agreement and its loss as disagreement. The FSC of the "
            f"prediction with the map that it was made from is {words.correlation(found.share)} on average.",
        )
    if math.isnan(found.share):
        return Verdict(
            "unknown",
            _UNKNOWN,
            f"the two halves agree nowhere (FSC below {LEAST_FSC}), so there is no signal to keep to.",
        )
    return _verdict_on_mean(found) if compared == "mean" else _verdict_on_halves(found, gain_is_free)


def _verdict_on_halves(found: Consistency, gain_is_free: bool) -> Verdict:
    reaches = f"it reaches {words.percent(found.share)} of the agreement with the other half that their noise allows"
    neither, noise = words.percent(found.neither), words.percent(found.noise)
    if found.neither > _MOST_NEITHER:
        return Verdict(
            "bad",
            _DOES_NOT_KEEP,
            f"{neither} of its power there follows neither the signal that the halves share nor their noise, so it is "
            f"invented or distorted; {reaches}.",
        )
    if found.noise > _MOST_NOISE:
        return Verdict(
            "caution",
            f"{_KEEPS}, but also to their noise",
            f"{reaches}, and {noise} of its power is noise. A longer training removes more.",
        )
    if found.kept < _LEAST_KEPT and not gain_is_free:
        kept = words.percent(found.kept)
        return Verdict(
            "caution", f"{_KEEPS}, but blurred or faint", f"{kept} of the amplitude of the signal is left; {reaches}."
        )
    return Verdict(
        "good",
        _KEEPS,
        f"{reaches}; {neither} of its power there is neither signal nor noise (added or distorted by the network), "
        f"{noise} is noise.",
    )


def _verdict_on_mean(found: Consistency) -> Verdict:
    """The noise of both halves is in it, so that its agreement is too high, but never too low."""
    if found.share < _LEAST_OF_MEAN:
        return Verdict(
            "bad",
            _DOES_NOT_KEEP,
            f"it reaches at most {words.percent(found.share)} of the agreement that their noise allows, so it is "
            "invented or distorted.",
        )
    return Verdict(
        "unknown",
        _UNKNOWN,
        "nothing speaks against the prediction, but only the mean of both halves' was kept, whose noise is that of the "
        "data: with predict.keep_halves the report tells signal, noise and invention apart.",
    )


def supported_to(wedge: ShellCurve, filling: npt.NDArray[np.float64], data_limit_angstrom: float) -> float:
    """To which detail, in Å, two predictions agree in the wedge and fill it; infinite if to none.

    `filling` (shells,): power in the wedge over power in the measured region. Never finer than the data themselves.
    """
    filled = ShellCurve(wedge.frequency, np.where(filling < LEAST_FILLING, 0.0, wedge.fsc))
    limit = max(filled.resolution_angstrom(LEAST_AGREEMENT), data_limit_angstrom)
    return math.inf if limit > _coarsest(wedge) else limit


def _coarsest(curve: ShellCurve) -> float:
    """The resolution, in Å, at the end of the shells that tell nothing."""
    return float(1 / curve.frequency[min(_FEWEST_SHELLS, curve.frequency.size - 1)])


def wedge_verdict(
    curves: ShellCurves,
    filling: npt.NDArray[np.float64],
    origin: Origin,
    *,
    one_map: bool,
    data_limit_angstrom: float,
) -> Verdict:
    """Whether what fills the wedge is supported; `curves`: of the two predictions, empty if they were not kept."""
    if origin.method == "n2n":
        return Verdict("caution", "Not filled", f"Noise2Noise learns nothing about the wedge. {_NEW_ALONG_Z}")
    if not curves:
        return Verdict(
            "unknown",
            _UNKNOWN,
            "there is one prediction and nothing to compare it with. predict.keep_halves shows what noise changes, "
            "split_halves what a second, independent network finds.",
        )
    limit = supported_to(curves["wedge"], filling, data_limit_angstrom)
    who = "the two networks" if origin.two_networks else "the two predictions"
    if math.isinf(limit):
        reason = _why_not(curves, filling, who, data_limit_angstrom)
        return Verdict("bad", "Not supported", f"{reason}. {_NEW_ALONG_Z}")
    to = f"{limit:.3g} Å"
    capped = limit <= data_limit_angstrom  # they agree further, where nothing was measured to tell
    agree = f"as far as the raw halves have signal, {to}" if capped else f"up to {to}"
    finer = f"What the map shows along z finer than {to} is not to be interpreted."
    if one_map or not origin.independent:
        doubt = _SAME_NOISE if origin.independent else _MAYBE_SHARED if origin.two_networks else _SAME_MAKER
        return Verdict("unknown", _UNKNOWN, f"{who} agree {agree}, but {doubt}. {finer}", limit)
    measured = curves["measured"].resolution_angstrom(LEAST_AGREEMENT)
    only = limit > _ONLY * measured
    return Verdict(
        "caution" if only else "good",
        f"Supported only up to {to}" if only else f"Supported up to {to}",
        f"{agree}, two networks, each of which saw one half of the specimen, agree and fill it"
        f"{f' (in the measured region they agree up to {measured:.3g} Å)' if only else ''}. {finer} Even this does "
        "not exclude a bias that both share.",
        limit,
    )


def _why_not(curves: ShellCurves, filling: npt.NDArray[np.float64], who: str, data_limit_angstrom: float) -> str:
    if data_limit_angstrom > _coarsest(curves["wedge"]):
        return f"the measured halves themselves agree nowhere (FSC below {LEAST_FSC})"
    if math.isinf(supported_to(curves["wedge"], np.ones_like(filling), 0.0)):
        return f"{who} do not agree there (FSC below {LEAST_AGREEMENT})"
    return f"it is all but empty, with {np.nanmedian(filling):.2f} of the power of the measured region"

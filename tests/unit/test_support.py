"""The words of the report, on real halves of a specimen whose truth is known, with predictions whose fault is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from isonet2.data.acquired import optics_of
from isonet2.io.mrc import open_volume
from isonet2.io.star import TomogramRow
from isonet2.physics.ctf import ctf_gain, phase_flip_gain
from isonet2.physics.fourier import filtered, frequencies, transform
from isonet2.physics.quality import measured_and_missing, tapered
from isonet2.report.judgement import Judgement, halves_curves, judge
from isonet2.report.measures import ShellCurves, middle, shell_curves
from isonet2.report.origin import CtfRecord, Origin
from isonet2.report.tomogram import TomogramVolumes

TILTS = (-60.0, 60.0)
ONE = Origin(method="isonet2-n2n")
TWO = Origin(method="isonet2-n2n", two_networks=True, independent=True)
Pair = tuple[Tensor, Tensor]


class Known(NamedTuple):
    """Two halves, the truth and another truth, at one scale; the measured region and the wedge."""

    halves: Pair
    truth: Tensor
    other: Tensor
    measured: Tensor
    missing: Tensor


@pytest.fixture(scope="module")
def known(real_data: Path) -> Known:
    """The middle 64³ voxels of t1, and of the truth of t2."""

    def read(name: str) -> Tensor:
        with open_volume(real_data / "truth" / name) as volume:
            return torch.from_numpy(middle(volume, 64))

    a, b, truth, other = (read(name) for name in ("t1/even.mrc", "t1/odd.mrc", "t1/truth.mrc", "t2/truth.mrc"))
    measured, missing = measured_and_missing(a.shape, (TILTS,))
    A, T = transform(tapered(a)), transform(tapered(truth))
    scale = (A * T.conj()).real[measured].sum() / T.abs().square()[measured].sum()
    return Known((a, b), scale * truth, scale * other, measured, missing)


def judged(
    given: Pair, predicted: Pair | None, origin: Origin, *, result: Tensor | None = None, defocus_angstrom: float = 0.0
) -> Judgement:
    """What the report says of a prediction of both halves, or of one map alone."""
    row = TomogramRow(
        index=1, half1="a", half2="b", pixel_size_angstrom=15.0, tilt_min_deg=TILTS[0], tilt_max_deg=TILTS[1],
        number_subtomos=1, defocus_angstrom=defocus_angstrom,
    )  # fmt: skip
    maps = [half.numpy() for half in given]
    maps = [maps[0], maps[0] if given[0] is given[1] else maps[1]]
    pair = None if predicted is None else (predicted[0].numpy(), predicted[1].numpy())
    volumes = TomogramVolumes(
        row=row,
        optics=optics_of(row),
        tilts_deg=(TILTS,),
        origin=origin,
        raw=maps[0],
        halves=None if maps[0] is maps[1] else (maps[0], maps[1]),
        given=(maps[0], maps[1]),
        result=result.numpy() if result is not None else sum(pair) / np.float32(2) if pair else None,
        predicted=pair,
        truth=None,
        deconvolved=None,
        mask=None,
    )
    return judge(volumes, halves_curves(volumes))


def curves(pair: Pair) -> ShellCurves:
    return shell_curves(pair[0].numpy(), pair[1].numpy(), pixel_size_angstrom=15.0, tilts_deg=(TILTS,))


def wedge(judgement: Judgement) -> str:
    return judgement.verdicts["missing wedge"].sentence


def data(judgement: Judgement) -> str:
    return judgement.verdicts["measured region"].sentence


def noise(seed: int, like: Tensor) -> Tensor:
    return like.std() * torch.randn(like.shape, generator=torch.Generator().manual_seed(seed))


def test_the_truth_found_by_two_networks_is_supported_and_a_shared_bias_not_excluded(known: Known) -> None:
    pair = (known.truth + noise(1, known.truth), known.truth + noise(2, known.truth))
    found = judged(known.halves, pair, TWO)
    verdict = found.verdicts["missing wedge"]
    assert verdict.state == "good"
    assert verdict.headline.startswith("Supported up to ")
    assert verdict.sentence.endswith("Even this does not exclude a bias that both share.")
    measured = curves(pair)["measured"].resolution_angstrom(0.5)
    assert measured / 1.2 < verdict.limit_angstrom < 1.2 * measured


def test_the_same_found_twice_by_one_network_tells_nothing(known: Known) -> None:
    found = judged(known.halves, (known.truth + noise(1, known.truth), known.truth + noise(2, known.truth)), ONE)
    assert found.verdicts["missing wedge"].state == "unknown"
    assert "one network made both (same network, not independent) and would invent the same twice" in wedge(found)


@pytest.mark.parametrize("origin", [ONE, TWO])
def test_a_wedge_that_only_leakage_fills_is_empty_though_its_halves_agree(known: Known, origin: Origin) -> None:
    a, b = known.halves
    for pair in ((a, b), (filtered(a, known.measured), filtered(b, known.measured))):
        found = judged(known.halves, pair, origin)
        assert curves(pair)["wedge"].resolution_angstrom(0.5) < 100
        assert found.verdicts["missing wedge"].state == "bad"
        assert wedge(found).startswith("Not supported: it is all but empty, with 0.0")


def pasted(known: Known, *inventions: Tensor) -> Pair:
    """The truth with inventions in its wedge."""
    first, second = (filtered(known.truth, known.measured) + filtered(each, known.missing) for each in inventions)
    return first, second


@pytest.mark.parametrize("origin", [ONE, TWO])
def test_another_specimen_in_the_wedge_of_each_half_is_not_supported(known: Known, origin: Origin) -> None:
    found = judged(known.halves, pasted(known, known.other, known.other.flip(1)), origin)
    who = "the two networks" if origin.two_networks else "the two predictions"
    assert wedge(found).startswith(f"Not supported: {who} do not agree there (FSC below 0.5). What the map shows")
    assert data(found).startswith("Keeps to the measured data")


def test_one_invention_in_both_halves_is_not_believed_of_one_network(known: Known) -> None:
    """Nobody can see it: the words must not claim it."""
    found = judged(known.halves, pasted(known, known.other, known.other), ONE)
    assert wedge(found).startswith("Cannot tell")
    assert "a bias that both share" in wedge(judged(known.halves, pasted(known, known.other, known.other), TWO))


def test_what_is_invented_only_beyond_100_angstrom_is_supported_up_to_there(known: Known) -> None:
    k = frequencies(known.truth.shape).square().sum(-1).sqrt() / 15
    coarse = (k < 1 / 100).float()
    inventions = [filtered(known.truth, coarse) + filtered(v, 1 - coarse) for v in (known.other, known.other.flip(1))]
    verdict = judged(known.halves, pasted(known, *inventions), TWO).verdicts["missing wedge"]
    assert verdict.state == "caution"
    assert verdict.limit_angstrom == pytest.approx(100, rel=0.15)
    assert verdict.headline == f"Supported only up to {verdict.limit_angstrom:.3g} Å"
    assert f"along z finer than {verdict.limit_angstrom:.3g} Å is not to be interpreted" in verdict.sentence
    assert f": up to {verdict.limit_angstrom:.3g} Å, two networks" in verdict.sentence


def test_no_detail_is_supported_beyond_what_the_data_hold(known: Known) -> None:
    """Two predictions that are the same to Nyquist, from halves that agree up to 100 Å."""
    k = frequencies(known.truth.shape).square().sum(-1).sqrt() / 15
    halves = [filtered(half, (k < 1 / 100).float()) + noise(seed, half) for seed, half in enumerate(known.halves)]
    for origin in (ONE, TWO):
        verdict = judged((halves[0], halves[1]), (known.truth, known.truth), origin).verdicts["missing wedge"]
        assert verdict.limit_angstrom == pytest.approx(100, rel=0.15)
        assert f"as far as the raw halves have signal, {verdict.limit_angstrom:.3g} Å" in verdict.sentence


def test_two_networks_that_saw_the_same_noise_tell_nothing(known: Known) -> None:
    a, _ = known.halves
    found = judged((a, a), (known.truth, known.truth), TWO)
    assert "but both saw the same noise" in wedge(found)
    assert data(found).startswith("Cannot tell: there is only one map")


def test_without_two_predictions_the_wedge_cannot_be_judged(known: Known) -> None:
    found = judged(known.halves, None, ONE, result=known.truth)
    assert wedge(found).startswith("Cannot tell: there is one prediction")
    assert "predict.keep_halves" in data(found)
    assert np.isnan(found.share)


def test_noise2noise_does_not_fill_the_wedge(known: Known) -> None:
    found = judged(known.halves, (known.truth, known.truth), Origin(method="n2n"))
    assert wedge(found).startswith("Not filled: Noise2Noise learns nothing about the wedge.")


def test_the_truth_keeps_to_the_measured_data_and_reaches_what_noise_allows(known: Known) -> None:
    found = judged(known.halves, (known.truth, known.truth), ONE)
    assert found.verdicts["measured region"].state == "good"
    assert found.share > 0.95


def test_data_that_were_left_as_they_are_keep_their_noise(known: Known) -> None:
    found = judged(known.halves, known.halves, ONE)
    assert found.verdicts["measured region"].headline == "Keeps to the measured data, but also to their noise"


def test_a_blurred_prediction_keeps_to_the_data_but_is_faint(known: Known) -> None:
    blurred = filtered(known.truth, torch.exp(-30 * frequencies(known.truth.shape).square().sum(-1)).float())
    found = judged(known.halves, (blurred, blurred), ONE)
    assert found.verdicts["measured region"].headline == "Keeps to the measured data, but blurred or faint"
    wiener = replace(ONE, ctf=CtfRecord(CTF_mode="phase_only"))
    assert judged(known.halves, (blurred, blurred), wiener).verdicts["measured region"].state == "caution"


@pytest.mark.parametrize("kept", [True, False])
def test_an_invented_specimen_does_not_keep_to_the_data(known: Known, kept: bool) -> None:
    for invented in (known.other, known.truth + 1.5 * known.other):
        found = judged(known.halves, (invented, invented) if kept else None, ONE, result=invented)
        assert found.verdicts["measured region"].state == "bad"
        assert "invented or distorted" in data(found)


def test_halves_without_a_common_signal_support_nothing(known: Known) -> None:
    halves = (noise(1, known.truth), noise(2, known.truth))
    found = judged(halves, (known.truth, known.truth), TWO)
    assert data(found).startswith("Cannot tell: the two halves agree nowhere")
    assert wedge(found).startswith("Not supported: the measured halves themselves agree nowhere")


@pytest.mark.parametrize("mode", ["network", "wiener"])
def test_a_prediction_without_a_ctf_is_compared_through_the_ctf(known: Known, mode: str) -> None:
    """White specimen, imaged here with its CTF; the record of predict says that phases were flipped for the network."""
    defocus_angstrom = 80000.0
    row = TomogramRow(index=1, half1="a", half2="b", pixel_size_angstrom=15.0, tilt_min_deg=-60.0, tilt_max_deg=60.0,
                      number_subtomos=1, defocus_angstrom=defocus_angstrom)  # fmt: skip
    ctf = ctf_gain(known.truth.shape, optics_of(row))
    specimen = torch.randn(known.truth.shape, generator=torch.Generator().manual_seed(3))
    first, second = (
        filtered(specimen, ctf) + 0.3 * torch.randn(ctf.shape[:2] + known.truth.shape[2:], generator=g)
        for g in (torch.Generator().manual_seed(seed) for seed in (4, 5))
    )
    record = CtfRecord(CTF_mode=mode, flips=True, flipped=True)
    through = judged((first, second), (specimen, specimen), replace(ONE, ctf=record), defocus_angstrom=defocus_angstrom)
    assert through.verdicts["measured region"].state == "good"
    assert through.share > 0.95
    unflipped = replace(record, flips=False)
    wrong = judged(
        (first, second), (specimen, specimen), replace(ONE, ctf=unflipped), defocus_angstrom=defocus_angstrom
    )
    assert wrong.verdicts["measured region"].state == "bad"
    phases = filtered(specimen, ctf.abs())
    only = replace(ONE, ctf=CtfRecord(CTF_mode="phase_only", flips=True, flipped=True))
    flipped = judged((first, second), (phases, phases), only, defocus_angstrom=defocus_angstrom)
    assert flipped.share > 0.95
    assert torch.equal(only.flip(specimen.shape, optics_of(row)), phase_flip_gain(specimen.shape, optics_of(row)))

"""What is minimised, against slow numpy, and what it must not depend on."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from isonet2.data.dataset import Batch
from isonet2.physics.acquisition import Optics
from isonet2.physics.ctf import ctf_gain
from isonet2.physics.deconvolution import Wiener, wiener_gain
from isonet2.physics.fourier import filtered, transform
from isonet2.physics.rotation import WEDGE_MOVING_ROTATIONS, random_rotation, rotate
from isonet2.physics.wedge import rotated_wedges, wedge_mask
from isonet2.training.ctf_use import CtfUse
from isonet2.training.objectives import Losses, Objective, Recipe, isonet2, n2n

SIDE = 16
CUBE = (SIDE, SIDE, SIDE)
TILTS = (-51.0, 60.0)
OPTICS = Optics(12.0, 20000.0, 300.0, 2.7, 0.1)
WIENER = Wiener(1.0, 1.0, 0.02)
NO_CTF = CtfUse(mode=None, flipped=False, clip_first_peak_mode=0, bfactor_angstrom2=0.0, wiener=WIENER)
RECIPE = Recipe(NO_CTF)


def batch(count: int = 2, *, maps: int = 2, rotation: np.ndarray | None = None) -> Batch:
    rng = np.random.default_rng(0)

    def cubes(channels: int) -> Tensor:
        return torch.from_numpy(rng.standard_normal((count, channels, *CUBE)))

    turns = [WEDGE_MOVING_ROTATIONS[n] if rotation is None else rotation for n in range(count)]
    return Batch(
        maps=cubes(maps),
        mask=torch.ones(count, 1, *CUBE, dtype=torch.float64),
        noise=cubes(2),
        tilts_deg=torch.tensor([[TILTS]] * count, dtype=torch.float64),
        optics=torch.tensor([list(vars(OPTICS).values())] * count, dtype=torch.float64),
        rotation=torch.from_numpy(np.array(turns)),
    )


def halved(x: Tensor) -> Tensor:
    return x / 2


def loss(b: Batch, recipe: Recipe = RECIPE, student=halved, teacher=halved, noise_level: float = 0.0) -> Losses:  # type: ignore[no-untyped-def]
    return isonet2(student, teacher, b, recipe, noise_level)


def full(half: Tensor) -> np.ndarray:
    """The whole of a Hermitian half of Fourier space, voxel by voxel."""
    whole = np.zeros(CUBE, half.numpy().dtype)
    for z, y, x in np.ndindex(CUBE):
        whole[z, y, x] = half[z, y, x] if x <= SIDE // 2 else half[-z, -y, SIDE - x]
    return whole


def keep(volume: np.ndarray, gain: np.ndarray) -> np.ndarray:
    return np.fft.ifftn(np.fft.fftn(volume) * gain).real


def expected(b: Batch, mw_weight: float, mode: str | None) -> list[float]:
    """The formula of the documentation, one map of one sample at a time, full complex transforms."""
    C = full(ctf_gain(CUBE, OPTICS, flipped=True)) if mode in ("network", "wiener") else np.ones(CUBE)
    on_found = C if mode == "network" else np.ones(CUBE)
    W = full(wiener_gain(CUBE, OPTICS, WIENER, flipped=True)) if mode == "wiener" else np.ones(CUBE)
    losses = []
    M = full(wedge_mask(CUBE, *TILTS))
    for n in range(len(b.maps)):
        RM = full(rotated_wedges(SIDE, b.tilts_deg[n : n + 1], b.rotation[n : n + 1])[0, 0])
        first, last = b.maps[n, 0].numpy(), b.maps[n, -1].numpy()
        p = (np.abs(np.fft.fftn(first - last)) ** 2)[M].mean() / 2
        noise = math.sqrt(p / SIDE**3) * b.noise[n].numpy()
        fill = [keep(each, M) + keep(keep(keep(each, M) / 2, C) + noise[i], ~M) for i, each in enumerate((first, last))]
        given, wanted = (rotate(torch.from_numpy(f.copy())[None], b.rotation[n])[0].numpy() for f in fill)
        error = keep(keep(given, M) / 2, on_found) - keep(wanted, W)
        inside, outside = keep(error, M & RM), keep(error, ~M & RM)
        losses.append((inside**2).mean() + mw_weight * (outside**2).mean() if mw_weight > 0 else (error**2).mean())
    return losses


@pytest.mark.parametrize("mode", [None, "phase_only", "network", "wiener"])
@pytest.mark.parametrize(("maps", "mw_weight"), [(2, 2.0), (2, 0.0), (1, 0.5)])
def test_the_loss_is_the_one_of_the_documentation(maps: int, mw_weight: float, mode: str | None) -> None:
    b = batch(maps=maps)
    recipe = Recipe(replace(NO_CTF, mode=mode, flipped=True), mw_weight=mw_weight)
    assert loss(b, recipe).total.tolist() == pytest.approx(expected(b, mw_weight, mode), rel=1e-5)


@pytest.mark.parametrize("mode", [None, "network", "wiener"])
def test_noise2noise_compares_what_it_makes_of_one_half_with_the_other(mode: str | None) -> None:
    b = batch()
    C = full(ctf_gain(CUBE, OPTICS)) if mode == "network" else np.ones(CUBE)
    W = full(wiener_gain(CUBE, OPTICS, WIENER)) if mode == "wiener" else np.ones(CUBE)
    found = n2n(halved, halved, b, Recipe(replace(NO_CTF, mode=mode)), 0.0)
    for n, value in enumerate(found.total.tolist()):
        x, y = (rotate(b.maps[n, i][None], b.rotation[n])[0].numpy().copy() for i in (0, 1))
        assert value == pytest.approx(np.mean((keep(x / 2, C) - keep(y, W)) ** 2), rel=1e-5)
    assert found.wedge.tolist() == [0, 0]


def test_nothing_is_learned_from_what_the_teacher_invents_in_the_wedge() -> None:
    """The loss compares only where the rotated data were measured: another fill of the target leaves it alone."""
    b = batch(1)
    wedge = wedge_mask(CUBE, *TILTS)
    pattern = torch.from_numpy(np.random.default_rng(9).standard_normal(CUBE))

    def inventive(x: Tensor) -> Tensor:
        return x + filtered(10 * pattern.expand_as(x), ~wedge)

    def blind(x: Tensor) -> Tensor:
        return 0 * x

    plain, invented = (loss(b, student=blind, teacher=teacher).total for teacher in (halved, inventive))
    assert torch.allclose(plain, invented)
    everywhere = replace(RECIPE, mw_weight=0.0)
    whole = [loss(b, everywhere, student=blind, teacher=teacher).total for teacher in (halved, inventive)]
    assert not torch.allclose(*whole)


def test_no_gradient_reaches_the_teacher() -> None:
    weight = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    assert not loss(batch(), teacher=lambda x: x * weight).total.requires_grad


def test_without_apply_mw_x1_the_networks_see_the_filled_wedge_and_the_whole_map() -> None:
    b, seen = batch(1), []

    def student(x: Tensor) -> Tensor:
        seen.append(x)
        return x

    M = wedge_mask(CUBE, *TILTS)
    for applied in (True, False):
        loss(b, replace(RECIPE, apply_mw_x1=applied), student=student, teacher=student)
        for volumes in seen[-2:]:
            empty = transform(volumes)[..., ~M].abs().max() < 1e-9
            assert bool(empty) is applied


def test_what_fills_the_wedge_carries_as_much_noise_as_what_was_measured() -> None:
    seen: list[Tensor] = []

    def student(x: Tensor) -> Tensor:
        seen.append(x)
        return x

    b = batch(8)
    loss(b, student=student, teacher=lambda x: 0 * x)
    power = transform(seen[0]).abs().square()
    M = wedge_mask(CUBE, *TILTS)
    for n in range(len(b.maps)):  # the input has lost M's complement; of what is left, RM was measured, the rest filled
        RM = rotated_wedges(SIDE, b.tilts_deg[n : n + 1], b.rotation[n : n + 1])[0, 0]
        assert power[n, 0][M & ~RM].mean().item() == pytest.approx(power[n, 0][M & RM].mean().item(), rel=0.25)


@pytest.mark.parametrize(("mode", "slope"), [("nofilter", 0.0), ("ramp", 1.0), ("hamming", 1.0)])
def test_added_noise_has_the_level_and_the_spectrum_that_were_asked_for(mode: str, slope: float) -> None:
    b, seen = batch(6, maps=1), []

    def student(x: Tensor) -> Tensor:
        seen.append(x)
        return x

    for level in (0.0, 0.7):
        loss(b, replace(RECIPE, noise_mode=mode), student=student, noise_level=level)
    noise = seen[1] - seen[0]
    assert noise.std(dim=(1, 2, 3, 4)).tolist() == pytest.approx([0.7] * 6)
    power = transform(noise).abs().square().mean((0, 1))
    M = wedge_mask(CUBE, *TILTS)
    assert power[~M].max() < 1e-9
    assert power[M].mean() > 0
    k = np.fft.fftfreq(SIDE)
    radius = np.hypot(k[:, None], np.abs(k[: SIDE // 2 + 1]))[:, None, :].repeat(SIDE, 1)
    low, high = (
        power[M & torch.from_numpy((radius > a) & (radius < c))].mean() for a, c in ((0.1, 0.16), (0.36, 0.46))
    )
    window = ((0.54 + 0.46 * math.cos(2 * math.pi * 0.41)) / (0.54 + 0.46 * math.cos(2 * math.pi * 0.13))) ** 2
    wanted = (0.41 / 0.13) ** slope * (window if mode == "hamming" else 1)
    assert (high / low).item() == pytest.approx(wanted, rel=0.35)


@pytest.mark.parametrize("loss_func", ["L2", "L1", "Huber"])
def test_losses_measure_distance_as_torch_does(loss_func: str) -> None:
    mean = {
        "L2": torch.nn.functional.mse_loss,
        "L1": torch.nn.functional.l1_loss,
        "Huber": torch.nn.functional.huber_loss,
    }[loss_func]
    b = batch(1)
    found = n2n(lambda x: 3 * x, halved, b, replace(RECIPE, loss_func=loss_func), 0.0).total.item()
    assert found == pytest.approx(mean(3 * b.maps[0, 0], b.maps[0, 1]).item())


def test_the_fsc_loss_is_one_minus_the_mean_correlation_of_shells() -> None:
    b = batch(1)
    found = n2n(lambda x: 3 * x, halved, b, replace(RECIPE, loss_func="FSC"), 0.0).total.item()
    A, B = (np.fft.fftn(each) for each in b.maps[0].numpy())
    k = np.fft.fftfreq(SIDE) * SIDE
    shell = np.rint(np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2)).astype(int)
    curve, counts = [], []
    for s in range(1, SIDE // 2 + 1):
        a, c = A[shell == s], B[shell == s]
        curve.append((a * c.conj()).sum().real / math.sqrt((abs(a) ** 2).sum() * (abs(c) ** 2).sum()))
        counts.append(len(a))
    assert found == pytest.approx(1 - np.average(curve, weights=counts), rel=1e-6)


def test_the_fsc_loss_looks_at_one_region_only() -> None:
    b = batch(1)
    losses = loss(b, replace(RECIPE, loss_func="FSC"), student=lambda x: x, teacher=lambda x: x)
    assert losses.total.item() == pytest.approx((losses.measured + 2 * losses.wedge).item())
    assert losses.wedge.item() == pytest.approx(1.0, abs=1e-4)  # the student left it empty
    assert losses.measured.item() < 1.2


def test_the_mask_turns_with_the_cube_and_weighs_the_error() -> None:
    b, everywhere = batch(1), replace(RECIPE, mw_weight=0.0)
    masked = b._replace(mask=torch.zeros_like(b.mask))
    masked.mask[0, 0, :4] = 1  # the four lowest planes
    weights: list[Tensor] = []

    def student(x: Tensor) -> Tensor:
        marked = torch.zeros_like(x)
        place = rotate(masked.mask[0], masked.rotation[0])
        marked[:, 0] = place
        weights.append(place)
        return x + 1000 * (1 - marked)  # wrong wherever the turned mask is 0

    wrong_outside = loss(masked, everywhere, student=student).total
    right = loss(masked, everywhere, student=lambda x: x).total
    assert torch.allclose(wrong_outside, right)
    assert weights[0].sum() == masked.mask.sum()


def test_a_soft_mask_weighs_voxels_by_its_values() -> None:
    b = batch(1)
    soft = b._replace(mask=torch.rand(b.mask.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    found = n2n(lambda x: 0 * x, halved, soft, RECIPE, 0.0).total.item()
    weight = soft.mask[0, 0].numpy()
    wanted = np.average(b.maps[0, 1].numpy() ** 2, weights=weight)
    assert found == pytest.approx(wanted)


@pytest.mark.parametrize("mw_weight", [0.0, 2.0])
def test_any_rotation_counts_only_voxels_that_have_data(mw_weight: float) -> None:
    b = batch(1, rotation=random_rotation(np.random.default_rng(1)))

    def student(x: Tensor) -> Tensor:
        wrong = torch.zeros_like(x)
        wrong[..., 0, 0, 0] = 1e6  # a corner that no turned data reach
        return x + wrong

    recipe = replace(RECIPE, mw_weight=mw_weight)
    assert torch.allclose(loss(b, recipe, student=student).total, loss(b, recipe, student=lambda x: x).total)


def test_gaps_in_the_tilts_are_part_of_the_wedge() -> None:
    b = batch(1)
    gap = b._replace(tilts_deg=torch.tensor([[[-51.0, -10.0], [10.0, 60.0]]], dtype=torch.float64))
    seen: list[Tensor] = []

    def student(x: Tensor) -> Tensor:
        seen.append(x)
        return x

    loss(gap, student=student)
    M = wedge_mask(CUBE, -51.0, -10.0) | wedge_mask(CUBE, 10.0, 60.0)
    assert transform(seen[0])[..., ~M].abs().max() < 1e-9
    assert not torch.equal(M, wedge_mask(CUBE, *TILTS))


@pytest.mark.parametrize("loss_func", ["L2", "FSC"])
@pytest.mark.parametrize("objective", [isonet2, n2n])
def test_a_sample_counts_in_a_batch_of_differing_ones_as_it_does_alone(objective: Objective, loss_func: str) -> None:
    """Each with its own tilts (one has a gap), pixel size and defocus."""
    tilts = [[[-51.0, -10.0], [10.0, 60.0]], [[-40.0, 55.0], [math.nan, math.nan]]]
    optics = [vars(OPTICS), vars(replace(OPTICS, pixel_size_angstrom=9.0, defocus_angstrom=35000.0))]
    both = batch()._replace(
        tilts_deg=torch.tensor(tilts, dtype=torch.float64),
        optics=torch.tensor([list(each.values()) for each in optics], dtype=torch.float64),
    )
    recipe = Recipe(replace(NO_CTF, mode="network"), loss_func)

    def losses(b: Batch) -> Tensor:
        return torch.stack(objective(torch.sin, torch.sin, b, recipe, 0.0))

    alone = [losses(Batch(*(part[n : n + 1] for part in both))) for n in (0, 1)]
    torch.testing.assert_close(losses(both), torch.cat(alone, dim=1))
    swapped = losses(both._replace(tilts_deg=both.tilts_deg.flip(0), optics=both.optics.flip(0)))
    assert not torch.isclose(losses(both)[0], swapped[0], rtol=1e-3).any()

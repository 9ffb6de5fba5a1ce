"""What is minimised, against slow numpy, and what it must not depend on."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from isonet2.data.dataset import Batch
from isonet2.physics.fourier import filtered, transform
from isonet2.physics.rotation import WEDGE_MOVING_ROTATIONS, random_rotation, rotate
from isonet2.physics.wedge import rotated_wedges, wedge_mask
from isonet2.training.objectives import Weighing, isonet2_n2n

SIDE = 16
TILTS = (-51.0, 60.0)


def batch(count: int = 2, *, rotation: np.ndarray | None = None) -> Batch:
    rng = np.random.default_rng(0)

    def cubes(channels: int) -> Tensor:
        return torch.from_numpy(rng.standard_normal((count, channels, SIDE, SIDE, SIDE)))

    turns = [WEDGE_MOVING_ROTATIONS[n] if rotation is None else rotation for n in range(count)]
    return Batch(
        half1=cubes(1),
        half2=cubes(1),
        mask=torch.ones(count, 1, SIDE, SIDE, SIDE, dtype=torch.float64),
        noise=cubes(2),
        tilt_range_deg=torch.tensor([TILTS] * count, dtype=torch.float64),
        rotation=torch.from_numpy(np.array(turns)),
    )


def halved(x: Tensor) -> Tensor:
    return x / 2


def expected_n2n(b: Batch, mw_weight: float) -> list[float]:
    """The formula of the documentation, one half of one sample at a time, full complex transforms."""

    def full(mask: Tensor) -> np.ndarray:
        whole = np.zeros((SIDE,) * 3, bool)
        for place in np.ndindex(whole.shape):
            z, y, x = place
            whole[place] = mask[z, y, x] if x <= SIDE // 2 else mask[-z, -y, SIDE - x]
        return whole

    def keep(volume: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return np.fft.ifftn(np.fft.fftn(volume) * mask).real

    losses = []
    M = full(wedge_mask((SIDE,) * 3, *TILTS))
    for n in range(len(b.half1)):
        RM = full(rotated_wedges(SIDE, b.tilt_range_deg[n : n + 1], b.rotation[n : n + 1])[0, 0])
        a, c = b.half1[n, 0].numpy(), b.half2[n, 0].numpy()
        guess_a, guess_c = keep(a, M) / 2, keep(c, M) / 2
        p = (np.abs(np.fft.fftn(a - c)) ** 2)[M].mean() / 2
        q = (np.abs(np.fft.fftn(guess_a - guess_c)) ** 2)[~M].mean() / 2
        sigma = math.sqrt(max(0, p - q) / SIDE**3)
        fill = [
            keep(half, M) + keep(guess + sigma * b.noise[n, i].numpy(), ~M)
            for i, (half, guess) in enumerate(((a, guess_a), (c, guess_c)))
        ]
        turned = [rotate(torch.from_numpy(f.copy())[None], b.rotation[n])[0].numpy() for f in fill]
        total = 0.0
        for mine, other in ((0, 1), (1, 0)):
            error = keep(turned[mine], M) / 2 - turned[other]
            inside, outside = keep(error, M & RM), keep(error, ~M & RM)
            total += (inside**2).mean() + mw_weight * (outside**2).mean() if mw_weight > 0 else (error**2).mean()
        losses.append(total / 2)
    return losses


@pytest.mark.parametrize("mw_weight", [2.0, 0.5, 0.0])
def test_the_loss_is_the_one_of_the_documentation(mw_weight: float) -> None:
    b = batch()
    found = isonet2_n2n(halved, halved, b, Weighing("L2", mw_weight)).total
    assert found.tolist() == pytest.approx(expected_n2n(b, mw_weight), rel=1e-9)


def test_nothing_is_learned_from_what_the_teacher_invents_in_the_wedge() -> None:
    """The loss compares only where the rotated data were measured: another fill of the target leaves it alone."""
    b = batch(1)
    wedge = wedge_mask((SIDE,) * 3, *TILTS)
    pattern = torch.from_numpy(np.random.default_rng(9).standard_normal((SIDE,) * 3))

    def inventive(x: Tensor) -> Tensor:
        return x + filtered(10 * pattern.expand_as(x), ~wedge)

    def blind(x: Tensor) -> Tensor:
        return 0 * x

    plain, invented = (isonet2_n2n(blind, teacher, b, Weighing("L2", 2.0)).total for teacher in (halved, inventive))
    assert torch.allclose(plain, invented)
    full = [isonet2_n2n(blind, teacher, b, Weighing("L2", 0.0)).total for teacher in (halved, inventive)]
    assert not torch.allclose(*full)


def test_no_gradient_reaches_the_teacher() -> None:
    weight = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    losses = isonet2_n2n(halved, lambda x: x * weight, batch(), Weighing("L2", 2.0))
    assert not losses.total.requires_grad


def test_what_fills_the_wedge_carries_as_much_noise_as_what_was_measured() -> None:
    seen: list[Tensor] = []

    def student(x: Tensor) -> Tensor:
        seen.append(x)
        return x

    b = batch(8)
    isonet2_n2n(student, lambda x: 0 * x, b, Weighing("L2", 2.0))
    count = len(b.half1)
    difference = transform(seen[0][:count] - seen[0][count:]).abs().square()
    M = wedge_mask((SIDE,) * 3, *TILTS)
    for n in range(count):  # the input has lost M's complement; of what is left, RM was measured, the rest filled
        RM = rotated_wedges(SIDE, b.tilt_range_deg[n : n + 1], b.rotation[n : n + 1])[0, 0]
        assert difference[n, 0][M & ~RM].mean().item() == pytest.approx(difference[n, 0][M & RM].mean().item(), rel=0.2)


@pytest.mark.parametrize("loss_func", ["L2", "L1", "Huber"])
def test_losses_measure_distance_as_torch_does(loss_func: str) -> None:
    b = batch(1)
    mean = {
        "L2": torch.nn.functional.mse_loss,
        "L1": torch.nn.functional.l1_loss,
        "Huber": torch.nn.functional.huber_loss,
    }[loss_func]
    targets: list[Tensor] = []

    def student(x: Tensor) -> Tensor:
        targets.append(x)
        return 0 * x

    found = isonet2_n2n(student, halved, b, Weighing(loss_func, 0.0)).total
    # with mw_weight 0 and a blind student the error is the rotated, filled half: measured here through M by linearity
    assert found > 0
    zeros = torch.zeros_like(b.half1)
    identity = b._replace(half1=zeros + 2, half2=zeros + 2, noise=0 * b.noise)
    flat = isonet2_n2n(lambda x: 0 * x, lambda x: x, identity, Weighing(loss_func, 0.0)).total
    assert flat.item() == pytest.approx(mean(zeros, zeros + 2).item())


def test_the_mask_turns_with_the_cube_and_weighs_the_error() -> None:
    b = batch(1)
    masked = b._replace(mask=torch.zeros_like(b.mask))
    masked.mask[0, 0, :4] = 1  # the four lowest planes
    weights: list[Tensor] = []

    def student(x: Tensor) -> Tensor:
        marked = torch.zeros_like(x)
        place = rotate(masked.mask[0], masked.rotation[0])
        marked[:, 0] = place
        weights.append(place)
        return x + 1000 * (1 - marked)  # wrong wherever the turned mask is 0

    wrong_outside = isonet2_n2n(student, halved, masked, Weighing("L2", 0.0)).total
    right = isonet2_n2n(lambda x: x, halved, masked, Weighing("L2", 0.0)).total
    assert torch.allclose(wrong_outside, right)
    assert weights[0].sum() == masked.mask.sum()


@pytest.mark.parametrize("mw_weight", [0.0, 2.0])
def test_any_rotation_counts_only_voxels_that_have_data(mw_weight: float) -> None:
    b = batch(1, rotation=random_rotation(np.random.default_rng(1)))
    corner: list[Tensor] = []

    def student(x: Tensor) -> Tensor:
        wrong = torch.zeros_like(x)
        wrong[..., 0, 0, 0] = 1e6  # a corner that no turned data reach
        corner.append(wrong)
        return x + wrong

    found = isonet2_n2n(student, halved, b, Weighing("L2", mw_weight)).total
    expected = isonet2_n2n(lambda x: x, halved, b, Weighing("L2", mw_weight)).total
    assert torch.allclose(found, expected)

"""Cubes that are held out: what is measured on them, against slow numpy; and what is said of their loss."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from samples import setup_of, source_of
from torch import Tensor, nn

from isonet2.data.cache import CacheSettings, CubeCache
from isonet2.data.dataset import CubeDataset
from isonet2.data.extraction import extract
from isonet2.io.mrc import write_mrc
from isonet2.job.models import Denoise, Refine
from isonet2.parallel.world import World
from isonet2.training import validation
from isonet2.training.learner import Learner
from isonet2.training.validation import validate, validation_course, verdict

SIDE = 8
CUBE = (SIDE, SIDE, SIDE)
TILTS = (-50.0, 60.0)
BRIEF = {"arch": "unet-tiny", "cube_size": SIDE, "mixed_precision": False}


class Curve(nn.Module):
    """A network whose output is a simple function of each voxel."""

    def forward(self, x: Tensor) -> Tensor:
        return curved(x)


def curved(x: Any) -> Any:
    return 0.5 * x + 0.2 * x * x


def dataset_of(folder: Path, *, maps: int, moves_wedge: bool) -> CubeDataset:
    rng = np.random.default_rng(3)
    signal = rng.standard_normal((14, 16, 18))
    paths = tuple(folder / f"{n}.mrc" for n in range(maps))
    for path in paths:
        write_mrc(path, (signal + rng.standard_normal(signal.shape)).astype(np.float32), pixel_size_angstrom=10)
    source = source_of(paths, (14, 16, 18), number=7, tilts_deg=(TILTS,))
    cache = CubeCache(extract([source], CacheSettings(SIDE, 1, "float32", seed=1), folder / "cache", World()).folder)
    return CubeDataset(cache, seed=5, with_mask=False, moves_wedge=moves_wedge)


def learner_of(setup: Any) -> Learner:
    learner = Learner(setup, World(), seed=0)
    learner.average.module = Curve()
    return learner


def wedge(rotation: np.ndarray) -> np.ndarray:
    """Which components of the whole transform are measured after a rotation, one at a time, by the arctangent."""
    mask = np.zeros(CUBE, bool)
    for place in np.ndindex(CUBE):
        k = np.array([np.fft.fftfreq(SIDE)[n] for n in place]) @ rotation
        if k @ k > 0.25 + 1e-9:
            continue
        if abs(k[0]) < 1e-9 and abs(k[2]) < 1e-9:
            mask[place] = True
            continue
        angle = 90.0 if abs(k[2]) < 1e-9 else math.degrees(math.atan(k[0] / k[2]))
        mask[place] = TILTS[0] - 1e-6 <= angle <= TILTS[1] + 1e-6
    return mask & mask[minus()]  # a Nyquist plane stands for both of its signs


def minus() -> tuple[np.ndarray, ...]:
    n = -np.arange(SIDE) % SIDE
    return np.ix_(n, n, n)


def turned(volume: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    out = np.empty_like(volume)
    for place in np.ndindex(CUBE):
        z, y, x = np.rint(rotation.T @ (np.array(place) - (SIDE - 1) / 2) + (SIDE - 1) / 2).astype(int)
        out[place] = volume[z, y, x]
    return out


def keep(volume: np.ndarray, region: np.ndarray) -> np.ndarray:
    return np.fft.ifftn(np.fft.fftn(volume) * region).real


def shell_means(pairs: list[tuple[np.ndarray, np.ndarray]], region: np.ndarray) -> float:
    """Sums over all cubes in each shell; then the mean over shells, each as often as it has components."""
    k = np.fft.fftfreq(SIDE) * SIDE
    shell = np.rint(np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2)).astype(int)
    curve, counts = [], []
    for s in range(1, SIDE // 2 + 1):
        where = (shell == s) & region
        if where.any():
            F = [(np.fft.fftn(a)[where], np.fft.fftn(b)[where]) for a, b in pairs]
            cross = sum((a * b.conj()).sum().real for a, b in F)
            powers = [sum((abs(f[n]) ** 2).sum() for f in F) for n in (0, 1)]
            curve.append(cross / math.sqrt(powers[0] * powers[1]))
            counts.append(where.sum())
    return float(np.average(curve, weights=counts))


SAMPLES = (0, 2, 3, 6)


def test_noise2noise_on_held_out_cubes_is_what_slow_arithmetic_finds(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, maps=2, moves_wedge=False)
    learner = learner_of(setup_of(Denoise(**BRIEF), "n2n"))
    found = validate(learner, dataset, SAMPLES, World(), batch=3, noise_level=0.0)
    pairs = [dataset[(0, n)].maps.double().numpy() for n in SAMPLES]
    loss = np.mean([np.mean((curved(a) - b) ** 2) for a, b in pairs])  # rotations move voxels of both alike
    assert found["val_loss"] == pytest.approx(loss, rel=1e-5)
    assert (found["val_loss_measured"], found["val_loss_wedge"]) == (found["val_loss"], 0)
    M = wedge(np.eye(3))
    predictions = [(curved(a), curved(b)) for a, b in pairs]
    assert found["val_fsc_measured"] == pytest.approx(shell_means(predictions, M), abs=1e-5)
    assert found["val_fsc_wedge"] == pytest.approx(shell_means(predictions, ~M), abs=1e-5)


def test_both_parts_of_the_loss_and_the_shell_correlation_are_what_slow_arithmetic_finds(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, maps=2, moves_wedge=True)
    learner = learner_of(setup_of(Refine(**BRIEF, mw_weight=3.0)))
    found = validate(learner, dataset, SAMPLES, World(), batch=3, noise_level=0.0)
    M, losses, predictions = wedge(np.eye(3)), [], []
    for n in SAMPLES:
        sample = dataset[(0, n)]
        a, b = sample.maps.double().numpy()
        rotation, noise = sample.rotation.numpy(), sample.noise[0].double().numpy()
        power = (abs(np.fft.fftn(a - b)) ** 2)[M].mean() / 2
        filled = keep(a, M) + keep(curved(keep(a, M)) + math.sqrt(power / SIDE**3) * noise, ~M)
        error = curved(keep(turned(filled, rotation), M)) - turned(b, rotation)
        RM = wedge(rotation)
        losses.append([np.mean(keep(error, M & RM) ** 2), np.mean(keep(error, ~M & RM) ** 2)])
        predictions.append((curved(keep(a, M)), curved(keep(b, M))))
    measured, missing = np.mean(losses, axis=0)
    assert found["val_loss_measured"] == pytest.approx(measured, rel=1e-4)
    assert found["val_loss_wedge"] == pytest.approx(missing, rel=1e-4)
    assert found["val_loss"] == pytest.approx(measured + 3 * missing, rel=1e-4)
    assert found["val_fsc_measured"] == pytest.approx(shell_means(predictions, M), abs=1e-5)
    assert found["val_fsc_wedge"] == pytest.approx(shell_means(predictions, ~M), abs=1e-5)


def test_no_number_depends_on_how_many_cubes_go_together_or_on_the_ranks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = dataset_of(tmp_path, maps=2, moves_wedge=True)
    learner = learner_of(setup_of(Refine(**BRIEF)))
    samples = range(7)
    lines = [validate(learner, dataset, samples, World(), batch=b, noise_level=0.0) for b in (1, 3, 7)]
    for line in lines[1:]:
        assert line == pytest.approx(lines[0], rel=1e-5)
    shares: list[Any] = []
    monkeypatch.setattr(validation, "all_gather", lambda _, mine: shares.append(mine) or [mine or [[0, 0, 0, 0]]])
    for rank in range(3):
        validate(learner, dataset, samples, World(rank=rank, size=3), batch=3, noise_level=0.0)
    together = [each for share in shares for each in share]
    assert len(together) == 7
    assert np.mean([each[0] for each in together]) == pytest.approx(lines[0]["val_loss"], rel=1e-5)


def test_nothing_is_learned_by_measuring(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, maps=2, moves_wedge=True)
    learner = Learner(setup_of(Refine(**BRIEF)), World(), seed=0)
    states = (learner.network, learner.average.module)
    before = [{name: value.clone() for name, value in state.state_dict().items()} for state in states]
    validate(learner, dataset, SAMPLES, World(), batch=2, noise_level=0.0)
    for state, old in zip(states, before, strict=True):
        assert all(torch.equal(value, old[name]) for name, value in state.state_dict().items())


def test_one_map_has_losses_and_no_shell_correlation(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, maps=1, moves_wedge=True)
    learner = learner_of(setup_of(Refine(**BRIEF, method="isonet2", noise_level=0.5), "isonet2"))
    quiet, noisy = (validate(learner, dataset, SAMPLES, World(), batch=2, noise_level=level) for level in (0.0, 0.5))
    assert set(quiet) == {"val_loss", "val_loss_measured", "val_loss_wedge"}
    assert noisy["val_loss"] > quiet["val_loss"]


Course = Callable[[int], float]


@pytest.mark.parametrize("epochs", [10, 25, 100])
@pytest.mark.parametrize("scale", [1.0, 1e-4])
@pytest.mark.parametrize(
    ("course", "state"),
    [
        (lambda share: 1 + math.exp(-15 * share), "converged"),
        (lambda share: 1.0, "converged"),
        (lambda share: 2 - share, "learning"),
        (lambda share: 1 + math.exp(-2 * share), "learning"),
        (lambda share: 1 + (share - 0.4) ** 2, "overfitting"),
        (lambda share: 1 + math.exp(-15 * share) + 0.3 * max(0.0, share - 0.5), "overfitting"),
        (lambda share: 1 + max(0.0, share - 0.85), "overfitting"),
    ],
)
def test_a_course_is_called_what_it_is(course: Course, state: str, epochs: int, scale: float) -> None:
    losses = [scale * course((n + 1) / epochs) for n in range(epochs)]
    assert verdict(losses)["state"] == state


def test_the_last_jitter_of_a_flat_course_is_no_overfitting() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        losses = 1 + np.exp(-np.arange(50) / 5) + 0.003 * rng.standard_normal(50)
        assert verdict(losses.tolist())["state"] == "converged"


@pytest.mark.parametrize(
    ("rise", "state"), [(0.5, "learning"), (0.09, "perhaps"), (0.05, "converged"), (0.0, "converged")]
)
def test_a_course_that_only_the_end_of_the_learning_rate_made_flat_has_not_converged(rise: float, state: str) -> None:
    lines = [
        {"kind": "epoch", "val_loss": 1.0, "val_fsc_measured": f, "val_fsc_wedge": f - 0.2}
        for f in (0.4 + rise * n / 50 for n in range(50))
    ]
    found = verdict(*validation_course([*lines, {"kind": "preview"}]))
    assert found["state"] == state
    if rise == 0.5:
        assert "agreed to 0.45 at a third of the training and to 0.65 at two thirds" in found["sentence"]


def test_trainings_that_differ_by_chance_are_called_alike() -> None:
    """Ten epochs of one network on the same cubes, twice: loss, and agreement of the predictions of two halves."""
    losses = [0.75, 0.739, 0.744, 0.740, 0.737, 0.736, 0.7345, 0.7336, 0.7329, 0.7326]
    for third, two_thirds in ((0.614, 0.659), (0.637, 0.671)):
        agreement = [0.53, 0.57, third, third, 0.65, 0.65, two_thirds, two_thirds, 0.66, 0.66]
        found = verdict(losses, agreement)
        assert found["state"] == "perhaps"
        assert found["sentence"].startswith("Perhaps not converged")


def test_few_epochs_are_no_course() -> None:
    assert verdict([1.0 / n for n in range(1, 10)]) == {
        "state": "unknown",
        "sentence": "It is too early, after 9 epochs, to tell whether training has converged.",
    }


def test_what_is_said_names_numbers() -> None:
    falling = [10.0 - n for n in range(10)]
    assert "over the last 2 epochs the loss of held-out cubes fell by 57.1 %" in verdict(falling)["sentence"]
    rising = [*itertools.repeat(3.0, 4), 1.0, *itertools.repeat(2.0, 5)]
    assert "lowest at epoch 5 and has risen since: take the best network" in verdict(rising)["sentence"]
    assert verdict([1.0] * 20)["sentence"].startswith("Converged: over the last 4 epochs")

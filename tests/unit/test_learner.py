"""One optimizer step and what surrounds it."""

from __future__ import annotations

import itertools
from copy import deepcopy

import pytest
import torch
from samples import batch_of, setup_of
from torch import Tensor, nn

from isonet2.data.dataset import Batch
from isonet2.job.models import Refine
from isonet2.parallel.world import World
from isonet2.training import setup as training_setup
from isonet2.training.learner import Learner, learning_rate_at

REFINE = Refine(arch="unet-tiny", cube_size=16, mixed_precision=False)


def cut(b: Batch, first: int, last: int) -> Batch:
    return Batch(*(part[first:last] for part in b))


class Plain(nn.Module):
    """A network without batch statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.LeakyReLU(), nn.Conv3d(4, 1, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = x + self.inner(x)
        return found


def weights(learner: Learner) -> Tensor:
    return torch.cat([p.detach().flatten() for p in learner.network.parameters()])


def test_a_batch_in_parts_teaches_what_the_whole_batch_teaches(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(shape: object, *, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return Plain()

    monkeypatch.setattr(training_setup, "build_network", build)
    samples = batch_of(4)
    whole, parts = (Learner(setup_of(REFINE), World(), seed=0) for _ in range(2))
    for _ in range(3):
        one = whole.step([samples], batch_size=4, learning_rate=1e-2)
        other = parts.step([cut(samples, 0, 3), cut(samples, 3, 4)], batch_size=4, learning_rate=1e-2)
        assert torch.allclose(one, other, rtol=1e-4)
    assert torch.allclose(weights(whole), weights(parts), atol=1e-5)


def test_training_makes_the_loss_smaller() -> None:
    learner = Learner(setup_of(REFINE), World(), seed=0)
    samples = batch_of(2)
    losses = [learner.step([samples], batch_size=2, learning_rate=3e-3)[0].item() for _ in range(12)]
    assert losses[-1] < 0.8 * losses[0]


def test_the_teacher_predicts_with_running_statistics_and_training_goes_on_in_training_mode() -> None:
    learner = Learner(setup_of(REFINE), World(), seed=0)
    before = {name: b.clone() for name, b in learner.network.named_buffers()}
    with torch.no_grad():
        learner._teacher(batch_of(2).maps[:, :1])
    assert all(torch.equal(before[name], b) for name, b in learner.network.named_buffers())
    assert learner.network.training


def test_what_was_saved_goes_on_with_the_same_bits() -> None:
    straight = Learner(setup_of(REFINE), World(), seed=0)
    for n in range(2):
        straight.step([batch_of(2, seed=n)], batch_size=2, learning_rate=1e-3)
    resumed = Learner(setup_of(REFINE), World(), seed=99)
    resumed.restore(deepcopy(straight.state()))
    for n in range(2, 4):
        for learner in (straight, resumed):
            learner.step([batch_of(2, seed=n)], batch_size=2, learning_rate=1e-3)
    assert torch.equal(weights(straight), weights(resumed))
    for a, b in zip(straight.average.state_dict().values(), resumed.average.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_the_average_follows_weights_and_batch_statistics() -> None:
    learner = Learner(setup_of(REFINE.model_copy(update={"ema_decay": 0.5})), World(), seed=0)
    averages = learner.average.module.state_dict()
    name, buffer = "first.weight", "bottleneck.0.1.running_mean"
    learner.step([batch_of(2)], batch_size=2, learning_rate=1e-2)  # the first one is copied
    first = {key: averages[key].clone() for key in (name, buffer)}
    learner.step([batch_of(2, seed=1)], batch_size=2, learning_rate=1e-2)
    for key in (name, buffer):
        current = learner.network.state_dict()[key]
        decay = min(0.5, (1 + 1) / (10 + 1))
        assert torch.allclose(averages[key], decay * first[key] + (1 - decay) * current, atol=1e-6)


def test_the_learning_rate_warms_up_and_falls_to_its_lowest_at_the_end() -> None:
    rates = [learning_rate_at(s, steps=1000, warmup_steps=30, highest=1e-3, lowest=1e-6) for s in range(1000)]
    assert rates[0] == pytest.approx(1e-3 / 30)
    assert rates[29] == pytest.approx(1e-3)
    assert max(rates) <= 1e-3
    assert all(a >= b for a, b in itertools.pairwise(rates[30:]))
    assert rates[515] == pytest.approx(0.5e-3, rel=0.01)
    assert rates[-1] == pytest.approx(1e-6, rel=0.01, abs=3e-9)


def test_a_training_shorter_than_its_warm_up_still_learns() -> None:
    rates = [learning_rate_at(s, steps=4, warmup_steps=30, highest=1.0, lowest=0.0) for s in range(4)]
    assert rates == pytest.approx([0.5, 1.0, 1.0, 0.5])


def test_a_step_whose_gradient_overflows_moves_nothing_and_is_no_end_of_training() -> None:
    """Float16 begins with a scale that is too large: such steps are left out until it fits."""
    learner = Learner(setup_of(REFINE), World(), seed=0)
    learner.scaler = torch.amp.GradScaler("cpu", init_scale=3e38)
    before = weights(learner).clone()
    loud = batch_of(2)._replace(maps=100 * batch_of(2).maps)
    sums = learner.step([loud], batch_size=2, learning_rate=1e-2)
    assert torch.isfinite(sums).all()
    assert torch.equal(weights(learner), before)
    assert learner.scaler.get_scale() < 3e38


def test_a_checkpoint_of_float32_goes_on_where_gradients_are_scaled() -> None:
    saved = Learner(setup_of(REFINE), World(), seed=0)
    learner = Learner(setup_of(REFINE), World(), seed=9)
    learner.scaler = torch.amp.GradScaler("cpu", init_scale=16.0)
    learner.restore(saved.state())
    assert torch.equal(weights(learner), weights(saved))


def test_half_precision_on_cpus_is_left_alone_where_its_gradients_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isonet2.models.compute._cpu_has_bfloat16", lambda: True)
    half = {
        side: Learner(setup_of(arch="unet-tiny", cube_size=side), World(), seed=0).compute.half for side in (8, 16, 24)
    }
    assert half == {8: None, 16: None, 24: torch.bfloat16}

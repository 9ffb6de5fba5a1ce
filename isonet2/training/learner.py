"""One network trained by all ranks: a step at a time, and all that has to come back after an interruption."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from isonet2.data.dataset import Batch
from isonet2.models.compute import choose_compute
from isonet2.parallel.collectives import all_sum
from isonet2.parallel.world import World
from isonet2.physics.fourier import filtered
from isonet2.physics.wedge import rotated_wedges
from isonet2.training.objectives import OBJECTIVES, Losses
from isonet2.training.optimizers import optimizers_for, set_rate
from isonet2.training.setup import Setup


def learning_rate_at(step: int, *, steps: int, warmup_steps: int, highest: float, lowest: float) -> float:
    """A linear rise over `warmup_steps`, then half a cosine down to `lowest` at the end (SGDR, arXiv 1608.03983)."""
    warmup = min(warmup_steps, steps // 2)
    if step < warmup:
        return highest * (step + 1) / warmup
    share = (step - warmup) / max(1, steps - warmup)
    return lowest + (highest - lowest) * 0.5 * (1 + math.cos(math.pi * share))


class Learner:
    """Network, averaged network, optimizer and loss scale. The same on every rank after every step."""

    def __init__(self, setup: Setup, world: World, *, seed: int) -> None:
        self.world, section = world, setup.section
        self.compute = choose_compute(
            world.device, mixed_precision=section.mixed_precision and _half_is_right(setup, world)
        )
        self.network = self.compute.place(setup.network(seed=seed))
        self.average = AveragedModel(self.network, multi_avg_fn=_following(section.ema_decay), use_buffers=True)
        self.optimizers = optimizers_for(self.network, section.optimizer, section.learning_rate)
        self.scaler = torch.amp.GradScaler(self.compute.device.type, enabled=self.compute.needs_scaler)
        self._objective = OBJECTIVES[setup.method]
        self._cube_size = section.cube_size
        self._recipe, self._fills_wedge = setup.recipe(), setup.fills_wedge
        self._parallel: nn.Module = self.network
        if world.size > 1:
            self._parallel = DistributedDataParallel(  # buffers are equal: all ranks' statistics
                self.network, broadcast_buffers=False, gradient_as_bucket_view=True
            )
            self._settle_buckets()

    @property
    def predicting(self) -> nn.Module:
        """The averaged network, in evaluation mode: it predicts and is exported."""
        return self.average.module.eval()

    def step(
        self, parts: Iterable[Batch], *, batch_size: int, learning_rate: float, noise_level: float = 0.0
    ) -> Tensor:
        """One optimizer step on the micro-batches of this rank.

        Returns float64 (4,): total, measured and wedge loss, each summed over the `batch_size` samples of all ranks,
        and the norm of the gradient. Every sample weighs the same, however unevenly the ranks share them.
        """
        parts = list(parts)
        self.network.train()
        self.network.zero_grad(set_to_none=True)
        sums = torch.zeros(3, dtype=torch.float64, device=self.compute.device)
        for number, part in enumerate(parts):
            with self._together(last=number == len(parts) - 1):
                losses = self._losses(self._on_device(part), noise_level)
                weight = self.world.size / batch_size  # DDP takes the mean over the ranks
                self.scaler.scale(losses.total.sum() * weight).backward()  # type: ignore[no-untyped-call]
            sums += torch.stack([loss.detach().sum().double() for loss in losses])
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.network.parameters() if p.grad is not None])
        if self.scaler.is_enabled():  # a step whose gradient overflowed is left out, and the scale is lowered
            norm = norm.nan_to_num(nan=0.0, posinf=0.0)
        set_rate(self.optimizers, learning_rate)
        for optimizer in self.optimizers:
            self.scaler.step(optimizer)
        self.scaler.update()
        self.average.update_parameters(self.network)
        return torch.cat([all_sum(self.world, sums), norm.double()[None]])

    def measure(self, part: Batch, *, noise_level: float) -> tuple[Losses, Tensor]:
        """What the averaged network loses on each sample, nothing learned; and its predictions of the maps
        (B, H, s, s, s)."""
        part = self._on_device(part)
        with torch.no_grad():
            losses = self._objective(self._prediction, self._prediction, part, self._recipe, noise_level)
            return losses, self._prediction(self._seen(part)).view_as(part.maps)

    def _seen(self, part: Batch) -> Tensor:
        """The maps as the network reads them in prediction (B·H, 1, s, s, s)."""
        volumes = part.maps.flatten(0, 1)[:, None]
        if not (self._fills_wedge and self._recipe.apply_mw_x1):
            return volumes
        unturned = torch.eye(3).expand(len(part.maps), 3, 3)
        M = rotated_wedges(volumes.shape[-1], part.tilts_deg, unturned, volumes.device)
        return filtered(volumes, M.repeat_interleave(part.maps.shape[1], dim=0))

    def _losses(self, part: Batch, noise_level: float) -> Losses:
        """Of each sample; a rank without samples goes through the network with none, since the others wait for it."""
        if len(part.maps):
            return self._objective(self._student, self._teacher, part, self._recipe, noise_level)
        nothing = self._student(part.maps[:, :1]).flatten()
        return Losses(nothing, nothing, nothing)

    def _student(self, volumes: Tensor) -> Tensor:
        with self.compute.precision():
            found: Tensor = self._parallel(self.compute.lay_out(volumes))
        return found.to(volumes.dtype)

    def _teacher(self, volumes: Tensor) -> Tensor:
        """The same network with the statistics that it predicts with; no gradient."""
        self.network.eval()
        with torch.no_grad(), self.compute.precision():
            found: Tensor = self.network(self.compute.lay_out(volumes))
        self.network.train()
        return found.to(volumes.dtype)

    def _prediction(self, volumes: Tensor) -> Tensor:
        with self.compute.precision():
            found: Tensor = self.predicting(self.compute.lay_out(volumes))
        return found.to(volumes.dtype)

    def _together(self, *, last: bool) -> AbstractContextManager[Any]:
        """Gradients travel once a step, with the last micro-batch."""
        if isinstance(self._parallel, DistributedDataParallel) and not last:
            return self._parallel.no_sync()
        return nullcontext()

    def _on_device(self, batch: Batch) -> Batch:
        """Cubes go to the device; rotations stay, since which voxels move where is decided by the host."""
        moved = {name: getattr(batch, name).to(self.compute.device, non_blocking=True) for name in _CUBES}
        return batch._replace(**moved)

    def _settle_buckets(self) -> None:
        """DDP packs gradients anew after its first backward pass: here, with no samples, that pass is over at once.

        Otherwise the first step after a resume would add up three ranks in another order than an uninterrupted run.
        """
        self.network.eval()
        nothing = torch.empty(0, 1, *[self._cube_size] * 3)
        self._student(nothing.to(self.compute.device)).sum().backward()  # type: ignore[no-untyped-call]
        self.network.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Any]:
        """All that a checkpoint needs to go on with the same bits."""
        optimizers = {f"optimizer{n}": optimizer.state_dict() for n, optimizer in enumerate(self.optimizers)}
        return {name: getattr(self, name).state_dict() for name in _STATEFUL} | optimizers

    def restore(self, state: dict[str, Any]) -> None:
        """Become what `state()` described."""
        for name in _STATEFUL:
            if state[name]:  # that of a scaler is empty where it was not needed
                getattr(self, name).load_state_dict(state[name])
        for n, optimizer in enumerate(self.optimizers):
            optimizer.load_state_dict(state[f"optimizer{n}"])


_CUBES = ("maps", "mask", "noise")
_STATEFUL = ("network", "average", "scaler")


def _half_is_right(setup: Setup, world: World) -> bool:
    """Not on CPUs with a level of 2³, the deepest or the one above it: there oneDNN's bfloat16 gradient of 3³ kernels
    is wrong, sometimes infinite, and another in each run (torch 2.13)."""
    return world.device != "cpu" or setup.section.cube_size > 2 * setup.shape.divisor


def _following(decay: float) -> Any:
    """The rule of the averaged network: it follows closely at first, so that its start is forgotten."""

    def update(averaged: list[Tensor], current: list[Tensor], steps: Tensor | int) -> None:
        weight = 1 - min(decay, (1 + float(steps)) / (10 + float(steps)))
        with torch.no_grad():
            for old, new in zip(averaged, current, strict=True):
                if old.is_floating_point():
                    old.lerp_(new, weight)
                else:
                    old.copy_(new)

    return update

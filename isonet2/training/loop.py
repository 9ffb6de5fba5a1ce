"""Training from the first step, or from the last checkpoint, to the end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isonet2 import log
from isonet2.data.cache import CubeCache
from isonet2.data.dataset import CubeDataset, Schedule, load_batches
from isonet2.errors import IsonetError, UserError
from isonet2.inference.networks import NetworkInfo, network_name, save_network
from isonet2.io.atomic import replacing
from isonet2.job.models import Refine
from isonet2.parallel.collectives import on_first_rank
from isonet2.parallel.memory import peak_memory_gb
from isonet2.parallel.world import World
from isonet2.report.plots import loss_figure
from isonet2.training.checkpoint import Checkpoints, Position, Training, check_same
from isonet2.training.learner import Learner, learning_rate_at
from isonet2.training.metrics import Metrics
from isonet2.training.preview import Preview


@dataclass(frozen=True)
class Supply:
    """Where samples come from: the cache of each generation, and how many epochs a generation lasts."""

    cache: Callable[[int], CubeCache]
    epochs_each: int


class Trainer:
    """One training of one network by all ranks."""

    def __init__(
        self, refine: Refine, supply: Supply, preview: Preview | None, folder: Path, world: World, *, seed: int
    ) -> None:
        self._refine, self._supply, self._preview, self._folder, self._world = refine, supply, preview, folder, world
        self._seed = seed
        self._learner = Learner(refine, world, seed=seed)
        self._checkpoints = Checkpoints(folder / "checkpoints", keep=refine.keep_checkpoints)
        self._metrics = Metrics(folder / "metrics.jsonl")
        self._position = Position()

    def train(self, *, restart: bool) -> dict[str, Any]:
        """Go on from the last checkpoint, or begin (anew with `restart`), to the last epoch; what the report tells."""
        found = self._begin(restart)
        cache = self._supply.cache(0)
        batch_size = self._refine.batch_size or (found or {}).get("training", {}).get("batch_size")
        self._schedule = self._schedule_of(cache, batch_size or 2 * self._world.size)
        self._training = Training.of(
            self._refine,
            seed=self._seed,
            batch_size=self._schedule.batch_size,
            samples=len(cache),
            cubes=cache.content,
        )
        if found is not None:
            self._resume(found)
        else:
            on_first_rank(self._world, lambda: self._metrics.cut_back(0))
        first = self._position.step
        started = time.monotonic()
        for generation in range(-(-self._refine.epochs // self._supply.epochs_each)):
            last = min(
                self._schedule.steps, (generation + 1) * self._supply.epochs_each * self._schedule.steps_per_epoch
            )
            if self._position.step < last:
                self._train_until(last, cache if generation == 0 else self._supply.cache(generation))
        seconds = time.monotonic() - started
        return {
            "outputs": [str(self._folder / self._network_name(numbered=False))],
            "steps": self._schedule.steps,
            "steps_before": first,
            "batch_size": self._schedule.batch_size,
            "samples": len(cache),
            "samples_per_s": (self._schedule.steps - first) * self._schedule.batch_size / seconds,
            "precision": self._learner.compute.name,
        }

    def _begin(self, restart: bool) -> dict[str, Any] | None:
        """The checkpoint to go on from; with `restart` all earlier ones are removed."""
        if restart:
            on_first_rank(self._world, self._checkpoints.clear)
        return on_first_rank(self._world, self._checkpoints.latest)  # one answer, also where folders lag behind

    def _schedule_of(self, cache: CubeCache, batch_size: int) -> Schedule:
        if len(cache) < batch_size:
            raise UserError(
                f"refine.batch_size {batch_size} is more than the {len(cache)} cubes there are: make it smaller"
            )
        refine = self._refine
        if refine.acc_batches > batch_size:
            raise UserError(f"refine.acc_batches {refine.acc_batches} cannot split a batch_size of {batch_size}")
        return Schedule(len(cache), batch_size, refine.acc_batches, refine.epochs, self._seed)

    def _resume(self, found: dict[str, Any]) -> None:
        check_same(found, self._training, self._folder)
        self._learner.restore(found)
        self._position = Position(**found["position"])
        epoch, place = divmod(self._position.step, self._schedule.steps_per_epoch)
        if self._position.step > self._schedule.steps:
            raise UserError(
                f"refine.epochs {self._refine.epochs}: {self._folder} holds a training of {epoch} epochs: "
                "begin anew with isonet2 run … --restart, or take another refine.output_dir"
            )
        shown = on_first_rank(self._world, (self._folder / self._network_name(numbered=False)).exists)
        again = place == 0 and found["stays"] and not shown  # stopped between the checkpoint and its network
        on_first_rank(self._world, lambda: self._metrics.cut_back(self._position.step, preview=not again))
        log.info(f"going on from step {self._position.step} of {self._schedule.steps} (epoch {epoch + 1})")
        if again:
            self._show(epoch)

    def _train_until(self, last: int, cache: CubeCache) -> None:
        """Optimizer steps from here to `last`, on one cache."""
        refine = self._refine
        dataset = CubeDataset(
            cache, seed=self._seed, random_rot_weight=refine.random_rot_weight, with_mask=refine.mask_loss
        )
        steps = range(self._position.step, last)
        batches = load_batches(dataset, self._schedule, self._world, steps=steps, workers=self._workers)
        saved = started = time.monotonic()
        first = steps.start
        for step in log.progress(steps, total=len(steps), label="training", unit="step", show=self._world.rank == 0):
            rate = learning_rate_at(
                step,
                steps=self._schedule.steps,
                warmup_steps=refine.warmup_steps,
                highest=refine.learning_rate,
                lowest=refine.learning_rate_min,
            )
            parts = [next(batches) for _ in range(refine.acc_batches)]
            sums = self._learner.step(parts, batch_size=self._schedule.batch_size, learning_rate=rate)
            self._position.sums = [a + b for a, b in zip(self._position.sums, sums.tolist(), strict=True)]
            self._position.step = step + 1
            if (step + 1) % self._schedule.steps_per_epoch == 0:
                seconds = time.monotonic() - started
                self._end_epoch(rate, steps=step + 1 - first, seconds=seconds)
                saved, started, first = time.monotonic(), time.monotonic(), step + 1
            elif self._world.rank == 0 and time.monotonic() - saved > 60 * refine.checkpoint_minutes:
                self._check_finite()
                self._save(stays=False)
                saved = time.monotonic()

    @property
    def _workers(self) -> int:
        if self._refine.loader_workers is not None:
            return self._refine.loader_workers
        return 0 if self._world.device == "cpu" else 4

    def _end_epoch(self, rate: float, *, steps: int, seconds: float) -> None:
        """The epoch's line, its checkpoint, and at each save_interval the network and the preview."""
        self._check_finite()
        epoch = self._position.step // self._schedule.steps_per_epoch
        samples = self._schedule.steps_per_epoch * self._schedule.batch_size
        total, measured, wedge, norms = self._position.sums
        line = {
            "kind": "epoch",
            "epoch": epoch,
            "step": self._position.step,
            "loss": total / samples,
            "loss_measured": measured / samples,
            "loss_wedge": wedge / samples,
            "learning_rate": rate,
            "gradient_norm": norms / self._schedule.steps_per_epoch,
            "samples_per_s": steps * self._schedule.batch_size / seconds,
            "seconds": seconds,
            "peak_memory_gb": peak_memory_gb(self._world.device),
        }
        self._position.sums = [0.0] * 4
        shown = epoch % self._refine.save_interval == 0 or epoch == self._refine.epochs
        if self._world.rank == 0:
            parts = f"measured {line['loss_measured']:.4f}, wedge {line['loss_wedge']:.4f}"
            log.info(
                f"epoch {epoch} of {self._refine.epochs}: loss {line['loss']:.4f} ({parts}), "
                f"{line['samples_per_s']:.1f} cubes/s"
            )
            self._metrics.append(line)
            if shown:
                (self._folder / self._network_name(numbered=False)).unlink(missing_ok=True)
            self._save(stays=shown)
        if shown:
            self._show(epoch)

    def _check_finite(self) -> None:
        if not all(math.isfinite(value) for value in self._position.sums):
            raise IsonetError(
                f"the loss is no number any more at step {self._position.step}: lower refine.learning_rate; "
                "the last checkpoint is from before"
            )

    def _save(self, *, stays: bool) -> None:
        self._checkpoints.save(self._learner.state(), self._training, self._position, stays=stays)

    def _show(self, epoch: int) -> None:
        """The preview (all ranks), then the network of this epoch and, under its short name, as the last one."""
        learner = self._learner
        if self._preview is not None:
            line = self._preview.make(
                learner.predicting, learner.compute, self._world, epoch=epoch, step=self._position.step
            )
            if self._world.rank == 0:
                self._metrics.append(line)
        if self._world.rank == 0:
            with replacing(self._folder / "loss.png") as part:
                loss_figure(self._metrics.lines()).savefig(part, dpi=120)
            info = self._info()
            for numbered in (True, False):
                save_network(self._folder / self._network_name(numbered=numbered), learner.predicting, info)

    def _info(self) -> NetworkInfo:
        epoch = self._position.step // self._schedule.steps_per_epoch
        return NetworkInfo(self._refine.method, self._refine.arch, self._refine.cube_size, epoch)

    def _network_name(self, *, numbered: bool) -> str:
        return network_name(self._info(), numbered=numbered)

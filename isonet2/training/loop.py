"""Training from the first step, or from the last checkpoint, to the end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from isonet2 import log
from isonet2.data.cache import CubeCache
from isonet2.data.dataset import CubeDataset, Schedule, held_out, load_batches
from isonet2.errors import IsonetError, UserError
from isonet2.parallel.collectives import anyone, barrier, on_first_rank, stop_if_asked
from isonet2.parallel.memory import peak_memory_gb
from isonet2.parallel.world import World
from isonet2.training.checkpoint import Checkpoints, Identity, Position, differences, settings_that_count
from isonet2.training.exports import Exports
from isonet2.training.learner import Learner, learning_rate_at
from isonet2.training.metrics import Metrics
from isonet2.training.preview import Preview
from isonet2.training.setup import Setup
from isonet2.training.validation import validate, validation_course, verdict


@dataclass(frozen=True)
class Supply:
    """Where samples come from: the cache of each generation, and how many epochs one lasts, if not all of them."""

    cache: Callable[[int], CubeCache]
    epochs_each: int | None


class Trainer:
    """One training of one network by all ranks."""

    def __init__(
        self, setup: Setup, supply: Supply, preview: Preview | None, folder: Path, world: World, *, seed: int
    ) -> None:
        self._setup, self._supply, self._folder, self._world = setup, supply, folder, world
        self._section, self._seed = setup.section, seed
        self._learner = Learner(setup, world, seed=seed)
        self._checkpoints = Checkpoints(folder / "checkpoints", keep=self._section.keep_checkpoints)
        self._metrics = Metrics(folder / "metrics.jsonl")
        self._exports = Exports(setup, folder, preview, self._metrics)
        self._position = Position()

    def train(self, *, restart: bool, set_aside: bool = False) -> dict[str, Any]:
        """Go on from the last checkpoint, or begin (anew with `restart`), to the last epoch; what the report tells.

        UserError if the checkpoints are of other settings, unless those are to be `set_aside`.
        """
        settings = settings_that_count(self._setup, cache_refresh_epochs=self._supply.epochs_each)
        known: dict[str, Any] = {"settings": settings, "seed": self._seed}
        found = self._going_on(self._begin(restart), known, set_aside=set_aside)  # before any cube is cut
        self._first_cache = cache = self._supply.cache(0)
        self._schedule = self._schedule_of(cache, self._section.batch_size or 2 * self._world.size)
        self._training = Identity(
            **known,
            batch_size=self._schedule.batch_size,
            samples=len(cache),
            cubes=cache.content,
            acquisition=cache.acquisition,
        )
        found = self._going_on(found, asdict(self._training), set_aside=set_aside)
        if found is not None:
            self._resume(found)
        else:
            on_first_rank(self._world, lambda: self._metrics.cut_back(0))
        first = self._position.step
        started = time.monotonic()
        each = self._supply.epochs_each or self._section.epochs
        for generation in range(-(-self._section.epochs // each)):
            last = min(self._schedule.steps, (generation + 1) * each * self._schedule.steps_per_epoch)
            if self._position.step < last:
                self._train_until(last, cache if generation == 0 else self._supply.cache(generation))
        return self._facts(first, time.monotonic() - started)

    def _facts(self, first: int, seconds: float) -> dict[str, Any]:
        """What the report tells, once the last step is done."""
        facts: dict[str, Any] = {
            "outputs": [self._exports.path("last")],
            "networks": [self._exports.path("last")],
            "steps": self._schedule.steps,
            "steps_before": first,
            "batch_size": self._schedule.batch_size,
            "samples": len(self._schedule.samples),
            "samples_per_s": (self._schedule.steps - first) * self._schedule.batch_size / seconds,
            "precision": self._learner.compute.name,
            "method": self._setup.method,
        }
        if self._held_out:
            judged = on_first_rank(self._world, self._judged)
            log.info(judged["sentence"])
            facts |= {"held_out": len(self._held_out), "convergence": judged}
        return facts

    def _judged(self) -> dict[str, Any]:
        return verdict(*validation_course(self._metrics.lines()))

    def _begin(self, restart: bool) -> dict[str, Any] | None:
        """The checkpoint to go on from; with `restart` all earlier ones and their networks are removed."""
        if restart:
            on_first_rank(self._world, self._checkpoints.clear)
            on_first_rank(self._world, self._exports.clear)
        return on_first_rank(self._world, self._checkpoints.latest)  # one answer, also where folders lag behind

    def _schedule_of(self, cache: CubeCache, batch_size: int) -> Schedule:
        section = self._section
        samples, self._held_out = held_out(len(cache), section.validation_share, seed=self._seed)
        if len(samples) < batch_size:
            raise UserError(f"batch_size {batch_size} is more than the {len(samples)} cubes there are: make it smaller")
        if section.acc_batches > batch_size:
            raise UserError(f"acc_batches {section.acc_batches} cannot split a batch_size of {batch_size}")
        return Schedule(samples, batch_size, section.acc_batches, section.epochs, self._seed)

    def _going_on(
        self, found: dict[str, Any] | None, known: Mapping[str, Any], *, set_aside: bool
    ) -> dict[str, Any] | None:
        """The checkpoint, if it is of the training of which this is known; else room is made for a new one."""
        if found is None or not (named := differences(found, known)):
            return found
        differ = "; ".join(named)
        if not set_aside:
            raise UserError(
                f"{self._folder}: its checkpoints are of another training ({differ}): "
                "begin anew with isonet2 run … --restart, or take another output_dir"
            )
        kept = on_first_rank(self._world, self._exports.set_aside)
        log.warn(f"{self._folder} held another training ({differ}): it lies in {kept} now, and this one begins")
        return None

    def _resume(self, found: dict[str, Any]) -> None:
        self._learner.restore(found)
        self._position = Position(**found["position"])
        epoch, place = divmod(self._position.step, self._schedule.steps_per_epoch)
        if self._position.step > self._schedule.steps:
            raise UserError(
                f"epochs {self._section.epochs}: {self._folder} holds a training of {epoch} epochs: "
                "begin anew with isonet2 run … --restart, or take another output_dir"
            )
        shown = on_first_rank(self._world, lambda: self._exports.shown(self._key))
        again = place == 0 and found["stays"] and not shown  # stopped between the checkpoint and its network
        on_first_rank(self._world, lambda: self._metrics.cut_back(self._position.step, preview=not again))
        if self._position.step == self._schedule.steps:
            log.info(f"all {self._schedule.steps} steps were done before")
        else:
            log.info(f"going on from step {self._position.step} of {self._schedule.steps} (epoch {epoch + 1})")
        if again:
            self._exports.show(self._learner, epoch=epoch, step=self._position.step, key=self._key)

    @property
    def _key(self) -> str:
        return self._training.at(self._position.step)

    def _train_until(self, last: int, cache: CubeCache) -> None:
        """Optimizer steps from here to `last`, on one cache."""
        section = self._section
        steps = range(self._position.step, last)
        batches = load_batches(self._dataset(cache), self._schedule, self._world, steps=steps, workers=self._workers)
        saved = started = time.monotonic()
        first = steps.start
        total, show = self._schedule.steps, self._world.rank == 0
        for step in log.progress(steps, total=total, label="training", unit="step", first=steps.start, show=show):
            rate = learning_rate_at(
                step,
                steps=self._schedule.steps,
                warmup_steps=section.warmup_steps,
                highest=section.learning_rate,
                lowest=section.learning_rate_min,
            )
            sums = self._learner.step(
                [next(batches) for _ in range(section.acc_batches)],
                batch_size=self._schedule.batch_size,
                learning_rate=rate,
                noise_level=self._setup.noise_level(step // self._schedule.steps_per_epoch),
            )
            self._position.sums = [a + b for a, b in zip(self._position.sums, sums.tolist(), strict=True)]
            self._position.step = step + 1
            if (step + 1) % self._schedule.steps_per_epoch == 0:
                seconds = time.monotonic() - started
                self._end_epoch(rate, steps=step + 1 - first, seconds=seconds)
                saved, started, first = time.monotonic(), time.monotonic(), step + 1
            elif self._world.rank == 0 and time.monotonic() - saved > 60 * section.checkpoint_minutes:
                self._check_finite()
                self._save(stays=False)
                saved = time.monotonic()
            if anyone(self._world, bool(self._world.stop.reason())):
                self._stop()

    def _stop(self) -> None:
        """Leave a checkpoint and go, all ranks together."""
        if self._world.rank == 0 and self._position.step % self._schedule.steps_per_epoch:  # else it is saved already
            self._check_finite()
            self._save(stays=False)
        barrier(self._world)
        stop_if_asked(self._world, progress=f"step {self._position.step}")

    def _dataset(self, cache: CubeCache) -> CubeDataset:
        return CubeDataset(
            cache,
            seed=self._seed,
            with_mask=self._section.mask_loss,
            moves_wedge=self._setup.fills_wedge,
            random_rot_weight=getattr(self._section, "random_rot_weight", 0.0),
        )

    @property
    def _workers(self) -> int:
        if self._section.loader_workers is not None:
            return self._section.loader_workers
        return 0 if self._world.device == "cpu" else 4

    def _end_epoch(self, rate: float, *, steps: int, seconds: float) -> None:
        """The epoch's line, its checkpoint, and at each save_interval the network and the preview."""
        self._check_finite()
        epoch = self._position.step // self._schedule.steps_per_epoch
        line = self._epoch_line(epoch, rate, steps / seconds) | {"seconds": seconds} | self._validated()
        self._position.sums = [0.0] * 4
        shown = epoch % self._section.save_interval == 0 or epoch == self._section.epochs
        if line.get("val_loss", math.inf) < self._position.best:
            self._position.best = line["val_loss"]
            self._exports.save(self._learner, "best", epoch, key=self._key)
        if self._world.rank == 0:
            self._say(line)
            self._metrics.append(line)
            self._save(stays=shown)
        if shown:
            self._exports.show(self._learner, epoch=epoch, step=self._position.step, key=self._key)

    def _epoch_line(self, epoch: int, rate: float, steps_per_s: float) -> dict[str, Any]:
        samples = self._schedule.steps_per_epoch * self._schedule.batch_size
        total, measured, wedge, norms = self._position.sums
        return {
            "kind": "epoch",
            "epoch": epoch,
            "step": self._position.step,
            "loss": total / samples,
            "loss_measured": measured / samples,
            "loss_wedge": wedge / samples,
            "learning_rate": rate,
            "gradient_norm": norms / self._schedule.steps_per_epoch,
            "samples_per_s": steps_per_s * self._schedule.batch_size,
            "peak_memory_gb": peak_memory_gb(self._world.device),
        }

    def _validated(self) -> dict[str, float]:
        """The losses and the shell correlation on the cubes that were held out; nothing if there are none."""
        if not self._held_out:
            return {}
        return validate(
            self._learner,
            self._dataset(self._first_cache),
            self._held_out,
            self._world,
            batch=-(-self._schedule.batch_size // self._world.size),
            noise_level=self._setup.noise_level(self._section.epochs - 1),
        )

    def _say(self, line: dict[str, Any]) -> None:
        weight = self._setup.recipe().mw_weight
        joined = f" + {weight:g} ×" if self._setup.fills_wedge and weight > 0 else ","
        parts = f"measured {line['loss_measured']:.4f}{joined} wedge {line['loss_wedge']:.4f}"
        held_out = f", held-out cubes {line['val_loss']:.4f}" if "val_loss" in line else ""
        log.info(
            f"epoch {line['epoch']} of {self._section.epochs}: loss {line['loss']:.4f} ({parts}){held_out}, "
            f"{line['samples_per_s']:.1f} cubes/s"
        )

    def _check_finite(self) -> None:
        if not all(math.isfinite(value) for value in self._position.sums):
            raise IsonetError(
                f"the loss is no number any more at step {self._position.step}: lower learning_rate; "
                "the last checkpoint is from before"
            )

    def _save(self, *, stays: bool) -> None:
        self._checkpoints.save(self._learner.state(), self._training, self._position, stays=stays)

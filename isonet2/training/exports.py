"""What a training leaves for others to see: networks, previews, and the curve of its losses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from isonet2.inference.networks import Kind, network_name, save_network
from isonet2.io.atomic import replacing
from isonet2.io.finished import is_finished, mark_finished
from isonet2.report.plots import loss_figure
from isonet2.training.learner import Learner
from isonet2.training.metrics import Metrics
from isonet2.training.preview import Preview
from isonet2.training.setup import Setup


@dataclass(frozen=True)
class Exports:
    """The folder of one training; every rank takes part in previews, the first one writes."""

    setup: Setup
    folder: Path
    preview: Preview | None
    metrics: Metrics

    def path(self, kind: Kind, epoch: int = 0) -> Path:
        """The file of the last network, of the best one, or of that of an epoch."""
        return self.folder / network_name(self.setup.info(epoch), kind)

    def save(self, learner: Learner, kind: Kind, epoch: int, *, key: str) -> None:
        """Write the averaged network; `key` stands for the training and how far it was."""
        if learner.world.rank == 0:
            save_network(self.path(kind, epoch), learner.predicting, self.setup.info(epoch))
            mark_finished(self.path(kind, epoch), key)

    def show(self, learner: Learner, *, epoch: int, step: int, key: str) -> None:
        """The preview (all ranks), then the network of this epoch and, under its short name, as the last one."""
        if self.preview is not None:
            line = self.preview.make(learner.predicting, learner.compute, learner.world, epoch=epoch, step=step)
            if learner.world.rank == 0:
                self.metrics.append(line)
        if learner.world.rank == 0:
            with replacing(self.folder / "loss.png") as part:
                loss_figure(self.metrics.lines()).savefig(part, dpi=120)
        for kind in ("epoch", "last"):
            self.save(learner, kind, epoch, key=key)

    def shown(self, key: str) -> bool:
        """Whether the last network is that of this key, and unharmed."""
        return is_finished(self.path("last"), key)

    def set_aside(self) -> Path:
        """Move all that this folder holds of a training into one beside it, checkpoints last: the folder."""
        taken = [int(path.name[8:]) for path in self.folder.glob("earlier_*") if path.name[8:].isdecimal()]
        kept = self.folder / f"earlier_{max(taken, default=0) + 1}"
        kept.mkdir()
        whole = ("metrics.jsonl", "tensorboard", "loss.png", "previews", "checkpoints")
        for path in (*sorted(self.folder.glob("network_*.pt")), *(self.folder / name for name in whole)):
            if path.exists():
                path.rename(kept / path.name)
        return kept

    def clear(self) -> None:
        """Forget all networks of this training."""
        for kind in ("epoch", "last", "best"):
            for path in self.folder.glob(self.path(kind).name.replace("_epoch000_", "_epoch[0-9]*_")):
                path.unlink()

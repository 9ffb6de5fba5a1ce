"""What one training is: its settings, its method, the network and where its weights begin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from torch import Tensor, nn

from isonet2.data.choice import Method
from isonet2.errors import UserError
from isonet2.inference.networks import NetworkInfo, Part, load_network
from isonet2.io.fingerprint import fingerprint
from isonet2.job.architectures import NetworkShape
from isonet2.job.models import Refine, Training
from isonet2.job.training import misfit
from isonet2.models.registry import build_network, freeze
from isonet2.training.ctf_use import CtfUse
from isonet2.training.objectives import Recipe


@dataclass(frozen=True)
class Pretrained:
    """Weights to start from."""

    info: NetworkInfo
    weights: Mapping[str, Tensor]
    fingerprint: str

    def unlike(self, setup: Setup) -> list[str]:
        """In what this network has learned otherwise than it is to learn now, in words."""
        now, found = setup.info(0), []
        for name in ("CTF_mode", "bfactor", "clip_first_peak_mode"):
            before, after = ("none" if (value := getattr(info, name)) is None else value for info in (self.info, now))
            if before != after:
                found.append(f"{name} was {before} and is {after} now")
        if self.info.foreign and self.info.method == "isonet2":
            found.append("IsoNet2 scaled its tomograms by percentiles, and here they have standard deviation 1")
        return found


@dataclass(frozen=True)
class Setup:
    """One training of one network; `part` is the half of the specimen that it sees, `column` that of its maps in the
    STAR file, if they are no halves."""

    section: Training
    method: Method
    part: Part = "full"
    pretrained: Pretrained | None = None
    column: str | None = None

    @property
    def arch(self) -> str:
        """The architecture: a pretrained network keeps its own."""
        return self.pretrained.info.arch if self.pretrained else self.section.arch

    @property
    def shape(self) -> NetworkShape:
        """Its building blocks."""
        return self.pretrained.info.shape if self.pretrained else self.section.shape

    @property
    def fills_wedge(self) -> bool:
        """Whether cubes are turned so that the network learns about the missing wedge."""
        return self.method != "n2n"

    def network(self, *, seed: int) -> nn.Module:
        """The network with its first weights, parts of it frozen if so asked."""
        network = build_network(self.shape, seed=seed)
        if self.pretrained:
            network.load_state_dict(dict(self.pretrained.weights))
        if self.section.freeze is not None:
            freeze(network, self.section.freeze)
        return network

    def recipe(self) -> Recipe:
        """What the settings make of the method."""
        section, use = self.section, CtfUse.of(self.section)
        if not isinstance(section, Refine):
            return Recipe(use, section.loss_func)
        return Recipe(use, section.loss_func, section.mw_weight, section.apply_mw_x1, section.noise_mode)

    def noise_level(self, epoch: int) -> float:
        """Of the noise added in an epoch, counted from 0: that of the last start that was reached."""
        if not isinstance(self.section, Refine):
            return 0.0
        reached = [
            level
            for level, start in zip(self.section.noise_level, self.section.noise_start_iter, strict=True)
            if epoch + 1 >= start
        ]
        return reached[-1] if reached else 0.0

    def info(self, epoch: int) -> NetworkInfo:
        """What goes with the network after an epoch."""
        section = self.section
        recorded = {field.name for field in fields(NetworkInfo)} & set(type(section).model_fields)
        settings = section.model_dump(include=recorded)
        settings |= {"method": self.method, "arch": self.arch, "input_column": self.column}
        return NetworkInfo(**{"apply_mw_x1": False, **settings, "epoch": epoch, "shape": self.shape, "part": self.part})


def load_pretrained(path: Path, section: Training) -> Pretrained:
    """The network of a file. UserError if it is none, or does not fit the cubes."""
    network, info = load_network(path)
    if why := misfit(section, info.shape, str(path)):
        raise UserError(why)
    return Pretrained(info, network.state_dict(), fingerprint(path))

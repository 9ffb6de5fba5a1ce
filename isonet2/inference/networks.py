"""Network files: what refine exports and predict reads."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from isonet2 import __version__
from isonet2.errors import UserError
from isonet2.io.atomic import existing_file, replacing
from isonet2.job.architectures import ARCHITECTURES
from isonet2.models.registry import build_network


@dataclass(frozen=True)
class NetworkInfo:
    """What has to be known about a network to use it."""

    method: str
    arch: str
    cube_size: int
    epoch: int


def network_name(info: NetworkInfo, *, numbered: bool) -> str:
    """IsoNet2's name for it, as in network_isonet2-n2n_unet-medium_96_full.pt, or …_96_epoch010_full.pt."""
    epoch = f"_epoch{info.epoch:03d}" if numbered else ""
    return f"network_{info.method}_{info.arch}_{info.cube_size}{epoch}_full.pt"


def save_network(path: Path, network: nn.Module, info: NetworkInfo) -> None:
    """Write weights and statistics, without the optimizer; whole or not at all."""
    content = {**asdict(info), "isonet2": __version__, "model_state_dict": network.state_dict()}
    with replacing(path) as part:
        torch.save(content, part)


def load_network(path: Path) -> tuple[nn.Module, NetworkInfo]:
    """The network in `path`, in evaluation mode, on the CPU. UserError if it is not a network of this program."""
    existing_file(path, what="network")
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        info = NetworkInfo(**{name: content[name] for name in NetworkInfo.__dataclass_fields__})
        state = content["model_state_dict"]
    except Exception as error:  # whatever the unpickler meets in a foreign file
        raise UserError(f"{path}: not a network file of isonet2 ({type(error).__name__})") from None
    if info.arch not in ARCHITECTURES:
        raise UserError(f"{path}: unknown network {info.arch!r}; there are {', '.join(ARCHITECTURES)}")
    network = build_network(info.arch, seed=0)
    try:
        network.load_state_dict(state)
    except RuntimeError:
        raise UserError(
            f"{path}: its weights do not fit {info.arch}: the file is damaged or of another version"
        ) from None
    return network.eval(), info

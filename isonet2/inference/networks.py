"""Network files: what a training exports, and what predict and a further training read. IsoNet2's are read too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import torch

from isonet2 import __version__
from isonet2.errors import UserError
from isonet2.inference.archive import load_archive, save_archive
from isonet2.inference.isonet2_files import NUMPY_SCALARS, READABLE, renamed, translated
from isonet2.io.atomic import existing_file
from isonet2.job.architectures import ARCHITECTURES, NetworkShape, shape_of
from isonet2.models.network import Network
from isonet2.models.registry import build_network

Part = Literal["full", "top", "bottom"]
Kind = Literal["last", "epoch", "best"]


@dataclass(frozen=True)
class NetworkInfo:
    """What has to be known about a network to use it, and to train it further."""

    method: str
    arch: str
    cube_size: int
    epoch: int
    shape: NetworkShape
    part: Part = "full"
    """The part of the specimen that it was trained on."""
    CTF_mode: str | None = None
    phaseflipped: bool = False
    do_phaseflip_input: bool = True
    apply_mw_x1: bool = True
    clip_first_peak_mode: int = 0
    bfactor: float = 0.0
    snrfalloff: float = 1.0
    deconvstrength: float = 1.0
    highpassnyquist: float = 0.02
    input_column: str | None = None
    """The column of the STAR file that it was trained on; None for halves, and if nobody knows."""
    foreign: bool = False
    """Whether it was trained by IsoNet2, which standardises tomograms by the mean and standard deviation of the middle
    60 slices, for the method isonet2 by their 5th and 95th percentiles."""


def network_name(info: NetworkInfo, kind: Kind) -> str:
    """IsoNet2's name for it: network_isonet2-n2n_unet-medium_96_full.pt is the last one; …_96_epoch010_full.pt,
    …_96_best_full.pt. Of split halves _top and _bottom take the place of _full."""
    middle = {"last": "", "epoch": f"_epoch{info.epoch:03d}", "best": "_best"}[kind]
    return f"network_{info.method}_{info.arch}_{info.cube_size}{middle}_{info.part}.pt"


def save_network(path: Path, network: torch.nn.Module, info: NetworkInfo) -> None:
    """Write weights and statistics, without the optimizer; whole or not at all."""
    content = {**asdict(info), "isonet2": __version__, "model_state_dict": network.state_dict()}
    save_archive(path, content)


def load_network(path: Path) -> tuple[Network, NetworkInfo]:
    """The network in `path`, in evaluation mode, on the CPU; nothing in the file is executed.

    UserError if it is neither a network of this program nor a unet of IsoNet2.
    """
    existing_file(path, what="network")
    try:
        with torch.serialization.safe_globals(NUMPY_SCALARS):
            content = load_archive(path)
        foreign = "isonet2" not in content
        arch, weights = str(content["arch"]), dict(content["model_state_dict"])
        known = arch in (READABLE if foreign else ARCHITECTURES)
        info = _info(content, foreign=foreign) if known else None
    except Exception as error:  # whatever the unpickler meets in a foreign file
        raise UserError(f"{path}: not a network file of isonet2 ({type(error).__name__})") from None
    if info is None:
        names = (
            f"of IsoNet2's {', '.join(READABLE)} can be read" if foreign else f"there are {', '.join(ARCHITECTURES)}"
        )
        raise UserError(f"{path}: unknown network {arch!r}: {names}")
    network = build_network(info.shape, seed=0)
    try:
        network.load_state_dict(renamed(weights) if foreign else weights)
    except RuntimeError:
        raise UserError(f"{path}: its weights do not fit {arch}: the file is damaged or of another version") from None
    return network.eval(), info


def _info(content: Mapping[str, Any], *, foreign: bool) -> NetworkInfo:
    """What a file says; what it does not say is as by default."""
    if foreign:
        content = translated(content)
    said = {field.name: content[field.name] for field in fields(NetworkInfo) if field.name in content}
    shape = shape_of(content["arch"], {"adds_input": True} if foreign else content["shape"])
    return NetworkInfo(**{**said, "shape": shape, "foreign": foreign})

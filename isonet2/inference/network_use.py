"""How a network is used: what it wants of its tomograms; and maps in memory through it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from isonet2.data.filtered import phase_flip_of
from isonet2.data.sources import Standard, standardised
from isonet2.data.tiles import tile_volume
from isonet2.data.window import Readable
from isonet2.errors import UserError
from isonet2.inference.networks import NetworkInfo, load_network
from isonet2.inference.predictor import Predictor, add_rows, mean_of, rows_of_each
from isonet2.job.models import Predict
from isonet2.models.compute import Compute
from isonet2.models.network import Network
from isonet2.physics.acquisition import Optics, Tilts

Array = npt.NDArray[np.float32]


def flips_phases(section: Predict, info: NetworkInfo) -> bool:
    """Whether the phases of the tomograms are flipped here, since the network learned from flipped ones."""
    if info.CTF_mode is None or info.phaseflipped or section.phaseflipped:
        return False
    return info.do_phaseflip_input and section.do_phaseflip_input


def standard_of(info: NetworkInfo) -> Standard:
    """How tomograms were standardised for the training of this network."""
    if not info.foreign:
        return "ours"
    return "isonet2 percentiles" if info.method == "isonet2" else "isonet2 moments"


def predictor_of(network: Network, info: NetworkInfo, section: Predict, compute: Compute) -> Predictor:
    """The network on its device, with all that its tiles go through."""
    fills_wedge = info.method != "n2n"
    return Predictor(
        network=compute.place(network),
        compute=compute,
        cube_size=info.cube_size,
        tile_batch=section.tile_batch,
        apply_mw_x1=fills_wedge and section.apply_mw_x1 and info.apply_mw_x1,
        within_nyquist=fills_wedge,
        average_turns=section.average_turns,
    )


def predict_maps(
    maps: Sequence[Array], path: Path, section: Predict, compute: Compute, *, optics: Optics | None, tilts_deg: Tilts
) -> Array:
    """Float32 (z, y, x): what the network in `path` makes of a map, or of two halves, as predict does it.

    UserError if the network wants flipped phases and there are no optics. ValueError if the middle of the maps is
    constant or not finite. Memory: the rows of tiles, `padding_factor` times the result, and the result.
    """
    network, info = load_network(path)
    volumes: Sequence[Readable] = maps
    if flips_phases(section, info):
        if optics is None:
            raise UserError(f"{path}: learned from phase-flipped maps: give the defocus, or phaseflipped=True")
        volumes = [phase_flip_of(optics)(volume) for volume in maps]
    shape = volumes[0].shape
    tiling = tile_volume(shape, side=info.cube_size, padding_factor=section.padding_factor)
    normalisation = standardised(maps, standard_of(info))
    predictors = [predictor_of(network, info, section, compute)]
    rows = [
        mean_of(rows_of_each(volumes, predictors, tiling, row, normalisation=normalisation, tilts_deg=tilts_deg))
        for row in range(len(tiling.z))
    ]
    result = np.empty(shape, np.float32)
    for z, plane in enumerate(add_rows(tiling, rows)):
        result[z] = normalisation.to_file(plane)
    return result

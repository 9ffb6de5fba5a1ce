"""What the network makes of the middle of one tomogram, seen while it learns; nothing of the training is touched."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from isonet2.data.filtered import phase_flip_of
from isonet2.data.sources import Source, normalisation_of
from isonet2.data.tiles import tile_volume
from isonet2.inference.predictor import Predictor, add_rows
from isonet2.io.atomic import replacing
from isonet2.models.compute import Compute
from isonet2.parallel.collectives import on_shared_items
from isonet2.parallel.stopping import Stop
from isonet2.parallel.world import World
from isonet2.physics.normalise import Normalisation
from isonet2.physics.quality import measured_and_missing, region_correlation, wedge_power_ratio
from isonet2.report.plots import slices_figure

Array = npt.NDArray[np.float32]
_CUBES = (2, 3, 3)  # size of the middle, in cubes along z, y, x


@dataclass(frozen=True)
class Preview:
    """The middle of one tomogram: its maps, read once, and where pictures go."""

    source: Source
    maps: list[Array]
    normalisation: Normalisation
    cube_size: int
    apply_mw_x1: bool
    fills_wedge: bool
    folder: Path

    def make(self, network: nn.Module, compute: Compute, world: World, *, epoch: int, step: int) -> dict[str, Any]:
        """Predict, all ranks together, and draw (rank 0): the preview's line in metrics.jsonl.

        Whoever asks for a stop waits these seconds: then a step of the training is the last thing done.
        """
        world = replace(world, stop=Stop())
        shape = self.maps[0].shape
        tiling = tile_volume((shape[0], shape[1], shape[2]), side=self.cube_size, padding_factor=1.5)
        predictor = Predictor(network, compute, self.cube_size, 4, self.apply_mw_x1, self.fills_wedge)

        def row(item: tuple[int, int]) -> Array:
            half, number = item
            return predictor.row(
                self.maps[half], tiling, number, normalisation=self.normalisation, tilts_deg=self.source.tilts_deg
            )

        count = len(tiling.z)
        items = [(half, number) for half in range(len(self.maps)) for number in range(count)]
        rows = on_shared_items(world, items, [1.0] * len(items), row)
        predictions = [
            np.stack(list(add_rows(tiling, rows[first : first + count]))) for first in range(0, len(rows), count)
        ]
        image = Path("previews") / f"epoch{epoch:03d}.png"
        tilts_deg = self.source.tilts_deg
        if world.rank == 0:
            self._draw(self.folder / image, predictions, epoch)
        line = {
            "kind": "preview",
            "epoch": epoch,
            "step": step,
            "image": str(image),
            "wedge_power_ratio": wedge_power_ratio(torch.from_numpy(_mean(predictions)), tilts_deg),
        }
        if len(predictions) == 2:
            inside, outside = measured_and_missing(shape, tilts_deg)
            a, b = (torch.from_numpy(prediction) for prediction in predictions)
            line["cc_halves_measured"] = region_correlation(a, b, inside)
            line["cc_halves_wedge"] = region_correlation(a, b, outside)
        return line

    def _draw(self, path: Path, predictions: list[Array], epoch: int) -> None:
        low, high = zip(*self.source.tilts_deg, strict=True)
        with replacing(path) as part:
            slices_figure(
                part,
                {"before": _mean(self.maps), "after": self.normalisation.to_file(_mean(predictions))},
                pixel_size_angstrom=self.source.optics.pixel_size_angstrom,
                tilts_deg=(min(low), max(high)),
                title=f"{self.source.name} after epoch {epoch}",
            )


def _mean(volumes: list[Array]) -> Array:
    mean: Array = sum(volumes[1:], volumes[0]) / np.float32(len(volumes))
    return mean


def prepare_preview(
    source: Source, *, cube_size: int, phase_flip: bool, apply_mw_x1: bool, fills_wedge: bool, folder: Path
) -> Preview:
    """Read the middle of `source`: at most 2 × 3 × 3 cubes of it, so that a preview costs seconds."""
    with source.opened() as volumes:
        box = []
        for size, cubes in zip(source.shape, _CUBES, strict=True):
            length = min(size, cubes * cube_size)
            box.append(slice((size - length) // 2, (size - length) // 2 + length))
        flip = phase_flip_of(source.optics) if phase_flip else None
        maps = [(flip(volume) if flip else volume)[box[0], box[1], box[2]] for volume in volumes]
        return Preview(source, maps, normalisation_of(volumes), cube_size, apply_mw_x1, fills_wedge, folder)

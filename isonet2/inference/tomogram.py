"""One tomogram on disk, predicted: rows of tiles that any rank may compute, and putting them together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from isonet2.data.filtered import phase_flip_of
from isonet2.data.sources import Source, Standard, normalisation_of
from isonet2.data.tiles import Tiling, tile_volume
from isonet2.errors import UserError
from isonet2.inference.predictor import Predictor, add_rows, mean_of, rows_of_each
from isonet2.io.atomic import appeared
from isonet2.io.fingerprint import fingerprint
from isonet2.io.finished import is_finished, mark_finished
from isonet2.io.float16 import loss_in_float16
from isonet2.io.mrc import Voxel, read_header, writing_mrc
from isonet2.io.parts import Parts, has_part, read_plane, write_part
from isonet2.job.models import Predict
from isonet2.physics.normalise import Normalisation

Array = npt.NDArray[np.float32]
_ENDINGS = ("", "_half1", "_half2")
_DTYPES: dict[str, type[Voxel]] = {"float32": np.float32, "float16": np.float16}


@dataclass(frozen=True)
class Prediction:
    """What becomes of one tomogram: the mean of its predicted maps and, if halves are kept, these themselves."""

    source: Source
    phase_flip: bool
    standard: Standard
    tiling: Tiling
    outputs: tuple[Path, ...]
    dtype: Literal["float32", "float16"]
    key: str
    """Changes with everything that the rows of tiles depend on."""

    @property
    def finished_key(self) -> str:
        """Changes with everything that the outputs depend on."""
        return self.key if self.dtype == "float32" else f"{self.key} {self.dtype}"

    @property
    def parts(self) -> Parts:
        """What the rows of tiles add to each output, once they are done."""
        return Parts(self.outputs[0], self.key)

    def waiting_row(self, output: int, row: int) -> Path:
        """Where what one row of tiles adds to one output waits for the others."""
        return self.parts.path(f"{output}_{row:04d}")


def plan_prediction(
    source: Source,
    section: Predict,
    *,
    cube_size: int,
    networks: Sequence[str],
    phase_flip: bool,
    folder: Path,
    standard: Standard = "ours",
    prefix: str = "corrected",
) -> Prediction:
    """`networks`: what tells these (and how they compute) from others: rows of other ones are not taken up."""
    stem = f"{section.output_prefix or prefix}_{source.name}"
    settings = section.model_dump(
        include={"apply_mw_x1", "average_turns", "padding_factor", "tile_batch", "keep_halves"}
    )
    optics = list(vars(source.optics).values()) if phase_flip else None
    maps = [fingerprint(path) for path in source.maps]
    kind = [list(networks), settings, cube_size, source.tilts_deg, optics, maps]
    keeps = len(networks) == 2 or (section.keep_halves and len(source.maps) == 2)
    key = hashlib.sha256(json.dumps(kind).encode()).hexdigest()[:12]
    return Prediction(
        source=source,
        phase_flip=phase_flip,
        standard=standard,
        tiling=tile_volume(source.shape, side=cube_size, padding_factor=section.padding_factor),
        outputs=tuple(folder / f"{stem}{ending}.mrc" for ending in (_ENDINGS if keeps else _ENDINGS[:1])),
        dtype=section.output_dtype,
        key=key,
    )


def check_dtype(prediction: Prediction) -> None:
    """UserError if the densities of this tomogram, which its prediction has too, would suffer from float16."""
    if prediction.dtype == "float16":
        scale = _shared_normalisation(prediction.source, prediction.standard, prediction.key)
        if why := loss_in_float16(scale.mean, scale.std):
            raise UserError(
                f"predict.output_dtype: float16 does not suit {prediction.source.name}: {why}: take float32"
            )


def predict_row(prediction: Prediction, row: int, predictors: Sequence[Predictor]) -> None:
    """Compute one row of tiles of every output and leave it on disk, in network units; one that is there is kept.

    Of two networks the first predicts the first half and the second the second, or both the one map.
    """
    source = prediction.source
    missing = [output for output in range(len(prediction.outputs)) if not has_part(prediction.waiting_row(output, row))]
    if not missing:
        return
    with source.opened() as maps:
        flip = phase_flip_of(source.optics) if prediction.phase_flip else None
        found = rows_of_each(
            [flip(volume) for volume in maps] if flip else maps,
            predictors,
            prediction.tiling,
            row,
            normalisation=_shared_normalisation(source, prediction.standard, prediction.key),
            tilts_deg=source.tilts_deg,
        )
    for output in missing:
        write_part(prediction.waiting_row(output, row), found[output - 1] if output else mean_of(found))


@lru_cache(maxsize=4)
def _shared_normalisation(source: Source, standard: Standard, _: str) -> Normalisation:
    """Kept for as long as the maps are the same: the key of the prediction stands for their content."""
    with source.opened() as maps:
        return normalisation_of(maps, standard)


@dataclass(frozen=True)
class _WaitingRow:
    """The planes of one row, read one at a time."""

    path: Path

    def __getitem__(self, plane: int) -> Array:
        return read_plane(self.path, plane)


def is_predicted(prediction: Prediction) -> bool:
    """Whether the outputs are there and unharmed; then no rows are left either."""
    done = all(is_finished(output, prediction.finished_key) for output in prediction.outputs)
    if done:
        prediction.parts.forget()
    return done


def put_together(prediction: Prediction) -> None:
    """Write the outputs from their rows, plane by plane, and remove the rows, also outdated ones."""
    source, tiling = prediction.source, prediction.tiling
    normalisation = _shared_normalisation(source, prediction.standard, prediction.key)
    header = read_header(source.maps[0])
    for output, path in enumerate(prediction.outputs):
        rows = [_WaitingRow(appeared(prediction.waiting_row(output, row))) for row in range(len(tiling.z))]
        size = source.optics.pixel_size_angstrom
        dtype = _DTYPES[prediction.dtype]
        with writing_mrc(path, source.shape, header=header, pixel_size_angstrom=size, dtype=dtype) as volume:
            for plane in add_rows(tiling, rows):
                volume.append(normalisation.to_file(plane)[None])
        mark_finished(path, prediction.finished_key)
    prediction.parts.forget()

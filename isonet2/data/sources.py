"""The tomograms of a STAR file as training and prediction need them: checked before any work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from isonet2 import log
from isonet2.data.acquired import optics_of, tilts_of
from isonet2.data.window import Readable, Shape
from isonet2.errors import UserError
from isonet2.io.coordinates import points_inside, read_coordinates
from isonet2.io.mrc import Volume, open_volume, read_header
from isonet2.io.star import TomogramRow, file_in_column
from isonet2.physics.acquisition import Optics, Tilts
from isonet2.physics.normalise import (
    SLAB,
    Array,
    Normalisation,
    central_slab,
    measure_normalisation,
    percentile_normalisation,
)


@dataclass(frozen=True)
class Source:
    """One tomogram: its two halves, or its one map; where its specimen is, and how it was tilted."""

    name: str
    maps: tuple[Path, ...]
    mask: Path | None
    coordinates: Path | None
    shape: Shape
    number: int
    optics: Optics
    tilts_deg: Tilts
    rows: tuple[int, int]
    """First row (y) that cubes may be cut from, and the one after the last."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that its cubes depend on."""
        return self.maps + tuple(path for path in (self.mask, self.coordinates) if path is not None)

    @contextmanager
    def opened(self) -> Iterator[list[Volume]]:
        """Its maps, to read from."""
        with ExitStack() as stack:
            yield [stack.enter_context(open_volume(path)) for path in self.maps]


Choice = Callable[[TomogramRow], tuple[str, ...]]
"""Which maps of a row are read: their names in the STAR file."""


def halves(row: TomogramRow) -> tuple[str, ...]:
    """Both halves; UserError if there are none."""
    if row.half1 is None or row.half2 is None:
        raise UserError(
            f"{row.name}: two halves are needed, and the STAR file has none: run prepare_star with --even and --odd"
        )
    return row.half1, row.half2


def one_map(row: TomogramRow) -> tuple[str, ...]:
    """The full tomogram; UserError if there are only halves."""
    if row.tomogram is None:
        raise UserError(
            f"{row.name}: a full tomogram is needed, and the STAR file has only halves: "
            "run prepare_star with --create_average"
        )
    return (row.tomogram,)


def deconvolved_map(row: TomogramRow) -> tuple[str, ...]:
    """The deconvolved tomogram, or the full one where there is none."""
    return (row.deconvolved,) if row.deconvolved is not None else one_map(row)


def map_in(column: str) -> Choice:
    """The map that a column names; UserError if it names none."""

    def choice(row: TomogramRow) -> tuple[str, ...]:
        name = file_in_column(row, column)
        if name is None:
            raise UserError(f"{row.name}: {column} is empty in the STAR file: choose another input_column")
        return (name,)

    return choice


def any_maps(row: TomogramRow) -> tuple[str, ...]:
    """Both halves, or else the full tomogram."""
    return halves(row) if row.half1 is not None else one_map(row)


def sources_of(rows: Sequence[TomogramRow], path: Callable[[str], Path], choice: Choice = any_maps) -> list[Source]:
    """The chosen maps of every row, with masks and coordinates. `path` finds a file that the STAR names.

    Only headers are read. UserError, in one line, for files that are missing, for halves that differ in shape, and for
    masks that do not fit.
    """
    return [_source(row, path, choice) for row in rows]


def _source(row: TomogramRow, path: Callable[[str], Path], choice: Choice) -> Source:
    maps = tuple(path(name) for name in choice(row))
    mask = path(row.mask) if row.mask is not None else None
    shape = read_header(maps[0]).shape
    for other in (*maps[1:], mask):
        if other is not None and (found := read_header(other).shape) != shape:
            raise UserError(
                f"{other}: {_by(found)} voxels (z, y, x), but {maps[0].name} has {_by(shape)}: they must be alike"
            )
    coordinates = path(row.coordinates) if row.coordinates is not None else None
    return Source(
        name=row.name,
        maps=maps,
        mask=mask,
        coordinates=coordinates,
        shape=shape,
        number=len(centres_in(coordinates, row.name, shape, (0, shape[1])))
        if coordinates is not None
        else row.number_subtomos,
        optics=optics_of(row),
        tilts_deg=tilts_of(row, path),
        rows=(0, shape[1]),
    )


def halved(source: Source, part: Literal["top", "bottom"]) -> Source:
    """`source` restricted to one half of the specimen along y, with the cubes that fall to it."""
    middle = source.shape[1] // 2
    rows = (0, middle) if part == "top" else (middle, source.shape[1])
    if source.coordinates is None:
        return replace(source, rows=rows, number=max(1, source.number // 2))
    return replace(source, rows=rows, number=len(centres_in(source.coordinates, source.name, source.shape, rows)))


def centres_in(coordinates: Path, tomogram: str, shape: Shape, rows: tuple[int, int]) -> npt.NDArray[np.int64]:
    """Int64 (n, 3): the voxels (z, y, x) of the points that a coordinate file has for a tomogram of this name, and that
    lie in these rows (y) of a volume of this shape. UserError if there are none."""
    points = read_coordinates(coordinates, tomogram)
    inside = np.rint(points[points_inside(points, shape)]).astype(np.int64)
    inside = inside[(inside[:, 1] >= rows[0]) & (inside[:, 1] < rows[1])]
    if not len(inside):
        raise UserError(
            f"{coordinates}: none of its {len(points)} points lies in {_by(shape)} voxels (z, y, x), "
            f"rows {rows[0]} to {rows[1] - 1}"
        )
    return inside


def one_in(mask: Path, *, warned: bool) -> float:
    """The value that weighs 1 in a mask: 1, or the highest if that is above, which is said unless one was `warned`.
    A plane at a time. UserError where the mask is negative."""
    with open_volume(mask) as volume:
        planes = (volume[z : z + 1] for z in range(volume.shape[0]))
        lowest, highest = np.array([(plane.min(), plane.max()) for plane in planes]).T
    if lowest.min() < 0:
        raise UserError(f"{mask}: a mask that is negative somewhere ({lowest.min():g}): it should be 0 to 1")
    if highest.max() > 1 and not warned:
        log.warn(f"{mask}: a mask up to {highest.max():g}: taken as 0 to 1 by dividing by that")
    return max(1.0, float(highest.max()))


def _by(shape: Shape) -> str:
    return "×".join(map(str, shape))


def normalisation_of(volumes: Sequence[Volume], how: Standard = "ours") -> Normalisation:
    """The affine map that the maps of one tomogram share. UserError if the middle of it is constant."""
    try:
        return standardised(volumes, how)
    except ValueError as error:
        raise UserError(f"{volumes[0].path}: {error}") from None


def standardised(volumes: Sequence[Readable], how: Standard) -> Normalisation:
    """The same of any volumes. ValueError if the middle is constant."""
    slab, measure = _STANDARDS[how]
    return measure([_central_planes(volume, slab) for volume in volumes])


Standard = Literal["ours", "isonet2 moments", "isonet2 percentiles"]
_STANDARDS: dict[Standard, tuple[int, Callable[[Sequence[Iterable[Array]]], Normalisation]]] = {
    "ours": (SLAB, measure_normalisation),
    "isonet2 moments": (60, measure_normalisation),
    "isonet2 percentiles": (60, percentile_normalisation),
}
"""How a tomogram is standardised by us, and by IsoNet2 for networks that it has trained."""


def _central_planes(volume: Readable, slab: int) -> Iterator[Array]:
    first, last = central_slab(volume.shape[0], slab)
    return (volume[z : z + 1, :, :] for z in range(first, last))

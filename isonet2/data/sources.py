"""The tomograms of a STAR file as training and prediction need them: checked before any work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from isonet2.data.window import Shape
from isonet2.errors import UserError
from isonet2.io.coordinates import points_inside, read_coordinates
from isonet2.io.mrc import Volume, open_volume, read_header
from isonet2.io.star import TomogramRow, file_in_column
from isonet2.physics.normalise import Normalisation, central_slab, measure_normalisation


@dataclass(frozen=True)
class Source:
    """One tomogram: its two halves, or its one map; where its specimen is, and how it was tilted."""

    name: str
    maps: tuple[Path, ...]
    mask: Path | None
    coordinates: Path | None
    shape: Shape
    number: int
    pixel_size_angstrom: float
    tilt_min_deg: float
    tilt_max_deg: float

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that its cubes depend on."""
        return self.maps + tuple(path for path in (self.mask, self.coordinates) if path is not None)

    @contextmanager
    def opened(self) -> Iterator[list[Volume]]:
        """Its maps, to read from."""
        with ExitStack() as stack:
            yield [stack.enter_context(open_volume(path)) for path in self.maps]


def sources_of(rows: Sequence[TomogramRow], path: Callable[[str], Path], *, column: str | None = None) -> list[Source]:
    """The halves of every row, or its full map where it has none, with masks and coordinates; with `column`, the map
    that it names. `path` finds a file that the STAR names.

    Only headers are read. UserError, in one line, for files that are missing, for halves that differ in shape, and for
    masks that do not fit.
    """
    return [_source(row, path, column) for row in rows]


def check_halves(sources: Sequence[Source]) -> None:
    """UserError if one of them has no halves."""
    for source in sources:
        if len(source.maps) < 2:
            raise UserError(
                f"{source.name}: isonet2-n2n needs two halves, and the STAR file has none: "
                "run prepare_star with --even and --odd"
            )


def _source(row: TomogramRow, path: Callable[[str], Path], column: str | None) -> Source:
    names = (file_in_column(row, column),) if column else (row.half1, row.half2) if row.half1 else (row.tomogram,)
    maps = tuple(path(name) for name in names if name is not None)
    if not maps:
        raise UserError(f"{row.name}: {column} is empty in the STAR file: choose another input_column")
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
        number=len(centres_in(coordinates, shape)) if coordinates is not None else row.number_subtomos,
        pixel_size_angstrom=row.pixel_size_angstrom,
        tilt_min_deg=row.tilt_min_deg,
        tilt_max_deg=row.tilt_max_deg,
    )


def centres_in(coordinates: Path, shape: Shape) -> npt.NDArray[np.int64]:
    """Int64 (n, 3): the voxels (z, y, x) of the points of a coordinate file that lie in a volume of this shape."""
    points = read_coordinates(coordinates)
    inside = points[points_inside(points, shape)]
    if not len(inside):
        raise UserError(f"{coordinates}: none of its {len(points)} points lies in {_by(shape)} voxels (z, y, x)")
    return np.rint(inside).astype(np.int64)


def _by(shape: Shape) -> str:
    return "×".join(map(str, shape))


def normalisation_of(volumes: Sequence[Volume]) -> Normalisation:
    """The affine map that the maps of one tomogram share. UserError if the middle of it is constant."""
    try:
        return measure_normalisation([_central_planes(volume) for volume in volumes])
    except ValueError as error:
        raise UserError(f"{volumes[0].path}: {error}") from None


def _central_planes(volume: Volume) -> Iterator[npt.NDArray[np.float32]]:
    first, last = central_slab(volume.shape[0])
    return (volume[z : z + 1] for z in range(first, last))

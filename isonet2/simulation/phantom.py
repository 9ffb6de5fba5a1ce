"""A crowded specimen whose density is known: particles, vesicles and gold in a slab of ice that has no lateral end.

The specimen repeats itself along x and y with the period of the field, as a specimen that goes on beyond the field
does at its edges: nothing is cut off, and a tilted view sees specimen from edge to edge.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from isonet2.job.models import Simulate
from isonet2.simulation.shapes import SHAPES, Cloud, gold_bead, particle, radius_angstrom, vesicle

SLAB = 0.8  # of z that the ice fills
_TRIES = 200  # places that are tried for a particle before it is left out
_CELL_ANGSTROM = 20.0  # particles keep about this distance
_SPARSE = 8  # one pseudo-atom of so many is enough to tell which cells a particle takes
_VESICLE_RADII_ANGSTROM = (130.0, 240.0)


@dataclass(frozen=True)
class Placed:
    """Something in the specimen: its centre (x, y, z) in voxels, the first voxel's centre being 0, and its orientation.

    The angles are RELION's rot, tilt and psi, in degrees: they turn the particle back into the frame of its shape.
    """

    kind: str
    centre: tuple[float, float, float]
    angles_deg: tuple[float, float, float]
    radius_angstrom: float


def make_phantom(settings: Simulate, rng: Generator) -> tuple[Tensor, list[Placed]]:
    """The specimen that the settings ask for; see `fill`."""
    contents = _contents(settings, SLAB * settings.size[0] * settings.pixel_size, rng)
    return fill(settings.size, settings.pixel_size, contents, rng)


def fill(
    shape: tuple[int, int, int], pixel_size_angstrom: float, contents: Sequence[tuple[str, Cloud]], rng: Generator
) -> tuple[Tensor, list[Placed]]:
    """A density float32 (z, y, x), protein about 1, ice and vacuum 0, and what of `contents`, by name, is in it.

    Each finds a random free place in a random orientation, one after the other, or is left out. Memory: about four
    times the volume.
    """
    specimen = _Specimen(shape, pixel_size_angstrom)
    placed = [found for kind, cloud in contents if (found := specimen.place(kind, cloud, rng)) is not None]
    # An atom is blurred to what the pixels can show: with less, the density would depend on the grid's position.
    sigma = math.hypot(0.7 * pixel_size_angstrom, 2.0)
    density = filtered_radially(
        torch.from_numpy(specimen.density), pixel_size_angstrom, lambda k: torch.exp(-2 * (math.pi * sigma * k) ** 2)
    )
    return density, placed


def filtered_radially(volume: Tensor, pixel_size_angstrom: float, gain: Callable[[Tensor], Tensor]) -> Tensor:
    """`volume` (z, y, x) with each Fourier component multiplied by `gain(|k|)`, |k| in cycles per Å (float64)."""
    spectrum = torch.fft.rfftn(volume)
    z, y, x = (torch.from_numpy(np.fft.fftfreq(side, pixel_size_angstrom)).square() for side in volume.shape)
    in_plane = y[:, None] + x[: spectrum.shape[2]]
    for number, along_beam in enumerate(z):  # plane by plane, since a grid of |k| is as large as the volume
        spectrum[number] *= gain((in_plane + along_beam).sqrt()).float()
    filtered: Tensor = torch.fft.irfftn(spectrum, s=volume.shape)
    return filtered


def _contents(settings: Simulate, slab_angstrom: float, rng: Generator) -> list[tuple[str, Cloud]]:
    """What to place, by name: gold and vesicles, then the particles, the bulkiest first."""
    beads = [("gold", gold_bead(rng, settings.gold_diameter / 2)) for _ in range(settings.gold)]
    radii = np.minimum(_VESICLE_RADII_ANGSTROM, 0.35 * slab_angstrom)
    vesicles = [("vesicle", vesicle(rng, rng.uniform(*radii))) for _ in range(settings.membranes)]
    bounds = np.round(np.cumsum([0, *(share for _, share in SHAPES.values())]) * settings.particles).astype(int)
    counts = dict(zip(SHAPES, np.diff(bounds), strict=True))
    names = sorted(SHAPES, key=lambda name: -len(particle(name)))
    return beads + vesicles + [(name, particle(name)) for name in names for _ in range(counts[name])]


class _Specimen:
    """The density as it fills up, and which cells of about 20 Å are taken. Periodic along x and y."""

    def __init__(self, shape: tuple[int, int, int], pixel_size_angstrom: float) -> None:
        self.density = np.zeros(shape, np.float32)
        self.pixel = pixel_size_angstrom
        self.size = np.array(shape[::-1]) * pixel_size_angstrom
        self.slab = SLAB * float(self.size[2])
        self._taken = np.zeros(np.ceil(self.size / _CELL_ANGSTROM).astype(int), bool)

    def place(self, kind: str, cloud: Cloud, rng: Generator) -> Placed | None:
        """Put `cloud` at a random free place in a random orientation (Haar); None if none was found."""
        for _ in range(_TRIES):
            turn = Rotation.from_quat(rng.standard_normal(4))
            matrix = turn.as_matrix().T.astype(np.float32)
            some = cloud[::_SPARSE, :3] @ matrix
            low, high = float(some[:, 2].min()), float(some[:, 2].max())
            spare = self.slab - (high - low)
            centre = rng.random(3) * [self.size[0], self.size[1], spare]
            centre[2] += (self.size[2] - self.slab) / 2 - low
            if spare >= 0 and self._take(some + centre):
                self._draw(cloud[:, :3] @ matrix + centre, cloud[:, 3])
                x, y, z = (float(c) for c in centre / self.pixel)
                rot, tilt, psi = (float(angle) for angle in turn.inv().as_euler("ZYZ", degrees=True))
                return Placed(kind, (x, y, z), (rot, tilt, psi), radius_angstrom(cloud))
        return None

    def _take(self, points: NDArray[np.float64]) -> bool:
        """Mark the cells of `points` and their neighbours as taken, if none of the former is."""
        counts = np.array(self._taken.shape)
        cells = np.floor(points / self.size * counts).astype(int) % counts
        if self._taken[tuple(cells.T)].any():
            return False
        cells = np.unique(cells, axis=0)
        for offset in np.ndindex(3, 3, 3):
            self._taken[tuple(((cells + offset - 1) % counts).T)] = True
        return True

    def _draw(self, points: NDArray[np.float64], volumes: NDArray[np.float32]) -> None:
        """Share each pseudo-atom out over the eight voxels around it (trilinear)."""
        corner, fraction = np.divmod(points / self.pixel, 1)
        sides = np.array(self.density.shape[::-1])
        for offset in np.ndindex(2, 2, 2):
            weight = np.where(offset, fraction, 1 - fraction).prod(axis=1) * volumes / self.pixel**3
            np.add.at(self.density.T, tuple(((corner.astype(int) + offset) % sides).T), weight)

"""Where the specimen is: by local density and local standard deviation, within boundaries drawn by hand.

Densities are as on disk: protein is dark. In numpy, since a window of any size costs the same in scipy's filters.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Plane = NDArray[np.bool_]


def bin_planes(slab: NDArray[np.float32]) -> NDArray[np.float32]:
    """(1 or 2, y, x) → (⌈y/2⌉, ⌈x/2⌉): the mean of 2×2×2 voxels, or of as many as there are at an odd end."""
    _, rows, columns = slab.shape
    even = np.pad(slab.mean(axis=0), ((0, rows % 2), (0, columns % 2)), mode="edge")
    binned: NDArray[np.float32] = (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4
    return binned


def unbin_plane(binned: Plane, shape: tuple[int, int]) -> Plane:
    """(⌈y/2⌉, ⌈x/2⌉) → (y, x): every voxel has the value of the binned voxel that it went into."""
    return binned.repeat(2, axis=0).repeat(2, axis=1)[: shape[0], : shape[1]]


def find_specimen(
    binned: NDArray[np.float32], *, patch_size: int, density_percentage: float, std_percentage: float
) -> NDArray[np.bool_]:
    """bool (z, y, x): where a binned tomogram is dark enough and varied enough in the (2·patch_size+1)³ window around.

    `binned` (z, y, x), in any unit, is overwritten (smoothed by a Gaussian of σ = patch_size/2, standardised). Of all
    voxels at most `density_percentage` % are kept by the local minimum of the density, and `std_percentage` % by the
    local standard deviation; ties at the threshold are left out. Memory: 2 more arrays like `binned`, and 2 masks.
    Source: the masks of IsoNet (Nat Commun 13:6482, 2022).
    """
    window = 2 * patch_size + 1
    ndimage.gaussian_filter(binned, patch_size / 2, output=binned)
    binned -= binned.mean(dtype=np.float64)
    binned /= binned.std(dtype=np.float64) or 1.0
    specimen = _highest(_local_variance(binned, window), std_percentage)
    darkness = ndimage.minimum_filter(binned, window)
    np.negative(darkness, out=darkness)
    specimen &= _highest(darkness, density_percentage)
    return specimen


def _local_variance(volume: NDArray[np.float32], window: int) -> NDArray[np.float32]:
    """The variance of each voxel's window; precise because `volume` has mean 0 and standard deviation 1."""
    mean = ndimage.uniform_filter(volume, window)
    variance: NDArray[np.float32] = np.square(volume)
    ndimage.uniform_filter(variance, window, output=variance)
    variance -= np.square(mean, out=mean)
    return variance


def _highest(values: NDArray[np.float32], percentage: float) -> NDArray[np.bool_]:
    """Where `values` are above their (100 − percentage) percentile, an exact order statistic."""
    below = values.size - round(values.size * percentage / 100)
    if below == 0:
        return np.ones(values.shape, np.bool_)
    threshold = np.partition(values, below - 1, axis=None)[below - 1]
    kept: NDArray[np.bool_] = values > threshold
    return kept


def boundary_plane(contours: Sequence[NDArray[np.float64]], z: int, shape: tuple[int, int]) -> Plane:
    """bool (y, x): what lies inside the boundary on plane `z`.

    `contours` are closed polygons (n, 3) of x, y, z in voxels (centres at whole numbers), each drawn on one plane. On a
    plane the union of its polygons counts, between planes that of the nearest one with any, and beyond the outermost
    nothing; but polygons that are all on one plane hold for every plane.
    """
    heights = [round(float(contour[:, 2].mean())) for contour in contours]
    if min(heights) < max(heights) and not min(heights) <= z <= max(heights):
        return np.zeros(shape, np.bool_)
    nearest = min(heights, key=lambda height: (abs(height - z), height))
    inside = np.zeros(shape, np.bool_)
    for contour, height in zip(contours, heights, strict=True):
        if height == nearest:
            inside |= _inside_polygon(contour[:, :2], shape)
    return inside


def _inside_polygon(corners: NDArray[np.float64], shape: tuple[int, int]) -> Plane:
    """bool (y, x): the voxels whose centres lie in a closed polygon (n, 2) of x, y, by counting crossed edges."""
    rows, columns = np.arange(shape[0]), np.arange(shape[1])
    inside = np.zeros(shape, np.bool_)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        crossed = rows[(y0 <= rows) != (y1 <= rows)]
        crossing = x0 + (crossed - y0) * (x1 - x0) / (y1 - y0 or 1.0)
        inside[crossed] ^= columns > crossing[:, None]
    return inside

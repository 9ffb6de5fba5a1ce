"""Where the specimen is: by local density and local standard deviation, within boundaries drawn by hand.

Densities are as on disk: protein is dark. In numpy, since a window of any size costs the same in scipy's filters.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Plane = NDArray[np.bool_]
Volume = NDArray[np.float32]


def bin_planes(slab: NDArray[np.float32]) -> NDArray[np.float32]:
    """(1 or 2, y, x) → (⌈y/2⌉, ⌈x/2⌉): the mean of 2×2×2 voxels, or of as many as there are at an odd end."""
    _, rows, columns = slab.shape
    even = np.pad(slab.mean(axis=0), ((0, rows % 2), (0, columns % 2)), mode="edge")
    binned: NDArray[np.float32] = (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4
    return binned


def unbin_plane(binned: Plane, shape: tuple[int, int]) -> Plane:
    """(⌈y/2⌉, ⌈x/2⌉) → (y, x): every voxel has the value of the binned voxel that it went into."""
    return binned.repeat(2, axis=0).repeat(2, axis=1)[: shape[0], : shape[1]]


def reach(patch_size: int) -> int:
    """How many planes of a binned tomogram on either side have a say in what is found in one."""
    return int(4 * patch_size / 2 + 0.5) + patch_size  # the Gaussian is cut off at 4 σ


def smooth(slab: Volume, *, patch_size: int) -> None:
    """Smooth a binned slab (z, y, x) in place by a Gaussian of σ = patch_size/2, mirrored at its ends.

    A slab that is cut out of a tomogram needs `reach` more planes at its cut ends.
    Source, also of what follows: the masks of IsoNet (Nat Commun 13:6482, 2022).
    """
    ndimage.gaussian_filter(slab, patch_size / 2, output=slab)


def darkness(smoothed: Volume, inner: slice, *, patch_size: int) -> Volume:
    """(n, y, x): of the planes `inner`, minus the minimum of the (2·patch_size+1)³ window around each voxel.

    To the bit that of the whole tomogram, so that its plateaus show no seams. Memory: one more array like it, or two.
    """
    lowest: Volume = ndimage.minimum_filter(smoothed, 2 * patch_size + 1)[inner]
    return -lowest


def texture(smoothed: Volume, inner: slice, *, patch_size: int) -> Volume:
    """(n, y, x): of the planes `inner`, the standard deviation of the (2·patch_size+1)³ window around each voxel.

    `smoothed` is overwritten. Memory: 2 more arrays like it.
    """
    smoothed -= float(smoothed.mean(dtype=np.float64))  # squares are then precise, and neither too large nor too small
    scale = float(smoothed.std(dtype=np.float64)) or 1.0
    smoothed /= scale
    found = _local_variance(smoothed, 2 * patch_size + 1)[inner]
    np.sqrt(np.maximum(found, 0, out=found), out=found)
    found *= scale
    return found


def _local_variance(volume: Volume, window: int) -> Volume:
    """The variance of each voxel's window; precise because `volume` has mean 0 and standard deviation 1."""
    mean = ndimage.uniform_filter(volume, window)
    variance: Volume = np.square(volume)
    ndimage.uniform_filter(variance, window, output=variance)
    variance -= np.square(mean, out=mean)
    return variance


def highest(values: Volume, percentage: float) -> NDArray[np.bool_]:
    """Where `values` are above their (100 − percentage) percentile, an exact order statistic; ties are left out.

    Memory: one more array like it, and the mask.
    """
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

"""From arrays and figures to PNG bytes, and from those to text inside a page."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import binary_erosion

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Grey = npt.NDArray[np.uint8]
CONTRAST_PERCENT = (1.0, 99.0)
SPECTRUM_DECADES = 4.0
_INSIDE, _BORDER, _OUTSIDE = (0, 0, 0, 0), (255, 176, 0, 255), (0, 0, 0, 120)
_MASK_SCALE = 4  # pixels for each voxel, so that a line of two is thin
_COLOURS = 64


def grey(image: npt.NDArray[np.floating], low: float, high: float) -> Grey:
    """uint8, same shape: `low` and less is black, `high` and more is white, what is not finite is black."""
    scaled = (np.nan_to_num(image, nan=low, posinf=high, neginf=low) - low) / max(high - low, 1e-30)
    levels: Grey = np.round(255 * np.clip(scaled, 0, 1)).astype(np.uint8)
    return levels


def contrast(*images: npt.NDArray[np.floating]) -> tuple[float, float]:
    """The values that become black and white: the 1st and 99th percentile of all finite pixels of `images`."""
    pixels = np.concatenate([image[np.isfinite(image)] for image in images])
    if pixels.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(pixels, CONTRAST_PERCENT)
    return float(low), float(high)


def spectrum_contrast(logarithm: npt.NDArray[np.floating]) -> tuple[float, float]:
    """White is the 99th percentile of a log10 spectrum, black 10⁻⁴ of its power: the same range for all."""
    high = float(np.percentile(logarithm, CONTRAST_PERCENT[1]))
    return high - SPECTRUM_DECADES, high


def shrunk(image: npt.NDArray[np.floating], longest: int) -> npt.NDArray[np.floating]:
    """(y, x) averaged over square blocks until no side is above `longest`; incomplete blocks at the end are cut."""
    factor = -(-max(image.shape) // longest)
    y, x = (side // factor for side in image.shape)
    if factor == 1 or not y or not x:
        return image
    blocks = image[: y * factor, : x * factor].reshape(y, factor, x, factor)
    averaged: npt.NDArray[np.floating] = blocks.mean(axis=(1, 3))
    return averaged


def grey_png(image: Grey) -> bytes:
    """(y, x), first row at the BOTTOM, as in the viewers of the field."""
    return _png(Image.fromarray(image[::-1]))


def mask_png(mask: npt.NDArray[np.bool_]) -> bytes:
    """(y, x), first row at the bottom, to be laid over a plane: the border of `mask` as a line, and what is outside
    darkened."""
    fine = np.kron(mask[::-1], np.ones((_MASK_SCALE, _MASK_SCALE), dtype=bool))
    inner = binary_erosion(fine, iterations=2, border_value=1)
    image = Image.fromarray(np.where(fine, ~inner, 2).astype(np.uint8))
    image.putpalette([*_INSIDE, *_BORDER, *_OUTSIDE], rawmode="RGBA")
    return _png(image)


def figure_png(figure: Figure, *, dpi: int) -> bytes:
    """A matplotlib figure on a transparent ground, so that it fits a light and a dark page."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, transparent=True)
    return _png(Image.open(buffer).quantize(_COLOURS, method=Image.Quantize.FASTOCTREE))


def smaller_png(png: bytes, longest: int) -> bytes:
    """A picture of any size with few colours, its longest side at most `longest`: for previews written in training."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image.thumbnail((longest, longest))
    return _png(image.quantize(_COLOURS, kmeans=1))  # k-means, or the few orange pixels become grey


def data_uri(png: bytes) -> str:
    """What `src` of an image takes, instead of a file beside the page."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()

"""A tomogram before and after, for talks and papers: slices of all planes as a picture, and a movie of
xz, where the missing wedge shows, through y."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from isonet2.io.atomic import replacing
from isonet2.report.images import contrast, grey, shrunk
from isonet2.report.measures import Volume, middle_planes, round_length_nm
from isonet2.report.plots import slices_figure
from isonet2.report.tomogram import TomogramVolumes

_DPI = 180
_FRAMES = 60
_FRAME_MS = 100
_SIDE = 420  # pixels of the longer side of a slice in a movie, or a little more
_STEP = 8  # between grey levels: what shows no bands, and takes five bits of a pixel of noise
_GAP, _STRIP, _FONT = 6, 26, 15  # pixels


def write_comparison(volumes: TomogramVolumes, folder: Path) -> list[Path]:
    """NAME.png and NAME.gif, of a tomogram that has a prediction.

    Memory: what the spectra take, the middle CROP³ voxels of a volume, and the frames of the movie, at most 60 MB.
    """
    assert volumes.result is not None
    name, row = volumes.row.name, volumes.row
    all_of_it = {**volumes.shown}
    if volumes.deconvolved is not None:
        all_of_it = {"raw": volumes.raw, "deconvolved": volumes.deconvolved, **all_of_it}
    picture, movie = folder / f"{name}.png", folder / f"{name}.gif"
    with replacing(picture) as part:
        slices_figure(
            part,
            all_of_it,
            pixel_size_angstrom=row.pixel_size_angstrom,
            tilts_deg=(row.tilt_min_deg, row.tilt_max_deg),
            title=name,
            dpi=_DPI,
        )
    pair = {"raw": volumes.raw, volumes.origin.result: volumes.result}
    first, *others = frames(pair, pixel_size_angstrom=row.pixel_size_angstrom)
    with replacing(movie) as part:
        first.save(part, format="GIF", save_all=True, append_images=others, duration=_FRAME_MS, loop=0)
    return [picture, movie]


def frames(volumes: Mapping[str, Volume], *, pixel_size_angstrom: float) -> Iterator[Image.Image]:
    """Grey pictures, at most 60, of xz planes of volumes (z, y, x) of one shape, side by side, from first to last in y.

    Black and white are the 1st and 99th percentile of the middle planes of a volume, in all frames the same.
    """
    height, depth, width = next(iter(volumes.values())).shape
    limits = {name: contrast(*middle_planes(volume).values()) for name, volume in volumes.items()}
    scale = max(1, _SIDE // max(height, width))
    step = -(-depth // _FRAMES)
    for y in range((depth - 1) % step // 2, depth, step):
        planes = {
            name: shrunk(volume[slice(None), slice(y, y + 1), slice(None)][:, 0], _SIDE)
            for name, volume in volumes.items()
        }
        panels = {
            name: Image.fromarray(grey(plane[::-1], *limits[name])).resize(
                (plane.shape[1] * scale, plane.shape[0] * scale), Image.Resampling.BICUBIC
            )
            for name, plane in planes.items()
        }
        width_nm = width * pixel_size_angstrom / 10
        yield _frame(panels, f"xz, y {y + 1} of {depth}", round_length_nm(width_nm), width_nm)


def _frame(panels: Mapping[str, Image.Image], place: str, bar_nm: float, width_nm: float) -> Image.Image:
    """Panels on white, each below its name and with a scale bar of `bar_nm`; at the right end of the names, `place`."""
    width, height = next(iter(panels.values())).size
    canvas = Image.new("L", (len(panels) * (width + _GAP) - _GAP, height + _STRIP), 255)
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(_FONT)
    bar = round(width * bar_nm / width_nm)
    bottom = canvas.height - 12
    for number, (name, panel) in enumerate(panels.items()):
        left = number * (width + _GAP)
        canvas.paste(panel, (left, _STRIP))
        draw.text((left + 2, 3), name, font=font, fill=0)
        draw.rectangle((left + 11, bottom - 5, left + 12 + bar, bottom + 1), fill=0)
        draw.rectangle((left + 12, bottom - 4, left + 11 + bar, bottom), fill=255)
        text = f"{bar_nm:g} nm"
        draw.text((left + 12, bottom - 10), text, font=font, fill=255, anchor="ls", stroke_width=2, stroke_fill=0)
    draw.text((canvas.width - 2, 3), place, font=font, fill=90, anchor="ra")
    return canvas.point([min(255, round(level / _STEP) * _STEP) for level in range(256)])

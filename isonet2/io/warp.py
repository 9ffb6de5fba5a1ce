"""Folders of WarpTools: reconstruction/NAME_10.00Apx.mrc, halves in even/ and odd/ there, and NAME.xml beside it.

After Warp's own source: a reconstruction is phase-flipped; an image at Angle + LevelAngleY is projected by x' =
x cos θ − z sin θ, so that its tilt has the other sign here, as it has against IMOD's; with --deconv the halves in even/
and odd/ are the deconvolved ones (TiltSeries.ReconstructFull).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from math import pi
from pathlib import Path
from xml.etree import ElementTree

from isonet2.errors import UserError
from isonet2.io.series import Series, Warn, at_zero_tilt, number, once, subfolders

_MAP = re.compile(r"(?P<name>.+)_(?P<pixel>\d+\.\d\d)Apx\.mrc")
_FOLDERS = {"full": ".", "even": "even", "odd": "odd"}
_SAME_SIZE = 0.01  # names have two decimals
_ANGSTROM = 1e4  # in a µm


def warp_folders(folder: Path) -> list[tuple[Path, Path]]:
    """The processing folders of WarpTools, each with its first map: this one, those in it, or the one that this belongs
    to."""
    places = [folder, *subfolders(folder)]
    if folder.name == "reconstruction":
        places = [folder.parent]
    elif folder.parent.name == "reconstruction":
        places = [folder.parent.parent]
    return [(place, first[-1]) for place in places if (first := next(_maps(place), None))]


def read_warp(folder: Path, warn: Warn, pixel_size_angstrom: float | None) -> list[Series]:
    """Every tomogram of a processing folder at one pixel size. UserError if there are several and none is named, and
    for deconvolved halves."""
    series: dict[tuple[str, str], dict[str, Path]] = defaultdict(dict)
    for role, name, pixel, path in _maps(folder):
        series[name, pixel][role] = path
    pixels = sorted({pixel for _, pixel in series}, key=float)
    chosen = pixels
    if pixel_size_angstrom is not None:
        near = {pixel: abs(float(pixel) / pixel_size_angstrom - 1) for pixel in pixels}
        chosen = [pixel for pixel in pixels if near[pixel] <= _SAME_SIZE and near[pixel] == min(near.values())]
    if len(chosen) != 1:
        raise UserError(f"{folder}: reconstructions at {', '.join(pixels)} Å: choose one by prepare_star.pixel_size")
    at_size = {name: files for (name, pixel), files in sorted(series.items()) if pixel == chosen[0]}
    deselected = [name for name in at_size if _is_deselected(folder / f"{name}.xml")]
    if len(deselected) == len(at_size):
        raise UserError(
            f"{folder}: every tilt series is deselected: WarpTools change_selection --select brings it back"
        )
    if deselected:
        warn(f"prepare_star: {folder}: {deselected[0]} (of {len(deselected)}): deselected in Warp: left out")
    found = [_series(folder, name, files) for name, files in at_size.items() if name not in deselected]
    warn(
        f"prepare_star: {folder}: WarpTools makes protein bright unless ts_reconstruct is told --dont_invert: "
        "make_mask then needs bright_protein"
    )
    return found


def _maps(folder: Path) -> Iterator[tuple[str, str, str, Path]]:
    """Role, name, pixel size and path of every tomogram and half below reconstruction/."""
    for role, place in _FOLDERS.items():
        where = folder / "reconstruction" / place
        for path in sorted(where.glob("*.mrc")) if where.is_dir() else ():
            if match := _MAP.fullmatch(path.name):
                yield role, match["name"], match["pixel"], path


def _series(folder: Path, name: str, files: dict[str, Path]) -> Series:
    if ("even" in files) != ("odd" in files):
        raise UserError(f"{next(iter(files.values()))}: only one half is there: run ts_reconstruct --halfmap_frames")
    if "even" in files and (made := folder / "reconstruction" / "deconv" / files["even"].name).exists():
        raise UserError(
            f"{files['even']}: this half is deconvolved, as {made} tells: run ts_reconstruct again without --deconv, "
            "and remove reconstruction/deconv"
        )
    xml = folder / f"{name}.xml"
    if not xml.is_file():
        return Series(name=name, files=files, phases_flipped=True)
    root = _root(xml)
    angles = _numbers(root, "Angles", xml)
    used = [text == "true" for text in _text(root, "UseTilt").lower().split()] or [True] * len(angles)
    if len(used) != len(angles):
        raise UserError(f"{xml}: {len(angles)} Angles, but {len(used)} times UseTilt")
    level = number(root.get("LevelAngleY")) or 0.0
    optics = {str(param.get("Name")): number(param.get("Value")) for param in root.findall("CTF/Param")}
    return Series(
        name=name,
        files=files,
        metadata=(xml,),
        tilts_deg=tuple(float(f"{0.0 - (angle + level):.6g}") for angle, use in zip(angles, used, strict=True) if use),
        defocus_angstrom=_defocus(root, angles, used, optics.get("Defocus")),
        voltage_kv=optics.get("Voltage"),
        cs_mm=optics.get("Cs"),
        amplitude_contrast=optics.get("Amplitude"),
        phases_flipped=True,
        phase_shift_rad=abs(optics.get("PhaseShift") or 0.0) * pi,
    )


def _is_deselected(xml: Path) -> bool:
    """By the user's own hand, in Warp or by change_selection."""
    return xml.is_file() and (_root(xml).get("UnselectManual") or "").lower() == "true"


@once
def _root(xml: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(xml).getroot()
    except ElementTree.ParseError as error:
        raise UserError(f"{xml}: not XML: {error}") from None


def _defocus(
    root: ElementTree.Element, angles: Sequence[float], used: Sequence[bool], of_series: float | None
) -> float | None:
    """Å; that of the used image nearest to 0° where each has one; None where Warp has fitted none."""
    if number(root.get("CTFResolutionEstimate")) == 0 or of_series is None:
        return None
    grid = root.find("GridCTF")
    nodes = [] if grid is None else grid.findall("Node")
    if grid is None or number(grid.get("Depth")) != len(angles):
        return float(f"{of_series * _ANGSTROM:.6g}")
    found = [(node.get("Z"), value) for node in nodes if (value := number(node.get("Value"))) is not None]
    each = [[value for at, value in found if at == str(z)] for z in range(len(angles))]
    means = [
        (angle, sum(values) / len(values))
        for angle, use, values in zip(angles, used, each, strict=True)
        if use and values
    ]
    at_zero = at_zero_tilt(*zip(*means, strict=True)) if means else of_series
    return float(f"{at_zero * _ANGSTROM:.6g}")


def _numbers(root: ElementTree.Element, tag: str, xml: Path) -> list[float]:
    found = [number(text) for text in _text(root, tag).split()]
    if not found or None in found:
        raise UserError(f"{xml}: {tag} should be a list of numbers")
    return [value for value in found if value is not None]


def _text(root: ElementTree.Element, tag: str) -> str:
    return root.findtext(tag) or ""

"""What the page shows of one tomogram: slices and spectra side by side, curves, and the tables of their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from isonet2.io.star import TomogramRow
from isonet2.report import words
from isonet2.report.agreement import Agreement, agreement_of
from isonet2.report.images import contrast, data_uri, grey, grey_png, mask_png, shrunk, spectrum_contrast
from isonet2.report.judgement import Judged, judged
from isonet2.report.measures import (
    CROP,
    PLANES,
    Array,
    Volume,
    middle,
    middle_planes,
    power_spectrum_xz,
    round_length_nm,
)
from isonet2.report.plots import wedge_border
from isonet2.report.support import Finding
from isonet2.report.tomogram import Comparison, TomogramVolumes

_SPECTRUM_SIDE = 160  # pixels: neighbours averaged, which also calms the speckle


@dataclass(frozen=True)
class Panel:
    """A grey image as a data URI, and what it shows in words."""

    label: str
    uri: str
    alt: str


@dataclass(frozen=True)
class PlaneRow:
    """One plane of every volume, perhaps with a mask over it, as a data URI.

    `aspect` is width over height, `width` that over the width of the widest plane: all are drawn at one scale;
    `bar_percent` is the scale bar's share of the width.
    """

    plane: str
    panels: list[Panel]
    aspect: float
    width: float
    bar_percent: float
    bar_nm: float
    mask: str


@dataclass(frozen=True)
class TomogramBlock:
    """All of it. `kinship`: what the predicted halves have in common; `masked`: the planes with the mask over them, if
    there is one; `border`: points (kx, kz) that the first and the last tilt measure."""

    judged: Judged
    kinship: str
    summary: str
    planes: list[PlaneRow]
    masked: list[PlaneRow]
    spectra: list[Panel]
    border: list[tuple[float, float]]
    agreement: Agreement
    note: str

    @property
    def name(self) -> str:
        return self.judged.name

    @property
    def findings(self) -> list[Finding]:
        """What is to be believed of each region."""
        verdicts = self.judged.judgement.verdicts.items()
        return [Finding(region.capitalize(), verdict.state, verdict.sentence) for region, verdict in verdicts]


def tomogram_block(volumes: TomogramVolumes, comparison: Comparison | None, *, longest: int) -> TomogramBlock:
    """Measure and draw one tomogram; `longest`: pixels of the longest side of a slice."""
    row, found = volumes.row, judged(volumes)
    crops = {label: middle(volume) for label, volume in volumes.shown.items()}
    return TomogramBlock(
        judged=found,
        kinship=volumes.origin.kinship,
        summary=_summary(volumes),
        planes=_plane_rows(row, volumes.shown, longest),
        masked=_masked(volumes, longest),
        spectra=[_spectrum(row.name, label, crop, found.wedge_power[label]) for label, crop in crops.items()],
        border=[wedge_border(row.tilt_min_deg), wedge_border(row.tilt_max_deg)],
        agreement=agreement_of(volumes, found, comparison),
        note=_note(volumes.raw),
    )


def _summary(volumes: TomogramVolumes) -> str:
    row, shape = volumes.row, volumes.raw.shape
    nm = [side * row.pixel_size_angstrom / 10 for side in shape]
    return (
        f"{words.size(shape)} voxels (z × y × x) of {row.pixel_size_angstrom:.4g} Å, "
        f"that is {nm[0]:.0f} × {nm[1]:.0f} × {nm[2]:.0f} nm; tilts {words.tilts(row.tilt_min_deg, row.tilt_max_deg)}. "
        f"Raw is {'the mean of the two halves' if volumes.halves else 'the tomogram as it was given'}."
    )


def _note(volume: Volume) -> str:
    if max(volume.shape) <= CROP:
        return ""
    shape = tuple(min(side, CROP) for side in volume.shape)
    return f"Spectra and correlations are of the middle {words.size(shape)} voxels; slices show the whole."


def _masked(volumes: TomogramVolumes, longest: int) -> list[PlaneRow]:
    """What masks are made of, deconvolved or raw, with the mask over it: at half the size, which is enough to judge it
    by, has less noise and keeps the page small."""
    if volumes.mask is None:
        return []
    label, volume = ("raw", volumes.raw) if volumes.deconvolved is None else ("deconvolved", volumes.deconvolved)
    return _plane_rows(volumes.row, {label: volume}, min(longest, max(volume.shape)) // 2, volumes.mask)


def _plane_rows(
    row: TomogramRow, volumes: Mapping[str, Volume], longest: int, mask: Volume | None = None
) -> list[PlaneRow]:
    planes = {label: middle_planes(volume) for label, volume in volumes.items()}
    limits = {label: contrast(*images.values()) for label, images in planes.items()}
    masks = middle_planes(mask) if mask is not None else None
    first = next(iter(planes.values()))
    widest = max(image.shape[1] for image in first.values())
    rows = []
    for plane in PLANES:
        height, width = first[plane].shape
        width_nm = width * row.pixel_size_angstrom / 10
        bar_nm = round_length_nm(width_nm)
        panels = [
            Panel(
                label,
                data_uri(grey_png(grey(shrunk(images[plane], longest), *limits[label]))),
                f"{plane} plane through the middle of {row.name}, {label}{', under its mask' if masks else ''}",
            )
            for label, images in planes.items()
        ]
        rows.append(
            PlaneRow(
                plane=plane,
                panels=panels,
                aspect=width / height,
                width=width / widest,
                bar_percent=100 * bar_nm / width_nm,
                bar_nm=bar_nm,
                mask=data_uri(mask_png(shrunk(masks[plane], 2 * longest) > 0.5)) if masks else "",
            )
        )
    return rows


def _spectrum(name: str, label: str, crop: Array, wedge_power: float) -> Panel:
    image = shrunk(power_spectrum_xz(crop), _SPECTRUM_SIDE)
    return Panel(
        f"{label}: wedge {wedge_power:.2f} × measured",
        data_uri(grey_png(grey(image, *spectrum_contrast(image)))),
        f"logarithm of the power of {name}, {label}, over kx (to the right) and kz (upwards), averaged over y; "
        f"mean power inside the wedge {wedge_power:.2f} times that of the measured region",
    )

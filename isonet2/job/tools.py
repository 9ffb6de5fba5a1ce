"""The settings of commands that are no stages of a job: they look at maps, or make other maps of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from pydantic import ValidationError, model_validator

from isonet2.errors import UserError
from isonet2.job.flags import parse_flags
from isonet2.job.option import Section, option
from isonet2.job.settings import by_spelling, settings_of

Tool = TypeVar("Tool", bound=Section)


class Psf(Section):
    """Write the point spread function of tilt ranges: what the missing wedge makes of a single point."""

    star_file: str | None = option(
        None, "list of tomograms, for each of which one is made; without it, the settings below make one",
        positional=True)  # fmt: skip
    output_dir: str = option(
        "psf", "folder for NAME_psf.mrc: a point of density 1, bright, of which the measured share is left",
        aliases=("o",))  # fmt: skip
    cube_size: int = option(96, "side of the cube", unit="voxels", ge=8, aliases=("size",))
    with_ctf: bool = option(False, "the CTF too, from the defocus: what it makes of the point")
    fourier: bool = option(
        False, "also write the filter itself, as NAME_fourier.mrc, with the zero frequency in the middle"
    )
    tilt_min: float = option(-60.0, "lowest tilt", unit="°", ge=-90, le=90)
    tilt_max: float = option(60.0, "highest tilt", unit="°", ge=-90, le=90)
    pixel_size: float = option(10.0, "pixel size", unit="Å", gt=0, aliases=("pixelsize", "apix"))
    defocus: float = option(0.0, "underfocus, for with_ctf", unit="Å")
    voltage: float = option(300.0, "acceleration voltage", unit="kV", gt=0)
    cs: float = option(2.7, "spherical aberration", unit="mm", ge=0)
    ac: float = option(0.1, "amplitude contrast", ge=0, le=1)
    tomo_idx: str | None = option(None, "only these tomograms of the list, as in 1,3,5-7")

    @model_validator(mode="after")
    def _consistent(self) -> Psf:
        if self.star_file is not None:
            _refuse(self, _OPTICS, "star_file says it of each tomogram")
        elif not self.with_ctf:
            _refuse(self, _OF_CTF, "set with_ctf")
        if self.star_file is None:
            _refuse(self, ("tomo_idx",), "name a star_file")
        if self.tilt_min >= self.tilt_max:
            raise ValueError(f"tilt_min {self.tilt_min:g} must be below tilt_max {self.tilt_max:g}")
        return self


class Fsc(Section):
    """Measure how far two maps agree: Fourier shell correlation, also by direction, inside and outside the wedge."""

    map1: str = option(
        "tomograms.star", "the first map; or a list of tomograms: then the halves of each are compared",
        positional=True, aliases=("star_file", "half1"))  # fmt: skip
    map2: str | None = option(None, "the second map", positional=True, aliases=("half2",))
    output_dir: str = option("fsc", "folder for NAME_fsc.csv, NAME_fsc.png and fsc.json", aliases=("o",))
    mask: str | None = option(None, "map from 0 to 1 that both maps are multiplied by; soft edges, or they agree there")
    with_mask: bool = option(False, "of a list: multiply by rlnMaskName")
    pixel_size: float | None = option(
        None, "pixel size; by default that of the header", unit="Å", gt=0, aliases=("pixelsize", "apix")
    )
    tilt_min: float | None = option(None, "lowest tilt, to tell the measured region from the wedge", unit="°",
                                    ge=-90, le=90)  # fmt: skip
    tilt_max: float | None = option(None, "highest tilt", unit="°", ge=-90, le=90)
    cone: float = option(30.0, "how far a direction may be from the axis x, y or z that it counts to", unit="°",
                         gt=0, le=90)  # fmt: skip
    tomo_idx: str | None = option(None, "only these tomograms of the list, as in 1,3,5-7")

    @model_validator(mode="after")
    def _consistent(self) -> Fsc:
        if self.map2 is None:
            _refuse(self, ("mask", "pixel_size", "tilt_min", "tilt_max"), "the list says it of each tomogram")
        else:
            _refuse(self, ("with_mask", "tomo_idx"), "two maps are compared: there is no list")
        if (self.tilt_min is None) != (self.tilt_max is None):
            raise ValueError("tilt_min and tilt_max go together: give both")
        if self.tilt_min is not None and self.tilt_max is not None and self.tilt_min >= self.tilt_max:
            raise ValueError(f"tilt_min {self.tilt_min:g} must be below tilt_max {self.tilt_max:g}")
        return self


class Resize(Section):
    """Bring maps to another pixel size, by cropping or padding their Fourier transforms."""

    maps: str = option(
        "tomograms.star", "a map; or a list of tomograms: then all, and a new list of them", positional=True,
        aliases=("star_file",))  # fmt: skip
    apix: float = option(15.0, "the pixel size to come closest to; sizes stay even", unit="Å", gt=0,
                         aliases=("pixel_size", "pixelsize"))  # fmt: skip
    output_dir: str = option("resized", "folder for the maps", aliases=("o", "out_folder"))
    output_star: str | None = option(
        None, "the new list; by default the old one's name with _resized", aliases=("outputstar", "star_name")
    )
    old_pixel_size: float | None = option(
        None, "pixel size of a map whose header has none; a list says it", unit="Å", gt=0
    )
    tomo_idx: str | None = option(None, "only these tomograms of the list, as in 1,3,5-7")

    @property
    def is_list(self) -> bool:
        """Whether `maps` is a list of tomograms."""
        return self.maps.lower().endswith(".star")

    @model_validator(mode="after")
    def _consistent(self) -> Resize:
        if self.is_list:
            _refuse(self, ("old_pixel_size",), "the list says it of each tomogram")
        else:
            _refuse(self, ("output_star", "tomo_idx"), "a single map is resized: there is no list")
        return self


class Export(Section):
    """Write maps as OME-Zarr, in levels of halved resolution, for portals and viewers (needs isonet2[zarr])."""

    maps: str = option("tomograms.star", "a map; or a list of tomograms: then one of each", positional=True,
                       aliases=("star_file",))  # fmt: skip
    output_dir: str = option("zarr", "folder for NAME.zarr", aliases=("o",))
    input_column: str | None = option(
        None, "of a list, the column to read; by default the first that is filled of rlnCorrectedTomoName, "
        "rlnDenoisedTomoName, rlnDeconvTomoName, rlnTomoName")  # fmt: skip
    pixel_size: float | None = option(
        None, "pixel size of a map whose header has none; a list says it", unit="Å", gt=0, aliases=("pixelsize", "apix")
    )
    tomo_idx: str | None = option(None, "only these tomograms of the list, as in 1,3,5-7")

    @property
    def is_list(self) -> bool:
        """Whether `maps` is a list of tomograms."""
        return self.maps.lower().endswith(".star")

    @model_validator(mode="after")
    def _consistent(self) -> Export:
        if self.is_list:
            _refuse(self, ("pixel_size",), "the list says it of each tomogram")
        else:
            _refuse(self, ("input_column", "tomo_idx"), "a single map is exported: there is no list")
        return self


class Watch(Section):
    """Watch a run: stages, progress, losses and logs, renewed in place; to a file, a line for what is new."""

    run: str = option(".", "the folder of the run, or its job file", positional=True)
    every: float = option(2.0, "how often to look", unit="s", ge=0.1)
    ascii: bool = option(False, "no characters beyond ASCII; without a UTF-8 locale always")


class Star2json(Section):
    """Write a list of tomograms as JSON: for each a mapping from column to text."""

    star_file: str = option("tomograms.star", "the list", positional=True, aliases=("star_name",))
    json_file: str | None = option(
        None, "the file to write; by default NAME.json", positional=True, aliases=("json_name", "o")
    )


class Json2star(Section):
    """Write what star2json has made, changed or not, as a list of tomograms."""

    json_file: str = option("tomograms.json", "the JSON file", positional=True, aliases=("json_name",))
    star_file: str | None = option(
        None, "the list to write; by default NAME.star", positional=True, aliases=("star_name", "o")
    )


class Check(Section):
    """Compare what is declared of tomograms with their data: tilts, axes, defocus, pixel size, halves, values."""

    star_file: str = option("tomograms.star", "list of tomograms, or a job file: then those of the job",
                            positional=True)  # fmt: skip
    output_dir: str = option("check", "folder for NAME.png and check.json", aliases=("o",))
    tomo_idx: str | None = option(None, "only these tomograms of the list, as in 1,3,5-7")


TOOLS: dict[str, type[Section]] = {
    "psf": Psf,
    "fsc": Fsc,
    "resize": Resize,
    "export": Export,
    "check": Check,
    "watch": Watch,
    "star2json": Star2json,
    "json2star": Json2star,
}
"""By command. Each works in isonet2/stages/NAME.py, in a function NAME that returns what to print, piece by piece."""

_OF_CTF = ("defocus", "voltage", "cs", "ac")
_OPTICS = ("tilt_min", "tilt_max", "pixel_size", *_OF_CTF)


def _refuse(section: Section, names: Sequence[str], reason: str) -> None:
    """ValueError if one of these was given, where it has no effect."""
    for name in names:
        if name in section.model_fields_set:
            raise ValueError(f"{name} has no effect: {reason}")


def tool_from_flags(tool: type[Tool], arguments: Sequence[str]) -> Tool:
    """The settings that the arguments of a command ask for. UserError with a line for each mistake."""
    given = parse_flags(arguments, settings_of(tool))
    try:
        return tool.model_validate(given)
    except ValidationError as error:
        known = by_spelling(settings_of(tool))
        lines = [
            str(found["ctx"]["error"])
            if found["type"] == "value_error"
            else f"--{(name := str(found['loc'][0]))}: got '{given[name]}', needs {known[name].needs}"
            for found in error.errors()
        ]
        raise UserError("\n".join(dict.fromkeys(lines))) from None

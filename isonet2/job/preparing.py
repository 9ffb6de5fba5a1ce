"""The settings of what comes before training: from a folder of tomograms to a cache of cubes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from isonet2.job.option import NumbersOrNone, Section, Sizes, WithoutEffect, option

_LEAST_DEFOCUS, _MOST_UM = 500.0, 20.0  # Å, µm
TILT_MIN, TILT_MAX, TILT_STEP = -60.0, 60.0, 3.0  # degrees, where neither the user nor a list of tilts says more


def unit_of_defocus(value: float) -> tuple[str, float]:
    """What a defocus was most likely given in, and how many Å that is: nobody takes data so close to focus."""
    if value == 0 or abs(value) >= _LEAST_DEFOCUS:
        return "Å", 1.0
    return ("µm", 1e4) if abs(value) < _MOST_UM else ("nm", 10.0)


def _check_tilts(lows: tuple[float, ...], highs: tuple[float, ...]) -> None:
    """Pair by pair; one value stands for all."""
    count = max(len(lows), len(highs))
    for low, high in zip(lows * (count // len(lows)), highs * (count // len(highs)), strict=False):
        if low >= high:
            raise ValueError(f"tilt_min {low:g} must be below tilt_max {high:g}")


class Simulate(Section):
    """Make tomograms whose truth is known: phantom, projections, CTF, noise in two halves, back-projection."""

    output_dir: str = option("simulated", "folder for even/, odd/, full/, truth/ and particles.star", aliases=("o",))
    count: int = option(1, "how many tomograms", ge=1)
    size: Sizes = option((96, 192, 192), "size of a tomogram: z, y, x", unit="voxels")
    pixel_size: float = option(10.0, "pixel size", unit="Å", gt=0)
    tilt_min: float = option(-60.0, "first tilt", unit="°", gt=-90, lt=90)
    tilt_max: float = option(60.0, "last tilt; the range need not be symmetric", unit="°", gt=-90, lt=90)
    tilt_step: float = option(3.0, "tilt step", unit="°", gt=0)
    snr: float = option(0.2, "variance of the signal over variance of the noise in the full-dose 0° projection", gt=0)
    defocus: float | None = option(None, "underfocus; without it there is no CTF", unit="Å")
    voltage: float = option(300.0, "acceleration voltage", unit="kV", gt=0)
    cs: float = option(2.7, "spherical aberration", unit="mm", ge=0)
    ac: float = option(0.1, "amplitude contrast", ge=0, le=1)
    particles: int = option(120, "particles in each tomogram, shared over the shapes; fewer if they do not fit", ge=0)
    membranes: int = option(2, "vesicles in each tomogram", ge=0)
    gold: int = option(0, "gold beads in each tomogram", ge=0)
    gold_diameter: float = option(100.0, "diameter of a bead", unit="Å", gt=0)

    @model_validator(mode="after")
    def _consistent(self) -> Simulate:
        _check_tilts((self.tilt_min,), (self.tilt_max,))
        if min(self.size) < 16:
            raise ValueError(f"size {'×'.join(map(str, self.size))}: each side must be at least 16 voxels")
        if self.particles + self.membranes + self.gold == 0:
            raise ValueError("particles, membranes and gold are all 0: there is nothing to simulate")
        idle = {"gold_diameter": "gold is 0"} if self.gold == 0 else {}
        if self.defocus is None:
            idle |= dict.fromkeys(("voltage", "cs", "ac"), "without a defocus there is no CTF")
        changed = {
            name: why for name, why in idle.items() if getattr(self, name) != type(self).model_fields[name].default
        }
        if changed:
            raise WithoutEffect(changed)
        return self


class PrepareStar(Section):
    """List tomograms, their halves and how they were taken in a STAR file: those of folders, or of another program."""

    full: str | None = option(
        None,
        "folder of full tomograms; or a STAR file of RELION 5 or IsoNet2; or a folder of WarpTools, AreTomo3 or IMOD",
        aliases=("f",),
        positional=True,
    )
    source: Literal["auto", "folders", "isonet", "relion", "warp", "aretomo", "imod"] = option(
        "auto", "which program made what full names; auto: looks, and says what it found", aliases=("from",)
    )
    even: str | None = option(None, "folder of even half tomograms", aliases=("e",))
    odd: str | None = option(None, "folder of odd half tomograms; paired with even by name", aliases=("o",))
    mask_folder: str | None = option(None, "folder of masks, one for each tomogram by name")
    coordinate_folder: str | None = option(None, "folder of coordinate files (x y z in pixels), by name")
    pixel_size: Annotated[float, Field(gt=0)] | Literal["auto"] = option(
        "auto", "pixel size; auto: from the headers", unit="Å", aliases=("pixelsize",)
    )
    defocus: NumbersOrNone = option((), "defocus at 0° of all or of each tomogram; by default as in the metadata, or 0",
                              unit="Å", aliases=("rlnDefocus",))  # fmt: skip
    cs: float | None = option(None, "spherical aberration; by default as in the metadata, or 2.7", unit="mm", ge=0)
    voltage: float | None = option(None, "acceleration voltage; by default as in the metadata, or 300", unit="kV", gt=0)
    ac: float | None = option(None, "amplitude contrast; by default as in the metadata, or 0.1", ge=0, le=1)
    tilt_folder: str | None = option(
        None, "folder of tilt lists (.tlt, .rawtlt or .txt, one angle a line), one for each tomogram by name"
    )
    tilt_min: NumbersOrNone = option((), "lowest tilt of all, or of each tomogram; by default as in its tilts, or -60",
                               unit="°")  # fmt: skip
    tilt_max: NumbersOrNone = option((), "highest tilt of all, or of each tomogram; by default as in its tilts, or 60",
                               unit="°")  # fmt: skip
    tilt_step: float | None = option(None, "tilt step; by default as in the tilts, or 3", unit="°", gt=0)
    flip_tilts: bool = option(
        False, "give the tilts of lists and metadata the other sign, for volumes whose z runs the other way"
    )
    create_average: bool = option(False, "average the halves (in float32) to full tomograms")
    number_subtomos: Annotated[int, Field(ge=1)] | Literal["auto"] = option(
        "auto", "cubes to cut from each tomogram; auto: 3000 over all of them", aliases=("numbersubtomos",)
    )

    @model_validator(mode="after")
    def _consistent(self) -> PrepareStar:
        for name in ("tilt_min", "tilt_max"):
            if any(abs(tilt) > 90 for tilt in getattr(self, name)):
                raise ValueError(f"{name} must lie from -90 to 90")
        _check_tilts(self.tilt_min or (TILT_MIN,), self.tilt_max or (TILT_MAX,))
        if self.tilt_step is not None and self.tilt_folder is not None:
            raise ValueError("tilt_step has no effect: the tilt lists of tilt_folder say it")
        if (self.even is None) != (self.odd is None):
            raise ValueError("even and odd go together: name both folders")
        if self.full is None and self.even is None:
            raise ValueError("name the folder of full tomograms, or the folders of even and odd halves")
        if self.source not in ("auto", "folders") and not self.imports:
            raise ValueError(f"source {self.source} goes with full alone: leave out even, odd and tilt_folder")
        if self.create_average and self.source == "folders" and self.even is None:
            raise ValueError("create_average needs the folders even and odd")
        if self.flip_tilts and not self.imports and self.tilt_folder is None:
            raise WithoutEffect({"flip_tilts": "there are no lists of tilts: name a tilt_folder"})
        return self

    @property
    def imports(self) -> bool:
        """Whether `full` may be what another program left, rather than a plain folder of tomograms."""
        return self.source != "folders" and self.even is None and self.tilt_folder is None


class Deconv(Section):
    """Deconvolve tomograms by their CTF with a Wiener-like filter: contrast for the eye, for masks, and for isonet2."""

    input_column: str | None = option(
        None, "column of the STAR to read; by default rlnTomoName, else the mean of the halves"
    )
    output_dir: str = option("deconv", "folder for the deconvolved tomograms", aliases=("o", "deconvfolder"))
    snrfalloff: float = option(
        1.0, "how fast the signal-to-noise ratio falls; larger keeps less at high frequency", ge=0
    )
    deconvstrength: float = option(
        1.0, "strength: the signal-to-noise ratio at low frequency is 10 to this (Warp's 1 is 3 here)"
    )
    highpassnyquist: float = option(0.02, "share of Nyquist below which the filter fades out", gt=0, le=1)
    chunk_size: int = option(
        256, "side of the pieces that are filtered one by one, each with what lies around it: less takes less memory",
        unit="voxels", ge=32, aliases=("chunksize",))  # fmt: skip
    overlap_rate: float = option(
        0.25, "least overlap of neighbouring pieces, as a share of chunk_size; where the filter reaches farther, more",
        ge=0, le=1)  # fmt: skip
    phaseflipped: bool = option(False, "the tomograms are phase-flipped already", aliases=("isCTFflipped",))
    tomo_idx: str | None = option(None, "only these tomograms, as in 1,3,5-7")


class MakeMask(Section):
    """Find where the specimen is: by local density and local standard deviation."""

    input_column: str | None = option(
        None, "column of the STAR to read; by default rlnDeconvTomoName, else rlnTomoName, else the first half"
    )
    output_dir: str = option("mask", "folder for the masks", aliases=("o", "maskfolder"))
    patch_size: int = option(4, "half width of the local window, on the twice binned volume", unit="voxels", ge=1,
                             aliases=("patchsize",))  # fmt: skip
    density_percentage: float = option(50.0, "share of voxels kept by local density", unit="%", gt=0, le=100,
                                       aliases=("densitypercentage",))  # fmt: skip
    std_percentage: float = option(50.0, "share of voxels kept by local standard deviation", unit="%", gt=0, le=100,
                                   aliases=("stdpercentage",))  # fmt: skip
    bright_protein: bool = option(False, "protein is bright in the tomograms, as WarpTools leaves it")
    z_crop: float = option(0.2, "share of z left out, half at each end", ge=0, lt=1, aliases=("zcrop",))
    tomo_idx: str | None = option(None, "only these tomograms, as in 1,3,5-7")


class Extract(Section):
    """Cut cubes around the specimen into an HDF5 cache that training reads."""

    cache_dir: str = option("cache", "folder for the caches, one folder for each content", aliases=("o",))
    cube_size: int | None = option(None, "side of a cube; by default the one of refine", unit="voxels", ge=8)
    margin: int | None = option(
        None, "voxels stored around a cube, so that crops can move; by default cube_size / 16", unit="voxels", ge=0
    )
    dtype: Literal["float16", "float32"] = option("float16", "how a voxel is stored")
    cache_refresh_epochs: int | None = option(None, "draw new positions after this many epochs; by default never", ge=1)
    tomo_idx: str | None = option(None, "only these tomograms, as in 1,3,5-7")
    verify: bool = option(False, "hash every byte of the inputs, instead of size, time, header and 64 samples")

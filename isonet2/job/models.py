"""The job: what a user may ask for. YAML, command-line flags and the README's reference are made from these classes.

Names are IsoNet2's; `option(...)` adds the unit, the other spellings and whether the command takes it by position.
Nothing here opens a file: what can be judged without the data is judged here, the rest in the stages.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, model_validator
from pydantic.fields import FieldInfo

from isonet2.job.architectures import ARCHITECTURES

Architecture = Literal["unet-tiny", "unet-small", "unet-medium", "unet-large"]


def _as_list(value: Any) -> Any:
    """`96,192,192` and a bare number are lists too."""
    if isinstance(value, str):
        return [part for part in value.strip("[]() ").replace(",", " ").split() if part]
    return value if isinstance(value, list | tuple) else [value]


Numbers = Annotated[tuple[float, ...], BeforeValidator(_as_list)]
Sizes = Annotated[tuple[int, int, int], BeforeValidator(_as_list)]


def option(
    default: Any,
    help: str,
    *,
    unit: str | None = None,
    aliases: tuple[str, ...] = (),
    positional: bool = False,
    **limits: Any,
) -> Any:
    """A field: its sentence for `--help` and the README, its unit, its other spellings, its limits (ge, gt, le, lt)."""
    extra: dict[str, Any] = {"unit": unit, "aliases": list(aliases), "positional": positional}
    field: FieldInfo = Field(default=default, description=help, json_schema_extra=extra, **limits)
    return field


class Section(BaseModel):
    """One stage's settings: frozen, and strict about names."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True, allow_inf_nan=False)


def _check_tilts(section: Simulate | PrepareStar) -> None:
    if section.tilt_min >= section.tilt_max:
        raise ValueError(f"tilt_min {section.tilt_min:g} must be below tilt_max {section.tilt_max:g}")


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
        _check_tilts(self)
        if min(self.size) < 16:
            raise ValueError(f"size {'×'.join(map(str, self.size))}: each side must be at least 16 voxels")
        if self.particles + self.membranes + self.gold == 0:
            raise ValueError("particles, membranes and gold are all 0: there is nothing to simulate")
        return self


class PrepareStar(Section):
    """List tomograms, their halves and how they were taken in a STAR file."""

    full: str | None = option(None, "folder of full tomograms", aliases=("f",), positional=True)
    even: str | None = option(None, "folder of even half tomograms", aliases=("e",))
    odd: str | None = option(None, "folder of odd half tomograms; paired with even by name", aliases=("o",))
    mask_folder: str | None = option(None, "folder of masks, one for each tomogram by name")
    coordinate_folder: str | None = option(None, "folder of coordinate files (x y z in pixels), by name")
    pixel_size: Annotated[float, Field(gt=0)] | Literal["auto"] = option(
        "auto", "pixel size; auto: from the headers", unit="Å", aliases=("pixelsize",)
    )
    defocus: Numbers = option((0.0,), "defocus at 0° of all, or of each tomogram", unit="Å", aliases=("rlnDefocus",))
    cs: float = option(2.7, "spherical aberration", unit="mm", ge=0)
    voltage: float = option(300.0, "acceleration voltage", unit="kV", gt=0)
    ac: float = option(0.1, "amplitude contrast", ge=0, le=1)
    tilt_min: float = option(-60.0, "lowest tilt", unit="°", ge=-90, le=90)
    tilt_max: float = option(60.0, "highest tilt", unit="°", ge=-90, le=90)
    tilt_step: float = option(3.0, "tilt step", unit="°", gt=0)
    create_average: bool = option(False, "average the halves (in float32) to full tomograms")
    number_subtomos: Annotated[int, Field(ge=1)] | Literal["auto"] = option(
        "auto", "cubes to cut from each tomogram; auto: 3000 over all of them", aliases=("numbersubtomos",)
    )

    @model_validator(mode="after")
    def _consistent(self) -> PrepareStar:
        _check_tilts(self)
        if (self.even is None) != (self.odd is None):
            raise ValueError("even and odd go together: name both folders")
        if self.full is None and self.even is None:
            raise ValueError("name the folder of full tomograms, or the folders of even and odd halves")
        if self.create_average and self.even is None:
            raise ValueError("create_average needs the folders even and odd")
        return self


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


class Refine(Section):
    """Train a network to fill the missing wedge and to denoise, from the tomograms alone."""

    output_dir: str = option("isonet_maps", "folder for checkpoints, networks, metrics and previews",
                             aliases=("o", "outputdir"))  # fmt: skip
    method: Literal["isonet2-n2n"] = option("isonet2-n2n", "how it learns; isonet2-n2n needs two halves")
    arch: Architecture = option("unet-medium", "the network; a larger one learns more, and needs more time and memory")
    cube_size: int = option(96, "side of a training cube; a multiple of the network's divisor", unit="voxels", ge=8)
    epochs: int = option(50, "passes over all cubes", ge=1, aliases=("iterations",))
    batch_size: int | None = option(None, "cubes in one optimizer step over all ranks; by default 2 for each rank",
                                    ge=1)  # fmt: skip
    acc_batches: int = option(1, "split each batch into this many parts to save memory", ge=1)
    loss_func: Literal["L2", "L1", "Huber"] = option("L2", "what is minimised")
    learning_rate: float = option(1e-3, "highest learning rate, after warm-up", gt=0)
    learning_rate_min: float = option(1e-6, "learning rate at the end of the cosine", ge=0)
    warmup_steps: int = option(30, "optimizer steps from zero to the highest learning rate", ge=0)
    mw_weight: float = option(
        2.0, "weight of what was measured inside the missing wedge; ≤ 0: IsoNet2's loss over all of Fourier space"
    )
    random_rot_weight: float = option(0.0, "share of cubes turned to a random angle instead of by 90°", ge=0, le=1)
    mask_loss: bool = option(False, "weigh the error by the mask, voxel by voxel")
    mixed_precision: bool = option(True, "half precision where the device is faster with it")
    ema_decay: float = option(0.999, "how slowly the averaged network, which predicts, follows the trained one",
                              ge=0, lt=1)  # fmt: skip
    save_interval: int = option(10, "epochs between saved networks and previews", ge=1)
    with_preview: bool = option(True, "predict the middle of one tomogram at each save_interval",
                                aliases=("with_predict",))  # fmt: skip
    prev_tomo_idx: int = option(1, "the tomogram of the previews (rlnIndex)", ge=1)
    checkpoint_minutes: float = option(10.0, "also save a checkpoint after this time within an epoch", unit="min", gt=0)
    keep_checkpoints: int = option(2, "how many of the latest checkpoints stay", ge=1)
    loader_workers: int | None = option(
        None, "loader processes for each rank; by default 4 with a GPU, else 0: read between the steps", ge=0,
        aliases=("ncpus",))  # fmt: skip

    @model_validator(mode="after")
    def _consistent(self) -> Refine:
        divisor = ARCHITECTURES[self.arch].divisor
        if self.cube_size % divisor:
            lower = max(divisor, self.cube_size // divisor * divisor)
            raise ValueError(
                f"cube_size {self.cube_size} does not fit {self.arch}, which needs a multiple of {divisor}: "
                f"take {lower} or {lower + divisor}"
            )
        if self.learning_rate_min > self.learning_rate:
            raise ValueError("learning_rate_min is above learning_rate")
        if self.batch_size is not None and self.acc_batches > self.batch_size:
            raise ValueError(f"acc_batches {self.acc_batches} cannot split a batch_size of {self.batch_size}")
        return self


class Predict(Section):
    """Apply a trained network to whole tomograms, in blended tiles."""

    model: str | None = option(None, "network file; by default the one that refine of this job exports",
                               positional=True)  # fmt: skip
    output_dir: str = option("corrected_tomos", "folder for the corrected tomograms", aliases=("o", "outputdir"))
    output_prefix: str = option("corrected", "first part of the names of the corrected tomograms")
    input_column: str | None = option(None, "column of the STAR to read; by default both halves, else rlnTomoName",
                                      aliases=("inputcolumn",))  # fmt: skip
    apply_mw_x1: bool = option(True, "apply the missing wedge to each tile before the network, as in training")
    padding_factor: float = option(1.5, "side of a tile over the side of the part of it that is kept", gt=1, le=3)
    tile_batch: int = option(4, "tiles that go through the network together", ge=1)
    mixed_precision: bool = option(True, "half precision where the device is faster with it")
    keep_halves: bool = option(False, "also write the prediction of each half")
    tomo_idx: str | None = option(None, "only these tomograms, as in 1,3,5-7")


class Report(Section):
    """Put what was run, learned and made into one HTML file."""

    output: str = option("report.html", "the file to write", aliases=("o",))
    truth_folder: str | None = option(None, "folder with the true maps of simulated tomograms, by name")


class Resources(Section):
    """What the job runs on."""

    nodes: int = option(1, "machines", ge=1)
    ranks_per_node: int = option(1, "processes on each machine: one for each GPU, or for each 1 to 8 cores", ge=1)
    threads_per_rank: int | None = option(None, "threads of each process; by default the cores it was given", ge=1)


class Job(Section):
    """Everything that one run does: a section present is a stage that runs, in this order."""

    version: Literal[1] = option(1, "version of this format")
    seed: int = option(0, "all randomness comes from this number", ge=0)
    star_file: str = option("tomograms.star", "the list of tomograms that the stages read and write", positional=True,
                            aliases=("star_name", "outputstar"))  # fmt: skip
    resources: Resources = Field(default=Resources(), description="what the job runs on")
    simulate: Simulate | None = None
    prepare_star: PrepareStar | None = None
    make_mask: MakeMask | None = None
    extract: Extract | None = None
    refine: Refine | None = None
    predict: Predict | None = None
    report: Report | None = None
    _folder: Path = PrivateAttr(default_factory=Path.cwd)

    @model_validator(mode="after")
    def _consistent(self) -> Job:
        if self.extract and self.refine and self.extract.cube_size not in (None, self.refine.cube_size):
            raise ValueError(
                f"extract.cube_size {self.extract.cube_size} is not refine.cube_size {self.refine.cube_size}: "
                "leave out the former"
            )
        if self.predict and self.predict.model is None and self.refine is None:
            raise ValueError("predict.model: name a network file, or let the job refine one")
        return self

    @property
    def cubes(self) -> tuple[int, int]:
        """Side of the training cubes and margin around them, in voxels: as refine and extract agree, or by default."""
        extract, refine = self.extract or Extract(), self.refine or Refine()
        cube_size = extract.cube_size or refine.cube_size
        return cube_size, cube_size // 16 if extract.margin is None else extract.margin

    @property
    def folder(self) -> Path:
        """The folder that relative paths start from: that of the job file, or the current one."""
        return self._folder

    def path(self, name: str | Path) -> Path:
        """`name`, relative to the job's folder if it is relative."""
        return self._folder / Path(name).expanduser()

    def in_folder(self, folder: Path) -> Job:
        """The same job with its relative paths starting at `folder`."""
        job = self.model_copy()
        job._folder = folder
        return job

    @classmethod
    def from_yaml(cls, path: Path | str, overrides: Sequence[str] = ()) -> Job:
        """The job of a YAML or JSON file, as `isonet2 run` reads it."""
        from isonet2.job.load import load_job  # which needs this module first

        return load_job(path, overrides)


STAGES = ("simulate", "prepare_star", "make_mask", "extract", "refine", "predict", "report")

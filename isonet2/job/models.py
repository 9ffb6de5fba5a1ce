"""The job: what a user may ask for. YAML, command-line flags and the README's reference are made from these classes.

Names are IsoNet2's; `option(...)` adds the unit, the other spellings and whether the command takes it by position.
Nothing here opens a file: what can be judged without the data is judged here, the rest in the stages.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, ValidationError, model_validator

from isonet2.job.container import Container
from isonet2.job.option import Absent, Network, Section, Whole, WithoutEffect, option
from isonet2.job.preparing import Deconv, Extract, MakeMask, PrepareStar, Simulate
from isonet2.job.training import Denoise, Refine, Training

__all__ = [
    "STAGES", "Container", "Deconv", "Denoise", "Extract", "Job", "MakeMask", "Predict", "PrepareStar", "Refine",
    "Report", "Resources", "Section", "Simulate", "Training",
]  # fmt: skip


_LEAST_MINUTES = 10  # of a wall time


class Predict(Section):
    """Apply a trained network to whole tomograms, in blended tiles."""

    model: Network | None = option(None, "network file; by default the one that this job trains", positional=True)
    model2: Network | None = option(None, "network of the other half (split_halves): it predicts the second half map")
    output_dir: str = option("corrected_tomos", "folder for the corrected tomograms", aliases=("o", "outputdir"))
    output_prefix: str | None = option(
        None, "first part of the names of what is written; by default corrected, or denoised for networks of denoise"
    )
    input_column: str | None = option(
        None, "column of the STAR to read; by default what the network was trained on", aliases=("inputcolumn",)
    )
    apply_mw_x1: bool = option(True, "apply the missing wedge to each tile before the network, as in training")
    phaseflipped: bool = option(False, "the tomograms are phase-flipped already", aliases=("isCTFflipped",))
    do_phaseflip_input: bool = option(True, "flip the phases of tomograms that are not, for networks with a CTF_mode")
    average_turns: bool = option(
        True, "mean with the prediction of what is turned by 180° about the tilt axis: better, in twice the time"
    )
    padding_factor: float = option(1.5, "side of a tile over the side of the part of it that is kept", gt=1, le=3)
    tile_batch: int = option(4, "tiles that go through the network together", ge=1)
    mixed_precision: bool = option(True, "half precision where the device is faster with it")
    keep_halves: bool = option(
        True, "also write the prediction of each half, from which the report judges the result; with model2 always"
    )
    output_dtype: Literal["float32", "float16"] = option(
        "float32", "numbers in the files: float16 (MRC mode 12) is half as large, and not read by all older programs"
    )
    tomo_idx: str | None = option(None, "only these tomograms, as in 1,3,5-7")

    @property
    def bytes_per_voxel(self) -> int:
        """Of what is written."""
        return {"float32": 4, "float16": 2}[self.output_dtype]

    @model_validator(mode="after")
    def _consistent(self) -> Predict:
        if self.phaseflipped and not self.do_phaseflip_input:
            raise WithoutEffect({"do_phaseflip_input": "the tomograms are phase-flipped already"})
        return self


class Report(Section):
    """Put what was run, learned and made into one HTML file."""

    output: str = option("report.html", "the file to write", aliases=("o",))
    truth_folder: str | None = option(
        None,
        "folder with the true maps of simulated tomograms, by name: truth, or, for networks that correct the CTF, "
        "truth_without_ctf",
    )
    with_comparison: bool = option(
        True,
        "also write, of each tomogram, a picture of slices (PNG) and a movie through y (GIF), raw beside corrected",
    )
    comparison_dir: str = option("comparison", "folder for these")

    @model_validator(mode="after")
    def _consistent(self) -> Report:
        default = Report.model_fields["comparison_dir"].default  # which resolved.yaml writes out
        if not self.with_comparison and self.comparison_dir != default:
            raise WithoutEffect({"comparison_dir": "nothing is written there without with_comparison"})
        return self


class Resources(Section):
    """What the job runs on."""

    nodes: int = option(1, "machines", ge=1)
    ranks_per_node: int = option(1, "processes on each machine: one for each GPU, or for each 1 to 8 cores", ge=1)
    threads_per_rank: int | None = option(None, "threads of each process; by default the cores it was given", ge=1)
    gpuID: Annotated[Whole | None, Absent] = option(
        None, "which of the GPUs that a machine shows are ours, as in 0,2: one for each rank there; by default all"
    )
    gpus_per_node: int | None = option(None, "GPUs that slurm/submit.sh asks for on each machine", ge=0)
    memory_gb: float | None = option(None, "memory that slurm/submit.sh asks for on each machine", unit="GB", gt=0)
    wall_time: str | None = option(
        None,
        "time that slurm/submit.sh asks for, as in 12:00:00 or 2-00:00:00; its last five minutes are for saving",
        pattern=r"(\d+-)?\d+:[0-5]\d:[0-5]\d",
    )
    partition: str | None = option(None, "partition that slurm/submit.sh asks for")
    account: str | None = option(None, "account that slurm/submit.sh names")

    @model_validator(mode="after")
    def _consistent(self) -> Resources:
        if self.wall_time is not None:
            days, _, clock = self.wall_time.rpartition("-")
            hours, minutes, _ = map(int, clock.split(":"))
            if (24 * int(days or 0) + hours) * 60 + minutes < _LEAST_MINUTES:
                least = f"00:{_LEAST_MINUTES}:00"
                raise ValueError(
                    f"wall_time {self.wall_time}: its last five minutes are for saving: take {least} or more"
                )
        return self


class Job(Section):
    """Everything that one run does: a section present is a stage that runs, in this order."""

    version: Literal[1] = option(1, "version of this format")
    seed: int = option(0, "all randomness comes from this number", ge=0)
    star_file: str = option("tomograms.star", "the list of tomograms that the stages read and write", positional=True,
                            aliases=("star_name", "outputstar"))  # fmt: skip
    resources: Resources = Field(default=Resources(), description="what the job runs on")
    container: Container | None = None
    simulate: Simulate | None = None
    prepare_star: PrepareStar | None = None
    deconv: Deconv | None = None
    make_mask: MakeMask | None = None
    extract: Extract | None = None
    denoise: Denoise | None = None
    refine: Refine | None = None
    predict: Predict | None = None
    report: Report | None = None
    _folder: Path = PrivateAttr(default_factory=Path.cwd)

    def __init__(self, **values: Any) -> None:
        """Sections as dictionaries, as in Job(refine={"epochs": 20}, predict={}), with every spelling of a job file.

        UserError with a line for each mistake. Relative paths start at the current folder, unless `in_folder` follows.
        """
        from isonet2.job.load import sorted_out  # which needs this module first

        super().__init__(**sorted_out(values, "Job"))

    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # validation needs no detour through it

    @model_validator(mode="before")
    @classmethod
    def _with_needed_stages(cls, values: Any) -> Any:
        """with_mask, with_deconv and with_predict are short for the sections that they run."""
        if not isinstance(values, Mapping):
            return values
        needed: dict[str, Any] = {}
        for name, kind in (("denoise", Denoise), ("refine", Refine)):
            try:
                section = kind.model_validate(values.get(name) or {})
            except ValidationError:  # said by the validation of the section itself
                continue
            with_deconv = isinstance(section, Refine) and section.with_deconv
            if section.with_mask or with_deconv:
                needed["make_mask"] = {}
            if section.with_predict:
                needed["predict"] = {}
            if with_deconv:
                needed["deconv"] = {key: getattr(section, key) for key in _FORWARDED}
        return {**values, **{name: section for name, section in needed.items() if values.get(name) is None}}

    @model_validator(mode="after")
    def _consistent(self) -> Job:
        for name, section in self.trainings.items():
            if self.extract and self.extract.cube_size not in (None, section.cube_size):
                raise ValueError(
                    f"extract.cube_size {self.extract.cube_size} is not {name}.cube_size {section.cube_size}: "
                    "leave out the former"
                )
        if self.denoise and self.refine and self.denoise.output_dir == self.refine.output_dir:
            raise ValueError("refine.output_dir is that of denoise: give each its own folder")
        if self.predict and self.predict.model2 and self.predict.model is None:
            raise ValueError("predict.model2 needs predict.model")
        if idle := self._without_effect():
            raise WithoutEffect(idle)
        return self

    def _without_effect(self) -> dict[str, str]:
        """Settings of a section that another section, or its absence, leaves without effect."""
        found = {}
        if self.extract and self.extract.cache_refresh_epochs and not self.trainings:
            found["extract.cache_refresh_epochs"] = "this job trains nothing: set it where it does"
        if self.refine and self.refine.with_deconv and self.deconv:
            for name in _FORWARDED:
                asked, done = getattr(self.refine, name), getattr(self.deconv, name)
                if asked not in (done, Refine.model_fields[name].default):
                    found[f"refine.{name}"] = f"the section deconv has its own, {done}"
        return found

    @property
    def trainings(self) -> dict[str, Training]:
        """The sections that train a network, by name."""
        found = {"denoise": self.denoise, "refine": self.refine}
        return {name: section for name, section in found.items() if section is not None}

    def cubes_of(self, training: Training | None) -> tuple[int, int]:
        """Side of the cubes of a training (None: of extract alone) and margin around them, in voxels."""
        extract = self.extract or Extract()
        cube_size = training.cube_size if training else extract.cube_size or Refine().cube_size
        return cube_size, cube_size // 16 if extract.margin is None else extract.margin

    @property
    def folder(self) -> Path:
        """The folder that relative paths start from: that of the job file, or the current one."""
        return self._folder

    def path(self, name: str | Path) -> Path:
        """`name`, relative to the job's folder if it is relative."""
        return self._folder / Path(name).expanduser()

    def name(self, path: Path) -> str:
        """`path` as the job names files: from its folder if it lies there, so that the folder can be moved."""
        return os.path.relpath(path, self._folder) if path.is_relative_to(self._folder) else str(path)

    def in_folder(self, folder: Path | str) -> Job:
        """The same job with its relative paths starting at `folder`."""
        job = self.model_copy()
        job._folder = Path(folder)
        return job

    @classmethod
    def from_yaml(cls, path: Path | str, overrides: Sequence[str] = ()) -> Job:
        """The job of a YAML or JSON file, as `isonet2 run` reads it."""
        from isonet2.job.load import load_job  # which needs this module first

        return load_job(path, overrides)


_FORWARDED = ("snrfalloff", "deconvstrength", "highpassnyquist", "phaseflipped")  # from refine to its deconv
STAGES = (
    "simulate", "prepare_star", "deconv", "make_mask", "extract", "denoise", "refine", "predict", "report"
)  # fmt: skip

"""The stages as functions, for notebooks and scripts: numpy arrays in, numpy arrays out, the same code as in a job.

A map is an array (z, y, x) with protein dark, or the path of an MRC file; it is in memory as a whole. Units are those
of the job file: pixel_size and defocus in Å, voltage in kV, cs in mm, tilts in degrees. `**settings` are those of
the section in a job file: help(deconvolve) lists them. A mistake is a UserError, with a line for each.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from isonet2 import log, pipeline
from isonet2.errors import UserError
from isonet2.inference.network_use import predict_maps
from isonet2.io import mrc
from isonet2.job.load import sorted_out
from isonet2.job.models import STAGES, Deconv, Job, MakeMask, Predict, Section, Simulate
from isonet2.job.preparing import TILT_MAX, TILT_MIN
from isonet2.job.settings import sections, settings_of
from isonet2.models.compute import choose_compute
from isonet2.parallel.launchers import detect
from isonet2.parallel.world import device_of
from isonet2.physics import quality
from isonet2.physics.acquisition import Optics
from isonet2.report.measures import ShellCurve
from isonet2.simulation.phantom import Placed
from isonet2.stages.deconv import deconvolved
from isonet2.stages.fsc import curves_of
from isonet2.stages.make_mask import mask_of
from isonet2.stages.simulate import simulated
from isonet2.stages.validate import validate

Array: TypeAlias = npt.NDArray[np.float32]
Map: TypeAlias = npt.NDArray[Any] | str | Path
Function = TypeVar("Function", bound=Callable[..., Any])
Kind = TypeVar("Kind", bound=Section)

_OF_FILES = (  # what a section says of files and lists, which arrays have none of
    "input_column", "output_dir", "tomo_idx", "model", "model2", "output_prefix", "keep_halves", "output_dtype", "count"
)  # fmt: skip


def _takes(section: type[Section]) -> Callable[[Function], Function]:
    """Of a function with **settings: those of the section in its signature and in its help, made like the flags."""
    shown = [setting for setting in settings_of(section) if setting.name not in _OF_FILES]

    def decorate(function: Function) -> Function:
        own = inspect.signature(function)
        first = [each for each in own.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
        more = [inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, default=each.default) for each in shown]
        function.__signature__ = own.replace(parameters=[*first, *more])  # type: ignore[attr-defined]
        lines = [f"    {each.name}: {each.explained} ({each.needs})" for each in shown]
        function.__doc__ = "\n".join([inspect.getdoc(function) or "", "", "Settings:", *lines])
        return function

    return decorate


def run(
    job: Job, *, restart: bool = False, stages: Sequence[str] | None = None, force: bool = False
) -> dict[str, dict[str, Any]]:
    """Run a job's stages, as `isonet2 run` does, in this process: what each stage found, by its name.

    What was done before, with the same settings and inputs, is skipped; `restart` does all anew; `stages` are those to
    run, if not all; `force` goes on where check is certain that something is wrong. Raises IsonetError with a sentence;
    Interrupted, once everything is saved, after Ctrl-C.
    """
    if not isinstance(job, Job):
        raise UserError(f"run: needs a Job, such as Job.from_yaml('job.yaml'), and this is {job!r}")
    there = [name for name in STAGES if getattr(job, name) is not None]
    if not there:
        raise UserError("nothing to do: the job has no stage, as in Job(refine={})")
    if unknown := [name for name in stages or () if name not in there]:
        raise UserError(f"stages: '{unknown[0]}' is none of this job's: {', '.join(there)}")
    if detect(os.environ).size == 1:  # several ranks leave that to the pipeline, where they have met
        log.start_logging(rank=0)
        for warning in validate(job).warnings:
            log.warn(warning)
    return pipeline.run(job, restart=restart, stages=stages, force=force)


def read_mrc(path: str | Path) -> Array:
    """Float32 (z, y, x): the map in an MRC file of any mode and axis order."""
    with mrc.open_volume(Path(path)) as volume:
        return volume[:, :, :]


def write_mrc(path: str | Path, volume: npt.NDArray[Any], *, pixel_size: float) -> None:
    """Write a map (z, y, x): bool and int8 as int8, all else as float32. The file is whole or absent."""
    small = volume.dtype in (np.bool_, np.int8)
    kept = volume.astype(np.int8) if small else volume.astype(np.float32)
    mrc.write_mrc(Path(path), kept, pixel_size_angstrom=pixel_size)


@_takes(Deconv)
def deconvolve(
    volume: Map,
    *,
    defocus: float,
    pixel_size: float | None = None,
    voltage: float = 300.0,
    cs: float = 2.7,
    ac: float = 0.1,
    **settings: Any,
) -> Array:
    """Float32 (z, y, x): the map, its CTF deconvolved by a Wiener-like filter; its mean and standard deviation stay.

    Underfocus is positive. `pixel_size` is by default that of the file.
    """
    section = _section(Deconv, "deconvolve", settings)
    if defocus <= 0:
        raise UserError(f"deconvolve: defocus {defocus:g}: needs the underfocus at 0° in Å, as in 30000")
    optics = Optics(_pixel_size(volume, pixel_size), defocus, voltage, cs, ac)
    with _plainly("deconvolve"):
        return deconvolved(_array(volume), optics, section)


@_takes(MakeMask)
def make_mask(volume: Map, **settings: Any) -> npt.NDArray[np.bool_]:
    """Bool (z, y, x): where the specimen is, by local density and local standard deviation.

    All of it may be False: raise density_percentage and std_percentage then, or lower z_crop.
    """
    return mask_of(_array(volume), _section(MakeMask, "make_mask", settings))


@_takes(Predict)
def predict(
    volume: Map | tuple[Map, Map],
    network: str | Path,
    *,
    tilts: tuple[float, float] = (TILT_MIN, TILT_MAX),
    defocus: float | None = None,
    pixel_size: float | None = None,
    voltage: float = 300.0,
    cs: float = 2.7,
    ac: float = 0.1,
    device: str | None = None,
    **settings: Any,
) -> Array:
    """Float32 (z, y, x): what a network file makes of a map, or of a pair of halves, then the mean of both predictions.

    `tilts` are the lowest and the highest; the optics are needed by networks that correct a CTF. `device` is torch's
    name of it, by default a GPU if there is one.
    """
    pair = volume if isinstance(volume, tuple) else (volume,)
    section = _section(Predict, "predict", {"model": str(network), **settings})
    _check_tilts("predict", tilts)
    maps = [_array(each) for each in pair]
    if len({each.shape for each in maps}) > 1:
        raise UserError(f"predict: the halves differ in shape: {' and '.join(_by(each.shape) for each in maps)}")
    where = device or device_of(0, gpus=torch.cuda.device_count(), chosen=(0,))
    compute = choose_compute(where, mixed_precision=section.mixed_precision)
    optics = Optics(_pixel_size(pair[0], pixel_size), defocus, voltage, cs, ac) if defocus is not None else None
    with _plainly("predict"):
        return predict_maps(maps, Path(network), section, compute, optics=optics, tilts_deg=(tilts,))


@dataclass(frozen=True)
class Simulated:
    """A tomogram whose truth is known: float32 (z, y, x) each. `truth` has the CTF of the data, if they have one;
    `truth_without_ctf` is for networks that correct it. `particles` says what is where."""

    even: Array
    odd: Array
    full: Array
    truth: Array
    truth_without_ctf: Array
    particles: list[Placed]


@_takes(Simulate)
def simulate(*, seed: int = 0, number: int = 1, **settings: Any) -> Simulated:
    """A phantom, its tilt series in two halves with noise, and its back-projections: this number of a set."""
    maps, placed = simulated(_section(Simulate, "simulate", settings), seed, number)
    arrays = {kind: found.numpy() for kind, found in maps.items()}
    return Simulated(**{"truth_without_ctf": arrays["truth"], **arrays}, particles=placed)


def fsc(
    a: Map,
    b: Map,
    *,
    pixel_size: float | None = None,
    tilts: tuple[float, float] | None = None,
    mask: Map | None = None,
    cone: float = 30.0,
) -> dict[str, ShellCurve]:
    """How far two maps agree: Fourier shell correlations by region.

    The regions: "all"; with `tilts` also "measured" and "wedge"; "x", "y" and "z" within `cone` degrees of these axes.
    Each has .frequency (cycles per Å), .fsc and .resolution_angstrom(threshold). Edges are tapered; `mask` is from 0 to
    1, with soft edges.
    """
    maps = _alike("fsc", a, b, *([] if mask is None else [mask]))
    if tilts is not None:
        _check_tilts("fsc", tilts)
    first, second, *weight = (torch.from_numpy(each) for each in maps)
    return curves_of(
        quality.tapered(first),
        quality.tapered(second),
        weight[0] if weight else None,
        _pixel_size(a, pixel_size),
        None if tilts is None else (tilts,),
        cone,
    )


def compare(volume: Map, truth: Map, *, tilts: tuple[float, float]) -> dict[str, float]:
    """Correlation of a map with the truth: "cc" of all of it, "cc_measured" within the tilts, "cc_wedge" where nothing
    was measured."""
    _check_tilts("compare", tilts)
    found, true = map(torch.from_numpy, _alike("compare", volume, truth))
    return quality.compare_with_truth(found, true, (tilts,))


def _section(kind: type[Kind], function: str, given: Mapping[str, Any]) -> Kind:
    """The settings of a function. UserError, with a line for each mistake."""
    name = next(name for name, each in sections().items() if each is kind)
    if idle := sorted(set(given) & {*_OF_FILES} - {"model"}):
        raise UserError(f"{function}: {idle[0]}: has no meaning for arrays; leave it out")
    try:
        return kind.model_validate(sorted_out({name: given}, function)[name])
    except UserError as error:  # who calls a function knows of no section
        raise UserError(re.sub(rf"^({function}: ){name}[.:] ?", r"\1", str(error), flags=re.MULTILINE)) from None


def _alike(function: str, *given: Map) -> list[Array]:
    """The maps, all of one shape."""
    maps = [_array(each) for each in given]
    for other in maps[1:]:
        if other.shape != maps[0].shape:
            raise UserError(f"{function}: the maps differ in shape: {_by(maps[0].shape)} and {_by(other.shape)}")
    return maps


def _array(given: Map) -> Array:
    """The map, of three axes and finite."""
    if isinstance(given, str | Path):
        return read_mrc(given)
    array = np.ascontiguousarray(given, np.float32)
    if array.ndim != 3:
        raise UserError(f"a map has three axes (z, y, x), and this array has shape {_by(array.shape)}")
    if not np.isfinite(array).all():
        raise UserError(
            f"{np.count_nonzero(~np.isfinite(array))} of {array.size} voxels are NaN or infinite: replace them"
        )
    return array


def _pixel_size(given: Map, pixel_size: float | None) -> float:
    """In Å: as it is given, or as the file says it."""
    found = pixel_size or (mrc.read_header(Path(given)).pixel_size_angstrom[2] if isinstance(given, str | Path) else 0)
    if found <= 0:
        raise UserError("pixel_size: an array has none, and not every file: give it in Å")
    return found


def _check_tilts(function: str, tilts: tuple[float, float]) -> None:
    if not -90 <= tilts[0] < tilts[1] <= 90:
        raise UserError(f"{function}: tilts {tilts}: needs the lowest and the highest in degrees, as in (-60, 60)")


@contextmanager
def _plainly(function: str) -> Iterator[None]:
    """What the physics says of a map is for the user."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"{function}: the map: {error}") from None


def _by(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))

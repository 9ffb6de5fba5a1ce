"""The files and folders that a job names: inputs that are not there, and places that cannot be written to. No torch."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from isonet2.job.container import missing_hint
from isonet2.job.models import STAGES, Job
from isonet2.job.settings import did_you_mean

_INPUTS = {  # what has to be there, by section: key, and what it names
    "prepare_star": {
        "full": "folder or file",
        **dict.fromkeys(("even", "odd", "mask_folder", "coordinate_folder", "tilt_folder"), "folder"),
    },
    "denoise": {"pretrained_model": "file"},
    "refine": {"pretrained_model": "file"},
    "predict": {"model": "file", "model2": "file"},
    "report": {"truth_folder": "folder"},
}
_LISTED = ("deconv", "make_mask", "extract", "denoise", "refine", "predict", "report")  # that read the list
_EARLIER = re.compile(r"_(best|epoch\d+)_\w+\.pt$")  # exports of a training beside its last one
_SHOWN = 3


def missing_inputs(job: Job) -> dict[str, str]:
    """By the key that names it, a line about each input that is not there."""
    found = {key: line for key, kind, name in _named(job) if (line := _missing(job, key, kind, name))}
    if job.predict and job.predict.model is None and not job.trainings:
        found["predict.model"] = "predict.model: name a network file"
    if "predict.model" in found:
        found["predict.model"] += f"; {_networks(job)}"
    return found


def _named(job: Job) -> Iterator[tuple[str, str, str]]:
    """Key, kind and name of each input, but for what earlier stages of the job make."""
    made = [job.path(section.output_dir).resolve() for section in job.trainings.values()]
    made += [job.path(job.simulate.output_dir).resolve()] if job.simulate else []
    if not job.prepare_star and any(getattr(job, stage) for stage in _LISTED):
        yield "star_file", "list", job.star_file
    for stage, keys in _INPUTS.items():
        for key, kind in keys.items():
            name = getattr(getattr(job, stage), key, None)
            if name is not None and not any(job.path(name).resolve().is_relative_to(folder) for folder in made):
                yield f"{stage}.{key}", kind, name


def _missing(job: Job, key: str, kind: str, name: str) -> str:
    """The line about an input; empty if it is there."""
    path = job.path(name)
    if {"folder": path.is_dir(), "folder or file": path.exists()}.get(kind, path.is_file()):
        return ""
    if path.exists():
        return f"{key}: '{name}' is a {'folder' if path.is_dir() else 'file'}, where a {kind} is needed"
    near = did_you_mean(path.name, (other.name for other in path.parent.iterdir())) if path.parent.is_dir() else ""
    seen = "" if Path(name).expanduser().is_absolute() else f" (seen from {job.folder})"
    cure = "; isonet2 prepare_star makes it" if kind == "list" and not near else ""
    return f"{key}: {kind} '{name}' is not there{seen}{near}{cure}{missing_hint(os.environ)}"


def unusable_outputs(job: Job) -> dict[str, str]:
    """By its path, a line about each file that stands for a folder of outputs, and each folder that cannot be written
    to."""
    found: dict[str, str] = {}
    for stage in STAGES:
        for key in ("output_dir", "cache_dir", "comparison_dir"):
            name = getattr(getattr(job, stage), key, None)
            if name is not None:
                there = next(path for path in (job.path(name), *job.path(name).parents) if path.exists())
                if not there.is_dir():
                    found.setdefault(str(there), f"{stage}.{key}: {there} is a file, where a folder is needed")
                elif not os.access(there, os.W_OK | os.X_OK):
                    found.setdefault(str(there), f"{stage}.{key}: {there} cannot be written to: choose another folder")
    return found


def _networks(job: Job) -> str:
    """Where those are that trainings left in the job's folder."""
    there = sorted(job.name(path) for path in job.folder.glob("*/network_*.pt") if not _EARLIER.search(path.name))
    if not there:
        return "refine leaves it in isonet_maps/, where there is none yet"
    more = f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else ""
    return f"{'there is' if len(there) == 1 else 'there are'} {', '.join(there[:_SHOWN])}{more}"

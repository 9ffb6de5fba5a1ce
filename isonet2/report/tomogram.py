"""The volumes of one tomogram that the report compares, and how they score against the truth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from isonet2.errors import UserError
from isonet2.io.mrc import open_volume
from isonet2.io.star import TomogramRow
from isonet2.job.models import Job
from isonet2.physics.quality import best_radial_filter, compare_with_truth, regions
from isonet2.report import words
from isonet2.report.measures import Array, Mean, ShellCurves, Volume, middle, shell_curves

Scores = dict[str, dict[str, float]]


@dataclass(frozen=True)
class TomogramVolumes:
    """One row of the STAR file with the volumes that exist; `raw` is the mean of the halves, or the tomogram."""

    row: TomogramRow
    raw: Volume
    halves: tuple[Volume, Volume] | None
    corrected: Volume | None
    predicted: tuple[Volume, Volume] | None
    truth: Volume | None
    mask: Volume | None

    @property
    def shown(self) -> dict[str, Volume]:
        """The volumes that are drawn side by side, by their label."""
        volumes = {"raw": self.raw, "corrected": self.corrected, "truth": self.truth}
        return {label: volume for label, volume in volumes.items() if volume is not None}


@dataclass(frozen=True)
class Comparison:
    """Correlations of each map with the truth, and shell correlations: not of linear, since a gain changes no FSC."""

    scores: Scores
    curves: dict[str, ShellCurves]


@contextmanager
def opened(job: Job, row: TomogramRow, truth_folder: Path | None) -> Iterator[TomogramVolumes | None]:
    """What there is of a row, open; None if neither the halves nor the tomogram are there any more.

    Raises UserError if the shapes differ.
    """
    with ExitStack() as files:

        def volume(name: str | Path | None) -> Volume | None:
            if name is None or not job.path(name).is_file():
                return None
            return files.enter_context(open_volume(job.path(name)))

        def pair(first: str | Path | None, second: str | Path | None) -> tuple[Volume, Volume] | None:
            a, b = volume(first), volume(second)
            return (a, b) if a is not None and b is not None else None

        halves = pair(row.half1, row.half2)
        raw = Mean(halves) if halves else volume(row.tomogram)
        if raw is None:
            yield None
            return
        volumes = TomogramVolumes(
            row=row,
            raw=raw,
            halves=halves,
            corrected=volume(row.corrected),
            predicted=pair(*_predicted_halves(row)) if _keeps_halves(job) else None,
            truth=volume(truth_folder / f"{row.name}.mrc") if truth_folder else None,
            mask=volume(row.mask),
        )
        _check_shapes(volumes)
        yield volumes


def compared_with_truth(volumes: TomogramVolumes) -> Comparison:
    """The middles of raw, linear (the best radial filter, which knows the truth) and corrected, against the truth."""
    assert volumes.truth is not None
    row, raw, truth = volumes.row, torch.from_numpy(middle(volumes.raw)), torch.from_numpy(middle(volumes.truth))
    measured, _ = regions(raw.shape, row.tilt_min_deg, row.tilt_max_deg)
    maps = {"raw": raw, "linear": best_radial_filter(raw, truth, measured)}
    if volumes.corrected is not None:
        maps["corrected"] = torch.from_numpy(middle(volumes.corrected))
    tilts_deg = (row.tilt_min_deg, row.tilt_max_deg)
    return Comparison(
        scores={name: compare_with_truth(map_, truth, *tilts_deg) for name, map_ in maps.items()},
        curves={name: curves_of(row, map_.numpy(), truth.numpy()) for name, map_ in maps.items() if name != "linear"},
    )


def curves_of(row: TomogramRow, a: Array, b: Array) -> ShellCurves:
    """Shell correlations of two maps (z, y, x) with the pixel size and the tilt range of a row."""
    return shell_curves(
        a,
        b,
        pixel_size_angstrom=row.pixel_size_angstrom,
        tilt_min_deg=row.tilt_min_deg,
        tilt_max_deg=row.tilt_max_deg,
    )


def mean_scores(tomograms: dict[str, Scores]) -> Scores:
    """The mean over the tomograms of each number of each map, over those that have the map."""
    labels = list(dict.fromkeys(label for scores in tomograms.values() for label in scores))
    means: Scores = {}
    for label in labels:
        rows = [scores[label] for scores in tomograms.values() if label in scores]
        means[label] = {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}
    return means


def _predicted_halves(row: TomogramRow) -> tuple[Path | None, Path | None]:
    """Where predict leaves the predictions of the two halves if it is asked to keep them."""
    if row.corrected is None:
        return None, None
    corrected = Path(row.corrected)
    return corrected.with_name(f"{corrected.stem}_half1.mrc"), corrected.with_name(f"{corrected.stem}_half2.mrc")


def _keeps_halves(job: Job) -> bool:
    """Whether such files are of this job: they may be left over from a run that kept them."""
    return job.predict is None or job.predict.keep_halves


def _check_shapes(volumes: TomogramVolumes) -> None:
    expected = volumes.raw.shape
    others: dict[str, Volume | None] = {**volumes.shown, "mask": volumes.mask}
    others |= {f"half {number}": half for number, half in enumerate(volumes.halves or (), start=1)}
    others |= {f"predicted half {number}": half for number, half in enumerate(volumes.predicted or (), start=1)}
    for label, volume in others.items():
        if volume is not None and volume.shape != expected:
            raise UserError(
                f"{volumes.row.name}: the {label} has {words.size(volume.shape)} voxels, "
                f"the tomogram {words.size(expected)}: they must be of one shape"
            )

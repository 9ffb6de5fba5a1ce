"""The volumes of one tomogram that the report compares, and how they score against the truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from isonet2.errors import UserError
from isonet2.io.mrc import open_volume
from isonet2.io.star import TomogramRow
from isonet2.job.models import Job
from isonet2.physics.acquisition import Optics, Tilts
from isonet2.physics.quality import best_radial_filter, compare_with_truth, measured_and_missing
from isonet2.report import words
from isonet2.report.measures import Array, Mean, ShellCurves, Volume, middle, shell_curves
from isonet2.report.origin import Origin

Scores = dict[str, dict[str, float]]


@dataclass(frozen=True)
class TomogramVolumes:
    """One row of the STAR file, how it was taken and predicted, and the volumes that exist.

    `raw` is the mean of the halves, or the tomogram; `given` what the network read: the halves, or twice the one map.
    """

    row: TomogramRow
    optics: Optics
    tilts_deg: Tilts
    origin: Origin
    raw: Volume
    halves: tuple[Volume, Volume] | None
    given: tuple[Volume, Volume]
    result: Volume | None
    predicted: tuple[Volume, Volume] | None
    truth: Volume | None
    deconvolved: Volume | None
    mask: Volume | None

    @property
    def shown(self) -> dict[str, Volume]:
        """The volumes that are drawn side by side, by their label."""
        volumes = {"raw": self.raw, self.origin.result: self.result, "truth": self.truth}
        return {label: volume for label, volume in volumes.items() if volume is not None}


@dataclass(frozen=True)
class Comparison:
    """Correlations of each map with the truth, and shell correlations: not of linear, since a gain changes no FSC."""

    scores: Scores
    curves: dict[str, ShellCurves]


def is_there(job: Job, row: TomogramRow) -> bool:
    """Whether there is still something to compare with: the halves, or the tomogram."""
    return _are_files(job, row.half1, row.half2) or _are_files(job, row.tomogram)


def _are_files(job: Job, *names: str | None) -> bool:
    return all(name is not None and job.path(name).is_file() for name in names)


@contextmanager
def opened(
    job: Job, row: TomogramRow, optics: Optics, tilts_deg: Tilts, origin: Origin, truth_folder: Path | None
) -> Iterator[TomogramVolumes]:
    """What there is of a row, open; at least the halves or the tomogram. UserError if the shapes differ."""
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
        assert raw is not None
        result = getattr(row, origin.result)
        volumes = TomogramVolumes(
            row=row,
            optics=optics,
            tilts_deg=tilts_deg,
            origin=origin,
            raw=raw,
            halves=halves,
            given=_given(
                [volume(name) for name in origin.maps.get(row.name, ())],
                halves if halves is not None and origin.method != "isonet2" else (raw, raw),
            ),
            result=volume(result),
            predicted=pair(*_predicted_halves(result, origin)),
            truth=volume(truth_folder / f"{row.name}.mrc") if truth_folder else None,
            deconvolved=volume(row.deconvolved),
            mask=volume(row.mask),
        )
        _check_shapes(volumes)
        yield volumes


def compared_with_truth(volumes: TomogramVolumes) -> Comparison:
    """The middles of raw, linear (the best radial filter, which knows the truth) and the prediction, against the
    truth."""
    assert volumes.truth is not None
    raw, truth = torch.from_numpy(middle(volumes.raw)), torch.from_numpy(middle(volumes.truth))
    measured, _ = measured_and_missing(raw.shape, volumes.tilts_deg)
    maps = {"raw": raw, "linear": best_radial_filter(raw, truth, measured)}
    if volumes.result is not None:
        maps[volumes.origin.result] = torch.from_numpy(middle(volumes.result))
    return Comparison(
        scores={name: compare_with_truth(map_, truth, volumes.tilts_deg) for name, map_ in maps.items()},
        curves={
            name: curves_of(volumes, map_.numpy(), truth.numpy()) for name, map_ in maps.items() if name != "linear"
        },
    )


def curves_of(volumes: TomogramVolumes, a: Array, b: Array) -> ShellCurves:
    """Shell correlations of two maps (z, y, x) with the pixel size and the tilts of a tomogram."""
    return shell_curves(a, b, pixel_size_angstrom=volumes.row.pixel_size_angstrom, tilts_deg=volumes.tilts_deg)


def mean_scores(tomograms: dict[str, Scores]) -> Scores:
    """The mean over the tomograms of each number of each map, over those that have the map."""
    labels = list(dict.fromkeys(label for scores in tomograms.values() for label in scores))
    means: Scores = {}
    for label in labels:
        rows = [scores[label] for scores in tomograms.values() if label in scores]
        means[label] = {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}
    return means


def _given(read: Sequence[Volume | None], otherwise: tuple[Volume, Volume]) -> tuple[Volume, Volume]:
    """What predict says that it has read, if that is still there."""
    found = [volume for volume in read if volume is not None]
    return (found[0], found[-1]) if found and len(found) == len(read) else otherwise


def _predicted_halves(result: str | None, origin: Origin) -> tuple[str | None, str | None]:
    """The predictions of the two halves, if predict says that it wrote them: others may be left over."""
    if result is None:
        return None, None
    first, second = (str(Path(result).with_name(f"{Path(result).stem}_half{n}.mrc")) for n in (1, 2))
    return (first, second) if {first, second} <= origin.outputs else (None, None)


def _check_shapes(volumes: TomogramVolumes) -> None:
    expected = volumes.raw.shape
    others: dict[str, Volume | None] = {**volumes.shown, "deconvolved map": volumes.deconvolved, "mask": volumes.mask}
    others |= {f"half {number}": half for number, half in enumerate(volumes.halves or (), start=1)}
    others |= {f"predicted half {number}": half for number, half in enumerate(volumes.predicted or (), start=1)}
    for label, volume in others.items():
        if volume is not None and volume.shape != expected:
            raise UserError(
                f"{volumes.row.name}: the {label} has {words.size(volume.shape)} voxels, "
                f"the tomogram {words.size(expected)}: they must be of one shape"
            )

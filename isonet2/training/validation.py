"""How training goes, seen on cubes that are never trained on; and whether more of it would help."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from isonet2.data.dataset import Batch, CubeDataset, collate_for
from isonet2.parallel.collectives import all_gather
from isonet2.parallel.world import World, share
from isonet2.physics.fourier import transform
from isonet2.physics.wedge import rotated_wedges
from isonet2.report.words import count
from isonet2.training.distances import shells_of
from isonet2.training.learner import Learner

_SHORTEST = 10  # epochs from which on a course can be judged
_SLIGHT = 0.005  # of the loss: less is no progress
_RISE = 0.0125  # of the agreement over a fifth of the epochs: less is no progress
_CLEARLY = 2  # times these; between, two trainings that differ only by chance may differ


def validate(
    learner: Learner, dataset: CubeDataset, samples: Sequence[int], world: World, *, batch: int, noise_level: float
) -> dict[str, float]:
    """Losses of the averaged network, a mean over `samples`, and, where there are halves, the Fourier shell correlation
    of what it makes of them, a mean over the shells in the measured region and in the wedge.

    Each sample meets the same rotation and noise every time. Sums run in the order of the samples, whatever the ranks.
    """
    mine = [samples[n] for n in share(len(samples), rank=world.rank, size=world.size)]
    collate, found = collate_for(dataset.cache), []
    for first in range(0, len(mine), batch):
        part = collate([dataset[(0, sample)] for sample in mine[first : first + batch]])
        losses, predictions = learner.measure(part, noise_level=noise_level)
        sums = _shell_sums(predictions.cpu(), part)
        found += list(zip(*(loss.double().tolist() for loss in losses), sums, strict=True))
    everything = [each for rank in all_gather(world, found) for each in rank]
    count = len(everything)
    total, measured, wedge = (sum(each[n] for each in everything) / count for n in range(3))
    line = {"val_loss": total, "val_loss_measured": measured, "val_loss_wedge": wedge}
    if dataset.cache.shards[0]["maps"] == 2:
        fsc = _shell_means(torch.stack([each[3] for each in everything]).sum(0))
        line |= {"val_fsc_measured": fsc[0], "val_fsc_wedge": fsc[1]}
    return line


def _shell_sums(predictions: Tensor, part: Batch) -> Tensor:
    """Float64 (B, 2, 4, shells): Re A B*, |A|², |B|² and the number of components in each shell, of the measured
    region and of the wedge, for the first and the last map of each sample."""
    side = predictions.shape[-1]
    shell_of, shells, weight = shells_of(side, predictions.device)
    A, B = (transform(predictions[:, n].double()) for n in (0, -1))
    M = rotated_wedges(side, part.tilts_deg, torch.eye(3).expand(len(predictions), 3, 3))[:, 0]
    moments = torch.stack([(A * B.conj()).real, A.abs().square(), B.abs().square(), torch.ones_like(A.real)], dim=1)
    regions = torch.stack([M, ~M], dim=1) * weight
    sums = torch.zeros(len(predictions), 2, 4, shells, dtype=torch.float64)
    values = (moments[:, None] * regions[:, :, None]).flatten(3)
    return sums.index_add(3, shell_of.flatten(), values)


def _shell_means(sums: Tensor) -> list[float]:
    """(2, 4, shells) → the mean over the shells, weighed by their components, of both regions' correlations."""
    cross, power_a, power_b, count = sums.unbind(1)
    fsc = cross / (power_a * power_b).clamp_min(1e-30).sqrt()
    means: list[float] = ((fsc * count).sum(-1) / count.sum(-1).clamp_min(1)).tolist()
    return means


def validation_course(lines: Iterable[Mapping[str, Any]]) -> tuple[list[float], list[float]]:
    """From the lines of metrics.jsonl: the loss of each epoch, and how well the predictions of two halves agreed."""
    epochs = [line for line in lines if line["kind"] == "epoch" and "val_loss" in line]
    halves = [line for line in epochs if "val_fsc_measured" in line]
    agreement = [(line["val_fsc_measured"] + line["val_fsc_wedge"]) / 2 for line in halves]
    return [line["val_loss"] for line in epochs], agreement


def verdict(losses: Sequence[float], agreement: Sequence[float] = ()) -> dict[str, Any]:
    """Whether training has converged, from the loss of held-out cubes after each epoch: in a word, and in a sentence.

    Means over a fifth of the epochs are compared: the last with the lowest, and with the one before it. At the end a
    learning rate of 0 lets every course look flat, and most of the loss is noise that nothing takes away. So where
    there is the `agreement` of the predictions of two halves at each epoch, it must have settled in the middle, while
    the rate was still half of what it was. Cubes overlap, so that this tells of progress more than of memorised noise.
    """
    epochs = len(losses)
    if epochs < _SHORTEST:
        early = f"It is too early, after {count(epochs, 'epoch')}, to tell whether training has converged."
        return {"state": "unknown", "sentence": early}
    fifth = epochs // 5
    means = [sum(losses[first : first + fifth]) / fifth for first in range(epochs - fifth + 1)]
    recent, before, lowest = means[-1], means[-1 - fifth], min(means)
    best = min(range(epochs), key=losses.__getitem__)
    gain = (before - recent) / abs(before)
    if recent - lowest > _SLIGHT * abs(lowest):
        return {
            "state": "overfitting",
            "sentence": f"The loss of held-out cubes was lowest at epoch {best + 1} and has risen since: "
            "take the best network.",
        }
    middle = [sum(agreement[n * fifth : (n + 1) * fifth]) / fifth for n in (1, 2, 3)] if agreement else [0.0] * 3
    rise = (middle[2] - middle[0]) / 2
    clearly = gain > _CLEARLY * _SLIGHT or rise > _CLEARLY * _RISE
    state, word, helps = ("learning", "Not", "would") if clearly else ("perhaps", "Perhaps not", "may")
    if gain < _SLIGHT and rise > _RISE:
        return {
            "state": state,
            "sentence": f"{word} converged: the learning rate ran out while the network still learned; the predictions "
            f"of two halves agreed to {middle[0]:.2f} at a third of the training and to {middle[2]:.2f} at two thirds. "
            f"More epochs {helps} help.",
        }
    if gain < _SLIGHT:
        return {
            "state": "converged",
            "sentence": f"Converged: over the last {fifth} epochs the loss of held-out cubes fell by less than "
            f"{100 * _SLIGHT:g} %.",
        }
    return {
        "state": state,
        "sentence": f"{word} converged: over the last {fifth} epochs the loss of held-out cubes fell by "
        f"{100 * gain:.1f} %; more epochs {helps} help.",
    }

"""What a training begins with, reads and leaves to know: weights, maps, levels of noise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import BRIEF, SETTINGS, NoFigure, job_of, rows, run, tomograms, train

from isonet2 import log
from isonet2.errors import UserError
from isonet2.inference.networks import NetworkInfo, save_network
from isonet2.job.architectures import shape_of
from isonet2.models.registry import build_network
from isonet2.training import loop
from isonet2.training.learner import Learner

ONE_MAP = {**SETTINGS, "method": "isonet2"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isonet2.training.exports.loss_figure", NoFigure)


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tomograms(tmp_path_factory.mktemp("maps"))


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(log, "warn", said.append)
    return said


def network_file(path: Path, **info: Any) -> Path:
    """A network of divisor 2 with any history."""
    shape = shape_of("unet-tiny", {"channels": (4, 8), "convolutions": (1,)})
    known = NetworkInfo(
        **{"method": "isonet2-n2n", "arch": "unet-tiny", "cube_size": 8, "epoch": 1, "shape": shape, **info}
    )
    save_network(path, build_network(known.shape, seed=4), known)
    return path


def test_the_networks_of_two_halves_begin_apart(maps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what they invent alike, and the FSC of their maps could not tell, may come from their first weights."""
    first: list[dict[str, torch.Tensor]] = []

    class Watched(Learner):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            first.append({name: value.clone() for name, value in self.network.state_dict().items()})

    monkeypatch.setattr(loop, "Learner", Watched)
    train(job_of(tmp_path, rows(maps), refine={**SETTINGS, "method": "isonet2-n2n", "split_halves": True}), "refine")
    top, bottom = first
    kernels = [name for name, value in top.items() if value.ndim == 5]
    assert kernels
    assert not any(torch.equal(top[name], bottom[name]) for name in kernels)


def test_one_network_is_not_taken_for_two(maps: Path, tmp_path: Path) -> None:
    model = str(network_file(tmp_path / "n.pt"))
    job = job_of(tmp_path, rows(maps), predict={"model": model, "model2": model})
    with pytest.raises(UserError, match=r"predict\.model2: .*n\.pt is the same network as"):
        run(job, "predict")


def test_predict_says_which_part_each_network_saw_and_which_maps_it_read(maps: Path, tmp_path: Path) -> None:
    models = [str(network_file(tmp_path / f"{part}.pt", part=part)) for part in ("top", "bottom")]
    facts = run(job_of(tmp_path, rows(maps)[:1], predict={"model": models[0], "model2": models[1]}), "predict")
    assert facts["parts"] == ["top", "bottom"]
    assert facts["maps"] == {"t1_full": [str(maps / "t1_even.mrc"), str(maps / "t1_odd.mrc")]}


@pytest.mark.parametrize(("ctf", "column"), [({}, "other"), ({"CTF_mode": "network"}, "full")])
def test_predict_reads_what_was_trained_on_also_if_there_is_more_by_now(
    ctf: dict[str, Any], column: str, maps: Path, tmp_path: Path
) -> None:
    """Deconvolved maps, unless the network corrects the CTF: t1_other stands for them."""
    deconvolved = [replace(row, deconvolved=row.extra["rlnOther"]) for row in rows(maps)]
    network = train(job_of(tmp_path / "a", deconvolved, refine={**ONE_MAP, **ctf}), "refine").networks[0]
    facts = run(job_of(tmp_path / "b", deconvolved, predict={"model": str(network)}), "predict")
    assert facts["maps"]["t1_full"] == [str(maps / f"t1_{column}.mrc")]
    plain = train(job_of(tmp_path / "c", rows(maps), refine={**ONE_MAP, **ctf}), "refine").networks[0]
    facts = run(job_of(tmp_path / "d", deconvolved, predict={"model": str(plain)}), "predict")
    assert facts["maps"]["t1_full"] == [str(maps / "t1_full.mrc")]


def test_tomograms_of_which_some_are_deconvolved_are_refused(maps: Path, tmp_path: Path) -> None:
    one, other = rows(maps)
    mixed = [replace(one, deconvolved=one.extra["rlnOther"]), other]
    with pytest.raises(UserError, match="t2_full has no deconvolved tomogram, and others have"):
        train(job_of(tmp_path, mixed, refine=ONE_MAP), "refine")


def test_a_pretrained_network_of_another_use_of_the_ctf_is_warned_of(
    maps: Path, tmp_path: Path, warned: list[str]
) -> None:
    model = str(network_file(tmp_path / "n.pt", CTF_mode="network", bfactor=200.0))
    section = {**BRIEF, "method": "isonet2-n2n", "pretrained_model": model}
    train(job_of(tmp_path, rows(maps), refine=section), "refine")
    expected = (
        "pretrained_model: CTF_mode was network and is none now; bfactor was 200.0 and is 0.0 now: it has to learn"
    )
    assert [line for line in warned if line.startswith(expected)]
    warned.clear()
    same = {**section, "CTF_mode": "network", "bfactor": 200.0, "output_dir": "as before"}
    train(job_of(tmp_path, rows(maps), refine=same), "refine")
    assert not [line for line in warned if "pretrained_model" in line]


def test_cubes_are_checked_against_the_pretrained_network_and_not_against_arch(maps: Path, tmp_path: Path) -> None:
    """8 is all that unet-tiny can halve away, but not this one; 16 is too little for the other."""
    small, deep = (
        str(network_file(tmp_path / f"{len(c)}.pt", shape=shape_of("unet-tiny", {"channels": c, "convolutions": (1,)})))
        for c in ((4, 8), (4, 4, 4, 4, 4))
    )
    alone = {**BRIEF, "method": "isonet2-n2n", "batch_size": 1}
    train(job_of(tmp_path / "a", rows(maps), refine={**alone, "pretrained_model": small}), "refine")
    job = job_of(tmp_path / "b", rows(maps), refine={**alone, "cube_size": 16, "pretrained_model": deep})
    with pytest.raises(UserError, match=r"cube_size 16 leaves .*5\.pt one voxel at its deepest level"):
        train(job, "refine")


def test_progress_is_measured_at_the_last_level_of_noise_that_is_trained(
    maps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels: list[float] = []
    monkeypatch.setattr(loop, "validate", lambda *_, noise_level, **__: levels.append(noise_level) or {})
    section = {**ONE_MAP, "validation_share": 0.5, "noise_level": [0.2, 0.9], "noise_start_iter": [2, 3]}
    train(job_of(tmp_path, rows(maps, cubes=4), refine=section), "refine")
    assert levels == [0.2, 0.2]

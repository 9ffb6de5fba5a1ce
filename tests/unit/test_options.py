"""Every option of training × every method: it changes what it says, or it is refused.

Trainings of four steps with one option changed are compared with the same ones without. An option that is not in these
tables fails a test.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tiny import (
    BRIEF,
    METHODS,
    SETTINGS,
    STAGE,
    Trainer,
    job_of,
    refused,
    rows,
    same,
    tomograms,
    train,
    trainer,
    with_method,
)

from isonet2.job.models import Denoise, Refine
from isonet2.training import loop
from isonet2.training.setup import Setup


@dataclass(frozen=True)
class Case:
    """A changed value and what it needs beside it; what it changes, and for which methods."""

    value: Any
    beside: dict[str, Any] = field(default_factory=dict)
    methods: tuple[str, ...] = METHODS
    changes: str = "weights"
    instead: dict[str, Any] = field(default_factory=lambda: SETTINGS)
    """Of the usual settings, also in the training that it is compared with, unless that is to have others."""
    against: dict[str, Any] | None = None


NETWORK_CTF = {"CTF_mode": "network"}
WIENER = {"CTF_mode": "wiener"}
NOISE = {"noise_level": 0.5}
OF_REFINE = ("isonet2", "isonet2-n2n")
OF_ONE_MAP = ("isonet2",)
TRAINING = {
    "output_dir": Case("elsewhere", changes="folder"),
    "arch": Case("unet-residual"),
    "pretrained_model": Case("PRETRAINED", instead=BRIEF, against=SETTINGS),
    "freeze": Case("encoder", {"pretrained_model": "PRETRAINED"}, instead=BRIEF),
    "cube_size": Case(16),
    "epochs": Case(3),
    "batch_size": Case(3),
    "acc_batches": Case(2),
    "loss_func": Case("L1"),
    "optimizer": Case("adamw"),
    "learning_rate": Case(1e-2),
    "learning_rate_min": Case(9e-4),
    "warmup_steps": Case(1),
    "ema_decay": Case(0.0),
    "CTF_mode": Case("network"),
    "clip_first_peak_mode": Case(1, NETWORK_CTF),
    "bfactor": Case(300, WIENER),
    "phaseflipped": Case(True, WIENER),
    "do_phaseflip_input": Case(False, NETWORK_CTF),
    "snrfalloff": Case(0.3, WIENER),
    "deconvstrength": Case(0.5, WIENER),
    "highpassnyquist": Case(0.3, WIENER),
    "with_mask": Case(True),
    "mask_loss": Case(True, {"with_mask": True}),
    "split_halves": Case(True),
    "validation_share": Case(0.25, {"batch_size": 1}),
    "mixed_precision": Case(False),
    "save_interval": Case(1, changes="files"),
    "with_preview": Case(True, changes="files"),
    "prev_tomo_idx": Case(2, {"with_preview": True}, changes="files"),
    "checkpoint_minutes": Case(1e-9, changes="files"),
    "keep_checkpoints": Case(1, {"checkpoint_minutes": 1e-9}, changes="files"),
    "loader_workers": Case(1, changes="loader"),
    "adds_input": Case(True),
    "channels": Case([4, 6]),
    "convolutions": Case(2),
    "block": Case("residual"),
    "attention": Case(True),
    "normalisation": Case("instance"),
    "activation": Case("relu"),
}
REFINE = {
    "method": Case("isonet2", {"method": "isonet2-n2n"}, ("isonet2-n2n",)),
    "input_column": Case("rlnOther", methods=OF_ONE_MAP),
    "noise_level": Case(0.5, methods=OF_ONE_MAP),
    "noise_start_iter": Case(2, NOISE, OF_ONE_MAP),
    "noise_mode": Case("ramp", NOISE, OF_ONE_MAP),
    "mw_weight": Case(0.0, methods=OF_REFINE),
    "apply_mw_x1": Case(False, methods=OF_REFINE),
    "random_rot_weight": Case(1.0, methods=OF_REFINE),
    "with_deconv": Case(True, methods=OF_ONE_MAP),
}
TABLE = {**TRAINING, **REFINE}


def test_every_option_of_training_is_in_the_table() -> None:
    assert set(Denoise.model_fields) - {"with_predict"} == set(TRAINING)  # that is a stage more, see test_idle_options
    assert set(Refine.model_fields) - {"with_predict"} == set(TABLE)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainer]:
    with trainer(tmp_path_factory.mktemp("trainings")) as make:
        yield make


CASES = [(method, name) for name, case in TABLE.items() for method in case.methods]


@pytest.mark.parametrize(("method", "name"), CASES)
def test_an_option_changes_what_it_says(
    method: str, name: str, trained: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = TABLE[name]
    workers: list[int] = []
    original = loop.load_batches
    monkeypatch.setattr(
        loop, "load_batches", lambda *a, **k: (workers.append(k["workers"]), original(*a, **{**k, "workers": 0}))[1]
    )
    plain = {**case.instead, **case.beside}
    before, after = trained(method, case.against or plain), trained(method, {**plain, name: case.value})
    assert same(before.weights, after.weights) is (case.changes != "weights")
    if case.changes == "files":
        assert before.files != after.files
    if case.changes == "folder":
        assert (before.folder.name, after.folder.name) == ("isonet_maps", "elsewhere")
        assert before.files.keys() == after.files.keys()
    if case.changes == "loader":
        assert workers[-1] == 1


def test_levels_of_noise_begin_at_their_epochs(trained: Trainer) -> None:
    schedules = [((0.0,), (1,)), ((0.5,), (1,)), ((0.5,), (2,)), ((0.5, 0.9), (1, 2)), ((0.5,), (3,))]
    found = [
        trained("isonet2", {**SETTINGS, "noise_level": levels, "noise_start_iter": starts}).weights
        for levels, starts in schedules
    ]
    alike = [(n, m) for n in range(len(found)) for m in range(n) if same(found[n], found[m])]
    assert alike == [(4, 0)]  # two epochs end before the third
    section = Refine(noise_level=(0.1, 0.2, 0.0), noise_start_iter=(2, 4, 5))
    assert [Setup(section, "isonet2").noise_level(epoch) for epoch in range(6)] == [0, 0.1, 0.1, 0.2, 0, 0]


def test_the_same_settings_train_the_same_network(tmp_path: Path, trained: Trainer) -> None:
    """Or else nothing above says anything."""
    maps = tomograms(tmp_path / "maps")
    for method in METHODS:
        sections = {STAGE[method]: with_method(SETTINGS, method)}
        again = train(job_of(tmp_path / method, rows(maps), **sections), STAGE[method])
        assert same(again.weights, trained(method, SETTINGS).weights)


ELSEWHERE = [
    (method, name) for name, case in TABLE.items() for method in METHODS if method not in case.methods
]  # fmt: skip


@pytest.mark.parametrize(("method", "name"), [each for each in ELSEWHERE if each[1] != "method"])
def test_an_option_of_another_method_is_refused(method: str, name: str, tmp_path: Path) -> None:
    case = TABLE[name]
    settings = with_method({**case.instead, **case.beside, name: case.value}, method)
    lines = refused(tmp_path, {STAGE[method]: settings})
    if method == "n2n":
        assert any(f"denoise.{name}: unknown key" in line for line in lines)
    else:
        assert any(f"refine: {name} has no effect: isonet2-n2n " in line for line in lines)

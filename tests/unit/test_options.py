"""Every option × every method: it changes what it should, or it is refused in a job file and left out of a command.

Trainings of four steps with one option changed are compared with the same ones without. An option that is not in these
tables fails a test.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import BRIEF, METHODS, SETTINGS, STAGE, NoFigure, Trained, job_of, rows, run, same, tomograms, train

from isonet2 import log
from isonet2.data.cache import CubeCache
from isonet2.errors import UserError
from isonet2.io.mrc import open_volume, read_header, write_mrc
from isonet2.io.star import read_star
from isonet2.job.flags import job_from_flags
from isonet2.job.load import load_job
from isonet2.job.models import Deconv, Denoise, Extract, Job, Predict, Refine, Section
from isonet2.job.training import _RULES
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
    assert set(Denoise.model_fields) == set(TRAINING)
    assert set(Refine.model_fields) == set(TABLE)


def with_method(settings: dict[str, Any], method: str) -> dict[str, Any]:
    return settings if method == "n2n" else {"method": method, **settings}


Trainer = Callable[[str, dict[str, Any]], Trained]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainer]:
    """Trains with some settings; once with the same ones."""
    folder = tmp_path_factory.mktemp("trainings")
    maps, done = tomograms(folder / "maps"), {}

    def make(method: str, settings: dict[str, Any]) -> Trained:
        key = json.dumps([method, settings], sort_keys=True)
        if key not in done:
            given = dict(settings)
            if "pretrained_model" in given:
                given["pretrained_model"] = str(make("isonet2-n2n", SETTINGS).networks[0])
            sections = {STAGE[method]: with_method(given, method), "extract": {"cache_dir": str(folder / "cache")}}
            done[key] = train(job_of(folder / str(len(done)), rows(maps), **sections), STAGE[method])
        return done[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("isonet2.models.compute._cpu_has_bfloat16", lambda: True)
        patch.setattr("isonet2.training.exports.loss_figure", NoFigure)
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


def refused(folder: Path, sections: dict[str, Any]) -> list[str]:
    path = folder / "job.json"
    parts = []  # a setting a line
    for section, settings in sections.items():
        inner = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in settings.items())
        parts.append(f'"{section}": {{\n{inner}}}')
    path.write_text("{" + ",\n".join(parts) + "}")
    with pytest.raises(UserError) as caught:
        load_job(path)
    return str(caught.value).replace(f"{folder}/", "").splitlines()


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


SPLIT_DECONV = {"method": "isonet2", "with_deconv": True}
IDLE: list[tuple[str, dict[str, Any], dict[str, str]]] = [
    # section, settings, those without effect and a word of why
    ("refine", {"bfactor": 200}, {"bfactor": "set CTF_mode to network or wiener"}),
    ("denoise", {"CTF_mode": "phase_only", "bfactor": 200}, {"bfactor": "set CTF_mode"}),
    ("refine", {"clip_first_peak_mode": 2}, {"clip_first_peak_mode": "set CTF_mode"}),
    ("refine", {"phaseflipped": True}, {"phaseflipped": "set CTF_mode"}),
    ("denoise", {"do_phaseflip_input": False}, {"do_phaseflip_input": "set CTF_mode"}),
    ("refine", {**SPLIT_DECONV, "do_phaseflip_input": False}, {"do_phaseflip_input": "set CTF_mode"}),
    ("refine", {**NETWORK_CTF, "phaseflipped": True, "do_phaseflip_input": False}, {"do_phaseflip_input": "already"}),
    ("denoise", {"CTF_mode": "phase_only", "do_phaseflip_input": False}, {"CTF_mode": "here it flips none"}),
    ("denoise", {"CTF_mode": "phase_only", "phaseflipped": True}, {"CTF_mode": "here it flips none"}),
    ("refine", {**NETWORK_CTF, "snrfalloff": 0.7}, {"snrfalloff": "CTF_mode to wiener, or with_deconv"}),
    ("refine", {"deconvstrength": 0.7}, {"deconvstrength": "CTF_mode to wiener, or with_deconv"}),
    ("denoise", {"highpassnyquist": 0.1}, {"highpassnyquist": "CTF_mode to wiener"}),
    ("refine", {"freeze": "encoder"}, {"freeze": "no pretrained_model"}),
    ("refine", {"pretrained_model": "n.pt", "arch": "unet-small"}, {"arch": "keeps its architecture"}),
    *(
        ("refine", {"pretrained_model": "n.pt", name: TRAINING[name].value}, {name: "keeps its architecture"})
        for name in ("adds_input", "channels", "convolutions", "block", "attention", "normalisation", "activation")
    ),
    ("refine", {"arch": "vtunet", "cube_size": 64, "block": "residual"}, {"block": "part of unet networks"}),
    ("refine", {"with_preview": False, "prev_tomo_idx": 2}, {"prev_tomo_idx": "with_preview is off"}),
    ("refine", {"method": "isonet2", "noise_mode": "ramp"}, {"noise_mode": "noise_level is 0"}),
    ("refine", {"noise_start_iter": 5}, {"noise_start_iter": "noise_level is 0"}),
    ("refine", {"method": "isonet2", **NETWORK_CTF, "with_deconv": True}, {"with_deconv": "leave out one of them"}),
    ("refine", {**SPLIT_DECONV, "input_column": "rlnOther"}, {"with_deconv": "input_column names other maps"}),
    (
        "refine",
        {"method": "isonet2-n2n", "noise_level": [0.1, 0.2], "noise_start_iter": [1, 9], "noise_mode": "ramp"},
        dict.fromkeys(("noise_level", "noise_start_iter", "noise_mode"), "has the noise of the halves"),
    ),
    (
        "refine",
        {"method": "isonet2-n2n", "input_column": "rlnOther", "with_deconv": True},
        {"input_column": "reads the two halves", "with_deconv": "reads the two halves|input_column names"},
    ),
    ("predict", {"model": "n", "phaseflipped": True, "do_phaseflip_input": False}, {"do_phaseflip_input": "already"}),
    ("extract", {"cache_refresh_epochs": 3}, {"cache_refresh_epochs": "trains nothing"}),
]  # fmt: skip


def test_every_rule_about_options_without_effect_is_in_the_list() -> None:
    listed = {name for _, _, idle in IDLE for name in idle}
    assert {name for names, _, _ in _RULES for name in names} <= listed


@pytest.mark.parametrize(("section", "settings", "idle"), IDLE)
def test_options_without_effect_are_refused_in_a_job_file(
    section: str, settings: dict[str, Any], idle: dict[str, str], tmp_path: Path
) -> None:
    lines = refused(tmp_path, {section: settings})
    assert len(lines) == len(idle)
    for line, (name, reason) in zip(lines, idle.items(), strict=True):
        assert line.startswith(f"job.json:{2 + list(settings).index(name)}: {section}")
        assert f"{name} has no effect: " in line
        assert any(words in line for words in reason.split("|"))


@pytest.mark.parametrize(("section", "settings", "idle"), IDLE)
def test_options_without_effect_are_left_out_of_a_command_with_a_line_each(
    section: str, settings: dict[str, Any], idle: dict[str, str]
) -> None:
    def flags(names: Any) -> list[str]:
        texts = {
            name: ",".join(map(str, value)) if isinstance(value, list) else str(value)
            for name, value in settings.items()
        }
        return [f"--{name}={texts[name]}" for name in names]

    lines: list[str] = []
    job = job_from_flags(section, flags(settings), lines.append)
    left_out = {line.split(" ", 1)[0].removeprefix("--") for line in lines}
    assert left_out >= set(idle)
    assert all(" has no effect and is left out: " in line for line in lines)
    unasked: list[str] = []
    assert job == job_from_flags(section, flags(name for name in settings if name not in left_out), unasked.append)
    assert unasked == []


def test_all_that_has_no_effect_is_said_at_once_beside_other_mistakes(tmp_path: Path) -> None:
    sections = {"denoise": {"bfactor": 9, "freeze": "encoder"}, "predict": {"tile_batch": 0}}
    assert refused(tmp_path, sections) == [
        "job.json:2: denoise: bfactor has no effect: it shapes the CTF: set CTF_mode to network or wiener",
        "job.json:3: denoise: freeze has no effect: there is no pretrained_model",
        "job.json:5: predict.tile_batch: got 0, needs a whole number ≥ 1",
    ]


def test_what_a_section_for_deconv_says_itself_refine_cannot_say_too(tmp_path: Path) -> None:
    refine = {"method": "isonet2", "with_deconv": True, "snrfalloff": 0.7}
    assert load_of(tmp_path, {"refine": refine}).deconv == Deconv(snrfalloff=0.7)
    assert load_of(tmp_path, {"refine": refine, "deconv": {"snrfalloff": 0.7, "chunk_size": 64}}).deconv
    [line] = refused(tmp_path, {"refine": refine, "deconv": {}})
    assert line == "job.json:4: refine.snrfalloff has no effect: the section deconv has its own, 1.0"


def load_of(folder: Path, sections: dict[str, Any]) -> Any:
    (folder / "job.json").write_text(json.dumps(sections))
    return load_job(folder / "job.json")


@pytest.mark.parametrize("given", [True, "yes", "on"])
@pytest.mark.parametrize(("name", "needed"), [("with_mask", {"make_mask"}), ("with_deconv", {"make_mask", "deconv"})])
def test_short_words_for_other_stages_bring_them_however_they_are_given(
    given: Any, name: str, needed: set[str], tmp_path: Path
) -> None:
    jobs = [
        load_of(tmp_path, {"refine": {"method": "isonet2", name: given}}),
        Job(refine=Refine.model_validate({"method": "isonet2", name: given})),
        Job(refine=Refine.model_validate({"method": "isonet2", name: given}), make_mask=None, deconv=None),
        job_from_flags("refine", ["--method", "isonet2", f"--{name}={given}"]),
    ]
    for job in jobs:
        assert {stage for stage in ("make_mask", "deconv") if getattr(job, stage) is not None} == needed


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(log, "warn", lines.append)
    return lines


@pytest.mark.parametrize(
    ("settings", "changes", "line"),
    [
        ({"CTF_mode": "phase_only", "do_phaseflip_input": False}, {"tomogram": None}, "CTF_mode has no effect: phase_"),
        ({"method": "isonet2-n2n", "with_mask": True}, {"coordinates": "p.txt"}, "with_mask has no effect: cubes are"),
        ({"method": "isonet2", "noise_level": 0.1, "noise_start_iter": 9}, {}, "noise_start_iter: training ends"),
        (None, {"coordinates": "p.txt"}, "extract.cache_refresh_epochs has no effect: cubes are cut"),
    ],
)  # fmt: skip
def test_what_only_the_tomograms_leave_without_effect_is_said_in_a_line(
    settings: dict[str, Any] | None, changes: dict[str, Any], line: str, tmp_path: Path, warned: list[str]
) -> None:
    (tmp_path / "p.txt").write_text("12 12 10\n10 10 10\n")
    extract = {"cache_refresh_epochs": 1} if settings is None else {}
    section = {**SETTINGS, **(settings or {"method": "isonet2"})}
    listed = rows(tomograms(tmp_path / "maps"), **changes)
    train(job_of(tmp_path, listed, refine=section, extract=extract), "refine")
    assert [each[: len(line)] for each in warned] == [line]


def test_a_training_without_idle_settings_warns_of_nothing(tmp_path: Path, warned: list[str]) -> None:
    section = {
        **SETTINGS,
        "method": "isonet2",
        "noise_level": [0.1, 0.2],
        "noise_start_iter": [1, 2],
        "with_mask": True,
    }
    train(job_of(tmp_path, rows(tomograms(tmp_path / "maps")), refine=section), "refine")
    assert warned == []


@dataclass(frozen=True)
class Output:
    """A changed value, of which network it is an option, and what it changes."""

    value: Any
    network: str = "plain"
    changes: str = "maps"
    beside: dict[str, Any] = field(default_factory=dict)


PREDICT = {
    "model": Output("NETWORK network"),
    "model2": Output("NETWORK other"),
    "output_dir": Output("elsewhere", changes="names"),
    "output_prefix": Output("mine", changes="names"),
    "input_column": Output("rlnOther"),
    "apply_mw_x1": Output(False),
    "phaseflipped": Output(True, "network"),
    "do_phaseflip_input": Output(False, "network"),
    "padding_factor": Output(2.5),
    "tile_batch": Output(3, changes="nothing"),
    "mixed_precision": Output(False),
    "average_turns": Output(False),
    "keep_halves": Output(False, changes="names"),
    "tomo_idx": Output("2", changes="names"),
}


def test_every_option_of_predict_is_in_the_table() -> None:
    assert set(Predict.model_fields) == set(PREDICT)


NETWORKS = {
    "plain": ("isonet2-n2n", SETTINGS),
    "other": ("isonet2-n2n", {**SETTINGS, "loss_func": "L1"}),
    "network": ("isonet2-n2n", {**SETTINGS, **NETWORK_CTF}),
    "denoising": ("n2n", SETTINGS),
    "as it is": ("isonet2-n2n", {**SETTINGS, **NETWORK_CTF, "do_phaseflip_input": False}),
    "one map": ("isonet2", {**SETTINGS, "input_column": "rlnOther"}),
}


@pytest.fixture
def predicted(tmp_path: Path, trained: Trainer) -> Callable[..., dict[str, np.ndarray]]:
    """Predicts a tomogram: the maps by their file's name below the job's folder."""
    maps = tomograms(tmp_path / "maps")

    def make(network: str, **options: Any) -> dict[str, np.ndarray]:
        folder = tmp_path / f"job{len(list(tmp_path.iterdir()))}"
        given = {"model": f"NETWORK {network}", "tomo_idx": "1", "padding_factor": 1.1, **options}  # few tiles
        for name in ("model", "model2"):
            if name in given:
                given[name] = str(trained(*NETWORKS[given[name].removeprefix("NETWORK ")]).networks[0])
        job = job_of(folder, rows(maps), predict=given)
        found = {}
        for name in run(job, "predict")["outputs"]:
            with open_volume(folder / name) as volume:
                found[name] = volume[0:20]
        return found

    return make


@pytest.mark.parametrize("name", PREDICT)
def test_an_option_of_predict_changes_what_it_says(
    name: str, predicted: Callable[..., dict[str, np.ndarray]], warned: list[str]
) -> None:
    case = PREDICT[name]
    before = predicted(case.network, **case.beside)
    after = predicted(case.network, **case.beside, **{name: case.value})
    assert warned == []
    if case.changes == "names":
        assert before.keys() != after.keys()
    if case.changes == "nothing":
        assert all(np.allclose(before[path], after[path], atol=0.05 * before[path].std()) for path in before)
    elif case.changes == "maps":
        means = [path for path in before if "_half" not in path]
        assert len(means) == 1
        assert not any(np.array_equal(before[path], after[path]) for path in means)


@pytest.mark.parametrize(
    ("network", "options", "lines"),
    [
        ("plain", {"phaseflipped": True}, ["predict.phaseflipped has no effect: no CTF was corrected in training"]),
        (
            "as it is",
            {"phaseflipped": True},
            ["predict.phaseflipped has no effect: the network takes maps as they are"],
        ),
        ("denoising", {"apply_mw_x1": False}, ["predict.apply_mw_x1 has no effect: the network was trained without"]),
        (
            "plain",
            {"model2": "NETWORK other", "keep_halves": False},
            ["predict.keep_halves has no effect: of two networks the half maps are always written"],
        ),
        (
            "denoising",
            {"do_phaseflip_input": False},
            ["predict.do_phaseflip_input has no effect: no CTF was corrected in training"],
        ),
    ],
)  # fmt: skip
def test_an_option_that_a_network_leaves_without_effect_is_said_and_has_none(
    network: str,
    options: dict[str, Any],
    lines: list[str],
    predicted: Callable[..., dict[str, np.ndarray]],
    warned: list[str],
) -> None:
    with_it = predicted(network, **options)
    assert warned == lines
    name = lines[0].split(" ")[0].removeprefix("predict.")
    without = predicted(network, **{key: value for key, value in options.items() if key != name})
    assert with_it.keys() == without.keys()
    assert all(np.array_equal(with_it[path], without[path]) for path in without)


def test_two_networks_that_read_tomograms_in_two_ways_are_no_pair(
    predicted: Callable[..., dict[str, np.ndarray]],
) -> None:
    with pytest.raises(UserError, match=r"predict\.model2: .* was trained in another way than"):
        predicted("network", model2="NETWORK as it is")


def test_predict_reads_the_column_that_was_trained_on(predicted: Callable[..., dict[str, np.ndarray]]) -> None:
    asked, by_itself = predicted("one map", input_column="rlnOther"), predicted("one map")
    assert all(np.array_equal(asked[path], by_itself[path]) for path in asked)
    full = predicted("one map", input_column="rlnTomoName")
    assert not any(np.array_equal(asked[path], full[path]) for path in asked)


@dataclass(frozen=True)
class Kept:
    """A changed value of an option of deconv or extract."""

    value: Any
    changes: str = "content"
    beside: dict[str, Any] = field(default_factory=dict)


SHORT = {"highpassnyquist": 1.0}  # the reach of the filter, and with it the work
DECONV = {
    "input_column": Kept("rlnOther"),
    "output_dir": Kept("elsewhere", "names"),
    "snrfalloff": Kept(0.3),
    "deconvstrength": Kept(2.0),
    "highpassnyquist": Kept(0.5),
    "chunk_size": Kept(32),
    "overlap_rate": Kept(1.0, beside={"chunk_size": 32}),
    "phaseflipped": Kept(True),
    "tomo_idx": Kept("1", "names"),
}
EXTRACT = {
    "cache_dir": Kept("elsewhere", "names"),
    "cube_size": Kept(16, beside={"cube_size": 8}),
    "margin": Kept(2),
    "dtype": Kept("float32"),
    "cache_refresh_epochs": Kept(1, "training"),
    "tomo_idx": Kept("1"),
    "verify": Kept(True, "names"),
}


@pytest.mark.parametrize(("section", "table"), [(Deconv, DECONV), (Extract, EXTRACT)])
def test_every_option_of_deconv_and_extract_is_in_its_table(section: type[Section], table: dict[str, Kept]) -> None:
    assert set(section.model_fields) == set(table)


@pytest.fixture(scope="module")
def long_maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Longer than the smallest chunk."""
    folder = tmp_path_factory.mktemp("long")
    rng = np.random.default_rng(1)
    for name in ("t1_full", "t2_full", "t1_other", "t2_other"):
        write_mrc(folder / f"{name}.mrc", rng.standard_normal((20, 24, 40)).astype(np.float32), pixel_size_angstrom=10)
    return folder


@pytest.mark.parametrize("name", DECONV)
def test_an_option_of_deconv_changes_the_maps(name: str, long_maps: Path, tmp_path: Path) -> None:
    case = DECONV[name]

    def deconvolved(folder: str, **options: Any) -> dict[str, np.ndarray]:
        job = job_of(
            tmp_path / folder, rows(long_maps, half1=None, half2=None), deconv={**SHORT, **case.beside, **options}
        )
        outputs = run(job, "deconv")["outputs"]
        named = [row.deconvolved for row in read_star(job.path("tomograms.star")) if row.deconvolved]
        assert named == outputs
        found = {}
        for path in outputs:
            with open_volume(job.path(path)) as volume:
                found[path] = volume[0 : read_header(job.path(path)).shape[0]]
        return found

    before, after = deconvolved("before"), deconvolved("after", **{name: case.value})
    if case.changes == "names":
        assert before.keys() != after.keys()
    else:
        assert before.keys() == after.keys()
        assert not any(np.array_equal(before[path], after[path]) for path in before)


@pytest.mark.parametrize("name", EXTRACT)
def test_an_option_of_extract_changes_the_cubes(name: str, tmp_path: Path, trained: Trainer) -> None:
    case = EXTRACT[name]
    maps = tomograms(tmp_path / "maps")
    if case.changes == "training":
        sections = {"extract": {name: case.value}, "refine": with_method(SETTINGS, "isonet2-n2n")}
        other = train(job_of(tmp_path / "job", rows(maps), **sections), "refine")
        assert not same(other.weights, trained("isonet2-n2n", SETTINGS).weights)
        return

    def cut(folder: str, **options: Any) -> tuple[str, str]:
        job = job_of(tmp_path / folder, rows(maps), extract={"cube_size": 8, **case.beside, **options})
        [index] = run(job, "extract")["outputs"]
        return str(Path(index).relative_to(job.folder)), CubeCache(Path(index).parent).content

    before, after = cut("before"), cut("after", **{name: case.value})
    assert before[0] != after[0]
    assert (before[1] == after[1]) is (case.changes == "names")

"""Options without effect: a mistake in a job file, left out of a command; or said once the tomograms are known."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from samples import torch_set
from tiny import SETTINGS, job_of, refused, rows, run, tomograms, train

from isonet2 import cli, commands, log
from isonet2.job.flags import job_from_flags
from isonet2.job.load import load_job
from isonet2.job.models import Deconv, Job, Refine
from isonet2.job.training import _RULES
from isonet2.stages import deconv

NETWORK_CTF = {"CTF_mode": "network"}
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
        ("refine", {"pretrained_model": "n.pt", name: value}, {name: "keeps its architecture"})
        for name, value in {
            "adds_input": True, "channels": [4, 6], "convolutions": 2, "block": "residual", "attention": True,
            "normalisation": "none", "activation": "relu",
        }.items()
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


def load_of(folder: Path, sections: dict[str, Any]) -> Any:
    (folder / "job.json").write_text(json.dumps(sections))
    return load_job(folder / "job.json")


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


def test_a_command_says_on_stderr_what_it_leaves_out_once_for_all_ranks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs: list[Job] = []
    monkeypatch.setattr(commands, "_checked", lambda job: job)
    pipeline = SimpleNamespace(run=lambda job, **_: jobs.append(job))
    monkeypatch.setitem(sys.modules, "isonet2.pipeline", pipeline)
    for rank in (0, 1):
        for name, value in torch_set(rank, 2).items():
            monkeypatch.setenv(name, value)
        assert cli.main(["refine", "t.star", "--bfactor", "200", "--epochs", "3"]) == 0
    assert jobs == [Job(star_file="t.star", refine=Refine(epochs=3))] * 2
    assert capsys.readouterr().err == (
        "isonet2: warning: --bfactor has no effect and is left out: "
        "it shapes the CTF: set CTF_mode to network or wiener\n"
    )


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


@pytest.mark.parametrize("given", [True, "yes", "on"])
@pytest.mark.parametrize(
    ("name", "needed"),
    [("with_mask", {"make_mask"}), ("with_deconv", {"make_mask", "deconv"}), ("with_predict", {"predict"})],
)
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
        assert {stage for stage in ("make_mask", "deconv", "predict") if getattr(job, stage) is not None} == needed


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


@pytest.mark.parametrize(
    ("overlap_rate", "lines"),
    [
        (0.25, []),
        (0.5, ["deconv: overlap_rate 0.5 makes a halo of 8 voxels around a chunk: that of the filter, 10 voxels, is "]),
        (0.75, []),  # 12 voxels: more than the first tomogram needs
        (1.0, []),
    ],
)
def test_an_overlap_below_the_halo_of_the_filter_is_said_once_if_no_tomogram_needs_less(
    overlap_rate: float, lines: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(deconv, "warn", said.append)
    first, second = rows(tomograms(tmp_path / "maps"))
    listed = [first, replace(second, defocus_angstrom=80000.0)]  # the filter reaches 10 and 18 voxels
    run(
        job_of(tmp_path, listed, deconv={"highpassnyquist": 1.0, "chunk_size": 32, "overlap_rate": overlap_rate}),
        "deconv",
    )
    assert [line[: len(begins)] for line, begins in zip(said, lines, strict=True)] == lines

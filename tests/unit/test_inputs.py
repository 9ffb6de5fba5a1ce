"""What a job names and is not there, or cannot be: said early, in one line, where the user has written it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isonet2.cli import main
from isonet2.data.inputs import unusable_outputs
from isonet2.io.mrc import write_mrc
from isonet2.io.star import TomogramRow, write_star
from isonet2.job.models import Job
from isonet2.job.places import Place, placed
from isonet2.job.settings import did_you_mean

JOB = """\
prepare_star:
  even: evn
  odd: odd

make_mask:
refine: {cube_size: 16, CTF_mode: network}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a pair of halves, a list of it, and a job that misspells one of their folders."""
    monkeypatch.chdir(tmp_path)
    for half in ("even", "odd"):
        write_mrc(tmp_path / half / "t.mrc", np.ones((32, 40, 48), np.float32), pixel_size_angstrom=10)
    write_star(
        tmp_path / "tomograms.star",
        [
            TomogramRow(
                index=1, half1="even/t.mrc", half2="odd/t.mrc", pixel_size_angstrom=10.0, tilt_min_deg=-60.0,
                tilt_max_deg=60.0, number_subtomos=9,
            )
        ],
    )  # fmt: skip
    (tmp_path / "job.yaml").write_text(JOB)
    return tmp_path


def said(arguments: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Of a command that ends before anything is begun."""
    assert main(arguments.split()) == 64
    shown = capsys.readouterr()
    assert shown.out == ""
    return shown.err.removeprefix("isonet2: ").rstrip("\n").split("\n")


def network(folder: Path, *names: str) -> None:
    (folder / "isonet_maps").mkdir(exist_ok=True)
    for name in names:
        (folder / "isonet_maps" / f"network_{name}.pt").touch()


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        ("validate job.yaml",
         ["job.yaml:2: prepare_star.even: folder 'evn' is not there (seen from HERE) (did you mean 'even'?)"]),
        ("run job.yaml --set prepare_star.even=nix --set prepare_star.mask_folder=even/t.mrc",
         ["--set prepare_star.even=nix: folder 'nix' is not there (seen from HERE)",
          "--set prepare_star.mask_folder=even/t.mrc: 'even/t.mrc' is a file, where a folder is needed"]),
        ("prepare_star --even even --odd /nix", ["--odd: folder '/nix' is not there"]),
        ("prepare_star nix", ["--full: folder or file 'nix' is not there (seen from HERE)"]),
        ("make_mask even", ["--star_file: 'even' is a folder, where a list is needed"]),
        ("refine tomogram.star",
         ["--star_file: list 'tomogram.star' is not there (seen from HERE) (did you mean 'tomograms.star'?)"]),
        ("refine tomograms.star --cube_size 64",
         ["--cube_size: 64 is too large for t, which has 32×40×48 voxels (z, y, x): take a smaller cube"]),
        ("plan job.yaml --set prepare_star.even=even --set refine.prev_tomo_idx=4",
         ["tomo_idx '4': there is no tomogram 4; there are 1",
          "job.yaml:6: refine: rlnDefocus of t is 0: it has to be the underfocus at 0° in Å, as in 30000, by "
          "prepare_star's defocus or in the list"]),
        ("deconv tomograms.star --defocus 3", ["unknown option --defocus"]),
        ("refine tomograms.star --lr 1e-4 --bs 2 --input rlnTomoName --learning-rat 1",
         ["unknown option --lr (did you mean '--learning_rate'?)", "unknown option --bs (did you mean '--batch_size'?)",
          "unknown option --input (did you mean '--input_column'?)",
          "unknown option --learning-rat (did you mean '--learning_rate'?)"]),
    ],
)  # fmt: skip
def test_a_mistake_is_said_where_it_was_made(
    arguments: str, lines: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(arguments, capsys) == [line.replace("HERE", str(folder)) for line in lines]


@pytest.mark.parametrize(
    ("there", "end"),
    [
        ((), "refine leaves it in isonet_maps/, where there is none yet"),
        (("a_full", "a_epoch010_full", "a_best_full"), "there is isonet_maps/network_a_full.pt"),
        (("a_top", "a_bottom"), "there are isonet_maps/network_a_bottom.pt, isonet_maps/network_a_top.pt"),
    ],
)
def test_predict_without_a_network_says_where_there_are_some(
    there: tuple[str, ...], end: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network(folder, *there)
    assert said("predict tomograms.star", capsys) == [f"--model: name a network file; {end}"]
    assert said("predict tomograms.star nix.pt", capsys) == [
        f"--model: file 'nix.pt' is not there (seen from {folder}); {end}"
    ]
    (folder / "p.yaml").write_text("\npredict:\n")
    assert said("run p.yaml", capsys) == [f"p.yaml:2: predict.model: name a network file; {end}"]


@pytest.mark.parametrize(
    ("defocus", "end"), [(3.5, "µm: give it in Å, as in 35000"), (350, "nm: give it in Å, as in 3500"), (35000, "")]
)
def test_a_defocus_in_another_unit_is_warned_of(defocus: float, end: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = f"validate job.yaml --set prepare_star.even=even --set prepare_star.defocus={defocus}"
    assert main(arguments.split()) == 0
    warned = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    assert warned == ([f"warning: defocus {defocus} of t looks like {end}"] if end else [])
    assert main(f"prepare_star --even even --odd odd --defocus {defocus}".split()) == 0
    assert (f"warning: defocus {defocus} of t looks like {end}" in capsys.readouterr().err) is bool(end)


def test_outputs_need_a_folder_that_can_be_written_to(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job(refine={"output_dir": "tomograms.star/x"}, extract={"cache_dir": "locked/cache"}, make_mask={}, report={})
    (folder / "locked").mkdir()
    monkeypatch.setattr("isonet2.data.inputs.os.access", lambda path, _: path.name != "locked")
    assert list(unusable_outputs(job.in_folder(folder)).values()) == [
        f"extract.cache_dir: {folder}/locked cannot be written to: choose another folder",
        f"refine.output_dir: {folder}/tomograms.star is a file, where a folder is needed",
    ]


def test_what_a_job_makes_itself_is_not_missing(capsys: pytest.CaptureFixture[str]) -> None:
    Path("own.yaml").write_text(
        "simulate: {count: 1}\nprepare_star: {even: simulated/even, odd: simulated/odd}\n"
        "refine:\npredict: {model: isonet_maps/network.pt}\nreport: {truth_folder: simulated/truth}\n"
    )
    assert main(["validate", "own.yaml"]) == 0
    assert "no mistakes found" in capsys.readouterr().out


def test_only_lines_that_begin_with_a_key_get_a_place() -> None:
    places: dict[Any, Place] = {
        (): Place(0, "j.yaml"), ("refine",): Place(3, "j.yaml:3", "refine"),
        ("refine", "epochs"): Place(4, "j.yaml:4", "refine.epochs"), ("seed",): Place(9, "--set seed=1"),
    }  # fmt: skip
    lines = {
        "refine.epochs 5 is few": "j.yaml:4: refine.epochs 5 is few",
        "refine.arch: wrong": "j.yaml:3: refine.arch: wrong",
        "seed: wrong": "--set seed=1: wrong",
        "predict.model: wrong": "predict.model: wrong",
        "a/t.mrc: refine.epochs": "a/t.mrc: refine.epochs",
        "": "",
    }
    assert placed("\n".join(lines), places) == "\n".join(lines.values())


@pytest.mark.parametrize(
    ("word", "meant"),
    [("lr", "learning_rate"), ("epoch", "epochs"), ("input", "input_column"), ("LR", "learning_rate"),
     ("methd", "method"), ("x", None), ("zzz", None)],
)  # fmt: skip
def test_a_hint_knows_initials_and_beginnings(word: str, meant: str | None) -> None:
    known = ("o", "x_y", "adds_input", "input_column", "learning_rate", "learning_rate_min", "epochs", "method")
    assert did_you_mean(word, known) == (f" (did you mean '{meant}'?)" if meant else "")

"""The text for a paper: this job's numbers, and each thing cited by the number under which it is listed."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_job import SHAPE, put_json, put_metrics, put_records, put_stage

from isonet2.job.architectures import ARCHITECTURES
from isonet2.job.models import Job
from isonet2.report.judgement import Judged, Judgement
from isonet2.report.measures import ShellCurve
from isonet2.report.methods import Methods, methods
from isonet2.report.records import read_records
from isonet2.report.references import REFERENCES, Citations
from isonet2.report.support import Verdict

LEARNED = {"networks": ["isonet_maps/n.pt"], "method": "isonet2-n2n", "batch_size": 6, "samples": 300, "held_out": 15}
SCORES = {"raw": {"cc": 0.421, "cc_wedge": 0.184}, "corrected": {"cc": 0.825, "cc_wedge": 0.622}}


def judged(name: str, *, share: float = math.nan, limit_angstrom: float = math.inf) -> Judged:
    told = {region: Verdict("good", "", "", limit_angstrom) for region in ("measured region", "missing wedge")}
    nothing = ShellCurve(np.zeros(1), np.zeros(1))
    return Judged(name, SHAPE, 10.0, (-50.0, 60.0), True, "corrected", {"raw": {"measured": nothing}},
                  Judgement(told, share, {}), {}, 3.0)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a job that has refined, or denoised, and predicted."""
    folder = tmp_path_factory.mktemp("job")
    put_records(folder)
    put_stage(folder, "deconv", 1.0, "15:01", {"outputs": ["deconv/t1.mrc"]})
    put_stage(folder, "make_mask", 1.0, "15:01", {"masks": {"t1": {"kept": 0.381}, "t2": {"kept": 0.393}}})
    put_stage(folder, "predict", 1.0, "15:07", {"outputs": ["c.mrc", "c_half1.mrc"], "method": "isonet2", "epoch": 7})
    put_metrics(folder / "isonet_maps")
    return folder


def text_of(folder: Path, facts: dict[str, Any], tomograms: list[Judged], scores: Any, **sections: Any) -> Methods:
    for stage in ("refine", "denoise"):
        (folder / f"stages/{stage}.json").unlink(missing_ok=True)
        if stage in sections:
            put_stage(folder, stage, 340.0, "15:06", {**LEARNED, **facts})
    job = Job.model_validate({"predict": {}, **sections}).in_folder(folder)
    return methods(job, read_records(job), tomograms, total=2, scores=scores)


def test_the_numbers_of_the_job_are_in_the_text(folder: Path) -> None:
    tomograms = [judged("t1", share=0.852, limit_angstrom=31.0), judged("t2", share=0.868)]
    made = text_of(folder, {}, tomograms, SCORES, deconv={"snrfalloff": 0.7}, make_mask={}, refine={"cube_size": 32})
    text = " ".join(made.paragraphs)
    for expected in (
        "isonet2 0.1.0, which follows IsoNet and IsoNet2 [1, 2], on PyTorch 2.13.0 [3].",
        "2 tomograms of 16 × 24 × 20 voxels (z × y × x) at 10 Å per voxel, from tilts of −50° to 60° in steps of 3°,",
        "(strength 1, falloff 0.7, high-pass to 0.02 of Nyquist)",
        "kept 38.1 to 39.3 % of the voxels",
        "unet-tiny: a 3-D U-Net",
        "1.8 million parameters",
        "It saw 300 cubes of 32³ voxels for 4 epochs (200 steps of 6 cubes), turned at random, with Muon",
        "learning rate 0.001, falling to 1e-06",
        "the mean squared error over measured Fourier components, those inside the artificial wedge weighted by 2",
        "Another 15 cubes were held out",
        "was, on average over the shells, 85.2 to 86.8 % of the square root of that of the two half maps",
        "agreed (FSC 0.5) up to 31 Å in 1 of 2 tomograms",
        "The correlation with the known truth went from 0.42 to 0.82, inside the missing wedge from 0.18 to 0.62",
    ):
        assert expected in text
    by_number = {number: reference.text for number, reference in enumerate(made.references, start=1)}
    for word in ("Noise2Noise", "Muon", "AdamW", "U-Net"):
        (number,) = re.findall(rf"{word} \[(\d+)\]", text)
        assert {"AdamW": "Decoupled weight decay"}.get(word, word) in by_number[int(number)]
    cited = [int(number) for group in re.findall(r"\[([\d, ]+)\]", text) for number in group.split(", ")]
    assert list(dict.fromkeys(cited)) == list(by_number)


ALWAYS = {"isonet", "isonet2", "pytorch", "adamw"}
WEDGE = {"deepdewedge", "noise2noise"}


@pytest.mark.parametrize(
    ("stage", "method", "settings", "cited"),
    [
        ("refine", "isonet2-n2n", {}, WEDGE | {"muon", "unet"}),
        ("refine", "isonet2-n2n", {"arch": "unet-attention"}, WEDGE | {"muon", "unet", "attention"}),
        ("refine", "isonet2-n2n", {"arch": "unet-residual"}, WEDGE | {"muon", "unet", "residual"}),
        ("refine", "isonet2-n2n", {"arch": "HSFormer"}, WEDGE | {"muon", "swin", "swin_unetr"}),
        ("refine", "isonet2-n2n", {"arch": "vtunet"}, WEDGE | {"muon", "swin", "vtunet"}),
        ("refine", "isonet2-n2n", {"arch": "scunet-fast"}, WEDGE | {"muon", "swin", "scunet"}),
        ("refine", "isonet2-n2n", {"CTF_mode": "network"}, WEDGE | {"muon", "unet", "ctf"}),
        ("refine", "isonet2-n2n", {"optimizer": "adamw"}, WEDGE | {"unet"}),
        ("refine", "isonet2", {"method": "isonet2"}, {"muon", "unet"}),
        ("denoise", "n2n", {}, {"noise2noise", "muon", "unet"}),
    ],
)
def test_what_was_used_is_cited_and_nothing_else(
    stage: str, method: str, settings: dict[str, Any], cited: set[str], folder: Path
) -> None:
    made = text_of(folder, {"method": method}, [judged("t1"), judged("t2")], {}, **{stage: settings})
    assert set(made.references) == {REFERENCES[key] for key in ALWAYS | cited}
    assert ("artificial wedge" in made.paragraphs[1]) == (stage == "refine")


@pytest.mark.parametrize(
    ("firsts", "said"),
    [
        ((-50.0, -51.0), "tilts of −50° to 60° and −51° to 60° in steps of 3°"),
        ((-50.0, -51.0, -52.0, -55.0), "tilts of −55 to −50° up to 60° in steps of 3°"),
    ],
)
def test_tomograms_of_several_tilt_ranges_name_them(firsts: tuple[float, ...], said: str, folder: Path) -> None:
    tomograms = [replace(judged(f"t{n}"), tilts_deg=(first, 60.0)) for n, first in enumerate(firsts)]
    assert said in text_of(folder, {}, tomograms, {}, refine={}).paragraphs[0]


@pytest.mark.parametrize("mode", [None, "network"])
def test_what_was_done_about_the_ctf_is_said(mode: str | None, tmp_path: Path) -> None:
    put_records(tmp_path)
    put_metrics(tmp_path / "isonet_maps")
    said = (
        "CTF was left as it was" in text_of(tmp_path, {}, [judged("t1")], {}, refine={"CTF_mode": mode}).paragraphs[1]
    )
    assert said == (mode is None)


def test_a_network_from_elsewhere_is_said_to_be_one(tmp_path: Path) -> None:
    put_json(tmp_path / "provenance.json", {"isonet2": "0.1.0"})
    put_stage(tmp_path, "predict", 1.0, "15:07", {"outputs": ["c.mrc"], "method": "isonet2", "epoch": 7})
    made = text_of(tmp_path, {}, [judged("t1")], {}, predict={"model": "n.pt", "average_turns": False})
    assert "A network that was trained before (method isonet2, epoch 7) was used." in made.paragraphs[-1]
    assert not re.search("epochs|180°|half maps were predicted", " ".join(made.paragraphs))


def test_a_thing_keeps_its_number_and_its_link_is_one() -> None:
    cite = Citations()
    assert [cite("isonet"), cite("unet", "isonet"), cite("unet")] == ["[1]", "[2, 1]", "[2]"]
    assert cite.listed == [REFERENCES["isonet"], REFERENCES["unet"]]
    for reference in REFERENCES.values():
        assert reference.link == "" or re.fullmatch(r"https://(doi\.org/10\.\d+/\S+|[a-z.]+/\S+)", reference.link)
        assert re.search(r"(19|20)\d\d", reference.text)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_architecture_has_its_words(arch: str, folder: Path) -> None:
    made = text_of(folder, {}, [judged("t1")], {}, refine={"arch": arch, "cube_size": 96})
    assert f"A network ({arch}: a" in made.paragraphs[1]

"""What prepare_star takes for what, lists of IsoNet2, and what later stages and init make of imports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from left_by_others import aretomo_folder, imod_folder, listed, put_map, relion_project, warp_folder

from isonet2.cli import main
from isonet2.errors import UserError
from isonet2.inference.networks import NetworkInfo, save_network
from isonet2.io.mrc import write_mrc
from isonet2.io.star import update_row
from isonet2.io.tilts import read_tilts
from isonet2.job.architectures import shape_of
from isonet2.job.load import load_job
from isonet2.job.models import Job
from isonet2.models.registry import build_network
from isonet2.parallel.world import World
from isonet2.stages import predict
from isonet2.stages.init import init
from isonet2.stages.prepare_star import inputs
from isonet2.stages.validate import validate


def test_a_list_of_isonet2_keeps_what_it_says(tmp_path: Path) -> None:
    """Written by IsoNet2: an unnamed block, None as a word, paths from where it ran; our list goes elsewhere."""
    put_map(tmp_path / "a/tomos/t1_EVN.mrc")
    put_map(tmp_path / "a/tomos/t1_ODD.mrc")
    labels = ("rlnIndex rlnTomoName rlnTomoReconstructedTomogramHalf1 rlnTomoReconstructedTomogramHalf2 rlnPixelSize "
              "rlnDefocus rlnVoltage rlnSphericalAberration rlnAmplitudeContrast rlnMaskBoundary rlnMaskName "
              "rlnTiltMin rlnTiltMax rlnBoxFile rlnNumberSubtomo rlnMine")  # fmt: skip
    cells = "3 None tomos/t1_EVN.mrc tomos/t1_ODD.mrc 5.35 38000 300 2.7 0.1 None m/t1.mrc -51 60 None 600.0 x"
    text = "\ndata_\n\nloop_\n" + "\n".join(f"_{label} #{n}" for n, label in enumerate(labels.split(), 1))
    (tmp_path / "a/tomograms.star").write_text(f"{text}\n{cells}\n")
    (row,) = listed(tmp_path / "b", "../a/tomograms.star")
    assert (row.index, row.tomogram, row.half1) == (3, None, "../a/tomos/t1_EVN.mrc")
    assert (row.mask, row.mask_boundary) == ("../a/m/t1.mrc", None)
    assert (row.pixel_size_angstrom, row.defocus_angstrom, row.number_subtomos) == (5.35, 38000, 600)
    assert (row.tilt_min_deg, row.tilt_max_deg, row.extra) == (-51, 60, {"rlnMine": "x"})
    (row,) = listed(tmp_path / "b", "../a/tomograms.star", defocus=1e4, tilt_max=50, number_subtomos=7, flip_tilts=True)
    assert (row.defocus_angstrom, row.tilt_min_deg, row.tilt_max_deg, row.number_subtomos) == (1e4, -60, 50, 7)


def test_what_the_user_says_wins(tmp_path: Path) -> None:
    warp_folder(tmp_path)
    (row,) = listed(tmp_path, ".", tilt_min=-40, defocus=2e4, voltage=120, tilt_step=2)
    assert (row.tilt_min_deg, row.tilt_max_deg, row.tilt_step_deg, row.tilt_file) == (-40, 60.01, 2, None)
    assert (row.defocus_angstrom, row.voltage_kv, row.cs_mm) == (2e4, 120, 2.7)


def test_what_may_be_of_two_programs_has_to_be_named(tmp_path: Path) -> None:
    aretomo_folder(tmp_path)
    imod_folder(tmp_path)
    with pytest.raises(UserError, match=r"may be of aretomo \(.*\) and of imod \(.*\): name the program, as in --from"):
        listed(tmp_path, ".")
    assert [row.tomogram for row in listed(tmp_path, ".", source="imod")] == ["TS01_rec.mrc"]


@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        ("plain", "warp", r"plain: nothing of warp there, which would be a folder with reconstruction/NAME_10\.00Apx"),
        ("missing", "relion", r"missing \(no such file or folder\): nothing of relion there"),
        ("missing", "auto", r"missing: no such folder"),
        ("plain/a.mrc", "auto", r"a\.mrc: neither a folder nor a STAR file"),
        ("old.star", "auto", r"old\.star: a list of IsoNet 1"),
        ("particles.star", "auto", r"particles\.star: no list of tomograms"),
    ],
)
def test_what_is_not_there_is_said(tmp_path: Path, name: str, source: str, words: str) -> None:
    put_map(tmp_path / "plain/a.mrc")
    (tmp_path / "old.star").write_text("data_\nloop_\n_rlnIndex #1\n_rlnMicrographName #2\n1 a.mrc\n")
    (tmp_path / "particles.star").write_text("data_particles\nloop_\n_rlnCoordinateX #1\n1\n")
    with pytest.raises(UserError, match=words):
        listed(tmp_path, name, source=source)


def test_folders_by_name_are_taken_as_folders(tmp_path: Path) -> None:
    """Also where a program is recognised: with lists of tilts of one's own, with halves, or so asked."""
    imod_folder(tmp_path / "full")
    for name in ("full/TS01.mrc", "full/TS01_full_rec.mrc"):
        (tmp_path / name).unlink()
    assert listed(tmp_path, "full", source="folders")[0].tilt_min_deg == -60
    (tmp_path / "full/TS01_rec_tilts.txt").write_text("-10\n0\n20\n")
    assert listed(tmp_path, "full", tilt_folder="full")[0].tilt_max_deg == 20
    with pytest.raises(ValueError, match="source imod goes with full alone"):
        Job.model_validate({"prepare_star": {"even": "full", "odd": "full", "source": "imod"}})


def test_flipped_lists_of_tilts_are_written_anew_and_nobody_elses_are_harmed(tmp_path: Path) -> None:
    put_map(tmp_path / "full/a.mrc")
    (tmp_path / "tomograms_tilts").mkdir()
    (tmp_path / "tomograms_tilts/a.tlt").write_text("-40\n0\n60\n")
    with pytest.raises(UserError, match=r"tilts/a\.tlt: is in the way of a list of tilts"):
        listed(tmp_path, "full", tilt_folder="tomograms_tilts", flip_tilts=True)
    (tmp_path / "tomograms_tilts").rename(tmp_path / "mine")
    (row,) = listed(tmp_path, "full", tilt_folder="mine", flip_tilts=True)
    assert (row.tilt_min_deg, row.tilt_max_deg, row.tilt_file) == (-60, 40, "tomograms_tilts/a.tlt")
    assert read_tilts(tmp_path / "tomograms_tilts/a.tlt") == (40, 0, -60)


def test_the_command_takes_from_and_a_bare_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aretomo_folder(tmp_path / "out")
    relion_project(tmp_path / "relion")
    monkeypatch.chdir(tmp_path)
    assert main(["prepare_star", "out", "--from", "auto"]) == 0
    assert main(["prepare_star", "relion/Tomograms/job006/tomograms.star", "--star_name", "r.star"]) == 0
    assert main(["prepare_star", "out", "--from=warp"]) == 64
    (tmp_path / "job.yaml").write_text("prepare_star: {full: out, from: aretomo, defocus: }\n")
    assert load_job(tmp_path / "job.yaml").prepare_star.source == "aretomo"  # type: ignore[union-attr]


def test_the_inputs_are_all_files_that_say_something(tmp_path: Path) -> None:
    aretomo_folder(tmp_path)
    job = Job.model_validate({"prepare_star": {"full": "."}}).in_folder(tmp_path)
    names = {Path(name).name for name in inputs(job)["imported"]}
    assert names == {"Position_1_Vol.mrc", "Position_1_EVN_Vol.mrc", "Position_1_ODD_Vol.mrc", "Position_1.aln",
                     "Position_1_CTF.txt", "AreTomo3_Session.json"}  # fmt: skip


def test_flipped_phases_are_not_flipped_again(tmp_path: Path) -> None:
    """A job that corrects the CTF has to say so; the list is asked before anything runs."""
    warp_folder(tmp_path / "warp")

    def checked(**sections: Any) -> None:
        validate(Job.model_validate({"prepare_star": {"full": "warp"}, **sections}).in_folder(tmp_path))

    small = {"method": "isonet2-n2n", "cube_size": 8}
    checked(refine=small)
    checked(refine={**small, "CTF_mode": "network", "phaseflipped": True})
    with pytest.raises(
        UserError, match=r"refine\.phaseflipped: TS_1_10\.00Apx is phase-flipped, as rlnCtfDataArePhaseFl"
    ):
        checked(refine={**small, "CTF_mode": "network"})
    with pytest.raises(UserError, match=r"deconv\.phaseflipped: TS_1_10"):
        checked(deconv={})
    aretomo_folder(tmp_path / "out", CorrCTF=[0, 15])
    with pytest.raises(
        UserError, match=r"deconv\.phaseflipped: Position_1_Vol is not phase-flipped, .* leave the option"
    ):
        checked(prepare_star={"full": "out"}, deconv={"phaseflipped": True})


def test_averages_are_made_of_imported_halves(tmp_path: Path) -> None:
    warp_folder(tmp_path)
    with pytest.raises(UserError, match="create_average: is for tomograms that have halves and no average"):
        listed(tmp_path, ".", create_average=True)
    (tmp_path / "reconstruction/TS_1_10.00Apx.mrc").unlink()
    (row,) = listed(tmp_path, ".", create_average=True)
    with mrcfile.open(tmp_path / str(row.tomogram)) as mrc:
        assert mrc.data.mean() == 1
    update_row(tmp_path / "tomograms.star", 1, corrected="c.mrc")
    assert listed(tmp_path, ".", create_average=True)[0].corrected == "c.mrc"


def test_a_list_made_again_keeps_results(tmp_path: Path) -> None:
    warp_folder(tmp_path)
    listed(tmp_path, ".")
    update_row(tmp_path / "tomograms.star", 1, corrected="c.mrc")
    (row,) = listed(tmp_path, ".")
    assert (row.corrected, row.phases_flipped) == ("c.mrc", True)


@pytest.mark.parametrize(
    ("make", "source", "bright"),
    [
        (warp_folder, "warp", True),
        (aretomo_folder, "aretomo", False),
        (imod_folder, "imod", False),
        (relion_project, "relion", False),
    ],
)
def test_init_writes_a_job_for_what_it_recognises(tmp_path: Path, make: Any, source: str, bright: bool) -> None:
    make(tmp_path)
    job = load_job(init(tmp_path))
    assert job.prepare_star is not None
    assert job.prepare_star.source == source
    assert job.prepare_star.tilt_min == ()
    assert job.make_mask is not None
    assert job.make_mask.bright_protein is bright  # dark protein is what masks look for
    validate(job)


def test_init_in_relions_own_folder_makes_a_list_beside_its(tmp_path: Path) -> None:
    star = relion_project(tmp_path)
    job = load_job(init(star.parent))
    assert (job.star_file, job.prepare_star.full) == ("isonet2.star", "tomograms.star")  # type: ignore[union-attr]
    validate(job)


def test_folders_of_halves_beside_each_other_are_no_series_of_imod(tmp_path: Path) -> None:
    """One name in both: what tells them apart is the folder, and init takes them as a pair."""
    for half in ("EVN", "ODD"):
        put_map(tmp_path / f"{half}/t1.rec", shape=(32, 40, 40))
        (tmp_path / f"{half}/t1.tlt").write_text("-40\n0\n50\n")
    job = load_job(init(tmp_path))
    assert (job.prepare_star.even, job.prepare_star.source) == ("EVN", "auto")  # type: ignore[union-attr]


def predicted(folder: Path, **options: Any) -> dict[str, Any]:
    """What predict tells of a run with an untrained network that corrects the CTF."""
    shape = shape_of("unet-tiny", {"channels": (2, 2), "convolutions": (1,)})
    info = NetworkInfo("isonet2-n2n", "unet-tiny", 8, 1, shape, CTF_mode="network")
    save_network(folder / "n.pt", build_network(shape, seed=1), info)
    return predict.run(Job.model_validate({"predict": {"model": "n.pt", **options}}).in_folder(folder), World())


def test_predict_names_its_tomograms_in_a_copy_of_relions_list(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    star = relion_project(tmp_path / "relion", ["TS_01"])
    for half in ("half1", "half2"):
        write_mrc(star.parent / f"tomograms/rec_TS_01_{half}.mrc", rng.standard_normal((8, 20, 16), np.float32),
                  pixel_size_angstrom=10)  # fmt: skip
    listed(tmp_path / "relion/External", "../Tomograms/job006/tomograms.star")
    predicted(tmp_path / "relion/External")
    text = (tmp_path / "relion/External/tomograms_relion.star").read_text()
    assert text.split()[-1] == "External/corrected_tomos/corrected_rec_TS_01.mrc"


def test_predict_does_not_flip_flipped_phases_again(tmp_path: Path) -> None:
    warp_folder(tmp_path)
    listed(tmp_path, ".")
    with pytest.raises(UserError, match=r"predict\.phaseflipped: TS_1_10\.00Apx is phase-flipped"):
        predicted(tmp_path)

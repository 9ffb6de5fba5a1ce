"""From Python: the functions do what the stages do, mistakes are sentences, and the import is light."""

from __future__ import annotations

import inspect
import re
import runpy
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tiny

import isonet2
from isonet2 import Job, UserError
from isonet2.job.models import Deconv, Refine
from isonet2.job.tools import Fsc
from isonet2.stages.fsc import fsc

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
RNG = np.random.default_rng(0)
VOLUME = RNG.standard_normal((20, 24, 24)).astype(np.float32)


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tomograms(tmp_path_factory.mktemp("maps"))


def stage(folder: Path, tomogram: Path, **sections: Any) -> npt.NDArray[np.float32]:
    """What one stage of a job makes of a tomogram."""
    (name,) = sections
    facts = tiny.run(tiny.job_of(folder, tiny.rows(tomogram.parent, tomogram=str(tomogram))[:1], **sections), name)
    return isonet2.read_mrc(folder / facts["outputs"][0])


def test_deconvolve_makes_the_bytes_of_the_stage(maps: Path, tmp_path: Path) -> None:
    settings = {"snrfalloff": 0.7, "highpassnyquist": 0.2, "chunk_size": 32}
    path = maps / "wide.mrc"  # of two chunks
    isonet2.write_mrc(path, RNG.standard_normal((20, 24, 40)), pixel_size=10)
    expected = stage(tmp_path, path, deconv=settings)
    for volume in (path, isonet2.read_mrc(path).astype(np.float64)):
        found = isonet2.deconvolve(volume, pixel_size=10, defocus=40000, **settings)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(isonet2.deconvolve(path, defocus=40000, **settings), expected)
    assert not np.array_equal(isonet2.deconvolve(volume, pixel_size=10, defocus=20000, **settings), expected)


def test_make_mask_makes_the_mask_of_the_stage(maps: Path, tmp_path: Path) -> None:
    settings = {"density_percentage": 70, "std_percentage": 80, "patch_size": 2, "z_crop": 0.3}
    expected = stage(tmp_path, maps / "t1_full.mrc", make_mask=settings)
    found = isonet2.make_mask(maps / "t1_full.mrc", **settings)
    assert found.dtype == np.bool_
    assert 0.1 < found.mean() < 0.7
    np.testing.assert_array_equal(found, expected == 1)


@pytest.mark.parametrize("ctf", [{}, {"CTF_mode": "network"}])
def test_predict_makes_the_bytes_of_the_stage(ctf: dict[str, Any], maps: Path, tmp_path: Path) -> None:
    refine, how = {"method": "isonet2-n2n", **tiny.SETTINGS, "epochs": 1, **ctf}, {"padding_factor": 1.2}
    job = tiny.job_of(tmp_path, tiny.rows(maps), refine=refine, predict={**how, "tomo_idx": "1"})
    found = isonet2.run(job, force=True)  # noise is no tomogram for check
    network, halves = tmp_path / found["refine"]["networks"][0], (maps / "t1_even.mrc", maps / "t1_odd.mrc")
    expected, half, _ = (isonet2.read_mrc(tmp_path / name) for name in found["predict"]["outputs"])
    optics = {"defocus": 40000, "pixel_size": 10} if ctf else {}
    np.testing.assert_array_equal(isonet2.predict(halves, network, **how, **optics), expected)
    if ctf:
        with pytest.raises(UserError, match="learned from phase-flipped maps: give the defocus"):
            isonet2.predict(halves, network)
        return
    one = isonet2.predict(isonet2.read_mrc(halves[0]), network, **how)  # standardised by itself
    assert np.corrcoef(one.ravel(), half.ravel())[0, 1] > 0.999 > np.corrcoef(one.ravel(), expected.ravel())[0, 1]
    assert np.abs(isonet2.predict(halves, network, tilts=(-40, 40), **how) - expected).max() > 1e-3


def test_simulate_makes_the_maps_of_the_stage(tmp_path: Path) -> None:
    settings = {"size": [16, 24, 24], "particles": 6, "membranes": 0, "defocus": 20000.0, "pixel_size": 15.0}
    isonet2.run(Job(seed=5, simulate={**settings, "count": 2}).in_folder(tmp_path))
    found = isonet2.simulate(seed=5, number=2, **settings)
    for kind in ("even", "odd", "full", "truth", "truth_without_ctf"):
        expected = isonet2.read_mrc(tmp_path / "simulated" / kind / "tomo_002.mrc")
        np.testing.assert_array_equal(getattr(found, kind), expected)
    assert len(found.particles) > 0
    plain = isonet2.simulate(size=[16, 24, 24], particles=6, membranes=0)
    assert plain.truth_without_ctf is plain.truth


def test_fsc_finds_the_curves_of_the_command(maps: Path, tmp_path: Path) -> None:
    pair = [str(maps / f"t1_{half}.mrc") for half in ("even", "odd")]
    section = Fsc(map1=pair[0], map2=pair[1], tilt_min=-50, tilt_max=60, output_dir=str(tmp_path))
    (expected,) = fsc(section)
    found = isonet2.fsc(*pair, tilts=(-50, 60))
    assert list(found) == list(expected.curves) == ["all", "measured", "wedge", "x", "y", "z"]
    for name, curve in expected.curves.items():
        np.testing.assert_array_equal(found[name].fsc, curve.fsc)
    same = isonet2.fsc(VOLUME, VOLUME, pixel_size=5)
    assert same["all"].fsc[1:] == pytest.approx(1)
    assert same["all"].resolution_angstrom(0.5) == pytest.approx(10)
    masked = isonet2.fsc(*pair, mask=np.ones_like(VOLUME))
    np.testing.assert_array_equal(masked["all"].fsc, found["all"].fsc)
    assert isonet2.compare(VOLUME, VOLUME, tilts=(-60, 60)) == pytest.approx({"cc": 1, "cc_measured": 1, "cc_wedge": 1})


def test_maps_come_back_as_they_were_written(tmp_path: Path) -> None:
    isonet2.write_mrc(tmp_path / "a.mrc", VOLUME.astype(np.float64), pixel_size=7.5)
    np.testing.assert_array_equal(isonet2.read_mrc(str(tmp_path / "a.mrc")), VOLUME)
    isonet2.write_mrc(tmp_path / "b.mrc", VOLUME > 0, pixel_size=7.5)
    np.testing.assert_array_equal(isonet2.read_mrc(tmp_path / "b.mrc"), VOLUME > 0)


NAN = np.where(VOLUME > 2, np.nan, VOLUME)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: isonet2.deconvolve(VOLUME, defocus=3e4), "pixel_size: an array has none"),
        (lambda: isonet2.deconvolve(VOLUME, pixel_size=5, defocus=-3), "defocus -3: needs the underfocus at 0° in Å"),
        (lambda: isonet2.deconvolve(VOLUME, pixel_size=5, defocus=3e4, snrfallof=1),
         "deconvolve: snrfallof: unknown key (did you mean 'snrfalloff'?)"),
        (lambda: isonet2.deconvolve(VOLUME, pixel_size=5, defocus=3e4, chunk_size=5, highpassnyquist=0),
         "deconvolve: highpassnyquist: got 0, needs a number > 0 and ≤ 1\n"
         "deconvolve: chunk_size: got 5, needs a whole number ≥ 32"),
        (lambda: isonet2.make_mask(VOLUME, output_dir="x"), "make_mask: output_dir: has no meaning for arrays"),
        (lambda: isonet2.deconvolve(0 * VOLUME, pixel_size=5, defocus=3e4), "deconvolve: the map: it is constant"),
        (lambda: isonet2.make_mask(VOLUME[0]), "a map has three axes (z, y, x), and this array has shape 24×24"),
        (lambda: isonet2.make_mask(NAN), "voxels are NaN or infinite"),
        (lambda: isonet2.make_mask("no.mrc"), "no.mrc: no such file (tomogram)"),
        (lambda: isonet2.predict(VOLUME, "no.pt"), "no.pt: no such file (network)"),
        (lambda: isonet2.predict(VOLUME, "no.h5"), "is a network of IsoNet 1"),
        (lambda: isonet2.predict((VOLUME, VOLUME[1:]), "no.pt"), "the halves differ in shape: 20×24×24 and 19×24×24"),
        (lambda: isonet2.predict(VOLUME, "no.pt", tilts=(60, -60)), "(60, -60): needs the lowest and the highest"),
        (lambda: isonet2.simulate(size=[16, 24]), "simulate: size: got 16,24, needs three whole numbers"),
        (lambda: isonet2.simulate(voltage=200.0), "voltage has no effect: without a defocus there is no CTF"),
        (lambda: isonet2.fsc(VOLUME, VOLUME[:, :8], pixel_size=5), "the maps differ in shape: 20×24×24 and 20×8×24"),
        (lambda: isonet2.run(Job()), "nothing to do: the job has no stage"),
        (lambda: isonet2.run(Job(deconv={}), stages=["refine"]), "stages: 'refine' is none of this job's: deconv"),
        (lambda: isonet2.run(Job(deconv={}, star_file="no.star")), "star_file: list 'no.star' is not there"),
        (lambda: isonet2.run(Job(predict={})), "predict.model: name a network file"),
        (lambda: isonet2.run("a.yaml"), "run: needs a Job, such as Job.from_yaml('job.yaml'), and this is 'a.yaml'"),
        (lambda: isonet2.compare(VOLUME, VOLUME[1:], tilts=(-60, 60)),
         "compare: the maps differ in shape: 20×24×24 and 19×24×24"),
        (lambda: Job(refine={"epoch": 5}, epochs=3),
         "Job: refine.epoch: unknown key (did you mean 'epochs'?)\n"
         "Job: epochs: unknown key (did you mean 'refine.epochs'?)"),
        (lambda: Job(refine={"iterations": 2, "epochs": 3}), "refine.epochs: given twice, before as refine.iterations"),
        (lambda: Job(refine={"epochs": "many"}), "Job: refine.epochs: got 'many', needs a whole number ≥ 1"),
        (lambda: Job(refine={"cube_size": 17}), "cube_size 17 does not fit unet-tiny"),
        (lambda: Job(refine=True), "Job: refine: needs its settings as a dictionary; {} for the defaults"),
    ],
)  # fmt: skip
def test_a_mistake_is_a_user_error_that_says_what_to_change(
    call: Any, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        call()
    assert words in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__  # its line is the last, and alone


def test_a_job_of_python_values_is_the_job_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(
        "seed: 3\nrefine: {iterations: 5, noise_level: '0.1', method: isonet2}\npredict:\n"
    )
    job = Job(seed=3, refine={"iterations": 5, "noise_level": 0.1, "method": "isonet2"}, predict={}, report=None)
    assert job.in_folder(tmp_path) == Job.from_yaml(tmp_path / "job.yaml")
    assert job == Job(seed=3, refine=Refine(epochs=5, noise_level=(0.1,), method="isonet2"), predict={})
    assert job.in_folder(str(tmp_path)).path("a") == tmp_path / "a"
    assert job.folder == Path.cwd()


def test_the_import_is_light_and_says_what_there_is() -> None:
    code = (
        "import sys, isonet2\n"
        "assert not {'numpy', 'torch', 'pydantic', 'yaml'} & set(sys.modules)\n"
        "assert set(isonet2.__all__) < set(dir(isonet2))\n"
        "isonet2.Job(deconv={}); isonet2.UserError\n"
        "assert not {'numpy', 'torch'} & set(sys.modules)\n"
        "from isonet2 import *\n"
        "assert all(globals()[name] is getattr(isonet2, name) for name in isonet2.__all__)\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'refinement'"):
        _ = isonet2.refinement  # type: ignore[attr-defined]
    assert (Path(isonet2.__file__).parent / "py.typed").exists()


def test_settings_are_in_signature_and_help_as_the_section_has_them() -> None:
    parameters = inspect.signature(isonet2.deconvolve).parameters
    assert parameters["snrfalloff"].default == Deconv().snrfalloff
    assert "output_dir" not in parameters
    assert "settings" not in parameters
    text = isonet2.deconvolve.__doc__ or ""
    assert "highpassnyquist: share of Nyquist below which the filter fades out (a number > 0 and ≤ 1)" in text


def test_a_run_in_a_thread_beside_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found: list[Any] = []
    job = Job(simulate={"size": [16, 24, 24], "particles": 4, "membranes": 0}).in_folder(tmp_path)
    thread = threading.Thread(target=lambda: found.append(isonet2.run(job)))
    thread.start()
    thread.join()
    assert found[0]["simulate"]["tomograms"] == 1
    assert isonet2.read_status(tmp_path).state == "done"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "said", "left"),
    [
        ("halves_to_map", r"wedge: FSC 0\.5 at", ["corrected_tomos/corrected_tomo.mrc", "isonet_maps/metrics.jsonl"]),
        ("deconvolve_and_mask", r"\d\d% of the voxels are kept", ["slices.png", "deconvolved.mrc", "mask.mrc"]),
        ("compare_methods", r"largest difference from the file: 0\n", ["n2n/maps/denoised_tomo_001.mrc"]),
    ],
)
def test_the_examples_do_what_they_say(
    name: str, said: str, left: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    script = EXAMPLES / f"{name}.py"
    runpy.run_path(str(script))
    assert re.search(said, capsys.readouterr().out)
    assert all((tmp_path / path).stat().st_size > 100 for path in left)
    text = script.read_text(encoding="utf-8")
    assert text.startswith("# %% [markdown]")
    assert text.count("\n# %%") >= 4

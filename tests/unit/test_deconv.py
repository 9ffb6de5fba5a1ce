"""The stage deconv against numpy on the whole tomogram: values, scale, headers, halves, what is kept, what refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import torch

from isonet2.errors import UserError
from isonet2.io.mrc import MrcHeader, read_header, write_mrc
from isonet2.io.star import TomogramRow, read_star, write_star
from isonet2.job.models import Job
from isonet2.parallel.world import World
from isonet2.physics.ctf import ctf
from isonet2.stages import deconv

SHAPE = (40, 44, 36)
PIXEL = 12.0
QUICK = {"highpassnyquist": 0.2}  # a filter that does not reach far


def row(index: int, tomogram: str | None, **more: Any) -> TomogramRow:
    told = {"defocus_angstrom": 30000.0, "pixel_size_angstrom": PIXEL} | more
    return TomogramRow(index=index, tomogram=tomogram, tilt_min_deg=-60, tilt_max_deg=60, number_subtomos=10, **told)


def job(folder: Path, **options: Any) -> Job:
    return Job.model_validate({"deconv": QUICK | options}).in_folder(folder)


def made(folder: Path, *rows: TomogramRow, **options: Any) -> dict[str, Any]:
    if rows:
        write_star(folder / "tomograms.star", rows)
    return deconv.run(job(folder, **options), World())


def tomogram(path: Path, seed: int = 1, mean: float = 100.0) -> np.ndarray:
    volume = np.random.default_rng(seed).normal(mean, 7.0, size=SHAPE).astype(np.float32)
    write_mrc(path, volume, pixel_size_angstrom=PIXEL)
    return volume


def oracle(volume: np.ndarray, *, ac: float = 0.1, flipped: bool = False, **settings: float) -> np.ndarray:
    """science.md's W on the whole tomogram, mirrored without end; then its mean and standard deviation."""
    told = {"snrfalloff": 1.0, "deconvstrength": 1.0, "highpassnyquist": 0.2} | settings
    z, y, x = volume.shape
    padded = np.pad(volume.astype(np.float64), ((0, z), (0, y), (0, x)), mode="symmetric")
    k = np.sqrt(sum(q**2 for q in np.meshgrid(*(np.fft.fftfreq(n) for n in padded.shape), indexing="ij")))
    f = np.minimum(1, 2 * k)
    h = 1 - np.cos(np.pi * np.minimum(1, f / told["highpassnyquist"]))
    snr = np.exp(-f * told["snrfalloff"] * 100 / PIXEL) * 10 ** told["deconvstrength"] * h
    c = ctf(
        torch.from_numpy(k / PIXEL), defocus_angstrom=30000, voltage_kv=300, cs_mm=2.7, amplitude_contrast=ac
    ).numpy()
    c = np.abs(c) if flipped else c
    result = np.fft.ifftn(np.fft.fftn(padded) * c * snr / (1 + c**2 * snr)).real[:z, :y, :x]
    return (result - result.mean()) / result.std() * volume.std() + volume.mean()


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Root mean square, in standard deviations of what is expected."""
    return float(np.sqrt(np.mean((found - expected) ** 2)) / expected.std())


@pytest.mark.parametrize(
    ("options", "like"),
    [
        ({}, {}),
        ({"snrfalloff": 0.4}, {"snrfalloff": 0.4}),
        ({"deconvstrength": 2.0}, {"deconvstrength": 2.0}),
        ({"highpassnyquist": 0.5}, {"highpassnyquist": 0.5}),
        ({"phaseflipped": True, "snrfalloff": 0.1}, {"flipped": True, "snrfalloff": 0.1}),
    ],
)
def test_every_setting_acts_as_the_formula_says(tmp_path, options, like):
    volume = tomogram(tmp_path / "a.mrc")
    made(tmp_path, row(1, "a.mrc"), **options)
    found = mrcfile.read(tmp_path / "deconv/a.mrc")
    assert found.dtype == np.float32
    assert difference(found, oracle(volume, **like)) < 0.01
    if like:
        assert difference(found, oracle(volume)) > 0.05


def test_pieces_with_a_wide_overlap_are_the_whole_and_less_is_still_within_a_hundredth(tmp_path):
    volume = tomogram(tmp_path / "a.mrc")
    whole = oracle(volume)
    wrong = {}
    for overlap in (0.0, 1.0):
        made(tmp_path, row(1, "a.mrc"), chunk_size=40, overlap_rate=overlap, output_dir=f"d{overlap}")
        found = mrcfile.read(tmp_path / f"d{overlap}/a.mrc")
        wrong[overlap] = difference(found, whole)
        jumps = np.abs(np.diff(found, axis=1)).mean(axis=(0, 2))
        assert jumps[21] == pytest.approx(np.median(jumps), rel=0.15)  # where two chunks meet
    assert wrong[1.0] < wrong[0.0] < 0.01


def test_protein_stays_dark_and_the_mean_and_scale_are_those_of_the_input(tmp_path):
    """A dark ball, imaged: the filter makes it darker against its surroundings, never bright."""
    z, y, x = np.meshgrid(*(np.arange(n) - n // 2 for n in SHAPE), indexing="ij")
    volume = (1000 - 50 * np.exp(-(z**2 + y**2 + x**2) / 50)).astype(np.float32)
    write_mrc(tmp_path / "a.mrc", volume, pixel_size_angstrom=PIXEL)
    made(tmp_path, row(1, "a.mrc"))
    found = mrcfile.read(tmp_path / "deconv/a.mrc").astype(np.float64)
    assert found.mean() == pytest.approx(volume.mean(dtype=np.float64), rel=1e-6)
    assert found.std() == pytest.approx(volume.std(dtype=np.float64), rel=1e-4)
    assert np.unravel_index(found.argmin(), SHAPE) == (20, 22, 18)


def test_what_defocus_has_spread_is_brought_together_again(tmp_path):
    """Dark blobs as imaged, −CTF × density, in noise: closer to the density after than before."""
    rng = np.random.default_rng(3)
    k = np.sqrt(sum(q**2 for q in np.meshgrid(*(np.fft.fftfreq(n) for n in SHAPE), indexing="ij")))
    density = np.fft.ifftn(np.fft.fftn(rng.normal(size=SHAPE) > 3) * np.exp(-((k / 0.2) ** 2))).real
    transfer = ctf(
        torch.from_numpy(k / PIXEL), defocus_angstrom=30000, voltage_kv=300, cs_mm=2.7, amplitude_contrast=0.1
    )
    imaged = -np.fft.ifftn(np.fft.fftn(density) * transfer.numpy()).real
    imaged += 0.5 * imaged.std() * rng.normal(size=SHAPE)
    write_mrc(tmp_path / "a.mrc", imaged.astype(np.float32), pixel_size_angstrom=PIXEL)
    made(tmp_path, row(1, "a.mrc"), highpassnyquist=0.05)
    before, after = (
        np.corrcoef(-volume.ravel(), density.ravel())[0, 1]
        for volume in (imaged, mrcfile.read(tmp_path / "deconv/a.mrc"))
    )
    assert after > before + 0.15


def test_each_tomogram_is_corrected_by_its_own_optics(tmp_path):
    volume = tomogram(tmp_path / "a.mrc")
    tomogram(tmp_path / "b.mrc")
    made(tmp_path, row(1, "a.mrc"), row(2, "b.mrc", amplitude_contrast=0.6))
    assert difference(mrcfile.read(tmp_path / "deconv/b.mrc"), oracle(volume, ac=0.6)) < 0.01
    assert difference(mrcfile.read(tmp_path / "deconv/a.mrc"), oracle(volume, ac=0.6)) > 0.05
    for name, value in {
        "voltage_kv": 80.0,
        "cs_mm": 2000.0,
        "defocus_angstrom": 4e4,
        "pixel_size_angstrom": 9.0,
    }.items():
        made(tmp_path, row(1, "a.mrc", **{name: value}), output_dir=name)
        assert difference(mrcfile.read(tmp_path / name / "a.mrc"), mrcfile.read(tmp_path / "deconv/a.mrc")) > 0.01


def test_halves_are_averaged_where_there_is_no_full_tomogram(tmp_path):
    halves = [tomogram(tmp_path / f"a_{half}.mrc", seed) for seed, half in enumerate(("EVN", "ODD"))]
    both = {"half1": "a_EVN.mrc", "half2": "a_ODD.mrc"}
    facts = made(tmp_path, row(3, None, **both))
    assert facts == {"outputs": ["deconv/a.mrc"], "deconvolved": {"a": "deconv/a.mrc"}}
    assert read_star(tmp_path / "tomograms.star")[0].deconvolved == "deconv/a.mrc"
    assert difference(mrcfile.read(tmp_path / "deconv/a.mrc"), oracle((halves[0] + halves[1]) / 2)) < 0.01
    tomogram(tmp_path / "full.mrc", seed=5)
    made(tmp_path, row(3, "full.mrc", **both), input_column="rlnTomoReconstructedTomogramHalf2", output_dir="odd")
    assert difference(mrcfile.read(tmp_path / "odd/full.mrc"), oracle(halves[1])) < 0.01
    made(tmp_path, row(3, "full.mrc", **both))
    assert difference(mrcfile.read(tmp_path / "deconv/full.mrc"), oracle(tomogram(tmp_path / "x.mrc", seed=5))) < 0.01


def test_the_header_is_kept_and_only_the_chosen_row_changes(tmp_path):
    header = MrcHeader(SHAPE, 1, (PIXEL,) * 3, (5.0, -3.0, 2.0), (0, 0, 0), ("aligned",), b"\1" * 1024, b"FEI1")
    write_mrc(
        tmp_path / "a.mrc",
        np.ones(SHAPE, np.float32) + np.arange(36, dtype=np.float32),
        header=header,
        pixel_size_angstrom=PIXEL,
    )
    tomogram(tmp_path / "b.mrc")
    made(tmp_path, row(1, "a.mrc"), row(5, "b.mrc"), tomo_idx="1", output_dir="my maps")
    kept = read_header(tmp_path / "my maps/a.mrc")
    assert (kept.pixel_size_angstrom, kept.origin) == (pytest.approx((PIXEL,) * 3), (5.0, -3.0, 2.0))
    assert (kept.extended_header, kept.exttyp, kept.labels[0]) == (b"\1" * 1024, b"FEI1", "aligned")
    assert [r.deconvolved for r in read_star(tmp_path / "tomograms.star")] == ["my maps/a.mrc", None]


@pytest.mark.parametrize("defocus", [0.0, -30000.0])
def test_a_defocus_that_says_nothing_is_refused_before_any_work(tmp_path, defocus):
    tomogram(tmp_path / "a.mrc")
    tomogram(tmp_path / "b.mrc")
    with pytest.raises(UserError, match=rf"tomograms.star: rlnDefocus of b is {defocus:g}: set it"):
        made(tmp_path, row(1, "a.mrc"), row(2, "b.mrc", defocus_angstrom=defocus))
    assert not (tmp_path / "deconv").exists()


def test_a_filter_that_reaches_too_far_for_chunks_is_said(tmp_path, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(deconv, "warn", said.append)
    tomogram(tmp_path / "a.mrc")
    made(tmp_path, row(1, "a.mrc"), chunk_size=32)
    monkeypatch.setattr(deconv, "_filter_chunk", lambda section, item: None)  # 300³ around each
    monkeypatch.setattr(deconv, "_put_together", lambda chunk_size, task: None)
    made(tmp_path, highpassnyquist=0.009)
    assert said == []
    made(tmp_path, highpassnyquist=0.009, chunk_size=43)
    assert len(said) == 1
    assert "reaches farther than the halo of 160 voxels" in said[0]


def test_inputs_and_files_of_the_users_are_not_overwritten(tmp_path):
    tomogram(tmp_path / "a.mrc")
    with pytest.raises(UserError, match=r"a\.mrc: exists, and is no output of deconv"):
        made(tmp_path, row(1, "a.mrc"), output_dir=".")
    (tmp_path / "deconv").mkdir()
    with mrcfile.new(tmp_path / "deconv/a.mrc", np.ones(SHAPE, np.int8)):
        pass
    with pytest.raises(UserError, match=r"deconv/a\.mrc: exists"):
        made(tmp_path)


@pytest.mark.parametrize(
    ("rows", "options", "words"),
    [
        ([row(1, "a.mrc")], {"input_column": "rlnCorrectedTomoName"}, "a: rlnCorrectedTomoName is empty"),
        ([row(1, "flat.mrc")], {}, r"flat\.mrc: it is constant"),
        ([row(1, None, half1="a.mrc", half2="small.mrc")], {}, r"small\.mrc: another shape than a\.mrc"),
    ],
)
def test_what_cannot_be_deconvolved_is_one_line_and_leaves_no_file(tmp_path, rows, options, words):
    tomogram(tmp_path / "a.mrc")
    for name, shape in (("flat.mrc", SHAPE), ("small.mrc", (8, 8, 8))):
        write_mrc(tmp_path / name, np.full(shape, 5, np.float32), pixel_size_angstrom=PIXEL)
    with pytest.raises(UserError, match=words):
        made(tmp_path, *rows, **options)
    assert not list(tmp_path.glob("deconv/*.mrc"))


def test_an_interrupted_run_goes_on_with_the_chunks_and_tomograms_that_are_left(tmp_path, monkeypatch):
    tomogram(tmp_path / "a.mrc")
    tomogram(tmp_path / "b.mrc", seed=2)
    rows = [row(1, "a.mrc"), row(2, "b.mrc")]
    made(tmp_path, *rows, chunk_size=32, output_dir="whole")

    left = [11]  # of 2 × 8 chunks, and then all
    read = deconv.Filtered.__getitem__

    def counted(volume: Any, box: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return read(volume, box)

    monkeypatch.setattr(deconv.Filtered, "__getitem__", counted)
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path, *rows, chunk_size=32)
    assert [path.name for path in (tmp_path / "deconv").glob("*.mrc")] == ["a.mrc"]
    before = (tmp_path / "deconv/a.mrc").stat().st_mtime_ns
    left[0] = 5
    made(tmp_path, chunk_size=32)
    assert left[0] == 0
    assert (tmp_path / "deconv/a.mrc").stat().st_mtime_ns == before
    for name in ("a.mrc", "b.mrc"):
        assert (tmp_path / "deconv" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "deconv").iterdir()) == [".finished", "a.mrc", "b.mrc"]
    left[0] = 99
    made(tmp_path, chunk_size=32, snrfalloff=0.5)  # other settings: all anew
    assert left[0] == 99 - 16


def test_the_inputs_change_with_the_map_its_optics_and_nothing_else(tmp_path):
    tomogram(tmp_path / "a.mrc")

    def inputs(**more: Any) -> dict[str, Any]:
        write_star(tmp_path / "tomograms.star", [row(1, "a.mrc", **more)])
        return deconv.inputs(job(tmp_path))

    before = inputs()
    assert inputs(mask="m.mrc", tilt_step_deg=2.0) == before
    for name in ("defocus_angstrom", "voltage_kv", "cs_mm", "amplitude_contrast", "pixel_size_angstrom"):
        assert inputs(**{name: 0.5}) != before
    tomogram(tmp_path / "a.mrc", seed=9)
    assert inputs() != before


def test_memory_is_that_of_a_chunk_not_of_the_tomogram(tmp_path):
    """77 MiB of voxels in chunks of 32, with what lies around them 64³: in a process of its own, which takes 44 MB."""
    shape = (104, 440, 440)
    write_mrc(tmp_path / "a.mrc", np.tile(np.arange(440, dtype=np.float32), (104, 440, 1)), pixel_size_angstrom=PIXEL)
    write_star(tmp_path / "tomograms.star", [row(1, "a.mrc")])
    code = """
import psutil
from isonet2.job.models import Job
from isonet2.parallel.memory import forget_peak, peak_memory_gb
from isonet2.parallel.world import World
from isonet2.stages import deconv
job = Job.model_validate({"deconv": {"highpassnyquist": 0.2, "chunk_size": 64}})
forget_peak("cpu")
before = psutil.Process().memory_info().rss
deconv.run(job, World())
print(peak_memory_gb("cpu") * 1e9 - before)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.8 * 4 * np.prod(shape)

"""validate: what is wrong with the inputs of a job is said before any work, all of it at once."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from isonet2.errors import UserError
from isonet2.io.star import TomogramRow, write_star
from isonet2.job.load import load_job
from isonet2.stages import validate as module
from isonet2.stages.validate import validate

Usage = namedtuple("Usage", "total used free")
TRAINING = "refine:\n  arch: unet-tiny\n  cube_size: 32\n  epochs: 2\npredict:\n"
HALVES = "prepare_star:\n  even: even\n  odd: odd\n"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The current folder, so that what messages name is short to compare."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tomogram(name: str, shape: tuple[int, int, int] = (40, 48, 56), pixel_size: float = 10.0) -> str:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(name, np.zeros(shape, np.int8)) as file:
        file.voxel_size = pixel_size
    return name


def row(index: int, **changed: object) -> TomogramRow:
    files = {"half1": f"even/t{index}.mrc", "half2": f"odd/t{index}.mrc"}
    angles = {"tilt_min_deg": -60.0, "tilt_max_deg": 60.0, "pixel_size_angstrom": 10.0}
    return TomogramRow(**{"index": index, "number_subtomos": 9, **files, **angles, **changed})


def plan_of(text: str, *overrides: str):
    Path("job.yaml").write_text(text)
    return validate(load_job("job.yaml", overrides))


def mistakes(text: str, *overrides: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        plan_of(text, *overrides)
    assert caught.value.exit_code == 64
    return str(caught.value).replace(f"{Path.cwd()}/", "").split("\n")


def test_halves_in_folders_are_planned_before_there_is_a_star_file():
    for half in ("even", "odd"):
        for n in (1, 2, 3):
            tomogram(f"{half}/t{n}_{half}.mrc")
    plan = plan_of(HALVES + "make_mask:\n" + TRAINING)
    assert (plan.tomograms, plan.samples, plan.training_steps) == (3, 3000, 2850)
    assert plan.mask_bytes == 3 * 40 * 48 * 56
    assert plan_of(HALVES, "prepare_star.number_subtomos=7").samples == 21


def test_the_star_file_says_how_many_cubes_and_tomo_idx_which():
    for n in (1, 2, 3):
        tomogram(f"even/t{n}.mrc")
        tomogram(f"odd/t{n}.mrc")
    write_star(Path("tomograms.star"), [row(n, number_subtomos=10 * n) for n in (1, 2, 3)])
    assert plan_of(TRAINING).samples == 60
    assert plan_of(TRAINING, "extract.tomo_idx=1,3").samples == 40


def test_points_count_where_they_are_given():
    tomogram("even/t1.mrc")
    tomogram("odd/t1.mrc")
    Path("points").mkdir()
    Path("points/t1.txt").write_text("3 4 5\n10 10 10\n20 20 20\n500 4 5\n")
    assert plan_of(HALVES + "  coordinate_folder: points\n" + TRAINING).samples == 3


def test_a_job_that_simulates_its_tomograms_needs_none():
    text = (
        "simulate:\n  count: 2\n  size: 48,64,64\n"
        "prepare_star:\n  even: simulated/even\n  odd: simulated/odd\n  number_subtomos: 5\n"
        "make_mask:\n" + TRAINING + "report:\n  truth_folder: simulated/truth\n"
    )
    plan = plan_of(text)
    assert (plan.tomograms, plan.samples, plan.steps_per_epoch) == (2, 10, 5)
    assert mistakes(text, "refine.cube_size=64") == [
        "refine.cube_size 64 is too large for simulated tomogram 1 (and for 1 more), which has 48×64×64 "
        "voxels (z, y, x): take a smaller cube"
    ]


def test_all_that_is_wrong_with_the_tomograms_is_said_at_once():
    tomogram("even/t1.mrc")
    tomogram("odd/t1.mrc", (40, 48, 58))
    tomogram("even/t2.mrc")
    tomogram("even/t3.mrc")
    tomogram("odd/t3.mrc")
    tomogram("masks/t3.mrc", (40, 48, 57))
    tomogram("even/t4.mrc", (24, 48, 56))
    tomogram("odd/t4.mrc", (24, 48, 56))
    Path("even/t5.mrc").write_text("no tomogram")
    tomogram("odd/t5.mrc")
    rows = [row(1), row(2), row(3, mask="masks/t3.mrc"), row(4), row(5)]
    write_star(Path("tomograms.star"), rows)
    assert mistakes(TRAINING + "report:\n  truth_folder: truth\n", "predict.model=net.pt", "predict.tomo_idx=9") == [
        "tomo_idx '9': there is no tomogram 9; there are 1, 2, 3, 4, 5",
        "odd/t1.mrc: 40×48×58 voxels (z, y, x), but t1.mrc has 40×48×56: they must be alike",
        "odd/t2.mrc: no such file (tomogram)",
        "masks/t3.mrc: 40×48×57 voxels (z, y, x), but t3.mrc has 40×48×56: they must be alike",
        "even/t5.mrc: not an MRC file",
        f"predict.model: file 'net.pt' is not there (seen from {Path.cwd()}); refine leaves it in isonet_maps/, where "
        "there is none yet",
        f"report.truth_folder: folder 'truth' is not there (seen from {Path.cwd()})",
        "refine.cube_size 32 is too large for t4, which has 24×48×56 voxels (z, y, x): take a smaller cube",
    ]


def test_what_this_job_makes_itself_need_not_be_there():
    tomogram("even/t1.mrc")
    tomogram("odd/t1.mrc")
    write_star(Path("tomograms.star"), [row(1, mask="mask/t1_mask.mrc")])
    assert mistakes(TRAINING) == ["mask/t1_mask.mrc: no such file (tomogram)"]
    plan = plan_of("make_mask:\n" + TRAINING, "predict.model=isonet_maps/network.pt")
    assert plan.tomograms == 1


def test_missing_inputs_of_prepare_star_are_named():
    here = f"(seen from {Path.cwd()})"
    assert mistakes(HALVES) == [f"prepare_star.{half}: folder '{half}' is not there {here}" for half in ("even", "odd")]
    tomogram("even/a_even.mrc")
    tomogram("odd/b_odd.mrc")
    assert "files without a partner: a (no odd), b (no even)" in mistakes(HALVES)[0]
    for stage in ("make_mask", "report"):
        assert mistakes(f"{stage}:\n") == [
            f"star_file: list 'tomograms.star' is not there {here}; isonet2 prepare_star makes it"
        ]


def test_a_pixel_size_that_nobody_gave_is_asked_for():
    tomogram("even/a.mrc", pixel_size=1.0)
    tomogram("odd/a.mrc", pixel_size=1.0)
    assert mistakes(HALVES) == ["prepare_star.pixel_size: the header of a (of 1) has none; give it in Å"]
    assert plan_of(HALVES, "prepare_star.pixel_size=5.4").tomograms == 1


@pytest.mark.parametrize(
    ("setting", "mistake"),
    [
        ("defocus=[1,2,3]", "prepare_star.defocus: 3 values for 2 tomograms; give one, or one for each"),
        ("tilt_folder=tilts", "tilts: no file for b; call it NAME or NAME_tilts with .tlt, .rawtlt, .txt"),
        (
            "mask_folder=masks",
            "masks/b.mrc: 40×48×57 voxels (z, y, x), but even/b.mrc has 40×48×56; they must have one shape",
        ),
    ],
)
def test_what_prepare_star_will_refuse_is_refused_before_it_starts(setting, mistake):
    for name in ("even/a.mrc", "odd/a.mrc", "even/b.mrc", "odd/b.mrc", "masks/a.mrc"):
        tomogram(name)
    tomogram("masks/b.mrc", (40, 48, 57))
    Path("tilts").mkdir()
    Path("tilts/a.tlt").write_text("-60\n60\n")
    assert mistakes(HALVES, f"prepare_star.{setting}") == [mistake]


def test_what_prepare_star_doubts_is_said_before_it_starts():
    for name in ("even/a.mrc", "odd/a.mrc"):
        tomogram(name, pixel_size=13.6)
    [warning] = plan_of(HALVES, "prepare_star.pixel_size=10").warnings
    assert warning == "prepare_star: pixel_size 10 Å is used, though 1 headers say otherwise (13.6 Å)"
    assert not Path("tomograms.star").exists()


def test_an_average_that_prepare_star_will_make_is_planned_with():
    for name in ("even/a_EVN.mrc", "odd/a_ODD.mrc"):
        tomogram(name)
    text = HALVES + "  create_average: true\n" + TRAINING
    assert plan_of(text, "refine.method=isonet2").samples == 3000
    assert mistakes(HALVES + TRAINING, "refine.method=isonet2")[0].startswith("a: a full tomogram is needed")


def test_halves_are_asked_for_where_training_needs_them():
    tomogram("full/a.mrc")
    assert plan_of("prepare_star:\n  full: full\nmake_mask:\n").tomograms == 1
    [mistake] = mistakes("prepare_star:\n  full: full\n" + TRAINING, "refine.method=isonet2-n2n")
    assert mistake.startswith("a: two halves are needed")


def test_many_equal_mistakes_do_not_fill_the_screen():
    write_star(Path("tomograms.star"), [row(n) for n in range(1, 101)])
    assert mistakes(TRAINING)[-1] == "… and 70 more"


def test_room_on_the_disk_is_counted_without_what_is_there_already(monkeypatch):
    tomogram("even/t1.mrc")
    tomogram("odd/t1.mrc")
    plan = plan_of(HALVES + TRAINING)
    needed = plan.training_bytes + plan.cache_bytes + 3 * 40 * 48 * 56 * 4
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(10**12, 0, needed - 1))
    [mistake] = mistakes(HALVES + TRAINING)
    size = f"{needed / 1e6:.1f} MB"
    assert mistake.startswith(f"corrected_tomos: {size} are needed on this disk and {size} are free: make room")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(10**12, 0, 400_000))
    assert " and 0.4 MB are free" in mistakes(HALVES + TRAINING)[0]
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(10**12, 0, needed - 1))
    Path("cache/some").mkdir(parents=True)
    Path("cache/some/shard.h5").write_bytes(bytes(1000))
    assert plan_of(HALVES + TRAINING).tomograms == 1


def test_more_than_this_machine_has_is_warned_about(monkeypatch):
    monkeypatch.setattr(module, "core_count", lambda: 4)
    monkeypatch.setattr(module, "memory_bytes", lambda: 10**9)
    monkeypatch.setattr(module, "gpu_count", lambda: 0)
    text = "simulate:\nresources:\n  ranks_per_node: 2\n  threads_per_rank: 3\nrefine:\n  cube_size: 96\n"
    tomogram("even/t1.mrc", (96, 96, 96))
    tomogram("odd/t1.mrc", (96, 96, 96))
    write_star(Path("tomograms.star"), [row(1)])
    warnings = plan_of(text).warnings
    assert warnings[0] == "resources: 6 cores are asked for, this machine gives 4"
    assert warnings[1].startswith("memory: ")
    assert plan_of(text, "resources.nodes=2", "resources.threads_per_rank=9").warnings == ()

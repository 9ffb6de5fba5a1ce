"""Every option of every tool, and of every stage that trains nothing, changes what it says, or is said to have no
effect."""

from __future__ import annotations

import fnmatch
import importlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from common import absent
from tiny import SETTINGS, NoFigure, Trainer, job_of, rows, run, same, tomograms, train, trainer, with_method

from isonet2 import log
from isonet2.data.cache import CubeCache
from isonet2.errors import UserError
from isonet2.io.atomic import write_text
from isonet2.io.mrc import open_volume, write_mrc
from isonet2.io.star import write_star
from isonet2.job.settings import sections
from isonet2.job.tools import TOOLS

NETWORK_CTF = {"CTF_mode": "network"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainer]:
    with trainer(tmp_path_factory.mktemp("trainings")) as make:
        yield make


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(log, "warn", lines.append)
    return lines


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
    "output_dtype": Output("float16"),
    "tomo_idx": Output("2", changes="names"),
}


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
    """A changed value of an option, what it changes of the files that are kept, and what it needs beside it."""

    value: Any
    changes: str = "content"
    beside: dict[str, Any] = field(default_factory=dict)


WITH_CTF = {"defocus": 40000.0}
CTF_OF_PSF = {**WITH_CTF, "with_ctf": True}
LISTED = {"star_file": "tomograms.star"}
TWO_MAPS = {"map1": "../../maps/t1_even.mrc", "map2": "../../maps/t1_odd.mrc"}
TILTED = {**TWO_MAPS, "tilt_min": -60.0, "tilt_max": 60.0}
ONE_MAP = {"maps": "../../maps/t1_full.mrc"}
BY_FILES = {
    "simulate": {
        "output_dir": Kept("elsewhere", "names"),
        "count": Kept(2, "names"),
        "size": Kept((24, 32, 40)),
        "pixel_size": Kept(22.0),
        "tilt_min": Kept(-48.0),
        "tilt_max": Kept(48.0),
        "tilt_step": Kept(10.0),
        "snr": Kept(0.5),
        "defocus": Kept(40000.0),
        "voltage": Kept(200.0, beside=WITH_CTF),
        "cs": Kept(100.0, beside=WITH_CTF),
        "ac": Kept(0.3, beside=WITH_CTF),
        "particles": Kept(4),
        "membranes": Kept(1),
        "gold": Kept(1),
        "gold_diameter": Kept(150.0, beside={"gold": 1}),
    },
    "prepare_star": {
        "full": Kept("../../maps/full"),
        "source": Kept("folders", beside={"even": None, "odd": None, "full": "../../maps/imod"}),
        "even": Kept("../../maps/other"),
        "odd": Kept("../../maps/other"),
        "mask_folder": Kept("../../maps/other"),
        "coordinate_folder": Kept("../../maps/lists"),
        "pixel_size": Kept(10.05),
        "defocus": Kept(40000.0),
        "cs": Kept(1.4),
        "voltage": Kept(200.0),
        "ac": Kept(0.07),
        "tilt_folder": Kept("../../maps/lists"),
        "tilt_min": Kept(-51.0),
        "tilt_max": Kept(51.0),
        "tilt_step": Kept(2.0),
        "flip_tilts": Kept(True, beside={"tilt_folder": "../../maps/lists"}),
        "create_average": Kept(True, "names"),
        "number_subtomos": Kept(7),
    },
    "deconv": {
        "input_column": Kept("rlnOther"),
        "output_dir": Kept("elsewhere", "names"),
        "snrfalloff": Kept(0.3),
        "deconvstrength": Kept(2.0),
        "highpassnyquist": Kept(0.5),
        "chunk_size": Kept(32),
        "overlap_rate": Kept(1.0, beside={"chunk_size": 32}),
        "phaseflipped": Kept(True),
        "tomo_idx": Kept("1", "names"),
    },
    "make_mask": {
        "input_column": Kept("rlnOther"),
        "output_dir": Kept("elsewhere", "names"),
        "patch_size": Kept(2),
        "density_percentage": Kept(80.0),
        "std_percentage": Kept(80.0),
        "bright_protein": Kept(True),
        "z_crop": Kept(0.5),
        "tomo_idx": Kept("1", "names"),
    },
    "report": {
        "output": Kept("mine.html", "names"),
        "truth_folder": Kept("../../maps", "names"),
        "with_comparison": Kept(False, "names"),
        "comparison_dir": Kept("elsewhere", "names"),
    },
    "psf": {
        "star_file": Kept("tomograms.star", "names"),
        "output_dir": Kept("elsewhere", "names"),
        "cube_size": Kept(14),
        "with_ctf": Kept(True, beside=LISTED),
        "fourier": Kept(True, "names"),
        "tilt_min": Kept(-40.0),
        "tilt_max": Kept(40.0),
        "pixel_size": Kept(12.0),
        "defocus": Kept(30000.0, beside=CTF_OF_PSF),
        "voltage": Kept(200.0, beside=CTF_OF_PSF),
        "cs": Kept(100.0, beside=CTF_OF_PSF),
        "ac": Kept(0.3, beside=CTF_OF_PSF),
        "tomo_idx": Kept("1", "names", LISTED),
    },
    "fsc": {
        "map1": Kept("../../maps/t1_other.mrc", beside=TWO_MAPS),
        "map2": Kept("../../maps/t1_other.mrc", beside=TWO_MAPS),
        "output_dir": Kept("elsewhere", "names"),
        "mask": Kept("../../maps/mask.mrc", beside=TWO_MAPS),
        "with_mask": Kept(True),
        "pixel_size": Kept(12.0, beside=TWO_MAPS),
        "tilt_min": Kept(-40.0, beside=TILTED),
        "tilt_max": Kept(40.0, beside=TILTED),
        "cone": Kept(50.0),
        "tomo_idx": Kept("1", "names"),
    },
    "resize": {
        "maps": Kept("../../maps/t1_other.mrc", beside=ONE_MAP),
        "apix": Kept(20.0),
        "output_dir": Kept("elsewhere", "names"),
        "output_star": Kept("mine.star", "names"),
        "old_pixel_size": Kept(12.0, beside=ONE_MAP),
        "tomo_idx": Kept("1", "names"),
    },
    "check": {
        "star_file": Kept("../../maps/other.star"),
        "output_dir": Kept("elsewhere", "names"),
        "tomo_idx": Kept("1"),
    },
    "star2json": {
        "star_file": Kept("../../maps/other.star", "names"),
        "json_file": Kept("mine.json", "names"),
    },
    "json2star": {
        "json_file": Kept("../../maps/more.json", "names"),
        "star_file": Kept("mine.star", "names"),
    },
    "export": {
        "maps": Kept("../../maps/t1_other.mrc", beside=ONE_MAP),
        "output_dir": Kept("elsewhere", "names"),
        "input_column": Kept("rlnTomoName", "names"),
        "pixel_size": Kept(12.0, beside=ONE_MAP),
        "tomo_idx": Kept("1", "names"),
    },
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
TABLES: dict[str, dict[str, Any]] = {**BY_FILES, "extract": EXTRACT, "predict": PREDICT}
SECTIONS = {**sections(), **TOOLS}


@pytest.mark.parametrize("section", TABLES)
def test_every_option_is_in_the_table_of_its_section(section: str) -> None:
    assert set(SECTIONS[section].model_fields) == set(TABLES[section])


def test_every_section_but_the_trainings_has_a_table() -> None:
    """Theirs are in test_options.py; resources and container are where a job runs, test_watch.py has watch."""
    assert SECTIONS.keys() - TABLES.keys() == {"denoise", "refine", "resources", "container", "watch"}


USUAL: dict[str, dict[str, Any]] = {
    "simulate": {"size": (24, 32, 32), "pixel_size": 20.0, "particles": 3, "membranes": 0, "tilt_step": 12.0},
    "prepare_star": {"even": "../../maps/even", "odd": "../../maps/odd"},
    "deconv": {"highpassnyquist": 1.0},  # the reach of the filter, and with it the work
    "psf": {"cube_size": 12},
}
CONTENT = {  # of others: *.mrc
    "simulate": "*/full/*", "prepare_star": "*.star", "fsc": "*.csv", "export": "*.zarr/.zattrs",
    "check": "check/check.json", "star2json": "*.json", "json2star": "*.star",
}  # fmt: skip
Files = dict[str, bytes]


@pytest.fixture(scope="module")
def left_by(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Files]:
    """Runs a stage or a tool with some settings in a new folder, for which maps lie ready: the files it then holds."""
    root, rng = tmp_path_factory.mktemp("left"), np.random.default_rng(1)
    maps = root / "maps"
    done: dict[str, Files] = {}

    def put(path: str, volume: np.ndarray) -> None:
        write_mrc(maps / path, volume.astype(np.float32), pixel_size_angstrom=10)

    shape = (20, 24, 40)  # longer than the smallest chunk of deconv
    put("mask.mrc", rng.random(shape) > 0.5)
    for n, kind in product((1, 2), ("full", "even", "odd", "other")):
        volume = rng.standard_normal(shape)
        put(f"t{n}_{kind}.mrc", volume)
        put(f"{kind}/t{n}.mrc", volume)
        put(f"imod/t{n}.mrc", volume)
    for n in (1, 2):
        write_text(maps / f"lists/t{n}.coords", "1 2 3\n")
        write_text(maps / f"lists/t{n}.tlt", "-50\n0\n50\n")
        write_text(maps / f"imod/t{n}.tlt", "-50\n0\n50\n")

    write_star(maps / "other.star", rows(maps)[:1])
    for name in ("maps/more.json", "tomograms.json"):
        write_text(root / name, '[{"rlnIndex": 1, "rlnTomoName": "a b.mrc"}]')

    def make(section: str, **settings: Any) -> Files:
        if section == "export" and find_spec("zarr") is None:
            absent("zarr is not installed: pip install 'isonet2[zarr]'")
        settings = {**USUAL.get(section, {}), **settings}
        key = json.dumps([section, settings])
        if key not in done:
            folder = root / str(len(done)) / "job"
            of_job = {} if section in TOOLS else {section: settings}
            listed = rows(maps, mask=str(maps / "mask.mrc"))
            made = [replace(row, corrected=str(maps / f"t{row.index}_other.mrc")) for row in listed]
            job = job_of(folder, made, **of_job)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("isonet2.stages.fsc.fsc_figure", NoFigure)
                patch.chdir(folder)
                if section == "json2star":
                    (folder / "tomograms.star").unlink()
                    shutil.copy(root / "tomograms.json", folder)
                if of_job:
                    run(job, section)
                else:
                    tool = getattr(importlib.import_module(f"isonet2.stages.{section}"), section)
                    list(tool(TOOLS[section](**settings)))
            visible = (path for path in folder.rglob("*") if path.is_file() and ".finished" not in path.parts)
            done[key] = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(visible)}
        return done[key]

    return make


@pytest.mark.parametrize(("section", "name"), [(section, name) for section in BY_FILES for name in BY_FILES[section]])
def test_an_option_changes_the_files_that_it_says(section: str, name: str, left_by: Callable[..., Files]) -> None:
    case = BY_FILES[section][name]
    before, after = left_by(section, **case.beside), left_by(section, **{**case.beside, name: case.value})
    if case.changes == "names":
        assert before.keys() != after.keys()
        return
    pairs = list(zip(*(fnmatch.filter(files, CONTENT.get(section, "*.mrc")) for files in (before, after)), strict=True))
    assert pairs
    assert not any(before[one] == after[other] for one, other in pairs)


@pytest.mark.parametrize("section", BY_FILES)
def test_an_option_at_its_default_changes_nothing(section: str, left_by: Callable[..., Files]) -> None:
    """Or else nothing above says anything."""
    name = next(name for name in BY_FILES[section] if name not in USUAL.get(section, {}))
    assert left_by(section, **{name: SECTIONS[section].model_fields[name].default}) == left_by(section)


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
        index, *_ = run(job, "extract")["outputs"]
        return index, CubeCache(job.path(index).parent).content

    before, after = cut("before"), cut("after", **{name: case.value})
    assert before[0] != after[0]
    assert (before[1] == after[1]) is (case.changes == "names")

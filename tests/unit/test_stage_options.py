"""Every option of predict, deconv and extract changes what it says, or is said to have no effect."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import SETTINGS, Trainer, job_of, rows, run, same, tomograms, train, trainer, with_method

from isonet2 import log
from isonet2.data.cache import CubeCache
from isonet2.errors import UserError
from isonet2.io.mrc import open_volume, read_header, write_mrc
from isonet2.io.star import read_star
from isonet2.job.models import Deconv, Extract, Predict, Section

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
        index, *_ = run(job, "extract")["outputs"]
        return index, CubeCache(job.path(index).parent).content

    before, after = cut("before"), cut("after", **{name: case.value})
    assert before[0] != after[0]
    assert (before[1] == after[1]) is (case.changes == "names")

"""Whole trainings of a few steps: two halves of the specimen, cubes that are held out, networks to begin with."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from tiny import BRIEF, NETWORK, SETTINGS, SHAPE, NoFigure, job_of, rows, run, same, tomograms, train

from isonet2 import pipeline
from isonet2.data.dataset import Batch, CubeDataset
from isonet2.errors import UserError
from isonet2.inference.networks import NetworkInfo, load_network
from isonet2.io.mrc import open_volume, write_mrc
from isonet2.io.star import TomogramRow
from isonet2.job.models import Job, Predict
from isonet2.parallel.world import World
from isonet2.report.records import stage_path
from isonet2.training import loop
from isonet2.training.checkpoint import Checkpoints

REFINE = {**SETTINGS, "method": "isonet2-n2n"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isonet2.training.exports.loss_figure", NoFigure)


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tomograms(tmp_path_factory.mktemp("maps"))


def write_mask(folder: Path, *specimen: range) -> str:
    """1 in these rows (y)."""
    mask = np.zeros(SHAPE, np.float32)
    for part in specimen:
        mask[:, part.start : part.stop] = 1
    write_mrc(folder / "mask.mrc", mask, pixel_size_angstrom=10)
    return str(folder / "mask.mrc")


def midline_mask(folder: Path) -> str:
    """Specimen about the middle of y alone."""
    return write_mask(folder, range(10, 14))


def midline_points(folder: Path) -> str:
    """On both sides of the middle of y, and on it."""
    (folder / "points.txt").write_text("\n".join(f"{x} {y} 10" for x, y in itertools.product((6, 12), (9, 11, 12, 15))))
    return str(folder / "points.txt")


def caches_of(job: Job) -> list[Path]:
    """The folders that extract leaves cubes in."""
    return [job.path(name).parent for name in run(job, "extract")["outputs"] if name.endswith("index.json")]


@pytest.mark.parametrize("placed", [None, midline_mask, midline_points])
@pytest.mark.parametrize("margin", [0, 1])
def test_the_cubes_of_top_and_bottom_share_no_voxel(placed: Any, margin: int, maps: Path, tmp_path: Path) -> None:
    named: dict[str, Any] = {} if placed is None else {
        ("mask" if placed is midline_mask else "coordinates"): placed(tmp_path)
    }  # fmt: skip
    section = {**REFINE, "split_halves": True}
    job = job_of(tmp_path, rows(maps, cubes=12, **named), refine=section, extract={"margin": margin})
    caches = caches_of(job)
    assert len(caches) == 2
    touched = np.zeros((2, 2, SHAPE[1]), bool)  # half of the specimen, tomogram, row
    for half, cache in enumerate(caches):
        for shard in json.loads((cache / "index.json").read_text())["shards"]:
            with h5py.File(cache / shard["file"]) as file:
                for _, y, _ in file["corner"][:]:
                    assert 0 <= y <= SHAPE[1] - 8 - 2 * margin
                    touched[half, int(shard["file"][:4]), y : y + 8 + 2 * margin] = True
    assert not (touched[0] & touched[1]).any()
    assert touched[0, :, :12].any(1).all()
    assert touched[1, :, 12:].any(1).all()


def test_cubes_of_each_half_lie_where_its_own_part_of_the_mask_is(maps: Path, tmp_path: Path) -> None:
    mask = write_mask(tmp_path, range(4, 6), range(19, 21))
    job = job_of(tmp_path, rows(maps, cubes=12, mask=mask), refine={**REFINE, "split_halves": True})
    for cache, specimen in zip(caches_of(job), ({4, 5}, {19, 20}), strict=True):
        for path in cache.glob("*.h5"):
            with h5py.File(path) as file:
                assert set((file["corner"][:, 1] + 4).tolist()) <= specimen


@pytest.fixture(scope="module")
def split(maps: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, Any]:
    """A training with split_halves, and its record, as a run leaves it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("isonet2.training.exports.loss_figure", NoFigure)
        job = job_of(tmp_path_factory.mktemp("split"), rows(maps), refine={**REFINE, "split_halves": True}, predict={})
        trained = train(job, "refine")
    stage_path(job, "refine").parent.mkdir()
    stage_path(job, "refine").write_text(json.dumps({"facts": trained.facts}))
    return job, trained


def test_both_networks_are_exported_under_their_halves_and_differ(split: tuple[Job, Any]) -> None:
    _, trained = split
    names = [f"{part}/network_isonet2-n2n_unet-tiny_8_{part}.pt" for part in ("top", "bottom")]
    assert [str(path.relative_to(trained.folder)) for path in trained.networks] == names
    assert [load_network(path)[1].part for path in trained.networks] == ["top", "bottom"]
    assert trained.facts["outputs"] == [f"isonet_maps/{name}" for name in names]
    top, bottom = trained.weights
    assert not any(torch.equal(top[name], bottom[name]) for name in top if name.endswith("weight"))


def test_predict_takes_both_networks_each_for_its_half_map(split: tuple[Job, Any]) -> None:
    job, trained = split
    facts = run(job, "predict")
    assert [Path(name).stem for name in facts["outputs"][:3]] == [
        f"corrected_t1_full{end}" for end in ("", "_half1", "_half2")
    ]
    by_itself = [volume_of(job.folder / name) for name in facts["outputs"][:3]]
    top, bottom = (str(path) for path in trained.networks)
    for half, network in ((1, top), (2, bottom)):
        alone = Predict(model=network, keep_halves=True, output_dir=f"alone{half}")
        outputs = run(job.model_copy(update={"predict": alone}), "predict")["outputs"]
        assert np.array_equal(by_itself[half], volume_of(job.folder / outputs[half]))
    assert np.allclose(by_itself[0], (by_itself[1] + by_itself[2]) / 2, atol=1e-5)


def volume_of(path: Path) -> np.ndarray:
    with open_volume(path) as volume:
        return volume[0 : SHAPE[0]]


def test_a_split_training_goes_on_where_it_was_stopped(maps: Path, tmp_path: Path) -> None:
    job = job_of(tmp_path, rows(maps, cubes=4), refine={**REFINE, "split_halves": True})
    straight = train(job, "refine")
    before = straight.weights
    (straight.folder / "bottom/checkpoints/step00000004_saved.pt").unlink()
    for path in straight.networks:
        path.unlink()
    again = train(job, "refine")
    assert same(again.weights, before)
    shutil.rmtree(straight.folder / "bottom")
    again = train(job, "refine")
    assert again.facts["steps_before"] == 4  # of the first half, which was done
    assert same(again.weights, before)


def test_a_network_is_not_written_over_that_the_training_begins_with(maps: Path, tmp_path: Path) -> None:
    (network,) = train(job_of(tmp_path, rows(maps), refine=REFINE), "refine").networks
    job = job_of(tmp_path, rows(maps), refine={**REFINE_AS_IT_COMES, "pretrained_model": str(network)})
    with pytest.raises(UserError, match=rf"would write over {network}: take another output_dir"):
        run(job, "refine")
    assert network.exists()


def test_a_half_without_room_for_a_cube_is_said_before_any_work(maps: Path, tmp_path: Path) -> None:
    job = job_of(tmp_path, rows(maps), refine={**REFINE, "cube_size": 14, "split_halves": True})
    with pytest.raises(
        UserError, match=r"split_halves: a half of t1_full has 12 voxels along y, and a cube .* 14: take"
    ):
        train(job, "refine")
    assert not list(tmp_path.rglob("*.pt"))


HELD_OUT = {**REFINE, "validation_share": 0.5, "epochs": 6, "batch_size": 1, "save_interval": 1}


def test_the_best_network_is_that_of_the_epoch_with_the_lowest_loss(
    maps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses, best = iter([5.0, 4.0, 2.0, 3.0, 2.5, 2.0]), 3
    monkeypatch.setattr(loop, "validate", lambda *_, **__: {"val_loss": next(losses)})
    trained = train(job_of(tmp_path, rows(maps), refine=HELD_OUT), "refine")
    stem = "network_isonet2-n2n_unet-tiny_8"
    found, info = load_network(trained.folder / f"{stem}_best_full.pt")
    wanted, _ = load_network(trained.folder / f"{stem}_epoch{best:03d}_full.pt")
    assert info.epoch == best
    assert same([found.state_dict()], [wanted.state_dict()])
    assert trained.facts["convergence"]["state"] == "unknown"  # after six epochs


def test_cubes_that_are_held_out_never_enter_a_training_batch(
    maps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    judged: set[int] = set()
    original_item, original_validate = CubeDataset.__getitem__, loop.validate

    def item(self: CubeDataset, token: tuple[int, int]) -> Batch:
        read.append(token[1])
        return original_item(self, token)

    def validate(*arguments: Any, **more: Any) -> dict[str, float]:
        before = len(read)
        line = original_validate(*arguments, **more)
        judged.update(read[before:])
        del read[before:]
        return line

    monkeypatch.setattr(CubeDataset, "__getitem__", item)
    monkeypatch.setattr(loop, "validate", validate)
    trained = train(job_of(tmp_path, rows(maps, cubes=5), refine=HELD_OUT), "refine")
    assert len(judged) == trained.facts["held_out"] == 5
    assert set(read) == set(range(10)) - judged
    assert len(read) == 6 * 5


def test_without_held_out_cubes_there_is_no_best_network(split: tuple[Job, Any]) -> None:
    assert not list(split[1].folder.rglob("*best*"))


@pytest.fixture(scope="module")
def first(maps: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network to begin with, of another shape than any by default."""
    job = job_of(tmp_path_factory.mktemp("first"), rows(maps), refine={**REFINE, "block": "residual"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("isonet2.training.exports.loss_figure", NoFigure)
        return train(job, "refine").networks[0]


def test_a_pretrained_network_keeps_its_architecture_and_says_so(maps: Path, first: Path, tmp_path: Path) -> None:
    job = job_of(tmp_path, rows(maps), denoise={**BRIEF, "pretrained_model": str(first)})
    trained = train(job, "denoise")
    (_, old), (_, new) = load_network(first), load_network(trained.networks[0])
    assert (new.arch, new.shape) == (old.arch, old.shape)
    assert new.shape.block == "residual"
    assert (new.method, trained.networks[0].name) == ("n2n", "network_n2n_unet-tiny_8_full.pt")


def test_another_architecture_beside_a_pretrained_network_is_refused(first: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="arch has no effect: a pretrained_model keeps its architecture"):
        job_of(tmp_path, [], refine={**BRIEF, "pretrained_model": str(first), "arch": "unet-small"})


def test_cubes_that_do_not_fit_a_pretrained_network_are_refused(maps: Path, first: Path, tmp_path: Path) -> None:
    job = job_of(tmp_path, rows(maps), refine={**REFINE_AS_IT_COMES, "cube_size": 9, "pretrained_model": str(first)})
    with pytest.raises(UserError, match=r"cube_size 9 does not fit .*, which needs a multiple of 2"):
        train(job, "refine")


REFINE_AS_IT_COMES = {**BRIEF, "method": "isonet2-n2n"}


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
@pytest.mark.parametrize(
    ("freeze", "moving"),
    [("encoder", ("up.", "up_stacks.", "last.")), ("all_but_last", ("last.",)), (None, ("",))],
)
def test_what_is_frozen_stays_and_the_rest_moves(
    freeze: str | None, moving: tuple[str, ...], optimizer: str, maps: Path, first: Path, tmp_path: Path
) -> None:
    section = {**REFINE_AS_IT_COMES, "pretrained_model": str(first), "freeze": freeze, "optimizer": optimizer}
    trained = train(job_of(tmp_path, rows(maps), refine=section), "refine")
    old = load_network(first)[0].state_dict()
    for name, value in trained.weights[0].items():
        assert torch.equal(value, old[name]) is not name.startswith(moving), name


def test_a_restart_begins_every_kind_of_training_anew(maps: Path, tmp_path: Path) -> None:
    """As a run does it: a training that is done would else be found done again."""
    both = {"denoise": {**SETTINGS, "output_dir": "d"}, "refine": {**REFINE, "output_dir": "r"}}
    job = job_of(tmp_path, rows(maps), **both)
    for stage in both:
        pipeline._run_stage(stage, job, World(), "", {}, anew=False)
        for anew, steps_before in ((False, 4), (True, 0)):
            stage_path(job, stage).unlink(missing_ok=True)
            _, facts = pipeline._run_stage(stage, job, World(), "", {"restart": True} if anew else {}, anew=anew)
            assert facts["steps_before"] == steps_before


def test_new_positions_are_drawn_for_each_generation_and_only_the_first_and_last_cache_stay(
    maps: Path, tmp_path: Path
) -> None:
    section = {**REFINE, "epochs": 4}
    job = job_of(tmp_path, rows(maps), refine=section, extract={"cache_refresh_epochs": 1})
    train(job, "refine")
    generations = sorted(
        json.loads(path.read_text())["generation"] for path in (tmp_path / "cache").rglob("index.json")
    )
    assert generations == [0, 3]


@pytest.mark.parametrize("count", [1, 2])
def test_a_training_of_one_map_reads_one(count: int, maps: Path, tmp_path: Path) -> None:
    """And n2n, which needs two, says so."""
    listed: list[TomogramRow] = rows(maps, **({"half1": None, "half2": None} if count == 1 else {}))
    if count == 2:
        assert train(job_of(tmp_path, listed, denoise=SETTINGS), "denoise").facts["method"] == "n2n"
        return
    assert train(job_of(tmp_path, listed, refine=SETTINGS), "refine").facts["method"] == "isonet2"
    with pytest.raises(UserError, match="t1_full: two halves are needed"):
        train(job_of(tmp_path / "d", listed, denoise=SETTINGS), "denoise")


def test_a_network_says_how_it_was_trained(maps: Path, tmp_path: Path) -> None:
    section = {
        **SETTINGS, "method": "isonet2", "CTF_mode": "wiener", "bfactor": 9.0, "clip_first_peak_mode": 1,
        "snrfalloff": 0.5, "deconvstrength": 0.7, "highpassnyquist": 0.1, "do_phaseflip_input": False,
        "apply_mw_x1": False, "input_column": "rlnOther",
    }  # fmt: skip
    trained = train(job_of(tmp_path, rows(maps), refine=section), "refine")
    info: NetworkInfo = load_network(trained.networks[0])[1]
    for name, value in section.items():
        if name in vars(info):
            assert getattr(info, name) == value, name
    assert (info.shape.channels, info.epoch, info.part, info.foreign) == ((4, 8), 2, "full", False)
    assert Checkpoints(trained.folder / "checkpoints", keep=2).latest()
    assert NETWORK["arch"] == info.arch

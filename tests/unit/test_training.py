"""Resuming: only what is the same training goes on, and what is begun anew forgets the old."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from samples import setup_of, source_of

from isonet2.data.cache import CacheSettings, CubeCache
from isonet2.data.extraction import extract
from isonet2.errors import IsonetError, UserError
from isonet2.io.mrc import write_mrc
from isonet2.job.models import Refine
from isonet2.parallel.world import World
from isonet2.training.loop import Supply, Trainer
from isonet2.training.metrics import Metrics

REFINE = Refine(arch="unet-tiny", cube_size=8, epochs=2, batch_size=2, save_interval=2, with_preview=False)
NETWORK = "network_isonet2-n2n_unet-tiny_8_full.pt"


def cubes(folder: Path, *, seed: int = 0, **taken: object) -> CubeCache:
    rng = np.random.default_rng(seed)
    paths = (folder / f"even{seed}.mrc", folder / f"odd{seed}.mrc")
    for path in paths:
        write_mrc(path, rng.standard_normal((12, 12, 12)).astype(np.float32), pixel_size_angstrom=10)
    source = source_of(paths, (12, 12, 12), number=4, **taken)
    return CubeCache(extract([source], CacheSettings(8, 1, "float16", seed=1), folder / "cache", World()).folder)


def train(
    cache: CubeCache, folder: Path, *, restart: bool = False, refresh: int | None = None, **changes: object
) -> dict[str, object]:
    setup = setup_of(REFINE.model_copy(update=changes))
    return Trainer(setup, Supply(lambda _: cache, refresh), None, folder, World(), seed=0).train(restart=restart)


def epochs(folder: Path) -> list[int]:
    return [json.loads(line)["epoch"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_finished_training_is_not_the_training_of_other_tomograms(tmp_path: Path) -> None:
    train(cubes(tmp_path), tmp_path / "maps")
    with pytest.raises(UserError, match=r"another training.*the cubes are others"):
        train(cubes(tmp_path, seed=1), tmp_path / "maps")


def test_a_training_does_not_go_on_with_other_tilts(tmp_path: Path) -> None:
    train(cubes(tmp_path), tmp_path / "maps")
    with pytest.raises(UserError, match=r"another training.*the tilts or the CTF's parameters are others\)"):
        train(cubes(tmp_path, tilts_deg=((-40.0, 60.0),)), tmp_path / "maps", epochs=3)


def test_another_network_is_refused_before_cubes_are_cut(tmp_path: Path) -> None:
    train(cubes(tmp_path), tmp_path / "maps")
    setup, uncut = (
        setup_of(REFINE.model_copy(update={"arch": "unet-small"})),
        Supply(lambda _: pytest.fail("cut"), None),
    )
    with pytest.raises(UserError, match="arch was unet-tiny and is unet-small"):
        Trainer(setup, uncut, None, tmp_path / "maps", World(), seed=0).train(restart=False)


def test_a_copy_of_the_same_tomograms_goes_on(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    train(cubes(tmp_path), tmp_path / "maps")
    facts = train(cubes(tmp_path / "copy"), tmp_path / "maps", epochs=3)
    assert facts["steps_before"] == 4
    assert epochs(tmp_path / "maps") == [1, 2, 3]


def test_fewer_epochs_than_were_trained_are_refused(tmp_path: Path) -> None:
    train(cubes(tmp_path), tmp_path / "maps")
    with pytest.raises(UserError, match=r"epochs 1: .* training of 2 epochs"):
        train(cubes(tmp_path), tmp_path / "maps", epochs=1)


def test_a_training_begun_anew_forgets_the_metrics_of_the_old_one(tmp_path: Path) -> None:
    for restart in (False, True):
        train(cubes(tmp_path), tmp_path / "maps", restart=restart)
    assert epochs(tmp_path / "maps") == [1, 2]


def test_a_training_begun_anew_forgets_the_networks_of_the_old_one(tmp_path: Path) -> None:
    train(cubes(tmp_path), tmp_path / "maps", epochs=3, save_interval=1)
    (tmp_path / "maps" / NETWORK.replace("n2n", "other")).touch()
    train(cubes(tmp_path), tmp_path / "maps", restart=True, epochs=1)
    names = {path.name.removeprefix("network_isonet2-").removesuffix("full.pt") for path in maps_in(tmp_path)}
    assert names == {"n2n_unet-tiny_8_", "n2n_unet-tiny_8_epoch001_", "other_unet-tiny_8_"}


def maps_in(folder: Path) -> list[Path]:
    return list((folder / "maps").glob("*.pt"))


def test_fresh_cubes_after_another_number_of_epochs_make_another_training(tmp_path: Path) -> None:
    train(cubes(tmp_path), tmp_path / "maps")
    with pytest.raises(UserError, match="cache_refresh_epochs was None and is 1"):
        train(cubes(tmp_path), tmp_path / "maps", refresh=1)


def test_a_harmed_network_is_written_again(tmp_path: Path) -> None:
    train(cubes(tmp_path), tmp_path / "maps")
    path = tmp_path / "maps" / NETWORK
    whole = bytearray(path.read_bytes())
    path.write_bytes(whole[:500] + bytes([whole[500] ^ 1]) + whole[501:])
    train(cubes(tmp_path), tmp_path / "maps")
    assert path.read_bytes() == whole


def test_a_network_that_is_missing_is_written_again_but_none_between_save_intervals(tmp_path: Path) -> None:
    train(cubes(tmp_path), tmp_path / "maps")
    (tmp_path / "maps" / NETWORK).unlink()
    train(cubes(tmp_path), tmp_path / "maps")
    assert (tmp_path / "maps" / NETWORK).exists()
    train(cubes(tmp_path), tmp_path / "other", epochs=1, save_interval=1)
    for path in (tmp_path / "other" / "checkpoints").iterdir():
        path.unlink()
    train(cubes(tmp_path), tmp_path / "other", epochs=4, save_interval=4)
    assert [p.name for p in (tmp_path / "other").glob("*epoch00[2-4]*")] == [NETWORK.replace("_full", "_epoch004_full")]


def test_metrics_of_what_is_computed_again_are_forgotten(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path / "metrics.jsonl")
    lines = [{"kind": kind, "step": step} for step in (4, 8) for kind in ("epoch", "preview")]
    for line in lines:
        metrics.append(line)
    metrics.cut_back(8, preview=False)
    assert metrics.lines() == lines[:3]
    metrics.cut_back(4)
    assert metrics.lines() == lines[:2]


def test_a_batch_is_not_split_into_more_parts_than_it_has_cubes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="acc_batches 3 cannot split a batch_size of 2"):
        train(cubes(tmp_path), tmp_path / "maps", batch_size=None, acc_batches=3)


def test_a_training_goes_on_only_with_its_own_settings_and_seed(tmp_path: Path) -> None:
    train(cubes(tmp_path), tmp_path / "maps")
    with pytest.raises(UserError, match=r"mw_weight was 2\.0 and is 1\.0"):
        train(cubes(tmp_path), tmp_path / "maps", mw_weight=1.0)
    trainer = Trainer(
        setup_of(REFINE), Supply(lambda _: cubes(tmp_path), None), None, tmp_path / "maps", World(), seed=7
    )
    with pytest.raises(UserError, match="seed was 0 and is 7"):
        trainer.train(restart=False)


def test_the_latest_checkpoints_stay_and_a_damaged_one_is_passed_over(tmp_path: Path) -> None:
    train(cubes(tmp_path), tmp_path / "maps", epochs=5, save_interval=5)
    folder = tmp_path / "maps" / "checkpoints"
    assert [p.stem for p in sorted(folder.iterdir())] == ["step00000006", "step00000008", "step00000010_saved"]
    for name in ("step00000010_saved", "step00000008"):
        (folder / f"{name}.pt").write_bytes(b"damaged")
    assert train(cubes(tmp_path), tmp_path / "maps", epochs=4, save_interval=5)["steps_before"] == 6
    # Damaged ones do not count among the latest, in whose place new ones would be removed.
    assert [p.stem for p in sorted(folder.iterdir())] == ["step00000006", "step00000008_saved"]


def test_the_loss_of_an_epoch_is_the_mean_over_its_own_cubes(tmp_path: Path) -> None:
    train(cubes(tmp_path), tmp_path / "maps", epochs=6, learning_rate=1e-9, learning_rate_min=0)
    losses = [line["loss"] for line in Metrics(tmp_path / "maps" / "metrics.jsonl").lines()]
    assert max(losses) < 1.5 * min(losses)  # nothing is learned, nothing adds up


def test_a_loss_that_is_no_number_ends_the_training_before_it_is_saved(tmp_path: Path) -> None:
    with pytest.raises(IsonetError, match=r"lower learning_rate"):
        train(cubes(tmp_path), tmp_path / "maps", learning_rate=1e30, warmup_steps=0)
    assert not list((tmp_path / "maps").rglob("*.pt"))


def test_a_line_that_a_kill_cut_short_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"kind": "epoch", "step": 4}\n{"kind": "epo')
    assert Metrics(tmp_path / "metrics.jsonl").lines() == [{"kind": "epoch", "step": 4}]

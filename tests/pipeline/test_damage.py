"""What was truncated, or has one other byte, is found, said in one line, and made again as it was; the rest is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from small_job import after, before, results, run

Harm = Callable[[Path], None]
STEP = "isonet2.training.learner.Learner.step"
OUTPUTS = {
    "deconvolved map": "deconv/tomo_002.mrc",
    "mask": "mask/tomo_002_mask.mrc",
    "shard": "cache/*/0001_000.h5",
    "index": "cache/*/index.json",
    "network": "isonet_maps/network_isonet2-n2n_unet-tiny_16_full.pt",
    "predicted map": "corrected_tomos/corrected_tomo_002.mrc",
    "record of a map": "deconv/.finished/tomo_002.mrc.json",
    "record of a stage": "stages/make_mask.json",
}


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


harmed_by = pytest.mark.parametrize("harm", [truncate, flip])


def times(folder: Path) -> dict[str, int]:
    return {name: (folder / name).stat().st_mtime_ns for name in results(folder)}


@pytest.fixture(scope="module")
def job(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the whole job that is harmed, and mended, again and again."""
    folder = before("predict", whole, tmp_path_factory.mktemp("harmed") / "a job")
    assert run(folder) == 0
    return folder


@harmed_by
@pytest.mark.parametrize("what", OUTPUTS)
def test_an_output_is_made_again_and_nothing_that_was_made_from_it(
    what: str, harm: Harm, job: Path, whole: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (path,) = job.glob(OUTPUTS[what])
    there = times(job)
    harm(path)
    assert run(job) == 0
    said = [line for line in capfd.readouterr().err.splitlines() if " W " in line]
    assert len(said) == 1
    assert str(path) in said[0]
    assert results(job) == results(whole)
    again = {name for name, time in times(job).items() if time != there[name]} - {"tomograms.star"}
    assert again <= {path.relative_to(job).as_posix()} | beside(what)
    assert run(job) == 0
    assert " W " not in capfd.readouterr().err


def beside(what: str) -> set[str]:
    """What is written together with an output: the halves of a map, the network of the last epoch."""
    return {
        "predicted map": {f"corrected_tomos/corrected_tomo_002_half{n}.mrc" for n in (1, 2)},
        "network": {"isonet_maps/network_isonet2-n2n_unet-tiny_16_epoch003_full.pt"},
    }.get(what, set())


@harmed_by
@pytest.mark.parametrize(
    ("stage", "item", "harmed"),
    [
        ("deconv", "isonet2.stages.deconv._filter_chunk", "deconv/.*/*.npy"),
        ("deconv", "isonet2.stages.deconv._put_together", "deconv/*.mrc"),
        ("deconv", "isonet2.stages.deconv._put_together", "deconv/.finished/*.json"),
        ("make_mask", "isonet2.stages.make_mask._put_together", "mask/*.mrc"),
        ("extract", "isonet2.data.extraction.write_shard", "cache/*/*.h5"),
        ("predict", "isonet2.stages.predict.predict_row", "corrected_tomos/.*/0_0000.npy"),
        ("predict", "isonet2.stages.predict.put_together", "corrected_tomos/*_half1.mrc"),
    ],
)
def test_what_a_stopped_stage_left_is_looked_at_before_it_is_kept(
    stage: str,
    item: str,
    harmed: str,
    harm: Harm,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = before(stage, whole, tmp_path / "a job")
    with monkeypatch.context() as patch:
        after(patch, 1, item)
        assert run(folder, "--stages", stage) == 75
    path = next(folder.glob(harmed))
    harm(path)
    capfd.readouterr()
    assert run(folder, "--stages", stage) == 0
    said = [line for line in capfd.readouterr().err.splitlines() if " W " in line]
    assert [str(path) in line for line in said] == [True]
    made = results(folder)
    assert made.items() <= {**results(whole), "tomograms.star": made["tomograms.star"]}.items()


@harmed_by
def test_a_checkpoint_is_passed_over_for_the_one_before_it(
    harm: Harm,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = before("refine", whole, tmp_path / "a job")
    with monkeypatch.context() as patch:
        after(patch, 8, STEP)
        assert run(folder) == 75
    path = folder / "isonet_maps" / "checkpoints" / "step00000008.pt"
    harm(path)
    capfd.readouterr()
    assert run(folder) == 0
    said = capfd.readouterr().err
    assert [str(path) in line for line in said.splitlines() if " W " in line] == [True]
    assert "going on from step 6 of 18" in said
    assert results(folder) == results(whole)

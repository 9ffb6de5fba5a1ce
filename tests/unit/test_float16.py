"""Maps of mode 12: what mrcfile reads is what was meant, rounded; what would suffer is refused before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from tiny import SETTINGS, job_of, rows, run, tomograms, train

from isonet2.errors import UserError
from isonet2.io.float16 import loss_in_float16
from isonet2.io.mrc import open_volume, write_mrc, writing_mrc

RNG = np.random.default_rng(0)


def test_a_map_in_float16_is_read_back_equal_to_rounding_with_its_own_statistics(tmp_path: Path) -> None:
    volume = RNG.normal(3, 1, (5, 6, 7)).astype(np.float32)  # mrcfile sums squares in float16
    with writing_mrc(tmp_path / "a.mrc", (5, 6, 7), header=None, pixel_size_angstrom=10, dtype=np.float16) as out:
        for start in (0, 2):
            out.append(volume[start : start + 2 + start])
    assert mrcfile.validate(tmp_path / "a.mrc")
    with mrcfile.open(tmp_path / "a.mrc") as mrc:
        assert mrc.header.mode == 12
        np.testing.assert_array_equal(mrc.data, volume.astype(np.float16))
        np.testing.assert_allclose(mrc.header.dmean, volume.astype(np.float16).mean(dtype=np.float64), rtol=1e-6)
    with open_volume(tmp_path / "a.mrc") as again:
        assert np.abs(again[0:5] - volume).max() <= 2**-11 * np.abs(volume).max()


@pytest.mark.parametrize("value", [65520.0, -1e6, np.nan, np.inf])
def test_what_float16_cannot_hold_is_an_error_with_the_file_and_leaves_none(value: float, tmp_path: Path) -> None:
    volume = np.zeros((2, 3, 4), np.float32)
    volume[1, 2, 3] = value
    with (
        pytest.raises(UserError, match=r"a\.mrc: a density of .* does not go into float16, which ends at 65504"),
        writing_mrc(tmp_path / "a.mrc", (2, 3, 4), header=None, pixel_size_angstrom=10, dtype=np.float16) as out,
    ):
        out.append(volume)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("mean", "std", "harmless"),
    [
        (0.0, 1.0, True),
        (128.0, 20.0, True),
        (-3000.0, 100.0, True),
        (30000.0, 100.0, False),  # steps of 16 there
        (40000.0, 9000.0, False),  # four of these reach beyond the end
        (0.0, 1e-3, True),
        (0.0, 1e-7, False),  # two steps
    ],
)
def test_float16_suits_densities_whose_noise_is_far_above_its_steps(mean: float, std: float, harmless: bool) -> None:
    assert (loss_in_float16(mean, std) is None) == harmless
    values = RNG.normal(mean, std, 100_000).astype(np.float32)
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float16).astype(np.float64)
    assert (np.isfinite(rounded).all() and np.std(rounded - values) < 0.04 * std) == harmless


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    job = job_of(folder, rows(tomograms(folder / "maps")), refine={"method": "isonet2-n2n", **SETTINGS})
    return train(job, "refine").networks[0]


def predicted(folder: Path, network: Path, maps: Path, **settings: Any) -> Path:
    job = job_of(folder, rows(maps), predict={"model": str(network), "tomo_idx": "1", **settings})
    return job.path(run(job, "predict")["outputs"][0])


def test_predict_writes_float16_and_makes_it_anew_as_float32(tmp_path: Path, network: Path) -> None:
    maps = tomograms(tmp_path / "maps")
    half = mrcfile.read(predicted(tmp_path / "a", network, maps, output_dir="half", output_dtype="float16"))
    whole = mrcfile.read(predicted(tmp_path / "a", network, maps, output_dir="whole"))
    np.testing.assert_array_equal(half, whole.astype(np.float16))
    assert mrcfile.read(predicted(tmp_path / "a", network, maps, output_dir="half")).dtype == np.float32


def test_densities_that_float16_would_coarsen_are_refused_before_any_row(tmp_path: Path, network: Path) -> None:
    maps = tomograms(tmp_path / "maps")
    for path in maps.glob("t1_*.mrc"):
        with mrcfile.open(path) as mrc:
            volume = mrc.data + np.float32(20000)
        write_mrc(path, volume, pixel_size_angstrom=10)
    with pytest.raises(UserError, match=r"predict\.output_dtype: float16 does not suit t1_full: its steps are 16"):
        predicted(tmp_path / "a", network, maps, output_dtype="float16")
    assert not list((tmp_path / "a").rglob("*.npy"))

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest

from isonet2.errors import UserError
from isonet2.io.mrc import open_volume, write_mrc
from isonet2.io.star import TomogramRow, read_star, write_star
from isonet2.job.models import Job, MakeMask
from isonet2.parallel.world import World
from isonet2.stages import make_mask


def row(index: int, tomogram: str | None, **more: Any) -> TomogramRow:
    return TomogramRow(index=index, tomogram=tomogram, pixel_size_angstrom=11.5, tilt_min_deg=-60, tilt_max_deg=60,
                       number_subtomos=10, **more)  # fmt: skip


def made(folder: Path, *rows: TomogramRow, **options: Any) -> dict[str, Any]:
    if rows:
        write_star(folder / "tomograms.star", rows)
    return make_mask.run(Job.model_validate({"make_mask": options}).in_folder(folder), World())


def noise(path: Path, shape: tuple[int, int, int] = (21, 18, 24), seed: int = 1) -> Path:
    volume = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    write_mrc(path, volume, pixel_size_angstrom=8.0)
    return path


def model(path: Path, *contours: list[tuple[float, float, float]]) -> Path:
    chunks = [
        b"CONT" + struct.pack(">iIii", len(points), 0, 0, 0) + np.array(points, ">f4").tobytes() for points in contours
    ]
    path.write_bytes(b"IMODV1.2" + bytes(232) + b"OBJT" + bytes(176) + b"".join(chunks) + b"IEOF")
    return path


def test_a_mask_has_the_shape_and_pixel_size_of_its_tomogram_and_is_named_in_the_list(tmp_path: Path) -> None:
    noise(tmp_path / "a.mrc")
    noise(tmp_path / "b.mrc")
    facts = made(tmp_path, row(1, "a.mrc"), row(4, "b.mrc"), tomo_idx="4", output_dir="my masks")
    assert [r.mask for r in read_star(tmp_path / "tomograms.star")] == [None, "my masks/b_mask.mrc"]
    with mrcfile.open(tmp_path / "my masks/b_mask.mrc") as mrc:
        assert (mrc.data.shape, mrc.data.dtype) == ((21, 18, 24), np.int8)
        assert set(np.unique(mrc.data)) == {0, 1}
        assert mrc.voxel_size.x == pytest.approx(11.5)  # the list's: the header says 8
        assert facts["masks"] == {"b": {"file": "my masks/b_mask.mrc", "kept": pytest.approx(mrc.data.mean())}}


def test_both_ends_of_z_are_cropped(tmp_path: Path) -> None:
    noise(tmp_path / "a.mrc")
    made(tmp_path, row(1, "a.mrc"), density_percentage=100, std_percentage=100, z_crop=0.4)
    mask = mrcfile.read(tmp_path / "mask/a_mask.mrc")
    assert mask.min(axis=(1, 2)).tolist() == mask.max(axis=(1, 2)).tolist() == [0] * 4 + [1] * 13 + [0] * 4


def test_a_map_with_bright_protein_has_the_mask_of_its_negative(tmp_path: Path) -> None:
    dark = mrcfile.read(noise(tmp_path / "dark.mrc"))
    write_mrc(tmp_path / "bright.mrc", -dark, pixel_size_angstrom=8.0)
    made(tmp_path, row(1, "dark.mrc"))
    made(tmp_path, row(1, "bright.mrc"), bright_protein=True)
    made(tmp_path, row(1, "bright.mrc"), output_dir="taken for dark")
    expected = mrcfile.read(tmp_path / "mask/dark_mask.mrc")
    assert np.array_equal(mrcfile.read(tmp_path / "mask/bright_mask.mrc"), expected)
    assert not np.array_equal(mrcfile.read(tmp_path / "taken for dark/bright_mask.mrc"), expected)
    in_memory = make_mask.mask_of(-dark, MakeMask(bright_protein=True))
    assert np.array_equal(in_memory, expected)


def test_what_lies_outside_the_boundary_is_removed(tmp_path: Path) -> None:
    """IMOD's corner (3, 4) of a voxel grid is where voxels 2|3 and 3|4 meet."""
    noise(tmp_path / "a.mrc")
    model(tmp_path / "b.mod", [(3, 4, 7), (20, 4, 7), (20, 10, 7), (3, 10, 7)], [(0, 0, 9)])
    made(tmp_path, row(1, "a.mrc", mask_boundary="b.mod"), density_percentage=100, std_percentage=100, z_crop=0)
    expected = np.zeros((21, 18, 24), np.int8)
    expected[:, 4:10, 3:20] = 1
    np.testing.assert_array_equal(mrcfile.read(tmp_path / "mask/a_mask.mrc"), expected)


@pytest.mark.parametrize(
    ("contours", "words"),
    [([[(1, 1, 1), (2, 2, 2)]], "no contour of three"), ([[(1, 1, 1), (9, 1, 5), (9, 1, 9)]], "several planes")],
)
def test_a_boundary_that_is_none_is_refused_before_work(tmp_path: Path, contours: Any, words: str) -> None:
    noise(tmp_path / "a.mrc")
    model(tmp_path / "b.mod", *contours)
    with pytest.raises(UserError, match=rf"b\.mod: .*{words}"):
        made(tmp_path, row(1, "a.mrc", mask_boundary="b.mod"))
    assert not (tmp_path / "mask").exists()


def test_the_deconvolved_map_comes_first_then_the_tomogram_then_the_first_half(tmp_path: Path) -> None:
    """Told apart by their shapes."""
    files = {name: noise(tmp_path / f"{name}.mrc", (8, 8, side)).name for side, name in enumerate("dth", start=6)}
    halves = {"half1": files["h"], "half2": files["h"]}

    def width(*rows: TomogramRow, **options: Any) -> int:
        (mask,) = made(tmp_path, *rows, density_percentage=100, **options)["masks"].values()
        with open_volume(tmp_path / mask["file"]) as volume:
            return volume.shape[2]

    assert width(row(1, files["t"], deconvolved=files["d"], **halves)) == 6
    assert width(row(1, files["t"], **halves)) == 7
    assert width(row(1, None, **halves)) == 8
    every = row(1, files["t"], deconvolved=files["d"], extra={"myMap": files["h"]}, **halves)
    assert width(every, input_column="rlnTomoName") == 7
    assert width(every, input_column="myMap") == 8


@pytest.mark.parametrize(
    ("column", "words"),
    [("rlnCorrectedTomoName", "of a is empty"), ("rlnTilt", "not a column"), ("rlnTiltMin", "not a column")],
)
def test_an_input_column_without_a_map_is_refused(tmp_path: Path, column: str, words: str) -> None:
    noise(tmp_path / "a.mrc")
    with pytest.raises(UserError, match=words):
        made(tmp_path, row(1, "a.mrc"), input_column=column)


def test_an_empty_mask_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    write_mrc(tmp_path / "a.mrc", np.full((8, 8, 8), 5, np.float32), pixel_size_angstrom=10)
    with pytest.raises(UserError, match=r"a\.mrc: the mask is empty"):
        made(tmp_path, row(1, "a.mrc"))
    assert list((tmp_path / "mask").iterdir()) == []
    assert read_star(tmp_path / "tomograms.star")[0].mask is None


def test_nan_in_a_tomogram_is_counted(tmp_path: Path) -> None:
    path = noise(tmp_path / "a.mrc")
    path.write_bytes(path.read_bytes()[:-8] + np.full(2, np.nan, np.float32).tobytes())
    with pytest.raises(UserError, match=r"a\.mrc: 2 of 9072 voxels are NaN"):
        made(tmp_path, row(1, "a.mrc"))


def test_a_file_of_the_users_is_not_overwritten_but_an_older_mask_of_ours_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(make_mask, "warn", said.append)
    noise(tmp_path / "a.mrc")
    made(tmp_path, row(1, "a.mrc"))
    made(tmp_path)
    assert said == []
    made(tmp_path, row(1, "a.mrc", mask="drawn.mrc"))
    assert said == ["make_mask: mask/a_mask.mrc takes the place of drawn.mrc in tomograms.star"]
    with mrcfile.new(tmp_path / "mask/a_mask.mrc", np.ones((21, 18, 24), np.int8), overwrite=True):
        pass
    with pytest.raises(UserError, match=r"a_mask\.mrc: exists, and is not of isonet2"):
        made(tmp_path)


def test_the_inputs_change_with_the_tomogram_its_boundary_and_pixel_size_only(tmp_path: Path) -> None:
    noise(tmp_path / "a.mrc")
    noise(tmp_path / "b.mrc")

    def inputs(*rows: TomogramRow) -> dict[str, Any]:
        write_star(tmp_path / "tomograms.star", rows)
        return make_mask.inputs(Job.model_validate({"make_mask": {"tomo_idx": "1"}}).in_folder(tmp_path))

    before = inputs(row(1, "a.mrc"), row(2, "b.mrc"))
    assert inputs(row(1, "a.mrc", mask="m.mrc", cs_mm=1.0)) == before
    model(tmp_path / "b.mod", [(0, 0, 0), (9, 0, 0), (9, 9, 0)])
    assert inputs(row(1, "a.mrc", mask_boundary="b.mod")) != before
    noise(tmp_path / "a.mrc", seed=2)
    assert inputs(row(1, "a.mrc")) != before


def test_a_thick_tomogram_is_looked_at_in_slabs_without_a_seam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(make_mask, "info", said.append)
    noise(tmp_path / "a.mrc", (301, 24, 20))
    made(tmp_path, row(1, "a.mrc"))
    assert [line for line in said if "slab" in line] == [f"make_mask: a: slab {n} of 3" for n in (1, 2, 3)]
    in_slabs = mrcfile.read(tmp_path / "mask/a_mask.mrc")
    monkeypatch.setattr(make_mask, "_SLAB", 1000)
    made(tmp_path, row(1, "a.mrc"), output_dir="at once")
    assert np.mean(in_slabs != mrcfile.read(tmp_path / "at once/a_mask.mrc")) < 1e-4
    assert [path.name for path in (tmp_path / "mask").iterdir() if path.name != ".finished"] == ["a_mask.mrc"]


def test_slabs_of_an_interrupted_run_are_kept_and_harmed_ones_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise(tmp_path / "a.mrc", (301, 24, 20))
    made(tmp_path, row(1, "a.mrc"), output_dir="undisturbed")

    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(make_mask, "_put_together", stopped)
        with pytest.raises(KeyboardInterrupt):
            made(tmp_path, row(1, "a.mrc"))
    slabs = sorted((tmp_path / "mask").glob(".a_mask.*/*.npy"))
    assert len(slabs) == 6
    slabs[0].write_bytes(slabs[0].read_bytes()[:-100])
    looked: list[int] = []
    smooth = make_mask.smooth
    monkeypatch.setattr(make_mask, "smooth", lambda *a, **k: looked.append(1) or smooth(*a, **k))
    made(tmp_path, row(1, "a.mrc"))
    assert len(looked) == 1
    masks = [tmp_path / folder / "a_mask.mrc" for folder in ("mask", "undisturbed")]
    np.testing.assert_array_equal(*(mrcfile.read(mask) for mask in masks))


def test_memory_stays_below_half_of_the_tomogram(tmp_path: Path) -> None:
    noise(tmp_path / "a.mrc", (96, 160, 160))
    tracemalloc.start()
    made(tmp_path, row(1, "a.mrc"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.5 * 4 * 96 * 160 * 160


def test_particles_of_known_tomograms_are_found(tmp_path: Path, real_data: Path) -> None:
    """Of the darkest 2 % of the truth at least four fifths are in a mask that keeps under half."""
    halves = [mrcfile.read(real_data / f"truth/t1/{half}.mrc") for half in ("even", "odd")]
    write_mrc(tmp_path / "a.mrc", (halves[0] + halves[1]) / 2, pixel_size_angstrom=15.0)
    kept = made(tmp_path, row(1, "a.mrc"))["masks"]["a"]["kept"]
    truth, mask = mrcfile.read(real_data / "truth/t1/truth.mrc"), mrcfile.read(tmp_path / "mask/a_mask.mrc")
    found = mask[truth < np.percentile(truth, 2)].mean()
    assert kept < 0.5
    assert found > 0.8


def test_the_real_microtubule_lies_in_its_mask(tmp_path: Path, real_data: Path) -> None:
    """int8, 36 slices: its axis runs from (y, x) = (0, 78) to (205, 18); beside it, at the left, is ice."""
    made(tmp_path, row(1, str(real_data / "microtubule_13pf.mrc")))
    mask = mrcfile.read(tmp_path / "mask/microtubule_13pf_mask.mrc")
    axis = [mask[18, y, round(78 - 60 * y / 205)] for y in range(5, 200)]
    assert np.mean(axis) > 0.95
    assert mask[18, :80, :20].mean() < 0.2

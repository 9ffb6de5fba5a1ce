from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest

from isonet2.errors import UserError
from isonet2.io.star import TomogramRow, read_star, update_row
from isonet2.job.models import Job
from isonet2.parallel.world import World
from isonet2.stages import prepare_star


def tomogram(
    path: Path,
    shape: tuple[int, int, int] = (4, 6, 8),
    value: float = 0,
    *,
    voxel: float = 10.0,
    dtype: type = np.float32,
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(path, np.full(shape, value, dtype), overwrite=True) as mrc:
        mrc.voxel_size = voxel
    return path


def prepared(folder: Path, **options: Any) -> list[TomogramRow]:
    job = Job.model_validate({"prepare_star": options}).in_folder(folder)
    prepare_star.run(job, World())
    return read_star(folder / "tomograms.star")


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(prepare_star, "warn", lines.append)
    return lines


def test_halves_are_paired_by_name_where_their_order_differs(tmp_path: Path) -> None:
    for name in ("EVN_b", "a_EVN"):  # sorted: b, a
        tomogram(tmp_path / f"even/{name}.mrc")
    for name in ("a_ODD", "b_ODD"):
        tomogram(tmp_path / f"odd/{name}.mrc")
    rows = prepared(tmp_path, even="even", odd="odd")
    assert [(row.name, row.half1, row.half2) for row in rows] == [
        ("a", "even/a_EVN.mrc", "odd/a_ODD.mrc"),
        ("b", "even/EVN_b.mrc", "odd/b_ODD.mrc"),
    ]
    assert [row.index for row in rows] == [1, 2]


def test_one_folder_may_hold_full_even_and_odd_as_aretomo_writes_them(tmp_path: Path) -> None:
    for name in ("TS_01_Vol", "TS_01_EVN_Vol", "TS_01_ODD_Vol"):
        tomogram(tmp_path / f"{name}.mrc")
    (row,) = prepared(tmp_path, full=".", even=".", odd=".")
    assert (row.tomogram, row.half1, row.half2) == ("TS_01_Vol.mrc", "TS_01_EVN_Vol.mrc", "TS_01_ODD_Vol.mrc")


def test_names_that_do_not_tell_the_halves_apart_are_refused(tmp_path: Path) -> None:
    tomogram(tmp_path / "a.mrc")
    with pytest.raises(UserError, match="no file name tells that it is even"):
        prepared(tmp_path, even=".", odd=".")


def test_halves_without_a_partner_are_listed(tmp_path: Path) -> None:
    for name in ("even/a_EVN", "even/b_EVN", "odd/b_ODD", "odd/c_ODD"):
        tomogram(tmp_path / f"{name}.mrc")
    with pytest.raises(UserError, match=r"a \(no odd\), c \(no even\)"):
        prepared(tmp_path, even="even", odd="odd")
    assert not (tmp_path / "tomograms.star").exists()


def test_only_tomograms_are_counted(tmp_path: Path) -> None:
    for name in ("a.mrc", "b.rec", "c.MAP"):
        tomogram(tmp_path / "full" / name)
    for name in ("tomograms.star", "notes.txt", ".a.hidden.mrc", "d.st"):
        (tmp_path / "full" / name).write_text("no tomogram")
    assert [row.tomogram for row in prepared(tmp_path, full="full")] == ["full/a.mrc", "full/b.rec", "full/c.MAP"]


@pytest.mark.parametrize(("name", "words"), [("missing", "no such folder"), ("empty", r"no \.mrc, \.rec, \.map files")])
def test_a_folder_without_tomograms_is_named(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=f"{name}: {words}"):
        prepared(tmp_path, full=name)


def test_one_base_name_twice_is_refused(tmp_path: Path) -> None:
    tomogram(tmp_path / "full/a.mrc")
    tomogram(tmp_path / "full/a.rec")
    with pytest.raises(UserError, match=r"a\.mrc and a\.rec have the same base name"):
        prepared(tmp_path, full="full")


@pytest.mark.parametrize("other", ["odd/a.mrc", "masks/a.mrc"])
def test_files_of_one_tomogram_must_have_one_shape(tmp_path: Path, other: str) -> None:
    for name in ("even/a.mrc", "odd/a.mrc", "masks/a.mrc"):
        tomogram(tmp_path / name, (4, 6, 9) if name == other else (4, 6, 8))
    with pytest.raises(UserError, match=rf"{other}: 4×6×9 voxels .* has 4×6×8"):
        prepared(tmp_path, even="even", odd="odd", mask_folder="masks")


def test_the_pixel_size_is_that_of_each_header(tmp_path: Path) -> None:
    tomogram(tmp_path / "full/a.mrc", voxel=10.52)
    tomogram(tmp_path / "full/b.mrc", voxel=13.6)
    assert [row.pixel_size_angstrom for row in prepared(tmp_path, full="full")] == [10.52, 13.6]


@pytest.mark.parametrize("voxel", [0.0, 1.0])
def test_a_header_without_pixel_size_asks_for_one(tmp_path: Path, voxel: float, warnings: list[str]) -> None:
    tomogram(tmp_path / "full/a.mrc", voxel=voxel)
    with pytest.raises(UserError, match=r"prepare_star\.pixel_size: the header of a "):
        prepared(tmp_path, full="full")
    (row,) = prepared(tmp_path, full="full", pixel_size=7.5)
    assert (row.pixel_size_angstrom, warnings) == (7.5, [])


@pytest.mark.parametrize(("voxel", "count"), [(10.05, 0), (10.2, 1)])
def test_a_given_pixel_size_wins_and_a_contradiction_is_said(
    tmp_path: Path, voxel: float, count: int, warnings: list[str]
) -> None:
    tomogram(tmp_path / "full/a.mrc", voxel=voxel)
    (row,) = prepared(tmp_path, full="full", pixel_size=10)
    assert row.pixel_size_angstrom == 10
    assert len(warnings) == count
    assert all("10 Å is used" in line and "10.2 Å" in line for line in warnings)


def test_cubes_are_shared_in_proportion_to_volume_and_add_up(tmp_path: Path) -> None:
    depths = [1, 7, 16, 16, 17]
    for number, depth in enumerate(depths):
        tomogram(tmp_path / f"full/{number}.mrc", (depth, 8, 8))
    tomogram(tmp_path / "full/9.mrc", (1, 1, 1))
    counts = [row.number_subtomos for row in prepared(tmp_path, full="full")]
    assert sum(counts) == 3000
    assert counts[-1] == 1
    np.testing.assert_allclose(counts[:-1], 3000 * np.array(depths) / sum(depths), atol=1)
    assert {row.number_subtomos for row in prepared(tmp_path, full="full", number_subtomos=25)} == {25}


def test_coordinates_give_the_number_and_points_outside_are_left_out(tmp_path: Path, warnings: list[str]) -> None:
    tomogram(tmp_path / "full/a.mrc", (4, 6, 8))
    tomogram(tmp_path / "full/b.mrc", (4, 6, 8))
    (tmp_path / "points").mkdir()
    (tmp_path / "points/a.txt").write_text("7 5 3\n0 0 0\n")
    (tmp_path / "points/b_coords.txt").write_text("3 5 7\n1 1 1\n8 0 0\n")  # the first as z, y, x: outside
    rows = prepared(tmp_path, full="full", coordinate_folder="points", number_subtomos=50)
    assert [(row.coordinates, row.number_subtomos) for row in rows] == [("points/a.txt", 2), ("points/b_coords.txt", 1)]
    assert len(warnings) == 1
    assert "b_coords.txt: 2 of 3 points lie outside" in warnings[0]


def test_coordinates_that_are_all_outside_are_refused(tmp_path: Path) -> None:
    tomogram(tmp_path / "full/a.mrc", (4, 6, 8))
    (tmp_path / "full/a.txt").write_text("70 50 30\n")
    with pytest.raises(UserError, match=r"a\.txt: none of its 1 points"):
        prepared(tmp_path, full="full", coordinate_folder="full")


def test_coordinates_may_be_text_relion_star_and_imod_models_side_by_side(tmp_path: Path) -> None:
    """Each with one point inside (x 7, y 5, z 3) and, but for its order of axes, the same one outside."""
    for name in "abc":
        tomogram(tmp_path / f"full/{name}.mrc", (4, 6, 8))
    (tmp_path / "points").mkdir()
    (tmp_path / "points/a.txt").write_text("7 5 3\n3 5 7\n")
    labels = "_rlnCoordinateX #1\n_rlnCoordinateY #2\n_rlnCoordinateZ #3\n"
    (tmp_path / "points/b.star").write_text(f"data_particles\n\nloop_\n{labels}7.0 5.0 3.0\n3.0 5.0 7.0\n")
    contour = b"CONT" + struct.pack(">iIii6f", 2, 0, 0, 0, 7.5, 5.5, 3, 3.5, 5.5, 7)
    (tmp_path / "points/c.mod").write_bytes(b"IMODV1.2" + bytes(232) + b"OBJT" + bytes(176) + contour + b"IEOF")
    rows = prepared(tmp_path, full="full", coordinate_folder="points")
    assert [(row.coordinates, row.number_subtomos) for row in rows] == [
        ("points/a.txt", 1), ("points/b.star", 1), ("points/c.mod", 1)
    ]  # fmt: skip


def test_masks_are_found_by_name(tmp_path: Path) -> None:
    for name in ("full/a.mrc", "full/b.mrc", "masks/b_mask.mrc", "masks/a.mrc", "masks/c.mrc"):
        tomogram(tmp_path / name)
    assert [row.mask for row in prepared(tmp_path, full="full", mask_folder="masks")] == [
        "masks/a.mrc",
        "masks/b_mask.mrc",
    ]
    tomogram(tmp_path / "masks/b.mrc")
    with pytest.raises(UserError, match=r"b\.mrc, b_mask\.mrc all fit b"):
        prepared(tmp_path, full="full", mask_folder="masks")
    tomogram(tmp_path / "full/d.mrc")
    with pytest.raises(UserError, match=r"masks: no file for d"):
        prepared(tmp_path, full="full", mask_folder="masks")


def test_the_average_of_int8_halves_does_not_overflow(tmp_path: Path) -> None:
    tomogram(tmp_path / "even/a_EVN.mrc", value=100, dtype=np.int8)
    tomogram(tmp_path / "odd/a_ODD.mrc", value=101, dtype=np.int8)
    (row,) = prepared(tmp_path, even="even", odd="odd", create_average=True)
    assert row.tomogram == "average/a.mrc"
    with mrcfile.open(tmp_path / row.tomogram) as mrc:
        assert mrc.data.dtype == np.float32
        assert mrc.data.shape == (4, 6, 8)
        assert np.unique(mrc.data).tolist() == [100.5]
        assert mrc.voxel_size.x == pytest.approx(10)


def test_a_half_with_nan_leaves_neither_average_nor_list(tmp_path: Path) -> None:
    tomogram(tmp_path / "even/a.mrc")
    path = tomogram(tmp_path / "odd/a.mrc")
    path.write_bytes(path.read_bytes()[:-4] + np.float32(np.nan).tobytes())
    with pytest.raises(UserError, match=r"odd/a\.mrc: 1 of 192 voxels are NaN"):
        prepared(tmp_path, even="even", odd="odd", create_average=True)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"a.mrc"}


def test_defocus_is_one_for_all_or_one_for_each(tmp_path: Path) -> None:
    for name in "abc":
        tomogram(tmp_path / f"full/{name}.mrc")
    rows = prepared(tmp_path, full="full", defocus=38250.5)
    assert [row.defocus_angstrom for row in rows] == [38250.5] * 3
    rows = prepared(tmp_path, full="full", defocus=[1, 2, 3])
    assert [row.defocus_angstrom for row in rows] == [1, 2, 3]
    with pytest.raises(UserError, match=r"defocus: 2 values for 3 tomograms"):
        prepared(tmp_path, full="full", defocus=[1, 2])


def test_what_differs_between_tomograms_survives_in_the_list(tmp_path: Path) -> None:
    """Tilt range, pixel size (from the headers) and defocus of each."""
    for name, voxel in zip("abc", (10.52, 13.6, 8.0), strict=True):
        tomogram(tmp_path / f"full/{name}.mrc", voxel=voxel)
    rows = prepared(
        tmp_path, full="full", tilt_min=[-51, -60, -57.25], tilt_max=[60, 48.5, 54], defocus=[3e4, 38250.125, 1]
    )
    found = [(r.name, r.tilt_min_deg, r.tilt_max_deg, r.pixel_size_angstrom, r.defocus_angstrom) for r in rows]
    assert found == [("a", -51, 60, 10.52, 3e4), ("b", -60, 48.5, 13.6, 38250.125), ("c", -57.25, 54, 8.0, 1)]
    with pytest.raises(UserError, match=r"tilt_max: 2 values for 3 tomograms"):
        prepared(tmp_path, full="full", tilt_max=[50, 60])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tilt_min": 60, "tilt_max": -60}, "tilt_min 60 must be below tilt_max -60"),
        ({"tilt_min": [-60, 50], "tilt_max": 40}, "tilt_min 50 must be below tilt_max 40"),
        ({"tilt_max": -70}, "tilt_min -60 must be below tilt_max -70"),
        ({"tilt_max": [60, 91]}, "tilt_max must lie from -90 to 90"),
        ({"tilt_step": 2, "tilt_folder": "tilts"}, "tilt_step has no effect"),
    ],
)
def test_tilts_that_cannot_be_are_refused_with_the_job(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Job.model_validate({"prepare_star": {"full": "full", **options}})


def with_lists(folder: Path, **lists: list[float]) -> Path:
    (folder / "tilts").mkdir()
    for name, tilts in lists.items():
        tomogram(folder / f"full/{name}.mrc")
        (folder / f"tilts/{name}.tlt").write_text("\n".join(f"{tilt:7.2f}" for tilt in tilts))
    return folder


def test_tilt_lists_give_file_range_and_step_of_each_tomogram(tmp_path: Path) -> None:
    with_lists(tmp_path, a=[3.05, 0, -3.05, 6.1, -6.1], b=[-48, -46, -44, 50])
    (tmp_path / "tilts/b.tlt").rename(tmp_path / "tilts/b_tilts.txt")
    rows = prepared(tmp_path, full="full", tilt_folder="tilts")
    assert [(r.tilt_file, r.tilt_min_deg, r.tilt_max_deg, r.tilt_step_deg) for r in rows] == [
        ("tilts/a.tlt", -6.1, 6.1, 3.05),
        ("tilts/b_tilts.txt", -48, 50, 2),
    ]
    assert prepared(tmp_path, full="full")[0].tilt_file is None  # a plain range was asked for instead


def test_a_tilt_list_and_a_range_that_disagree_are_refused(tmp_path: Path) -> None:
    with_lists(tmp_path, a=[-60.2, 0, 59.9], b=[-51, 0, 60])
    assert prepared(tmp_path, full="full", tilt_folder="tilts", tilt_max=60)[0].tilt_max_deg == 59.9
    with pytest.raises(UserError, match=r"^prepare_star\.tilt_min: -60, but \S*tilts/b\.tlt says -51; correct one"):
        prepared(tmp_path, full="full", tilt_folder="tilts", tilt_min=-60)
    assert prepared(tmp_path, full="full", tilt_folder="tilts", tilt_min=[-60, -51])[1].tilt_min_deg == -51


def test_a_tomogram_without_tilt_list_is_named(tmp_path: Path) -> None:
    with_lists(tmp_path, a=[-60, 60])
    tomogram(tmp_path / "full/b.mrc")
    with pytest.raises(UserError, match=r"tilts: no file for b; call it NAME or NAME_tilts with \.tlt"):
        prepared(tmp_path, full="full", tilt_folder="tilts")


def test_how_they_were_taken_goes_into_every_row(tmp_path: Path) -> None:
    tomogram(tmp_path / "full/a.mrc")
    (row,) = prepared(tmp_path, full="full", tilt_min=-51, tilt_max=62.5, tilt_step=2, cs=0.01, voltage=200, ac=0.07)
    taken = (row.tilt_min_deg, row.tilt_max_deg, row.tilt_step_deg, row.cs_mm, row.voltage_kv, row.amplitude_contrast)
    assert taken == (-51, 62.5, 2, 0.01, 200, 0.07)


def test_what_was_added_to_the_list_survives_making_it_again(tmp_path: Path) -> None:
    tomogram(tmp_path / "full/a.mrc")
    prepared(tmp_path, full="full")
    star = tmp_path / "tomograms.star"
    update_row(star, 1, mask="mask/a.mrc", mask_boundary="a.mod", corrected="c.mrc")
    tomogram(tmp_path / "full/Z.mrc")  # comes first: a has another index now
    rows = {row.name: row for row in prepared(tmp_path, full="full", cs=1.5)}
    assert (rows["a"].mask, rows["a"].mask_boundary, rows["a"].corrected) == ("mask/a.mrc", "a.mod", "c.mrc")
    assert (rows["a"].cs_mm, rows["a"].index, rows["Z"].mask) == (1.5, 2, None)


def test_names_with_spaces_and_quotes_go_through(tmp_path: Path) -> None:
    for name in ("o'brien 1.mrc", "001.mrc"):
        tomogram(tmp_path / "my data" / name)
    assert [row.tomogram for row in prepared(tmp_path, full="my data")] == ["my data/001.mrc", "my data/o'brien 1.mrc"]


def test_the_inputs_change_with_a_file_and_not_with_an_option(tmp_path: Path) -> None:
    tomogram(tmp_path / "full/a.mrc")

    def inputs(**options: Any) -> dict[str, Any]:
        return prepare_star.inputs(
            Job.model_validate({"prepare_star": {"full": "full", **options}}).in_folder(tmp_path)
        )

    before = inputs()
    assert inputs(cs=1.0) == before
    tomogram(tmp_path / "full/b.mrc")
    assert inputs() != before
    (tmp_path / "full/a.tlt").write_text("-60\n60\n")
    before = inputs(tilt_folder="full")
    (tmp_path / "full/a.tlt").write_text("-60\n0\n60\n")
    assert inputs(tilt_folder="full") != before


def test_coordinates_beside_the_tomograms_do_not_hide_them_from_the_inputs(tmp_path: Path) -> None:
    tomogram(tmp_path / "full/a.mrc")
    (tmp_path / "full/a.txt").write_text("1 1 1")
    job = Job.model_validate({"prepare_star": {"full": "full", "coordinate_folder": "full"}}).in_folder(tmp_path)
    assert [list(files) for files in prepare_star.inputs(job).values()] == [["a.mrc"], ["a.txt"]]


def test_the_facts_count_what_was_found(tmp_path: Path) -> None:
    for name in ("even/a.mrc", "odd/a.mrc", "even/b.mrc", "odd/b.mrc"):
        tomogram(tmp_path / name, voxel=12.5)
    job = Job.model_validate({"prepare_star": {"even": "even", "odd": "odd"}}).in_folder(tmp_path)
    assert prepare_star.run(job, World()) == {
        "outputs": ["tomograms.star"],
        "tomograms": 2,
        "pairs": 2,
        "pixel_sizes_angstrom": [12.5],
        "number_subtomos": 3000,
    }

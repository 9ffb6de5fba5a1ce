"""prepare_star takes RELION 5's list, and predict gives it back with a column more."""

from __future__ import annotations

from pathlib import Path

import pytest
import starfile
from left_by_others import GLOBAL, TILTED, listed, put_map, relion_project, relion_row, relion_text, tilt_star, told

from isonet2.errors import UserError
from isonet2.io.relion import offer_to_relion
from isonet2.io.star import update_row
from isonet2.io.star_text import read_loops
from isonet2.io.tilts import read_tilts
from isonet2.job.models import Job


def test_a_list_of_relion_becomes_a_list_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    star = relion_project(tmp_path / "relion")
    before = star.read_bytes()
    with told(monkeypatch) as lines:
        first, second = listed(tmp_path / "job", "../relion/Tomograms/job006/tomograms.star")
    assert (first.index, second.index) == (1, 2)
    assert first.tomogram is None
    assert (first.name, second.name) == ("rec_TS_01", "rec_TS_03")
    assert first.half1 == "../relion/Tomograms/job006/tomograms/rec_TS_01_half1.mrc"
    assert first.pixel_size_angstrom == 10  # 1.35 × 7.407407, as RELION rounds it
    assert (first.tilt_min_deg, first.tilt_max_deg) == (-54, 57)
    assert first.defocus_angstrom == pytest.approx((38855.828125 + 38750.828125) / 2)
    assert (first.voltage_kv, first.cs_mm, first.amplitude_contrast) == (300, 2.7, 0.07)
    assert first.phases_flipped is None
    assert read_tilts(tmp_path / "job" / str(first.tilt_file)) == (-54, -3, 0, 3, 57)
    assert star.read_bytes() == before
    assert "taken as relion by its column rlnTomoName" in lines[0]
    assert any("do not say whether the CTF was corrected" in line for line in lines)


@pytest.mark.parametrize("place", [".", "Tomograms/job006", "Tomograms/job006/tomograms.star"])
def test_the_list_is_found_from_the_project_and_from_the_job(tmp_path: Path, place: str) -> None:
    relion_project(tmp_path)
    rows = listed(tmp_path / "job", f"../{place}")
    assert [row.name for row in rows] == ["rec_TS_01", "rec_TS_03"]


def test_two_jobs_of_reconstruction_are_asked_about(tmp_path: Path) -> None:
    star = relion_project(tmp_path)
    other = tmp_path / "Tomograms/job011/tomograms.star"
    other.parent.mkdir()
    other.write_text(star.read_text())
    with pytest.raises(UserError, match=r"several things to list: .*job006.*job011.*name one"):
        listed(tmp_path / "job", "..")


def test_tomograms_that_are_not_reconstructed_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    star = relion_project(tmp_path)
    star.write_text(relion_text([relion_row("TS_01"), [*relion_row("TS_03")[:14], "None", "None"]]))
    with told(monkeypatch) as lines:
        assert [row.name for row in listed(tmp_path / "job", "..")] == ["rec_TS_01"]
    assert any("1 of its tomograms are not reconstructed: left out" in line for line in lines)


def test_relions_own_list_is_not_written_over(tmp_path: Path) -> None:
    star = relion_project(tmp_path)
    with pytest.raises(UserError, match=r"tomograms\.star: is never changed: name the list .* by --star_name"):
        listed(star.parent, "tomograms.star")
    assert [row.index for row in listed(star.parent, "tomograms.star", star_file="ours.star")] == [1, 2]
    assert star.read_text() == relion_text([relion_row("TS_01"), relion_row("TS_03")])


def test_without_yTilt_the_stage_says_the_tilts(tmp_path: Path) -> None:
    relion_project(tmp_path)
    for path in (tmp_path / "AlignTiltSeries").rglob("*.star"):
        path.write_text(tilt_star(TILTED, angle="rlnTomoNominalStageTiltAngle"))
    row, _ = listed(tmp_path / "job", "..")
    assert (row.tilt_min_deg, row.tilt_max_deg) == pytest.approx((-53.9985, 57.0015))


def test_what_no_star_says_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file of the tilt series, and a list that was made by hand."""
    star = relion_project(tmp_path, ["TS_01"])
    star.write_text(relion_text([[x for n, x in enumerate(relion_row("TS_01")) if n not in (1, 10)]],
                                [x for n, x in enumerate(GLOBAL) if n not in (1, 10)]))  # fmt: skip
    next((tmp_path / "AlignTiltSeries").rglob("*.star")).unlink()
    with told(monkeypatch) as lines:
        (row,) = listed(tmp_path / "job", "..")
    assert (row.defocus_angstrom, row.voltage_kv, row.tilt_min_deg, row.tilt_file) == (0, 300, -60, None)
    assert row.pixel_size_angstrom == 10  # of the header
    assert any("do not say defocus (0), voltage (300): give" in line for line in lines)
    assert any("say no tilts: give tilt_min and tilt_max" in line for line in lines)


def test_a_header_that_contradicts_relion_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    relion_project(tmp_path, ["TS_01"])
    for half in ("half1", "half2"):
        put_map(tmp_path / f"Tomograms/job006/tomograms/rec_TS_01_{half}.mrc", voxel=1.35)
    with told(monkeypatch) as lines:
        (row,) = listed(tmp_path / "job", "..")
    assert row.pixel_size_angstrom == 10
    assert any("10 Å is used, though 1 headers say otherwise (1.35 Å)" in line for line in lines)


@pytest.mark.parametrize(
    ("labels", "row", "words"),
    [
        (GLOBAL[:14], relion_row("TS_01")[:14], "names no reconstructed tomograms"),
        (GLOBAL[:15], relion_row("TS_01")[:15], "has one half only"),
        (GLOBAL, [*relion_row("TS_01")[:14], "gone_half1.mrc", "gone_half2.mrc"], "gone_half1.mrc lies in no folder"),
    ],
)
def test_lists_that_cannot_be_used_are_refused(tmp_path: Path, labels: list[str], row: list[str], words: str) -> None:
    star = relion_project(tmp_path, ["TS_01"])
    star.write_text(relion_text([row], labels))
    with pytest.raises(UserError, match=words):
        listed(tmp_path / "job", "..")


SIMPLE = "data_global\n\n" + "".join(
    f"_{label}    {cell}\n" for label, cell in zip(GLOBAL, relion_row("TS_01"), strict=True)
)


@pytest.mark.parametrize("text", [relion_text([relion_row("TS_01")]), SIMPLE])
def test_results_go_into_a_copy_of_relions_list(tmp_path: Path, text: str) -> None:
    """Also of one that starfile has written with one label and one value a line, as for a single tomogram."""
    star = relion_project(tmp_path, ["TS_01"])
    star.write_text(text)
    folder = tmp_path / "External/job020"
    listed(folder, "../..")
    update_row(folder / "tomograms.star", 1, denoised="denoised/a.mrc")
    (written,) = offer_to_relion(folder / "tomograms.star", Job().in_folder(folder).path)
    assert written == folder / "tomograms_relion.star"
    assert star.read_text() == text
    _, (before,), (after,) = None, read_loops(star), read_loops(written)
    assert after == (
        [*before[0], "rlnTomoReconstructedTomogramDenoised"],
        [[*before[1][0], "External/job020/denoised/a.mrc"]],
    )
    found = starfile.read(written, always_dict=True)["global"]
    found = found if isinstance(found, dict) else found.iloc[0]
    assert found["rlnTomoReconstructedTomogramDenoised"] == "External/job020/denoised/a.mrc"
    assert found["rlnTomoName"] == "TS_01"
    assert found["rlnTomoTomogramBinning"] == 7.407407


def test_a_column_that_is_there_is_filled_anew_and_all_else_stays(tmp_path: Path) -> None:
    """Other blocks, comments, spacing; a later result takes the place of an earlier one; elsewhere: a whole path."""
    relion = relion_project(tmp_path / "relion")
    labels = (*GLOBAL[:3], "rlnTomoReconstructedTomogramDenoised", *GLOBAL[3:])
    rows = [[*row[:3], "Denoise/job008/x.mrc", *row[3:]] for row in map(relion_row, ("TS_01", "TS_03"))]
    relion.write_text("\ndata_other\n\n_rlnTomoHand  -1\n" + relion_text(rows, labels) + "# the end\n")
    folder = tmp_path / "job"
    listed(folder, "../relion")
    path = Job().in_folder(folder).path
    update_row(folder / "tomograms.star", 1, denoised="d.mrc")
    offer_to_relion(folder / "tomograms.star", path)
    update_row(folder / "tomograms.star", 1, corrected="c.mrc")
    (written,) = offer_to_relion(folder / "tomograms.star", path)
    expected = relion.read_text().replace("Denoise/job008/x.mrc", str(folder / "c.mrc"), 1)
    assert written.read_text() == expected.replace("Denoise/job008/x.mrc", "None")


def test_lists_of_other_origin_make_no_copy(tmp_path: Path) -> None:
    put_map(tmp_path / "full/a.mrc")
    listed(tmp_path, "full")
    assert offer_to_relion(tmp_path / "tomograms.star", Job().in_folder(tmp_path).path) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "tomograms.star"]

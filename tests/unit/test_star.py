from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import starfile
from hypothesis import given, settings
from hypothesis import strategies as st

from isonet2.errors import UserError
from isonet2.io.star import (
    COLUMNS,
    TomogramRow,
    half_of,
    name_without_half,
    read_star,
    select_rows,
    update_row,
    write_star,
)

ROW = TomogramRow(
    index=1,
    tomogram="tomograms/t 1.rec",
    half1="even/t 1.mrc",
    half2="odd/t 1.mrc",
    pixel_size_angstrom=10.520000000000001,
    defocus_angstrom=38250.125,
    tilt_min_deg=-51.0,
    tilt_max_deg=60.0,
    tilt_file="tilts/t 1.tlt",
    number_subtomos=600,
    extra={"rlnTomoImportFractionalDose": "3.10", "myName": "007"},
)


def with_text(
    path: Path, row: str, columns: str = "rlnIndex rlnTomoName rlnPixelSize rlnTiltMin rlnTiltMax rlnNumberSubtomo"
) -> Path:
    labels = "\n".join(f"_{label} #{n}" for n, label in enumerate(columns.split(), start=1))
    path.write_text(f"\ndata_\n\nloop_\n{labels}\n{row}\n")
    return path


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    rows = [ROW, replace(ROW, index=3, tomogram='o\'brien "x".mrc', mask="mask/#1.mrc", tilt_min_deg=1e-10)]
    write_star(tmp_path / "a.star", rows)
    assert read_star(tmp_path / "a.star") == rows


names = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")) | st.sampled_from(" '\"#_"), min_size=1)


@settings(deadline=None)  # each example is forced to disk
@given(name=names.filter(lambda name: name == name.strip() and name.lower() not in ("none", "nan", "<na>")))
def test_any_name_survives_or_is_refused(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    path = tmp_path_factory.mktemp("names") / "a.star"
    rows = [replace(ROW, coordinates=name, extra={"x": name})]
    try:
        write_star(path, rows)
    except UserError:  # both quotes and a space, as in: a" b' c
        assert {"'", '"', " "} <= set(name)
        assert not path.exists()
    else:
        assert read_star(path) == rows


def test_starfile_reads_the_same_values(tmp_path: Path) -> None:
    write_star(tmp_path / "a.star", [ROW, replace(ROW, index=2, tomogram="b.mrc")])
    table = starfile.read(tmp_path / "a.star", parse_as_string=["myName"])
    assert table["rlnTomoName"].tolist() == ["tomograms/t 1.rec", "b.mrc"]
    assert table["rlnPixelSize"].tolist() == [10.520000000000001] * 2
    assert table["rlnMaskName"].tolist() == ["None", "None"]
    assert table["myName"].tolist() == ["007", "007"]
    assert table.columns.tolist() == [*COLUMNS.values(), "rlnTomoImportFractionalDose", "myName"]


def test_the_column_of_tilt_lists_is_only_there_where_one_is_named(tmp_path: Path) -> None:
    rows = [replace(ROW, tilt_file=None), replace(ROW, index=2, tomogram="b.mrc", tilt_file=None)]
    write_star(tmp_path / "a.star", rows)
    assert "rlnTiltFile" not in (tmp_path / "a.star").read_text()
    assert read_star(tmp_path / "a.star") == rows
    write_star(tmp_path / "a.star", [rows[0], replace(rows[1], tilt_file="b.tlt")])
    assert [row.tilt_file for row in read_star(tmp_path / "a.star")] == [None, "b.tlt"]


def test_a_list_written_by_starfile_as_isonet2_does_is_read(tmp_path: Path) -> None:
    table = {label: ["None", "None"] for label in COLUMNS.values()}
    numbers = {"rlnPixelSize": 5.35, "rlnDefocus": 0.0, "rlnVoltage": 300.0, "rlnSphericalAberration": 2.7,
               "rlnAmplitudeContrast": 0.1, "rlnTiltMin": -60.0, "rlnTiltMax": 60.0, "rlnTiltStep": 3.0,
               "rlnNumberSubtomo": 600.0}  # fmt: skip
    table |= {label: [value, value] for label, value in numbers.items()}
    table |= {"rlnIndex": [1, 2], "rlnTomoName": ["a b.mrc", "001"]}
    starfile.write(pd.DataFrame(table), tmp_path / "a.star")
    assert "600.000000" in (tmp_path / "a.star").read_text()
    first, second = read_star(tmp_path / "a.star")
    assert (first.tomogram, second.tomogram) == ("a b.mrc", "001")
    assert (first.number_subtomos, first.pixel_size_angstrom, first.half1, first.mask) == (600, 5.35, None, None)


def test_one_changed_cell_leaves_every_other_byte_as_it_was(tmp_path: Path) -> None:
    columns = "myColumn rlnTomoName rlnIndex rlnPixelSize rlnTiltMin rlnTiltMax rlnNumberSubtomo rlnMaskName"
    path = with_text(tmp_path / "a.star", "007\ta.mrc\t4\t10.50\t-60\t60.000\t600.000000\tNone\n"
                     "0x1\tb.mrc\t2\t1.050e1\t-60\t60\t7\told.mrc", columns)  # fmt: skip
    before = path.read_text().split()
    update_row(path, 2, mask="mask/b c.mrc")
    after = path.read_text().split()
    assert after == [*before[:-1], '"mask/b', 'c.mrc"']
    update_row(path, 2, mask=None)
    assert read_star(path)[1].mask is None


def test_a_changed_cell_whose_column_is_missing_adds_it(tmp_path: Path) -> None:
    path = with_text(tmp_path / "a.star", "1 a.mrc 10 -60 60 7\n2 b.mrc 10 -60 60 7")
    update_row(path, 2, corrected="c.mrc")
    assert [row.corrected for row in read_star(path)] == [None, "c.mrc"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("1 None 10 -60 60 7", "row 1: no tomogram"),
        ("1 a.mrc None -60 60 7", "row 1: rlnPixelSize is 'None' and should be a number"),
        ("1 a.mrc 10 -60 nan 7", "rlnTiltMax is 'nan'"),
        ("1 a.mrc 10 -60 60 7.5", "rlnNumberSubtomo is '7.5' and should be a whole number"),
        ("1 a b.mrc 10 -60 60 7", r"a\.star:11: 7 values for 6 columns"),
        ("1 a.mrc 10 -60 60 7\n1 b.mrc 10 -60 60 7", r"a\.mrc and b\.mrc have the same index 1"),
        ("1 x/a.mrc 10 -60 60 7\n2 y/a.rec 10 -60 60 7", r"x/a\.mrc and y/a\.rec have the same name a"),
        ("1 a.mrc 0 -60 60 7", "rlnPixelSize is 0; give it in Å"),
        ("1 a.mrc 10 60 -60 7", "rlnTiltMin is not below rlnTiltMax"),
        ("", "not a list of tomograms"),
        ("1 a.mrc 10 -60 60 7\ndata_more\nloop_\n_x #1\n1", "which is one block"),
    ],
)
def test_what_is_wrong_in_a_list_is_named(tmp_path: Path, row: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        read_star(with_text(tmp_path / "a.star", row))


def test_where_there_are_points_no_number_of_cubes_is_needed(tmp_path: Path) -> None:
    columns = "rlnIndex rlnTomoName rlnPixelSize rlnTiltMin rlnTiltMax rlnNumberSubtomo rlnBoxFile"
    path = with_text(tmp_path / "a.star", "1 a.mrc 10 -60 60 None points.txt", columns)
    assert [(row.number_subtomos, row.coordinates) for row in read_star(path)] == [(0, "points.txt")]
    with pytest.raises(UserError, match="rlnNumberSubtomo"):
        read_star(with_text(tmp_path / "b.star", "1 a.mrc 10 -60 60 None None", columns))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path = with_text(
        tmp_path / "a.star", "1 a.mrc 10 -60 7", "rlnIndex rlnTomoName rlnPixelSize rlnTiltMin rlnNumberSubtomo"
    )
    with pytest.raises(UserError, match=r"a\.star: column rlnTiltMax is missing"):
        read_star(path)


def test_a_column_that_is_there_twice_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="rlnTiltMin is there twice"):
        read_star(with_text(tmp_path / "a.star", "1 1 2", "rlnIndex rlnTiltMin rlnTiltMin"))


def test_half_a_pair_is_refused(tmp_path: Path) -> None:
    columns = "rlnIndex rlnTomoReconstructedTomogramHalf1 rlnPixelSize rlnTiltMin rlnTiltMax rlnNumberSubtomo"
    with pytest.raises(UserError, match="rlnTomoReconstructedTomogramHalf2 go together"):
        read_star(with_text(tmp_path / "a.star", "1 a.mrc 10 -60 60 7", columns))


def test_a_binary_file_is_no_list(tmp_path: Path) -> None:
    (tmp_path / "a.star").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not a STAR file"):
        read_star(tmp_path / "a.star")


@pytest.mark.parametrize(
    ("half", "name", "number"),
    [
        ("even/TS_01_EVN.mrc", "TS_01", 1),
        ("odd/TS_01_ODD.mrc", "TS_01", 2),
        ("a/TS_01_EVN_Vol.mrc", "TS_01_Vol", 1),
        ("a/even_TS_01.rec", "TS_01", 1),
        ("a/TS_01.half2.mrc", "TS_01", 2),
        ("a/tomogram-half1.mrc", "tomogram", 1),
        ("t1/odd.mrc", "t1", 2),
        ("a/odd_fellow_EVN.mrc", "odd_fellow", 1),
        ("even/TS_01_10.00Apx.mrc", "TS_01_10.00Apx", None),
        ("a/Goodeven.mrc", "Goodeven", None),
    ],
)
def test_the_name_of_a_pair_is_what_both_halves_share(half: str, name: str, number: int | None) -> None:
    assert name_without_half(Path(half)) == name
    assert half_of(Path(half)) == number
    assert replace(ROW, tomogram=None, half1=half).name == name


ROWS = [replace(ROW, index=index, tomogram=f"{index}.mrc") for index in (1, 2, 3, 5, 6, 7, 9)]


@pytest.mark.parametrize(
    ("tomo_idx", "expected"),
    [("1,3,5-7", [1, 3, 5, 6, 7]), ("9 1", [1, 9]), ("2,", [2]), (None, [1, 2, 3, 5, 6, 7, 9]), ("1-1", [1])],
)
def test_tomograms_are_chosen_by_number_and_range(tomo_idx: str | None, expected: list[int]) -> None:
    assert [row.index for row in select_rows(ROWS, tomo_idx)] == expected


@pytest.mark.parametrize(
    ("tomo_idx", "words"),
    [("1,4", "there is no tomogram 4; there are 1, 2, 3, 5"), ("1-x", "'1-x'"), ("", "''"), ("7-5", "'7-5'")],
)
def test_a_choice_that_cannot_be_is_refused(tomo_idx: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        select_rows(ROWS, tomo_idx)

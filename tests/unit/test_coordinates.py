from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from isonet2.errors import UserError
from isonet2.io.coordinates import points_inside, read_coordinates


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "# x y z\n30 20 10\n\n31.5\t0 7 0.9 more\n"),
        ("a.csv", "30,20,10\n31.5, 0, 7\n"),
        ("a.star", "data_optics\n\nloop_\n_rlnOpticsGroup #1\n1\n\ndata_particles\n\nloop_\n_rlnCoordinateY #1\n"
                   "_rlnCoordinateX #2\n_rlnCoordinateZ #3\n20 30.000 10\n0 31.5 7\n"),
    ],
)  # fmt: skip
def test_points_come_as_z_y_x_from_any_kind_of_file(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert read_coordinates(tmp_path / name, "t").tolist() == [[10, 20, 30], [7, 0, 31.5]]


def particles(path: Path, columns: list[str], *rows: str) -> Path:
    """A RELION list of particles at z = 0, 1, 2 …; `rows` begin with the cells of `columns`."""
    labels = "".join(f"_{column}\n" for column in [*columns, "rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ"])
    table = "".join(f"{row} 1 2 {n}\n" for n, row in enumerate(rows))
    path.write_text(f"data_particles\n\nloop_\n{labels}{table}")
    return path


@pytest.mark.parametrize("column", ["rlnTomoName", "rlnMicrographName"])
@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["t", "u", "t"], [0, 2]),
        (["rec/t.mrc", "rec/u.mrc", "u"], [0]),
        (["t", "t", "rec/t.mrc"], [0, 1, 2]),
        (["t2", "xt", "t"], [2]),
        (["TS_01_EVN", "TS_01_EVN"], [0, 1]),  # of one tomogram, and named by the file that it is in
    ],
)
def test_of_a_list_of_several_tomograms_the_points_of_one_are_taken(
    column: str, names: list[str], found: list[int], tmp_path: Path
) -> None:
    path = particles(tmp_path / "p.star", [column], *names)
    assert [z for z, _, _ in read_coordinates(path, "t")] == found


def test_a_name_with_dots_is_one_as_it_stands_and_one_as_a_file(tmp_path: Path) -> None:
    path = particles(tmp_path / "p.star", ["rlnTomoName"], "t_10.00Apx", "rec/t_10.00Apx.mrc", "t_10")
    assert [z for z, _, _ in read_coordinates(path, "t_10.00Apx")] == [0, 1]


def test_a_row_is_of_a_tomogram_if_either_of_its_names_says_so(tmp_path: Path) -> None:
    """RELION 4 may name the stack of tilts, or another reconstruction, beside the tomogram."""
    columns = ["rlnMicrographName", "rlnTomoName"]
    path = particles(tmp_path / "p.star", columns, "tilts/t_aligned.st:mrc t", "rec/t.mrc TS_001", "rec/u.mrc u")
    assert [z for z, _, _ in read_coordinates(path, "t")] == [0, 1]


@pytest.mark.parametrize(("names", "listed"), [(["u", "v", "u"], r"u, v"), (list("fedcba"), "a, b, c and 3 more")])
def test_a_list_without_points_of_the_tomogram_is_refused_with_the_names_that_it_has(
    names: list[str], listed: str, tmp_path: Path
) -> None:
    path = particles(tmp_path / "p.star", ["rlnTomoName"], *names)
    with pytest.raises(UserError, match=rf"p\.star: has points of {listed}, and none of t: ") as caught:
        read_coordinates(path, "t")
    assert "\n" not in str(caught.value)


def test_points_of_a_model_are_moved_to_voxel_centres(tmp_path: Path) -> None:
    """IMOD's voxel (30, 20, 10) has its centre at 30.5, 20.5, 10."""
    contour = b"CONT" + struct.pack(">iIii3f", 1, 0, 0, 0, 30.5, 20.5, 10)
    (tmp_path / "a.mod").write_bytes(b"IMODV1.2" + bytes(232) + b"OBJT" + bytes(176) + contour + b"IEOF")
    assert read_coordinates(tmp_path / "a.mod", "t").tolist() == [[10, 20, 30]]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", "1 2\n", "not a list of points"),
        ("a.txt", "x y z\n1 2 3\n", "not a list of points"),
        ("a.txt", "\n", "no points"),
        ("a.txt", "1 2 nan\n", "not numbers"),
        ("a.star", "data_\nloop_\n_rlnCoordinateX #1\n1\n", "no block has the columns"),
        ("a.star", "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n1 2 x\n", "not a number"),
    ],
)
def test_what_is_no_list_of_points_is_named(tmp_path: Path, name: str, content: str, words: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=words) as caught:
        read_coordinates(tmp_path / name, "t")
    assert str(tmp_path / name) in str(caught.value)


def test_a_point_at_the_edge_is_inside_and_one_beyond_it_is_not() -> None:
    points = np.array([[0, 0, 0], [9, 19, 29], [-0.5, 0, 0], [9.4, 0, 0], [9.5, 0, 0], [0, 20, 0], [0, 0, -1]])
    assert points_inside(points, (10, 20, 30)).tolist() == [True, True, True, True, False, False, False]

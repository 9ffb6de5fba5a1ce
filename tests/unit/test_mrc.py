"""mrcfile is the oracle: what it writes we read, what we write it reads and finds valid."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest

from isonet2.errors import UserError
from isonet2.io.mrc import open_volume, read_header, write_mrc, writing_mrc

MODES = {0: np.int8, 1: np.int16, 2: np.float32, 6: np.uint16, 12: np.float16}
SHAPE = (5, 6, 7)


def some_volume(dtype: type, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Negative values too where the type has them, and all of int8's range."""
    values = np.random.default_rng(1).integers(-128, 128, shape)
    return np.abs(values).astype(dtype) if dtype is np.uint16 else values.astype(dtype)


def written(path: Path, data: np.ndarray, **header: object) -> Path:
    with mrcfile.new(path, data) as mrc:
        mrc.voxel_size = 10.5
        for name, value in header.items():
            mrc.header[name] = value
    return path


@pytest.mark.parametrize(("mode", "order"), [(mode, "<") for mode in MODES] + [(mode, ">") for mode in MODES if mode])
def test_any_mode_and_byte_order_reads_as_the_same_float32(tmp_path: Path, mode: int, order: str) -> None:
    data = some_volume(MODES[mode])
    path = tmp_path / "a.mrc"
    with mrcfile.new(path) as mrc:
        mrc.set_data(data.astype(data.dtype.newbyteorder(order)))
    assert path.read_bytes()[0:4] == np.array(7, f"{order}i4").tobytes()
    with open_volume(path) as volume:
        assert volume.header.mode == mode
        piece = volume[1:4, :, 2:6]
    assert piece.dtype == np.float32
    assert piece.flags.c_contiguous
    np.testing.assert_array_equal(piece, data[1:4, :, 2:6].astype(np.float32))


@pytest.mark.parametrize("axes", [(1, 2, 3), (1, 3, 2), (2, 1, 3), (2, 3, 1), (3, 1, 2), (3, 2, 1)])
def test_any_axis_order_comes_out_as_z_y_x(tmp_path: Path, axes: tuple[int, int, int]) -> None:
    data = some_volume(np.float32)  # z, y, x
    mapc, mapr, maps = axes
    stored = data.transpose([3 - maps, 3 - mapr, 3 - mapc])
    path = written(tmp_path / "a.mrc", np.ascontiguousarray(stored), mapc=mapc, mapr=mapr, maps=maps)
    with mrcfile.open(path, "r+") as mrc:  # a start of 10, 20, 30 along x, y, z: stored by column, row, section
        mrc.header.nxstart, mrc.header.nystart, mrc.header.nzstart = (10 * axis for axis in axes)
    with open_volume(path) as volume:
        assert volume.shape == SHAPE
        assert volume.header.nstart == (30, 20, 10)
        np.testing.assert_array_equal(volume[:], data)
        np.testing.assert_array_equal(volume[1:3, 2:5, 3:4], data[1:3, 2:5, 3:4])


def test_a_box_is_cut_off_at_the_edges_like_an_array(tmp_path: Path) -> None:
    data = some_volume(np.float32)
    with open_volume(written(tmp_path / "a.mrc", data)) as volume:
        np.testing.assert_array_equal(volume[3:9, -2:], data[3:9, -2:])
        assert volume[5:5].shape == (0, 6, 7)


def test_bytes_of_old_imod_are_unsigned_and_all_others_signed(tmp_path: Path) -> None:
    data = np.array([[[-1, 100, -56]]], np.int8)
    path = written(tmp_path / "a.mrc", data)
    with open_volume(path) as volume:
        assert volume[:].ravel().tolist() == [-1, 100, -56]
    raw = bytearray(path.read_bytes())
    raw[152:160] = np.array([1146047817, 0], "<i4").tobytes()
    path.write_bytes(raw)
    with open_volume(path) as volume:
        assert volume[:].ravel().tolist() == [255, 100, 200]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda raw: raw[:-1], "truncated"),
        (lambda raw: raw[:500], "not an MRC file"),
        (lambda raw: b"# a text file\n" * 100, "not an MRC file"),
        (lambda raw: bytes(4096), "not an MRC file"),
        (lambda raw: raw[:12] + np.array(4, "<i4").tobytes() + raw[16:], "mode 4"),
        (lambda raw: raw[:64] + np.array(7, "<i4").tobytes() + raw[68:], "not an MRC file"),
    ],
)
def test_what_is_no_whole_volume_is_named_when_it_is_opened(tmp_path: Path, damage: object, words: str) -> None:
    path = written(tmp_path / "a.mrc", some_volume(np.float32))
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    for opened in (read_header, open_volume):
        with pytest.raises(UserError, match=words) as caught:
            opened(path)
        assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"b\.mrc: no such file"):
        open_volume(tmp_path / "b.mrc")


def test_nan_and_infinity_are_counted_over_the_file_where_one_of_them_is_read(tmp_path: Path) -> None:
    data = some_volume(np.float32)
    data[1, 2, 3] = np.nan
    data[4, 0, :2] = np.inf
    path = written(tmp_path / "a.mrc", np.zeros_like(data))
    path.write_bytes(path.read_bytes()[:1024] + data.tobytes())
    with open_volume(path) as volume:
        assert volume[0:1].shape == (1, 6, 7)
        with pytest.raises(UserError, match=r"a\.mrc: 3 of 210 voxels are NaN or infinite"):
            volume[1:2]


def test_float16_near_its_limit_stays_finite(tmp_path: Path) -> None:
    """Their sum would not fit into float16: nothing may be computed in the file's type."""
    data = np.full(SHAPE, 65000, np.float16)
    with open_volume(written(tmp_path / "a.mrc", data)) as volume:
        assert volume[:].sum() == 210 * 64992.0


def test_the_header_of_the_input_survives_with_statistics_made_anew(tmp_path: Path) -> None:
    source = tmp_path / "in.mrc"
    with mrcfile.new(source, some_volume(np.int8)) as mrc:
        mrc.set_extended_header(np.frombuffer(b"tilt angles" * 7, "V1"))
        mrc.header.exttyp = b"SERI"
        mrc.voxel_size = (10.0, 10.1, 10.05)
        mrc.header.origin.x, mrc.header.origin.y, mrc.header.origin.z = -4.5, 2.0, 1000.25
        mrc.nstart = (-1, -2, -3)
        mrc.add_label("made by a microscope")
    volume = np.random.default_rng(2).normal(1000, 1, (6, 5, 4)).astype(np.float32)
    path = tmp_path / "out.mrc"
    write_mrc(path, volume, header=read_header(source), pixel_size_angstrom=10.05)
    assert mrcfile.validate(path)
    with mrcfile.open(path) as mrc:
        np.testing.assert_array_equal(mrc.data, volume)
        np.testing.assert_allclose(mrc.voxel_size.tolist(), (10.0, 10.1, 10.05), rtol=1e-6)
        assert mrc.header.origin.tolist() == (-4.5, 2.0, 1000.25)
        assert mrc.nstart.tolist() == (-1, -2, -3)
        assert mrc.extended_header.tobytes() == b"tilt angles" * 7
        assert mrc.header.exttyp == b"SERI"
        labels = mrc.get_labels()
        assert labels[1] == "made by a microscope"
        assert "isonet2" in labels[2]
        exact = volume.astype(np.float64)
        expected = (exact.min(), exact.max(), exact.mean(), exact.std())
        found = (mrc.header.dmin, mrc.header.dmax, mrc.header.dmean, mrc.header.rms)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_label_is_added_once_and_ten_labels_stay_ten(tmp_path: Path) -> None:
    path = written(tmp_path / "a.mrc", some_volume(np.float32))
    with mrcfile.open(path, "r+") as mrc:
        for number in range(9):
            mrc.add_label(f"step {number}")
    for _ in range(2):
        write_mrc(path, some_volume(np.float32), header=read_header(path), pixel_size_angstrom=10.5)
    labels = read_header(path).labels
    assert len(labels) == 10
    assert [label for label in labels if label.startswith("step")] == [f"step {number}" for number in range(8)]
    assert sum("isonet2" in label for label in labels) == 1


@pytest.mark.parametrize(("in_header", "expected"), [(0.0, 12.0), (1.0, 12.0), (12.05, 12.05), (13.0, 12.0)])
def test_the_voxel_size_in_use_replaces_one_that_is_unset_or_contradicts_it(
    tmp_path: Path, in_header: float, expected: float
) -> None:
    source = tmp_path / "in.mrc"
    with mrcfile.new(source, some_volume(np.float32)) as mrc:
        mrc.voxel_size = in_header
    assert read_header(source).pixel_size_angstrom == pytest.approx((in_header,) * 3)
    write_mrc(tmp_path / "a.mrc", some_volume(np.float32), header=read_header(source), pixel_size_angstrom=12.0)
    assert read_header(tmp_path / "a.mrc").pixel_size_angstrom == pytest.approx((expected,) * 3)


def test_a_foreign_extended_header_is_left_out_with_its_type(tmp_path: Path) -> None:
    source = tmp_path / "in.mrc"
    with mrcfile.new(source) as mrc:
        mrc.set_data(some_volume(np.float32).astype(">f4"))
        mrc.set_extended_header(np.arange(6, dtype=">f4"))
        mrc.header.exttyp = b"SERI"
    header = read_header(source)
    assert (header.extended_header, header.exttyp) == (b"", b"")
    write_mrc(tmp_path / "a.mrc", some_volume(np.float32), header=header, pixel_size_angstrom=1.5)
    assert mrcfile.validate(tmp_path / "a.mrc")


def test_a_mask_is_written_as_int8(tmp_path: Path) -> None:
    mask = (some_volume(np.int8) > 0).astype(np.int8)
    write_mrc(tmp_path / "mask.mrc", mask, pixel_size_angstrom=10.0)
    assert mrcfile.validate(tmp_path / "mask.mrc")
    with mrcfile.open(tmp_path / "mask.mrc") as mrc:
        assert mrc.header.mode == 0
        np.testing.assert_array_equal(mrc.data, mask)


def test_slabs_give_the_same_bytes_as_the_whole(tmp_path: Path) -> None:
    volume = some_volume(np.float32, (7, 6, 5))
    write_mrc(tmp_path / "whole.mrc", volume, pixel_size_angstrom=10.0)
    with writing_mrc(tmp_path / "slabs.mrc", (7, 6, 5), header=None, pixel_size_angstrom=10.0) as out:
        for start in (0, 3, 6):
            out.append(volume[start : start + 3])
    assert (tmp_path / "slabs.mrc").read_bytes() == (tmp_path / "whole.mrc").read_bytes()


@pytest.mark.parametrize("planes", [2, 4])
def test_fewer_or_more_planes_than_announced_leave_no_file(tmp_path: Path, planes: int) -> None:
    path = tmp_path / "a.mrc"
    with (
        pytest.raises(AssertionError, match="of 3 planes"),
        writing_mrc(path, (3, 6, 5), header=None, pixel_size_angstrom=10.0) as out,
    ):
        out.append(np.zeros((planes, 6, 5), np.float32))
    assert list(tmp_path.iterdir()) == []

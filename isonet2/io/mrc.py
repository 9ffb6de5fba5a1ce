"""Tomograms in MRC files: read in pieces, in any mode, axis order and byte order; written as a stream of slabs."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE
from numpy.typing import NDArray

from isonet2.errors import UserError
from isonet2.io.atomic import existing_file, replacing
from isonet2.io.float16 import as_float16

Triple = tuple[float, float, float]
Shape = tuple[int, int, int]
Order = Literal["<", ">"]
Voxel = np.float32 | np.float16 | np.int8
_VOXELS = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
_LARGEST_SIDE = 65535  # a larger one was read in the wrong byte order, or is no size at all
_LABEL = "written by isonet2"
_MODES: dict[type[Voxel], int] = {np.int8: 0, np.float32: 2, np.float16: 12}


@dataclass(frozen=True)
class MrcHeader:
    """What a header says, in (z, y, x) order whatever the order in the file; a voxel size is 0.0 where it is unset."""

    shape: Shape
    mode: int
    pixel_size_angstrom: Triple
    origin: Triple
    nstart: Shape
    labels: tuple[str, ...]
    extended_header: bytes
    exttyp: bytes


@dataclass(frozen=True)
class _Layout:
    """Where the voxels lie: `counts` of (sections, rows, columns), and which of (z, y, x) each of these runs along."""

    dtype: np.dtype[Any]
    offset: int
    counts: Shape
    axes: Shape


def read_header(path: Path) -> MrcHeader:
    """The header of the MRC file `path`. UserError if it is missing, is no MRC volume, or ends too early."""
    with existing_file(path, what="tomogram").open("rb") as file:
        return _read_header(file, path)[0]


def written_here(header: MrcHeader) -> bool:
    """Whether this program wrote the file."""
    return _LABEL in header.labels


def _read_header(file: IO[bytes], path: Path) -> tuple[MrcHeader, _Layout]:
    fields, order = _fields(file.read(HEADER_DTYPE.itemsize), path)
    layout = _layout(fields, order, path)
    size, needed = os.fstat(file.fileno()).st_size, layout.offset + math.prod(layout.counts) * layout.dtype.itemsize
    if size < needed:
        raise UserError(f"{path}: truncated: its header announces {needed} bytes, the file has {size}; copy it again")
    # The numbers in a foreign extended header would have to be turned as well: then neither it nor its type.
    extended = file.read(int(fields["nsymbt"])) if order == "<" else b""
    in_zyx = np.argsort(layout.axes)
    header = MrcHeader(
        shape=_ints(np.array(layout.counts)[in_zyx]),
        mode=int(fields["mode"]),
        pixel_size_angstrom=_pixel_size(fields),
        origin=_floats([fields["origin"][axis] for axis in "zyx"]),
        nstart=_ints(np.array([fields[name] for name in ("nzstart", "nystart", "nxstart")])[in_zyx]),
        labels=tuple(text for label in fields["label"] if (text := label.decode("latin-1").strip())),
        extended_header=extended,
        exttyp=bytes(fields["exttyp"]) if extended else b"",
    )
    return header, layout


def _fields(raw: bytes, path: Path) -> tuple[Any, Order]:
    """The fields of a header and its byte order: the one in which its sizes are possible, as stamps are often wrong."""
    orders: tuple[Order, Order] = ("<", ">")
    for order in orders:
        if len(raw) == HEADER_DTYPE.itemsize:
            fields = np.frombuffer(raw, HEADER_DTYPE.newbyteorder(order))[0]
            if all(0 < fields[name] <= _LARGEST_SIDE for name in ("nx", "ny", "nz")):
                return fields, order
    raise UserError(f"{path}: not an MRC file")


def _layout(fields: Any, order: Order, path: Path) -> _Layout:
    mode = int(fields["mode"])
    if mode not in _VOXELS:
        raise UserError(f"{path}: MRC mode {mode} cannot be read (only {', '.join(map(str, _VOXELS))}); convert it")
    order_xyz = [int(fields[name]) for name in ("maps", "mapr", "mapc")]
    if order_xyz == [0, 0, 0]:
        order_xyz = [3, 2, 1]
    if sorted(order_xyz) != [1, 2, 3] or fields["nsymbt"] < 0:
        raise UserError(f"{path}: not an MRC file (axes {order_xyz[::-1]}, extended header {fields['nsymbt']} bytes)")
    stamp, flags = np.frombuffer(fields["extra2"].tobytes(), f"{order}i4", count=2, offset=40)
    unsigned = mode == 0 and stamp == 1146047817 and not flags & 1  # IMOD's own bytes, unless it says signed
    return _Layout(
        dtype=np.dtype("u1" if unsigned else _VOXELS[mode]).newbyteorder(order),
        offset=HEADER_DTYPE.itemsize + int(fields["nsymbt"]),
        counts=_ints([fields[name] for name in ("nz", "ny", "nx")]),
        axes=_ints([3 - axis for axis in order_xyz]),
    )


def _pixel_size(fields: Any) -> Triple:
    steps = [(float(fields["cella"][axis]), int(fields[f"m{axis}"])) for axis in "zyx"]
    return _floats([cell / count if cell > 0 and count > 0 and math.isfinite(cell) else 0.0 for cell, count in steps])


def _ints(values: Any) -> Shape:
    z, y, x = (int(value) for value in values)
    return z, y, x


def _floats(values: Any) -> Triple:
    z, y, x = (float(value) for value in values)
    return z, y, x


class Volume:
    """A tomogram on disk, read in pieces: `volume[z0:z1, y0:y1, x0:x1]` is a float32 copy in (z, y, x) order.

    Nothing is mapped: a piece costs its own memory and that of one plane, and a file that shrinks is an error, not a
    crash. Threads and forked processes may share one Volume.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = existing_file(path, what="tomogram").open("rb", buffering=0)
        try:
            self.header, self._layout = _read_header(self._file, path)
        except BaseException:
            self._file.close()
            raise
        self.shape = self.header.shape

    def __enter__(self) -> Volume:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def __getitem__(self, box: slice | tuple[slice, ...]) -> NDArray[np.float32]:
        """The voxels of `box`, which is cut off at the edges. UserError if one of them is NaN or infinite."""
        slices = box if isinstance(box, tuple) else (box,)
        asked = [range(*part.indices(size)) for part, size in zip(slices, self.shape, strict=False)]
        asked += [range(size) for size in self.shape[len(slices) :]]
        assert len(slices) <= 3
        assert all(part.step == 1 for part in asked), "a box has no steps"
        sections, rows, columns = (asked[axis] for axis in self._layout.axes)
        piece = np.empty((len(sections), len(rows), len(columns)), np.float32)
        for plane, section in zip(piece, sections, strict=True):
            plane[:] = self._plane(section, rows)[:, columns.start : columns.stop]
            if not np.isfinite(plane).all():
                raise self._not_finite()
        return np.ascontiguousarray(piece.transpose(np.argsort(self._layout.axes)))

    def _plane(self, section: int, rows: range) -> NDArray[Any]:
        """Those rows of one section, in the file's type."""
        _, per_section, per_row = self._layout.counts
        item = self._layout.dtype.itemsize
        start = self._layout.offset + (section * per_section + rows.start) * per_row * item
        raw = bytearray(len(rows) * per_row * item)
        view = memoryview(raw)
        while view:
            count = os.preadv(self._file.fileno(), [view], start)
            if count == 0:
                raise UserError(f"{self.path}: became shorter while it was read")
            view, start = view[count:], start + count
        return np.frombuffer(raw, self._layout.dtype).reshape(len(rows), per_row)

    def _not_finite(self) -> UserError:
        sections, rows, _ = self._layout.counts
        bad = sum(np.count_nonzero(~np.isfinite(self._plane(section, range(rows)))) for section in range(sections))
        return UserError(f"{self.path}: {bad} of {math.prod(self.shape)} voxels are NaN or infinite; replace them")


def open_volume(path: Path) -> Volume:
    """The tomogram in `path`, to be used in a `with` block. UserError if it is missing, no MRC volume, or truncated."""
    return Volume(path)


class _Writer:
    """Takes the z slabs of one volume in order, and counts what the header has to say about them."""

    def __init__(self, file: IO[bytes], path: Path, shape: Shape, dtype: np.dtype[Any]) -> None:
        self._file, self._path, self._shape, self._dtype = file, path, shape, dtype
        self._planes = 0
        self._least, self._most, self._mean, self._squares = math.inf, -math.inf, 0.0, 0.0

    def append(self, slab: NDArray[Any]) -> None:
        """Write the next planes: (planes, y, x), of the type that was announced; what becomes float16 is rounded."""
        if self._dtype == np.float16:
            slab = as_float16(slab, self._path)
        assert slab.dtype == self._dtype, f"{slab.dtype} does not go into a file of {self._dtype}"
        assert slab.shape[1:] == self._shape[1:], f"a slab of {slab.shape} does not fit a volume of {self._shape}"
        for plane in slab:
            self._file.write(np.ascontiguousarray(plane).data)
            self._count(plane.astype(np.float64))

    def _count(self, plane: NDArray[np.float64]) -> None:
        """Chan's update of mean and sum of squared deviations (Am Stat 37:242, 1983)."""
        mean = float(plane.mean())
        step = mean - self._mean
        self._least, self._most = min(self._least, float(plane.min())), max(self._most, float(plane.max()))
        self._squares += float(np.square(plane - mean).sum()) + step**2 * plane.size * self._planes / (self._planes + 1)
        self._mean += step / (self._planes + 1)
        self._planes += 1

    def statistics(self) -> dict[str, float]:
        assert self._planes == self._shape[0], f"{self._path}: {self._planes} of {self._shape[0]} planes were written"
        rms = math.sqrt(self._squares / math.prod(self._shape))
        return {"dmin": self._least, "dmax": self._most, "dmean": self._mean, "rms": rms}


@contextmanager
def writing_mrc(
    path: Path,
    shape: Shape,
    *,
    header: MrcHeader | None,
    pixel_size_angstrom: float,
    dtype: type[Voxel] = np.float32,
) -> Iterator[_Writer]:
    """A writer whose `append(slab)` takes the planes of a (z, y, x) volume in order; the file is whole or absent.

    `header` is that of the tomogram it was made from: voxel size (where it agrees with `pixel_size_angstrom`), origin,
    start, labels and extended header are kept. float32 is mode 2, float16 mode 12, int8 mode 0. Memory: one plane.
    """
    fields = _new_fields(shape, header, pixel_size_angstrom, mode=_MODES[dtype])
    with replacing(path) as part, part.open("wb") as file:
        file.write(fields.tobytes() + (header.extended_header if header else b""))
        writer = _Writer(file, path, shape, np.dtype(dtype))
        yield writer
        for name, value in writer.statistics().items():
            fields[name] = value
        file.seek(0)
        file.write(fields.tobytes())


def _new_fields(shape: Shape, header: MrcHeader | None, pixel_size_angstrom: float, mode: int) -> Any:
    fields = np.zeros((), HEADER_DTYPE.newbyteorder("<"))
    steps = voxel_size(header, pixel_size_angstrom)
    for axis, size, step, number in zip("zyx", shape, steps, (3, 2, 1), strict=True):
        fields[f"n{axis}"] = fields[f"m{axis}"] = size
        fields["cella"][axis] = size * step
        fields["map" + {"x": "c", "y": "r", "z": "s"}[axis]] = number
    fields["mode"], fields["ispg"], fields["nversion"] = mode, 1, 20141
    fields["cellb"] = (90.0, 90.0, 90.0)
    fields["map"], fields["machst"] = b"MAP ", (0x44, 0x44, 0, 0)
    labels = [_LABEL]
    if header is not None:
        labels = [*[label for label in header.labels if label != _LABEL][:9], _LABEL]
        for axis, origin, start in zip("zyx", header.origin, header.nstart, strict=True):
            fields["origin"][axis], fields[f"n{axis}start"] = origin, start
        fields["nsymbt"], fields["exttyp"] = len(header.extended_header), header.exttyp
    fields["nlabl"] = len(labels)
    fields["label"][: len(labels)] = [label.encode("latin-1")[:80] for label in labels]
    return fields


def voxel_size(header: MrcHeader | None, pixel_size_angstrom: float) -> Triple:
    """The header's voxel size where it agrees to 1 % with the one in use (along x), which fills in what is unset."""
    if header is None or abs(header.pixel_size_angstrom[2] / pixel_size_angstrom - 1) > 0.01:
        return (pixel_size_angstrom,) * 3
    return _floats([step or pixel_size_angstrom for step in header.pixel_size_angstrom])


def write_mrc(
    path: Path,
    volume: NDArray[np.float32] | NDArray[np.int8],
    *,
    header: MrcHeader | None = None,
    pixel_size_angstrom: float,
) -> None:
    """Write a (z, y, x) volume: float32 as mode 2, int8 as mode 0; the file is whole or absent."""
    dtype = np.int8 if volume.dtype == np.int8 else np.float32
    with writing_mrc(
        path, _ints(volume.shape), header=header, pixel_size_angstrom=pixel_size_angstrom, dtype=dtype
    ) as out:
        out.append(volume)

"""IMOD's binary models (.mod), after the format's public description ("IMOD Binary File Format", version 1.2)."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isonet2.errors import UserError
from isonet2.io.atomic import existing_file

_START = 8 + 232  # magic and version, then the model's header
_FLAGS, _FLIPPED = (
    8 + 128 + 4 * 4,
    1 << 16,
)  # the header's flags; that the model was saved on an image with y and z swapped
_OBJECT = 176
_HEAD = 16  # of a contour and of a mesh


def read_contours(path: Path) -> list[tuple[int, NDArray[np.float64]]]:
    """Every contour: (number of its object from 0, points (n, 3)), points as x, y, z in IMOD's pixel coordinates.

    There the centre of voxel i is at i + ½ along x and y, and at i along z. A model that was saved while 3dmod showed
    y and z swapped comes as the volume has them. UserError if `path` is no such model, or ends too early.
    """
    data = existing_file(path, what="IMOD model").read_bytes()
    if data[:8] != b"IMODV1.2":
        raise UserError(f"{path}: not a binary IMOD model (IMODV1.2); save it with 3dmod, or convert it with imodtrans")
    contours: list[tuple[int, NDArray[np.float64]]] = []
    place, current = _START, -1
    try:
        while (chunk := data[place : place + 4]) != b"IEOF":
            place += 4
            if chunk == b"OBJT":
                current += 1
                place += _OBJECT
            elif chunk == b"CONT":
                (count,) = struct.unpack_from(">I", data, place)
                numbers = np.frombuffer(data, ">f4", count=3 * count, offset=place + _HEAD)
                points = numbers.reshape(-1, 3).astype(np.float64)
                if _is_flipped(data):
                    points = points[:, [0, 2, 1]] + (0.0, 0.5, -0.5)
                contours.append((current, points))
                place += _HEAD + numbers.nbytes
            elif chunk == b"MESH":
                vertices, indices = struct.unpack_from(">II", data, place)
                place += _HEAD + 12 * vertices + 4 * indices
            else:
                place += 4 + struct.unpack_from(">I", data, place)[0]
    except (struct.error, ValueError):
        raise UserError(f"{path}: truncated or damaged IMOD model; save it again") from None
    return contours


def _is_flipped(data: bytes) -> bool:
    return bool(struct.unpack_from(">I", data, _FLAGS)[0] & _FLIPPED)

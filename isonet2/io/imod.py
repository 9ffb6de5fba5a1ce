"""IMOD's binary models (.mod), after the format's public description ("IMOD Binary File Format", version 1.2)."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isonet2.errors import UserError
from isonet2.io.atomic import existing_file

_START = 8 + 232  # magic and version, then the model's header
_FLAGS = 8 + 128 + 4 * 4
_HAS_ORIGIN, _FLIPPED = 1 << 14, 1 << 16
_OBJECT = 176
_HEAD = 16  # of a contour and of a mesh


def read_contours(path: Path) -> list[tuple[int, NDArray[np.float64]]]:
    """Every contour: (number of its object from 0, points (n, 3)), points as x, y, z in IMOD's pixel coordinates.

    There the centre of voxel i is at i + ½ along x and y, and at i along z. They are those of the whole volume as it is
    on disk, also for a model that was saved while 3dmod showed a part of it, or y and z swapped. UserError if `path` is
    no such model, or ends too early.
    """
    data = existing_file(path, what="IMOD model").read_bytes()
    if data[:8] != b"IMODV1.2":
        raise UserError(f"{path}: not a binary IMOD model (IMODV1.2); save it with 3dmod, or convert it with imodtrans")
    contours: list[tuple[int, NDArray[np.float64]]] = []
    place, current, first = _START, -1, np.zeros(3)
    try:
        while (chunk := data[place : place + 4]) != b"IEOF":
            place += 4
            if chunk == b"OBJT":
                current += 1
                place += _OBJECT
            elif chunk == b"CONT":
                (count,) = struct.unpack_from(">I", data, place)
                numbers = np.frombuffer(data, ">f4", count=3 * count, offset=place + _HEAD)
                contours.append((current, numbers.reshape(-1, 3).astype(np.float64)))
                place += _HEAD + numbers.nbytes
            elif chunk == b"MESH":
                vertices, indices = struct.unpack_from(">II", data, place)
                place += _HEAD + 12 * vertices + 4 * indices
            else:
                if chunk == b"MINX":
                    first = _first_shown(np.array(struct.unpack_from(">18f", data, place + 4)))
                place += 4 + struct.unpack_from(">I", data, place)[0]
    except (struct.error, ValueError):
        raise UserError(f"{path}: truncated or damaged IMOD model; save it again") from None
    (flags,) = struct.unpack_from(">I", data, _FLAGS)
    axes = [0, 2, 1] if flags & _FLIPPED else [0, 1, 2]  # without a shift of ½: "Y and Z are exchanged"
    start = first if flags & _HAS_ORIGIN else 0.0
    return [(number, points[:, axes] + start) for number, points in contours]


def _first_shown(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """x, y, z of the first voxel of the part that the model was drawn on, from the 18 numbers of a MINX chunk:
    (otrans - ctrans) / cscale, whatever the rotation; 0 without a scale."""
    _, origin, _, scale, origin_of_part, _ = image.reshape(6, 3)
    return (origin - origin_of_part) / scale if scale.all() else np.zeros(3)

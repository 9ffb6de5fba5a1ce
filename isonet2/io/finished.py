"""Which outputs and parts of outputs are there already, whole and unharmed, and from what they were made."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from isonet2 import log
from isonet2.io.atomic import replacing, write_text

_BLOCK = 1 << 20
_TAIL = 4  # bytes of a part's checksum


def is_finished(output: Path, key: str) -> bool:
    """Whether `output` was made with this key and is as it was written; it is read in full only if it was touched."""
    if not output.exists() or not (record := _record(output)).exists():
        return False
    known = json.loads(record.read_text(encoding="utf-8"))
    if known["key"] != key:
        return False
    about = output.stat()
    if (about.st_size, about.st_mtime_ns) == (known["size"], known["mtime_ns"]):
        return True
    if about.st_size == known["size"] and _checksum(output) == known["crc32"]:
        return True
    log.warn(f"{output}: not as it was written; it is made again")
    return False


def mark_finished(output: Path, key: str) -> None:
    """`output` is whole, and `key` changes with all that it depends on: said by whoever wrote it. Reads it once."""
    about = output.stat()
    known = {"key": key, "size": about.st_size, "mtime_ns": about.st_mtime_ns, "crc32": _checksum(output)}
    write_text(_record(output), json.dumps(known) + "\n")


def _record(output: Path) -> Path:
    """A small file for each output, so that no two writers ever meet."""
    return output.parent / ".finished" / f"{output.name}.json"


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            checksum = zlib.crc32(block, checksum)
    return checksum


def write_part(path: Path, values: npt.NDArray[np.float32]) -> None:
    """Leave an array for whoever puts the parts together: a .npy file with its checksum behind."""
    with replacing(path) as part:
        np.save(part, values)
        checksum = _checksum(part)
        with part.open("ab") as file:
            file.write(checksum.to_bytes(_TAIL, "little"))


def has_part(path: Path) -> bool:
    """Whether a part is there; one that was harmed since it was written is removed."""
    if not path.exists():
        return False
    with path.open("rb") as file:
        content = file.read()
    if content and zlib.crc32(content[:-_TAIL]) == int.from_bytes(content[-_TAIL:], "little"):
        return True
    log.warn(f"{path}: damaged; it is made again")
    path.unlink()
    return False


def read_plane(path: Path, plane: int) -> npt.NDArray[np.float32]:
    """One plane of a part. The file is closed again, since what stays mapped counts as memory in use."""
    return np.array(np.load(path, mmap_mode="r")[plane])

"""Which outputs and parts of outputs are there already, whole and unharmed, and from what they were made."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from isonet2 import log
from isonet2.errors import UserError
from isonet2.io.atomic import replacing
from isonet2.io.mrc import read_header, written_here
from isonet2.io.sealed import read_sealed, write_sealed

_BLOCK = 1 << 20
_TAIL = 4  # bytes of a part's checksum


def is_finished(output: Path, key: str) -> bool:
    """Whether `output` was made with this key and is as it was written; it is read in full only if it was touched."""
    known = _known(output)
    if known is None or known["key"] != key:
        return False
    if known == _seen(output, known):
        return True
    if known["digest"] == _digest(output):
        write_sealed(_record(output), _seen(output, known))
        return True
    log.warn(f"{output}: not as it was written; it is made again")
    return False


def may_be_written(output: Path) -> bool:
    """Whether nothing of the user's is in the way: there is no such map, or one of ours, harmed or not."""
    if not output.exists():
        return True
    try:
        return written_here(read_header(output))
    except UserError:  # it cannot be read
        return _record(output).exists()


def mark_finished(output: Path, key: str) -> None:
    """`output` is whole, and `key` changes with all that it depends on: said by whoever wrote it. Reads it once."""
    write_sealed(_record(output), _seen(output, {"key": key, "digest": _digest(output)}))


def content_of(output: Path) -> str | None:
    """32 hexadecimal digits of every byte of an output that was not touched since it was marked; None for any other
    file. Nothing is read."""
    known = _known(output)
    return known["digest"] if known is not None and known == _seen(output, known) else None


def _known(output: Path) -> dict[str, Any] | None:
    """What was said of an output that is there; where that was harmed, what it holds now, but not what from."""
    if not output.exists() or not _record(output).exists():
        return None
    known = read_sealed(_record(output))
    if known is None:
        mark_finished(output, key="")
        known = read_sealed(_record(output))
    return known


def _seen(output: Path, known: Mapping[str, Any]) -> dict[str, Any]:
    about = output.stat()
    return {**known, "size": about.st_size, "mtime_ns": about.st_mtime_ns}


def _record(output: Path) -> Path:
    """A small file for each output, so that no two writers ever meet."""
    return output.parent / ".finished" / f"{output.name}.json"


def _digest(output: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with output.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


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

"""Which outputs are there already, whole and unharmed, and from what they were made."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isonet2 import log
from isonet2.errors import UserError
from isonet2.io.mrc import read_header, written_here
from isonet2.io.sealed import read_sealed, write_sealed

_BLOCK = 1 << 20


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

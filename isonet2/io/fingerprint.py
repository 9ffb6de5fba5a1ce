"""What stands for a large file's content in cache keys and in the records of finished stages."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from isonet2.io.atomic import existing_file
from isonet2.io.finished import content_of

_BLOCK = 4096
_SAMPLES = 64


@lru_cache(maxsize=10_000)
def _sampled(path: Path, size: int, mtime_ns: int, _ctime_ns: int) -> str:
    """Of a file as it is now: all stages of a job ask, and so does each task of an array for all tomograms."""
    digest = hashlib.blake2b(f"{size} {mtime_ns}".encode(), digest_size=16)
    with path.open("rb") as file:
        digest.update(file.read(_BLOCK))
        for sample in range(_SAMPLES):
            file.seek(max(0, size - _BLOCK) * sample // (_SAMPLES - 1))
            digest.update(file.read(_BLOCK))
    return digest.hexdigest()


def fingerprint(path: Path, *, whole: bool = False) -> str:
    """32 hexadecimal digits of the size, the time of the last change (ns), the first 4 KiB and 64 spread samples.

    `whole`: of every byte and the size alone, so that a copy has the fingerprint of its original. An output of ours has
    one of its bytes alone too: made again, it is the same. UserError if missing.
    """
    existing_file(path, what="input")
    if whole:
        digest = hashlib.blake2b(f"{path.stat().st_size}".encode(), digest_size=16)
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()
    if (content := content_of(path)) is not None:
        return content
    about = path.stat()
    return _sampled(path.resolve(), about.st_size, about.st_mtime_ns, about.st_ctime_ns)

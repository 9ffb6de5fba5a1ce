"""What stands for a large file's content in cache keys and in the records of finished stages."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from isonet2.io.atomic import existing_file
from isonet2.io.finished import content_of

_BLOCK = 4096
_SAMPLES = 64


def fingerprint(path: Path, *, whole: bool = False) -> str:
    """32 hexadecimal digits of the size, the time of the last change (ns), the first 4 KiB and 64 spread samples.

    `whole`: of every byte and the size alone, so that a copy has the fingerprint of its original. An output of ours has
    one of its bytes alone too: made again, it is the same. UserError if missing.
    """
    with existing_file(path, what="input").open("rb") as file:
        if not whole and (content := content_of(path)) is not None:
            return content
        about = os.fstat(file.fileno())
        digest = hashlib.blake2b(f"{about.st_size}".encode(), digest_size=16)
        if whole:
            while block := file.read(1 << 20):
                digest.update(block)
            return digest.hexdigest()
        digest.update(f" {about.st_mtime_ns}".encode() + file.read(_BLOCK))
        for sample in range(_SAMPLES):
            file.seek(max(0, about.st_size - _BLOCK) * sample // (_SAMPLES - 1))
            digest.update(file.read(_BLOCK))
        return digest.hexdigest()

"""Parts of an output, made by any rank in any order, that wait on disk for whoever puts them together."""

from __future__ import annotations

import re
import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from isonet2 import log
from isonet2.io.atomic import replacing

_BLOCK = 1 << 20
_TAIL = 4  # bytes of a part's checksum


@dataclass(frozen=True)
class Parts:
    """Those of `output` that were made with `key`, which changes with all that they depend on."""

    output: Path
    key: str

    @property
    def folder(self) -> Path:
        """Beside the output, and hidden."""
        return self.output.with_name(f".{self.output.stem}.{self.key}")

    def path(self, name: str) -> Path:
        """Where the part of this name waits."""
        return self.folder / f"{name}.npy"

    def forget(self) -> None:
        """Remove them all, also what a kill left of the same output with another key."""
        name = re.compile(re.escape(f".{self.output.stem}.") + "[0-9a-f]{12}")
        for folder in [path for path in self.output.parent.iterdir() if name.fullmatch(path.name)]:
            shutil.rmtree(folder)


def write_part(path: Path, values: npt.NDArray[np.float32]) -> None:
    """Leave an array: a .npy file with its checksum behind."""
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


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            checksum = zlib.crc32(block, checksum)
    return checksum

"""Whether every file of a job that bears its final name can be read to its end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py

from isonet2.inference.archive import load_archive
from isonet2.io.mrc import open_volume
from isonet2.io.parts import has_part
from isonet2.io.star_text import read_loops
from isonet2.job.load import load_job


def _read_map(path: Path) -> None:
    with open_volume(path) as volume:
        for z in range(volume.shape[0]):
            volume[z : z + 1]


def _read_shard(path: Path) -> None:
    with h5py.File(path, "r", locking=False) as file:
        assert file.attrs["complete"]
        for name in file:
            file[name][:]


def _read_part(path: Path) -> None:
    assert has_part(path)


def _read_lines(path: Path) -> None:
    """Only the last line may be cut short, by the kill itself."""
    for line in path.read_text().split("\n")[:-1]:
        json.loads(line)


def _ends(ending: bytes) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        assert path.read_bytes().rstrip().endswith(ending)

    return read


_READERS: dict[str, Callable[[Path], object]] = {
    ".mrc": _read_map,
    ".h5": _read_shard,
    ".pt": load_archive,
    ".npy": _read_part,
    ".star": read_loops,
    ".yaml": load_job,
    ".json": lambda path: json.loads(path.read_text()),
    ".jsonl": _read_lines,
    ".html": _ends(b"</html>"),
    ".png": _ends(b"IEND\xaeB`\x82"),
    ".gif": _ends(b";"),
}
_FREE = {".log", ".lock", ".isonet2", ""}  # written to line by line, for TensorBoard too; the verdict


def files(folder: Path) -> Iterator[Path]:
    """Those with a final name."""
    return (path for path in folder.rglob("*") if path.is_file() and ".part" not in path.suffixes)


def half_files(folder: Path) -> list[str]:
    """The files that are not whole, and why, or of a kind that nobody writes."""
    found = []
    for path in files(folder):
        if path.suffix not in _FREE:
            try:
                _READERS[path.suffix](path)
            except Exception as error:  # whatever a reader meets
                found.append(f"{path.relative_to(folder)} is not whole ({type(error).__name__}: {error})")
    return found

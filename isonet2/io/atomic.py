"""A file is whole or absent."""

from __future__ import annotations

import errno
import glob
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from isonet2.errors import DiskFull, IsonetError, UserError
from isonet2.job.container import missing_hint

_PART = re.compile(r"\..*\.\d+\.part(\.[^.]*)?")
_LOOK_S = 0.2
_FULL = (errno.ENOSPC, errno.EDQUOT)
_LITTLE_BYTES = 1 << 20


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A neighbour of `path` to write to; it takes the name `path` when the block ends well, and is removed otherwise.

    The neighbour is on the same file system, its name is unique to this process, its bytes are on disk before the
    rename, and so is the rename before the next line runs. The suffix is kept: writers that look at it still work.
    """
    part = _neighbour(path)
    try:
        with naming_full_disks(path.parent):  # before the neighbour goes, and makes room
            yield part
            _fsync(part)
            part.replace(path)
    except BaseException:
        _remove(part)
        raise
    _fsync(path.parent)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """The same for a folder: once all that was written into the neighbour is on disk, what was there before is removed,
    and the neighbour takes its name."""
    part = _neighbour(path)
    part.mkdir()
    try:
        with naming_full_disks(path.parent):
            yield part
            for written in (*part.rglob("*"), part):
                _fsync(written)
            _remove(path)
            part.replace(path)
    except BaseException:
        _remove(part)
        raise
    _fsync(path.parent)


@contextmanager
def naming_full_disks(*folders: Path) -> Iterator[None]:
    """DiskFull in place of what the block raises if that says so, anywhere in its chain, or if it says nothing of a
    cause (torch's RuntimeError, numpy's short write) and one of the `folders` takes not even a megabyte more."""
    try:
        yield
    except IsonetError:
        raise
    except Exception as error:
        known = _first_full(error)
        if known is None and getattr(error, "errno", None) is not None:
            raise
        folder = next((folder for folder in folders if _full(folder)), None)
        if folder is None:
            if known is None:
                raise
            folder = Path(known.filename).parent if known.filename else folders[0]
        while folder.name.startswith("."):  # where parts of files are
            folder = folder.parent
        raise DiskFull(f"disk full: {folder}: make room; the same command goes on") from error


def _first_full(error: BaseException | None) -> OSError | None:
    """What of the errors that led to this one says that a disk is full, or a quota."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return error
        error = error.__cause__ or error.__context__
    return None


def _full(folder: Path) -> bool:
    """Whether it takes not even a megabyte more, which is asked by writing it: quotas show in no other way."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(os.urandom(_LITTLE_BYTES))  # what can be compressed might find room
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno in _FULL
    return False


def _neighbour(path: Path) -> Path:
    """A name beside `path` for this process; what others of this machine left there as they were killed is removed."""
    if not path.name:  # "." and "/"
        raise UserError(f"{path}: is a folder: name a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    before, after = f".{path.stem}.{socket.gethostname()}.", f".part{path.suffix}"
    for left in path.parent.glob(f"{glob.escape(before)}*{glob.escape(after)}"):
        if not process_runs(left.name.removeprefix(before).removesuffix(after)):
            _remove(left)
    return path.with_name(f"{before}{os.getpid()}{after}")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def process_runs(process: str) -> bool:
    """Whether a process of this machine has this number."""
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, ValueError):  # another user's, or no number of a process
        return True
    return True


def sweep(folders: Iterable[Path]) -> None:
    """Remove what killed processes, of whatever machine, left in `folders`, where nobody but the caller writes."""
    for left in (path for folder in folders for path in folder.rglob(".*.part*")):
        if _PART.fullmatch(left.name):
            _remove(left)


def appeared(path: Path, *, patience_s: float = 60.0) -> Path:
    """`path`, which another rank says is written: a network file system may show it half a minute later elsewhere.

    UserError if it is not seen in time. To be asked only for files that were promised, since it waits for others too.
    """
    deadline = time.monotonic() + patience_s
    while not path.exists():
        if time.monotonic() >= deadline:
            raise UserError(
                f"{path}: written by another rank, and not seen here after {patience_s:g} s: "
                "take a folder that all nodes share"
            )
        time.sleep(_LOOK_S)
        for folder in (path.parent.parent, path.parent):  # who opens a folder is told anew what is in it
            with suppress(OSError):
                list(folder.iterdir())
    return path


def write_text(path: Path, text: str) -> None:
    """The whole text under its name, or nothing."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def existing_file(path: Path, *, what: str) -> Path:
    """`path` if it is a file that can be read; otherwise one line that says what is missing."""
    if not path.is_file():
        if path.is_dir():
            raise UserError(f"{path}: is a folder ({what} needed)")
        raise UserError(f"{path}: no such file ({what}){missing_hint(os.environ)}")
    if not os.access(path, os.R_OK):
        raise UserError(f"{path}: cannot be read ({what})")
    return path

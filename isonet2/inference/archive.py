"""Files of torch.save: zip archives, with checksums that torch writes and does not look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, is_zipfile

import torch

from isonet2.io.atomic import replacing


def save_archive(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain values, whole or not at all: the same bytes for the same content."""
    with replacing(path) as part, part.open("wb") as file:  # torch would write a file's name into it
        torch.save(content, file)


def load_archive(path: Path) -> dict[str, Any]:
    """What was written, on the CPU; nothing in the file is executed. An exception, of any kind, if a byte of it is not
    what was written, or if it is no such file."""
    if is_zipfile(path):  # torch's old format was none
        with ZipFile(path) as archive:
            if (harmed := archive.testzip()) is not None:
                raise BadZipFile(harmed)
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return content

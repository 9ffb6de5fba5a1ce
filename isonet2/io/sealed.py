"""Small records that tell whether they were harmed since they were written."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isonet2 import log
from isonet2.io.atomic import write_text


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON: the content, and a checksum of it under the name `seal`."""
    read_back = json.loads(json.dumps(content))
    write_text(path, json.dumps({**read_back, "seal": _seal(read_back)}, indent=1) + "\n")


def read_sealed(path: Path) -> dict[str, Any] | None:
    """What was written; None where there is nothing, or, with a warning, nothing that is as it was written."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("seal") == _seal(content):
            return content
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, AttributeError, TypeError):  # no JSON, or another kind of it
        pass
    log.warn(f"{path}: damaged, or of another version; what it tells of is looked at anew")
    return None


def _seal(content: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())

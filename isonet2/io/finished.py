"""Which outputs of an interrupted stage are there already, and from what they were made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from isonet2.io.atomic import write_text


class Finished:
    """A JSON file beside the outputs: their names, and a key that changes with all that an output depends on."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def has(self, output: Path, key: str) -> bool:
        """Whether `output` is there and was made with this key."""
        return output.exists() and self._keys().get(output.name) == key

    def add(self, keys: Mapping[Path, str]) -> None:
        """These outputs are whole. Only one rank may say so."""
        known = self._keys() | {output.name: key for output, key in keys.items()}
        write_text(self._path, json.dumps(known, indent=1) + "\n")

    def _keys(self) -> dict[str, str]:
        keys: dict[str, str] = json.loads(self._path.read_text(encoding="utf-8")) if self._path.exists() else {}
        return keys

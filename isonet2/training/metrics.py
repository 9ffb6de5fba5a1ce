"""metrics.jsonl: one line for each epoch and each preview; the same for TensorBoard."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from isonet2.io.atomic import write_text
from isonet2.training.tensorboard import Events


class Metrics:
    """The metrics file of one training; only one process writes it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._events = Events(path.parent / "tensorboard")

    def append(self, line: dict[str, Any]) -> None:
        """Add one line, on disk before the next thing happens."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._events.append(line)

    def lines(self) -> list[dict[str, Any]]:
        """All whole lines; one that a kill cut short is left out."""
        found = []
        if self._path.exists():
            for text in self._path.read_text(encoding="utf-8").splitlines():
                try:
                    found.append(json.loads(text))
                except json.JSONDecodeError:
                    continue
        return found

    def cut_back(self, step: int, *, preview: bool = True) -> None:
        """Forget what came after `step`, and without `preview` that of this step too: it will be computed again."""
        last = {"preview": step if preview else step - 1}
        kept = [line for line in self.lines() if line["step"] <= last.get(line["kind"], step)]
        write_text(self._path, "".join(json.dumps(line) + "\n" for line in kept))
        self._events.rewrite(kept)

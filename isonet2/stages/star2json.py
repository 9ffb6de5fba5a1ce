"""star2json: a list of tomograms for programs that read no STAR files."""

from __future__ import annotations

import json
from pathlib import Path

from isonet2.io.atomic import write_text
from isonet2.io.star import read_table
from isonet2.job.tools import Star2json


def star2json(section: Star2json) -> list[Path]:
    """Write the rows as JSON, all cells as the text that they are: the file."""
    star = Path(section.star_file)
    path = Path(section.json_file) if section.json_file else star.with_suffix(".json")
    columns, table = read_table(star)
    write_text(path, json.dumps([dict(zip(columns, cells, strict=True)) for cells in table], indent=1) + "\n")
    return [path]

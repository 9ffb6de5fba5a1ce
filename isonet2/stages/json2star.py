"""json2star: back from what star2json has made."""

from __future__ import annotations

import json
from pathlib import Path

from isonet2.errors import UserError
from isonet2.io.atomic import existing_file
from isonet2.io.star import cell_text, write_table
from isonet2.job.tools import Json2star


def json2star(section: Json2star) -> list[Path]:
    """Write the rows of a JSON file as a STAR file, missing and empty cells as None. UserError if it has none."""
    source = existing_file(Path(section.json_file), what="JSON file")
    try:
        rows = json.loads(source.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{source}: no JSON: {error}") from None
    if not rows or not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{source}: no list of rows, each with its columns, as star2json writes it")
    columns = list(dict.fromkeys(str(name) for row in rows for name in row))
    path = Path(section.star_file) if section.star_file else source.with_suffix(".star")
    write_table(path, columns, [[cell_text(row.get(name)) for name in columns] for row in rows])
    return [path]

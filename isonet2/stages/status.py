"""status: how far a run is, for people or, as JSON, for scripts."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator

from isonet2.report.screen import Look, has_unicode, page, raise_how_it_ended
from isonet2.report.status import read_status


def status(run: str, *, as_json: bool) -> Iterator[str]:
    """What is known of the run. UserError if there is none; Interrupted after the text if it was stopped, IsonetError
    if it failed or seems dead: the exit code tells a script enough."""
    found = read_status(run)
    if as_json:
        yield json.dumps(found.as_dict(), indent=1)
    else:
        unicode = has_unicode(sys.stdout.encoding, os.environ)
        look = Look(shutil.get_terminal_size((100, 0)).columns, unicode=unicode, colours=False)
        yield "\n".join(page(found, look, chart_lines=0, log_lines=1))
    raise_how_it_ended(found, sentence=found.sentence if as_json else "")

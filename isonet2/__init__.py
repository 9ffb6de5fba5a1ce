"""isonet2: missing-wedge correction and denoising of cryo-electron tomograms.

From Python: `from isonet2 import Job, run`, then `run(Job.from_yaml("job.yaml"))`.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_OFFERED = {"Job": "isonet2.job.models", "run": "isonet2.pipeline"}


def __getattr__(name: str) -> Any:
    """What is offered is imported when it is asked for: the command line's help needs no torch."""
    if name not in _OFFERED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_OFFERED[name]), name)

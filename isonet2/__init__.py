"""isonet2: missing-wedge correction and denoising of cryo-electron tomograms.

From Python: `from isonet2 import Job, run`, then `run(Job.from_yaml("job.yaml"))`; and the stages as functions of numpy
arrays: `isonet2.deconvolve(volume, pixel_size=10, defocus=30000)`. See `isonet2.api`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isonet2.api import compare, deconvolve, fsc, make_mask, predict, read_mrc, run, simulate, write_mrc
    from isonet2.errors import Interrupted, IsonetError, UserError
    from isonet2.job.models import Job
    from isonet2.report.status import read_status

__version__ = "0.1.0"
__all__ = [
    "Interrupted", "IsonetError", "Job", "UserError", "__version__", "compare", "deconvolve", "fsc", "make_mask",
    "predict", "read_mrc", "read_status", "run", "simulate", "write_mrc",
]  # fmt: skip

_ELSEWHERE = {
    "Interrupted": "isonet2.errors",
    "IsonetError": "isonet2.errors",
    "UserError": "isonet2.errors",
    "Job": "isonet2.job.models",
    "read_status": "isonet2.report.status",
}


def __getattr__(name: str) -> Any:
    """What is offered is imported when it is asked for: the command line's help needs no torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found = getattr(import_module(_ELSEWHERE.get(name, "isonet2.api")), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

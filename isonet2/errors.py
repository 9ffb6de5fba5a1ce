"""What can go wrong, and the exit code that says so."""


class IsonetError(Exception):
    """Any failure that has a sentence for the user; exit code 1."""

    exit_code = 1
    on_every_rank = False
    """Whether all ranks raise it together; one of them says it then."""


class UserError(IsonetError):
    """A mistake in a job file, an option or an input: place, value, cure, in one line; exit code 64 (EX_USAGE)."""

    exit_code = 64


class DiskFull(IsonetError, OSError):  # noqa: N818
    """A disk, or what a quota leaves of it, has no room for what was to be written."""


class LaunchError(IsonetError):
    """The ranks that run are not the ranks that were asked for; exit code 70."""

    exit_code = 70


class Interrupted(IsonetError):  # noqa: N818
    """Stopped, as was asked, after everything was saved; the same command goes on; exit code 75 (EX_TEMPFAIL).

    `progress` is another word whenever something was finished since the last time.
    """

    exit_code = 75

    def __init__(self, message: str, *, progress: str = "") -> None:
        super().__init__(message)
        self.progress = progress

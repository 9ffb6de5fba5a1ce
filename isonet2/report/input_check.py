"""What `isonet2 check` found of the input, as the report shows it: what is wrong, and all of it for each tomogram."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from isonet2.io.star import TomogramRow
from isonet2.job.models import Job
from isonet2.report import words
from isonet2.report.block import Panel
from isonet2.report.check_record import FOLDER, RECORD, read_record
from isonet2.report.findings import VERDICTS, Verdict, summary
from isonet2.report.findings import Finding as Found
from isonet2.report.images import data_uri, smaller_png
from isonet2.report.support import Finding, State

_STATES: dict[Verdict, State] = {"error": "bad", "doubt": "caution", "cannot tell": "unknown", "fine": "good"}
_SURE: dict[Verdict, str] = {"error": "certainly wrong", "doubt": "probably wrong"}
_PIXELS = 1000


@dataclass(frozen=True)
class CheckBlock:
    """Of one tomogram. `wrong`: whether any finding is an error or a doubt."""

    summary: str
    findings: list[Finding]
    picture: Panel | None
    wrong: bool


@dataclass(frozen=True)
class InputCheck:
    """Of the tomograms of a list of `total`; `pictures`: by tomogram; `renewed`: whose maps are newer."""

    found: list[Found]
    pictures: dict[str, Path]
    renewed: list[str]
    total: int

    @property
    def warnings(self) -> list[Finding]:
        """Errors, then doubts, one for each subject, in the words of the first tomogram."""
        groups: dict[tuple[Verdict, str], list[Found]] = {}
        for one in sorted(self.found, key=lambda one: VERDICTS.index(one.verdict)):
            if one.verdict in _SURE:
                groups.setdefault((one.verdict, one.subject), []).append(one)
        warnings = []
        for (verdict, subject), found in groups.items():
            names = list(dict.fromkeys(one.tomogram for one in found))
            text = " ".join(_sentence(one) for one in found if one.tomogram == names[0])
            first = f"{names[0]}: " if len(names) > 1 else ""
            about = f"{subject.capitalize()}: {_SURE[verdict]} ({words.named(names)})"
            warnings.append(Finding(about, _STATES[verdict], first + text))
        return warnings

    @property
    def sentence(self) -> str:
        """How many were looked at, and what that is worth."""
        names = {one.tomogram for one in self.found}
        looked = f"{len(names):,} of {words.count(self.total, 'tomogram')}"
        said = f"isonet2 check looked at {looked}: {summary(self.found)}."
        if self.renewed:
            said += f" Maps of {words.named(self.renewed)} are newer: isonet2 check looks again."
        return said

    def of(self, name: str) -> CheckBlock | None:
        """What was found of one tomogram, if it was looked at; the worst first."""
        own = sorted((one for one in self.found if one.tomogram == name), key=lambda one: VERDICTS.index(one.verdict))
        if not own:
            return None
        renewed = "; its maps are newer: isonet2 check looks again" if name in self.renewed else ""
        return CheckBlock(
            summary=summary(own) + renewed,
            findings=[_finding(one) for one in own],
            picture=self._picture(name),
            wrong=any(one.verdict in _SURE for one in own),
        )

    def _picture(self, name: str) -> Panel | None:
        label = "Power of the raw maps in xz and by tilt angle, by resolution, and how far the halves agree."
        alt = f"what isonet2 check measured in {name}: declared is orange, measured is blue"
        with suppress(KeyError, OSError):  # never drawn, or not there any more, or damaged
            return Panel(label, data_uri(smaller_png(self.pictures[name].read_bytes(), _PIXELS)), alt)
        return None


def input_check(job: Job, rows: Sequence[TomogramRow]) -> InputCheck | None:
    """What the last check in the job's folder says of these tomograms; None if it looked at none of them."""
    record, names = read_record(job.path(FOLDER) / RECORD), {row.name for row in rows}
    found = [one for one in record.findings if one.tomogram in names and one.verdict in VERDICTS] if record else []
    if record is None or not found:
        return None
    looked = {one.tomogram for one in found}
    renewed = [
        row.name
        for row in rows
        if row.name in looked
        and any(
            job.path(name).is_file() and job.path(name).stat().st_mtime > record.written
            for name in (row.half1, row.half2, row.tomogram)
            if name is not None
        )
    ]
    return InputCheck(found, record.pictures, renewed, len(rows))


def _finding(one: Found) -> Finding:
    sure = _SURE.get(one.verdict, one.verdict)
    return Finding(f"{one.subject.capitalize()}: {sure}", _STATES[one.verdict], _sentence(one))


def _sentence(one: Found) -> str:
    return f"{one.seen} → {one.cure}." if one.cure else f"{one.seen}."

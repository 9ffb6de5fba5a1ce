"""The README's reference of the job file, made from the models."""

from __future__ import annotations

from collections.abc import Iterable

from isonet2.job.models import Job, Section
from isonet2.job.settings import Setting, sections, settings_of

_HEAD = "| key | meaning | unit | needs | default |\n| --- | --- | --- | --- | --- |"


def markdown_reference() -> str:
    """A table for the keys outside the sections and one for each section."""
    parts = [_part("Outside the sections", Job, settings_of(Job))]
    parts += [_part(f"`{name}:`", section, settings_of(section)) for name, section in sections().items()]
    return "\n\n".join(parts)


def _part(heading: str, section: type[Section], settings: Iterable[Setting]) -> str:
    sentence = " ".join((section.__doc__ or "").split())
    return "\n".join([f"### {heading}", "", sentence, "", _HEAD, *map(_row, settings)])


def _row(setting: Setting) -> str:
    spellings = ", ".join(f"`{spelling}`" for spelling in (setting.name, *setting.aliases) if len(spelling) > 1)
    default = f"`{setting.default_text}`" if setting.default_text else ""
    return f"| {spellings} | {setting.sentence} | {setting.unit or ''} | {setting.needs} | {default} |"

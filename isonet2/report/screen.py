"""A run on a terminal: lines of text with bars and charts, in whatever characters it can show."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from isonet2 import log
from isonet2.errors import Interrupted, IsonetError
from isonet2.report import words
from isonet2.report.status import Current, RankLog, StageStatus, State, Status, Training

_STYLES = {"bold": "1", "dim": "2", "good": "32", "bad": "31", "now": "36"}
_COLOURS: dict[State, str] = {
    "done": "good", "running": "now", "waiting": "dim", "stopped": "bad", "failed": "bad", "lost": "bad"
}  # fmt: skip
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # of braille: rows from the top, two columns
_BAR_WIDTH = 24
_QUIET_S = 45.0  # for a sign of life every 10 s
_LEAST = 5  # lines besides a chart: what was learned, titles, a line of a log
_AXIS = 8  # characters left of a chart


@dataclass(frozen=True)
class Look:
    """What a terminal can show: its width, `height` lines of it if they are limited, braille and blocks or ASCII."""

    width: int = 80
    height: int | None = None
    unicode: bool = True
    colours: bool = False

    def mark(self, state: State) -> str:
        """One character for a state."""
        shown = dict(zip(_COLOURS, "✓▶·‖✗?" if self.unicode else "+>.|x?", strict=True))
        return shown[state]

    def line(self, text: str, style: str = "") -> str:
        """Cut to the width, without what a terminal would obey, in a style if it has colours."""
        text = "".join(c if c.isprintable() else " " for c in text)
        if len(text) > self.width:
            text = text[: self.width - 1] + ("…" if self.unicode else "~")
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if style and self.colours else text


def raise_how_it_ended(status: Status, *, sentence: str) -> None:
    """Interrupted if the run was stopped, IsonetError if it failed or seems dead: a script knows these exit codes."""
    if status.state == "stopped":
        raise Interrupted(sentence)
    if status.state in ("failed", "lost"):
        raise IsonetError(sentence)


def has_unicode(encoding: str | None, environment: Mapping[str, str]) -> bool:
    """Whether characters beyond ASCII may be shown: both Python and the locale say UTF-8."""
    locale = environment.get("LC_ALL") or environment.get("LC_CTYPE") or environment.get("LANG") or ""
    return all("UTF8" in name.upper().replace("-", "") for name in (encoding or "", locale))


def page(status: Status, look: Look, *, chart_lines: int = 6, log_lines: int = 3) -> list[str]:
    """All that there is to see, in at most `look.height` lines."""
    top, height = [*_head(status, look), "", *_stages(status, look)], look.height or math.inf
    for training in status.trainings:
        room = height - len(top) - _LEAST
        top += ["", *_course(training, look, chart_lines if room > chart_lines else int(room))]
    return [*top, *_logs(status.logs, look, log_lines, room=height - len(top))][: look.height]


def change(status: Status, *, percent: int = 1) -> str:
    """How far it is, in one line for a log: in steps of `percent`, so that one can tell whether anything is new."""
    now, trained = status.current, _trained_now(status)
    parts: list[str] = []
    if status.state == "waiting" and status.sentence:
        pass  # which says it
    elif status.state != "running":
        parts += [status.state]
    elif now is not None:
        parts += [f"{now.stage}: {now.done * 100 // now.total // percent * percent} %" if now.total else now.stage]
    if trained is not None:
        parts += [_epoch(trained)]
    return "; ".join([*parts, *([status.sentence] if status.sentence else [])])


def bar(share: float, look: Look) -> str:
    """As long as `share` of 1, to an eighth of a character where there are blocks."""
    width = max(8, min(_BAR_WIDTH, look.width - 72))
    eighths = round(min(max(share, 0.0), 1.0) * 8 * width)
    if not look.unicode:
        return f"[{'#' * (eighths // 8)}{'.' * (width - eighths // 8)}]"
    part = " ▏▎▍▌▋▊▉"[eighths % 8] if eighths % 8 else ""
    return f"▕{('█' * (eighths // 8) + part).ljust(width)}▏"


def chart(values: Sequence[float], look: Look, *, width: int, height: int) -> list[str]:
    """`height` lines of at most `width` characters, with the highest and the lowest value at the left.

    More values than columns are averaged. What is no number is left out.
    """
    columns = (width - _AXIS) * (2 if look.unicode else 1)
    means = list(_averaged([value for value in values if math.isfinite(value)], columns))
    if not means:
        return []
    low, high = min(means), max(means)
    steps = height * (4 if look.unicode else 1)
    places = [round((high - mean) / ((high - low) or 1.0) * (steps - 1)) for mean in means]
    drawn = _braille(places, height) if look.unicode else _ascii(places, height)
    sides = {height - 1: f"{low:.4f}", 0: f"{high:.4f}"}
    tick, edge = "┤│" if look.unicode else "||"
    return [
        f"{sides.get(row, '')[: _AXIS - 2]:>{_AXIS - 2}} {tick if row in sides else edge}{text}".rstrip(" \u2800")
        for row, text in enumerate(drawn)
    ]


def _averaged(values: Sequence[float], columns: int) -> Iterator[float]:
    count = min(len(values), columns)
    for n in range(count):
        part = values[n * len(values) // count : (n + 1) * len(values) // count]
        yield sum(part) / len(part)


def _braille(places: Sequence[int], height: int) -> list[str]:
    """Dots, joined where they would be apart."""
    cells = [[0] * (-(-len(places) // 2)) for _ in range(height)]
    before = places[0]
    for column, place in enumerate(places):
        for row in {place, *range(min(place, before) + 1, max(place, before))}:
            cells[row // 4][column // 2] |= _DOTS[row % 4][column % 2]
        before = place
    return ["".join(chr(0x2800 + cell) for cell in line) for line in cells]


def _ascii(places: Sequence[int], height: int) -> list[str]:
    return ["".join("*" if place == row else " " for place in places) for row in range(height)]


def _head(status: Status, look: Look) -> list[str]:
    states = {"waiting": "waiting for its next step" if status.started else "not begun yet", "lost": "seems dead"}
    lines = [look.line(f"{status.folder}: {states.get(status.state, status.state)}", "bold")]
    if status.sentence:
        whole = textwrap.wrap(status.sentence, max(1, look.width - 2))
        lines += [look.line(f"  {line}", _COLOURS[status.state]) for line in whole]
    if status.started:
        ranks = words.count(status.ranks or 1, "rank")
        line = f"  {ranks} on {status.host} ({status.device}), since {status.started[:19].replace('T', ' ')}"
        silent = status.silent_s or 0.0
        if status.state == "running" and silent > _QUIET_S:
            line += f"; no sign of life for {log.duration(silent)}"
        lines.append(look.line(line))
    return lines


def _stages(status: Status, look: Look) -> Iterator[str]:
    for stage in status.stages:
        now = status.current if status.current and status.current.stage == stage.stage else None
        text = f"  {look.mark(stage.state)} {stage.stage:<13}{_about(stage, now, status.tomograms, look)}"
        yield look.line(text.rstrip(), _COLOURS[stage.state])


def _about(stage: StageStatus, now: Current | None, tomograms: Mapping[str, int], look: Look) -> str:
    parts = []
    if stage.state == "done":
        parts += [f"{log.duration(stage.seconds or 0.0):>12}"]
    elif stage.stage == "predict" and tomograms:
        parts += ["tasks: " + ", ".join(f"{count} {ending}" for ending, count in tomograms.items())]
    elif stage.state != "waiting" and now:
        if now.total:
            parts += [f"{bar(now.done / now.total, look)} {words.percent(now.done / now.total):>5}"]
            parts += [f"{now.done:,} of {words.count(now.total, now.unit)}"]
        if now.seconds_left is not None:
            parts += [f"{log.duration(round(now.seconds_left))} left"]
        elif stage.state == "running":
            parts += [f"for {log.duration(now.seconds)}"]
    if stage.outputs:
        parts += [words.count(stage.outputs, "output")]
    return "  ".join(parts)


def _course(training: Training, look: Look, height: int) -> list[str]:
    """What was learned, in a line, and charts of the losses beside each other."""
    lines = [look.line(f"  {_epoch(training)}; {training.samples_per_s:.1f} cubes/s")]
    drawn = {"loss": training.losses, "held-out cubes": training.val_losses}
    shown = {name: values for name, values in drawn.items() if len(values) > 1}
    if not shown or height < 2:
        return lines
    each = min(72, (look.width - 2) // len(shown) - 2)
    charts = [
        [f"{'':>{_AXIS}}{name}", *chart(values, look, width=each, height=height)] for name, values in shown.items()
    ]
    joined = ["  ".join(f"{row:<{each}}" for row in rows).rstrip() for rows in zip(*charts, strict=True)]
    return [*lines, *(look.line(f"  {line}") for line in joined)]


def _epoch(training: Training) -> str:
    name = f"{training.stage}, {training.part} half" if training.part else training.stage
    whole = f" of {training.epochs}" if training.epochs else ""
    held_out = f", held-out cubes {training.val_loss:.4f}" if training.val_loss is not None else ""
    return f"{name}: epoch {training.epoch}{whole}, loss {training.loss:.4f}{held_out}"


def _trained_now(status: Status) -> Training | None:
    """The course that grows."""
    names = [status.current.stage] if status.current else []
    return next((training for training in reversed(status.trainings) if training.stage in names), None)


def _logs(logs: Sequence[RankLog], look: Look, lines: int, *, room: float) -> list[str]:
    """The last lines of the ranks, of as many as there is room for."""
    lines = max(1, lines) if len(logs) * (lines + 1) < room else 1
    shown = logs if len(logs) * lines < room else logs[: max(0, int(room) - 2)]
    found = [""] if any(each.lines for each in shown) else []
    for each in shown:
        for line in each.lines[-lines:]:
            found.append(look.line(f"  rank {each.rank:<4} {line}", "dim"))
    if len(shown) < len(logs) and room > 1:
        newest = min(each.silent_s for each in logs[len(shown) :])
        more = words.count(len(logs) - len(shown), "more rank")
        found.append(look.line(f"  and {more}, the last line {log.duration(newest)} ago", "dim"))
    return found

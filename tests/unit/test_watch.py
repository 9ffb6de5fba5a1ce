"""What a terminal shows of a run: bars and charts that are right, lines that fit, and a way out of it."""

from __future__ import annotations

import fcntl
import math
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
import run_folder as at

from isonet2.cli import main
from isonet2.report.progress import PROGRESS
from isonet2.report.screen import Look, bar, chart, has_unicode, page
from isonet2.report.status import read_status

PLAIN, RICH = Look(unicode=False), Look()
AXIS = 8


def busy(folder: Path, *, count: int = 2) -> Path:
    at.told(at.job(folder) / PROGRESS)
    at.done(folder, "deconv")
    at.metrics(folder, [1 / n for n in range(1, 40)])
    at.ranks(folder, count, *(f"10:00:0{n} I line {n} " + "x" * 150 for n in range(5)))
    return folder


def dots(line: str) -> list[int]:
    """For each column of dots of one line of braille, the topmost dot (0 to 3), or 9 where there is none."""
    cells = [ord(c) - 0x2800 for c in line[AXIS:]]
    bits = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
    return [next((row for row in range(4) if cell & side[row]), 9) for cell in cells for side in bits]


def test_a_bar_is_as_long_as_its_share() -> None:
    look = Look(width=100)
    for eighths in range(0, 24 * 8 + 1, 5):
        shown = bar(eighths / (24 * 8), look)
        assert len(shown) == 26
        assert 8 * shown.count("█") + sum(" ▏▎▍▌▋▊▉".index(c) for c in shown[1:-1] if c != "█") == eighths
    assert bar(0.5, Look(width=100, unicode=False)) == f"[{'#' * 12}{'.' * 12}]"
    assert bar(7.0, RICH).count("█") == len(bar(-1.0, RICH)) - 2 == 8


def test_a_chart_in_ascii_is_this() -> None:
    assert chart([4, 3, 2, 1, 1], PLAIN, width=AXIS + 5, height=4) == [
        "4.0000 |*",
        "       | *",
        "       |  *",
        "1.0000 |   **",
    ]


def test_a_chart_in_braille_has_each_value_at_its_height() -> None:
    values = [math.cos(n / 7) for n in range(40)]
    lines = chart(values, RICH, width=AXIS + 20, height=5)
    tops = [dots(line.ljust(AXIS + 20, chr(0x2800))) for line in lines]
    found = [min(4 * row + top for row, line in enumerate(tops) if (top := line[n]) < 9) for n in range(40)]
    low, high = min(values), max(values)
    wanted = [round((high - value) / (high - low) * 19) for value in values]
    # What joins two values stands in the column of the second, below or above it.
    assert all(top == want or (top < want and top > before) for top, want, before in zip(found, wanted, [0, *wanted]))  # noqa: B905
    assert sum(top == want for top, want in zip(found, wanted, strict=True)) > 25


def test_a_chart_averages_what_has_no_column_of_its_own_and_leaves_out_what_is_no_number() -> None:
    assert chart([3, 1] * 50, PLAIN, width=AXIS + 10, height=2)[0].startswith("2.0000")
    assert chart([1, math.nan, 2, math.inf], PLAIN, width=AXIS + 4, height=2) == ["2.0000 | *", "1.0000 |*"]
    assert chart([math.nan], PLAIN, width=20, height=2) == []
    assert len(chart([5.0] * 9, RICH, width=20, height=3)) == 3


@pytest.mark.parametrize(
    ("encoding", "environment", "expected"),
    [
        ("utf-8", {"LANG": "en_GB.UTF-8"}, True),
        ("utf-8", {"LC_ALL": "C.utf8", "LANG": "C"}, True),
        ("utf-8", {"LC_ALL": "C", "LANG": "en_GB.UTF-8"}, False),
        ("iso8859-1", {"LANG": "en_GB.UTF-8"}, False),
        ("utf-8", {}, False),
        (None, {"LANG": "en_GB.UTF-8"}, False),
    ],
)
def test_characters_beyond_ascii_need_a_locale_that_has_them(
    encoding: str | None, environment: dict[str, str], expected: bool
) -> None:
    assert has_unicode(encoding, environment) is expected


@pytest.mark.parametrize("ranks", [1, 70])
def test_every_line_fits_whatever_the_size(ranks: int, tmp_path: Path) -> None:
    found = read_status(busy(tmp_path, count=ranks))
    for width in (10, 40, 80, 300):
        for height in (1, 5, 12, 24, 60, 200):
            for unicode in (True, False):
                lines = page(found, Look(width, height, unicode=unicode))
                assert len(lines) <= height
                assert max(map(len, lines)) <= width
                assert unicode or all(line.isascii() or str(tmp_path) in line for line in lines)


def test_what_there_is_room_for_is_shown(tmp_path: Path) -> None:
    text = "\n".join(page(read_status(busy(tmp_path, count=70)), Look(120, 40)))
    for words in (
        "✓ deconv", "▶ refine", "50 %  200 of 400 steps", "1 min 40 s left", "· predict", "more ranks, the last line",
        "refine: epoch 39 of 50, loss 0.0256, held-out cubes 0.0128; 12.5 cubes/s", "rank 0 ",
    ):  # fmt: skip
        assert words in text
    assert sum("⠀" in line or "│" in line for line in text.splitlines()) >= 4


def test_a_log_cannot_steer_the_terminal(tmp_path: Path) -> None:
    at.told(at.job(tmp_path) / PROGRESS)
    at.ranks(tmp_path, 1, "10:00:00 I \x1b[2J\x1b]0;owned\x07 a\tb")
    text = "\n".join(page(read_status(tmp_path), Look(120, colours=False)))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text)
    assert "a b" in text


def test_elsewhere_than_on_a_terminal_each_change_is_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    at.told(at.job(tmp_path) / PROGRESS, done=207)
    moments = iter(
        [
            lambda: None,
            lambda: at.told(tmp_path / PROGRESS, done=215),  # the same ten per cent
            lambda: at.told(tmp_path / PROGRESS, done=260),
            lambda: at.metrics(tmp_path, [0.5, 0.25]),
            lambda: (at.told(tmp_path / PROGRESS, ended=True), at.verdict(tmp_path, "75\nstopped (SIGTERM)\n\n")),
        ]
    )

    sleep = time.sleep

    def look(_: float) -> None:
        next(moments)()
        sleep(0.11)  # until the next look

    monkeypatch.setattr("isonet2.stages.watch.time.sleep", look)
    assert main(["watch", str(tmp_path), "--every", "0.1"]) == 75
    lines = [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "refine: 51 %",
        "refine: 65 %",
        "refine: 65 %; refine: epoch 2 of 50, loss 0.2500, held-out cubes 0.1250",
        "stopped; refine: epoch 2 of 50, loss 0.2500, held-out cubes 0.1250; stopped (SIGTERM)",
    ]


def test_where_no_run_has_begun_it_says_what_it_waits_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def leave(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("isonet2.stages.watch.time.sleep", leave)
    assert main(["watch", str(at.job(tmp_path))]) == 0
    assert capsys.readouterr().out[9:] == "waits for a run to begin here; Ctrl-C ends this\n"


def test_why_a_run_failed_is_shown_whole_and_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sentence = " ".join(f"word{n}" for n in range(60))
    at.told(at.job(tmp_path) / PROGRESS, ended=True)
    at.verdict(tmp_path, f"64\n{sentence}\n\n")
    for verb in ("status", "watch"):
        assert main([verb, str(tmp_path)]) == 1
        shown = capsys.readouterr()
        assert " ".join((shown.out + shown.err).split()).count(sentence) == 1
    whole = " ".join(line.strip() for line in page(read_status(tmp_path), Look(40))[1:])
    assert sentence in whole


class Terminal:
    """`isonet2 watch` on a terminal of its own."""

    def __init__(self, folder: Path, rows: int, columns: int) -> None:
        self.ours, theirs = pty.openpty()
        self.resize(rows, columns)
        environment = {**os.environ, "LC_ALL": "C.UTF-8", "TERM": "xterm", "LINES": "24", "COLUMNS": "80"}
        heard = "signal.signal(signal.SIGINT, signal.default_int_handler)"  # which a job in the background ignores
        code = f"import signal, sys; {heard}; from isonet2.cli import main; sys.exit(main(sys.argv[1:]))"
        command = [sys.executable, "-c", code, "watch", str(folder), "--every", "0.2"]
        self.process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
        os.close(theirs)
        self.said = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.ours)
        self.process.kill()
        self.process.wait()

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, until: str, *, patience_s: float = 60) -> str:
        """What was said until a text came."""
        deadline, before = time.monotonic() + patience_s, len(self.said)
        while until not in self.said[before:] and time.monotonic() < deadline:
            if select.select([self.ours], [], [], 0.1)[0]:
                try:
                    self.said += os.read(self.ours, 1 << 16).decode()
                except OSError:  # the other end is closed
                    break
        assert until in self.said[before:], self.said
        return self.said[before:]


def frame(said: str) -> list[str]:
    """The last whole picture."""
    whole = re.findall(r"\x1b\[H((?:(?!\x1b\[H)[\s\S])*?)\x1b\[J", said)[-1]
    return [re.sub(r"\x1b\[[0-9;]*[mK]", "", line) for line in whole.split("\r\n")]


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, None])
def test_a_terminal_is_drawn_anew_at_its_size_and_given_back(end: signal.Signals | None, tmp_path: Path) -> None:
    busy(tmp_path)
    with Terminal(tmp_path, 30, 90) as terminal:
        first = frame(terminal.read("\x1b[J"))
        terminal.resize(12, 40)
        second, deadline = first, time.monotonic() + 60
        while len(second) > 12 and time.monotonic() < deadline:  # pictures of before
            second = frame(terminal.read("\x1b[J"))
        if end is None:
            at.told(tmp_path / PROGRESS, ended=True)
            at.verdict(tmp_path, "1\nthe disk is full\n\n")
        else:
            terminal.process.send_signal(end)
        rest = terminal.read("\x1b[?1049l")
        assert terminal.process.wait(30) == (1 if end is None else 0)
        if end is None:  # what was seen last stays
            rest += terminal.said if "  rank 1" in rest else terminal.read("  rank 1")
    assert len(second) <= 12 < len(first) <= 30
    assert max(map(len, second)) <= 40
    assert terminal.said.index("\x1b[?1049h") < terminal.said.index("\x1b[H")
    assert "\x1b[?25h" in rest
    assert "Traceback" not in terminal.said
    assert ("the disk is full" in terminal.said) == (end is None)

"""The settings of psf, fsc and resize: every spelling, and one line for what is wrong or has no effect."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from isonet2.cli import main
from isonet2.errors import UserError
from isonet2.io.mrc import write_mrc
from isonet2.job.tools import TOOLS, Fsc, Psf, Resize, tool_from_flags


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("psf t.star --with-ctf", Psf(star_file="t.star", with_ctf=True)),
        ("psf --size=64 --tilt_min -51 --fourier True", Psf(cube_size=64, tilt_min=-51, fourier=True)),
        ("fsc a.mrc b.mrc --apix 5", Fsc(map1="a.mrc", map2="b.mrc", pixel_size=5)),
        ("fsc --half1 a.mrc --half2 b.mrc", Fsc(map1="a.mrc", map2="b.mrc")),
        ("fsc --star_file t.star --with_mask", Fsc(map1="t.star", with_mask=True)),
        ("resize t.star --apix 15 --out_folder r", Resize(maps="t.star", apix=15, output_dir="r")),
        ("resize --pixel_size 12 --star_name n.star", Resize(apix=12, output_star="n.star")),
    ],
)
def test_flags_mean_what_they_say(line: str, expected: object) -> None:
    name, *arguments = line.split()
    assert tool_from_flags(TOOLS[name], arguments) == expected


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("psf --cube_size many", "--cube_size: got 'many', needs a whole number ≥ 8"),
        ("psf --sise 64", "unknown option --sise (did you mean '--size'?)"),
        ("psf t.star --tilt_min -50", "tilt_min has no effect: star_file says it of each tomogram"),
        ("psf --defocus 30000", "defocus has no effect: set with_ctf"),
        ("psf --tomo_idx 1", "tomo_idx has no effect: name a star_file"),
        ("psf --tilt_min 60", "tilt_min 60 must be below tilt_max 60"),
        ("fsc t.star --mask m.mrc", "mask has no effect: the list says it of each tomogram"),
        ("fsc a.mrc b.mrc --with_mask", "with_mask has no effect: two maps are compared: there is no list"),
        ("fsc a.mrc b.mrc --tilt_min -60", "tilt_min and tilt_max go together: give both"),
        ("fsc a.mrc b.mrc --cone 0", "--cone: got '0', needs a number > 0 and ≤ 90"),
        ("resize a.mrc --output_star b", "output_star has no effect: a single map is resized: there is no list"),
        ("resize --old_pixel_size 5", "old_pixel_size has no effect: the list says it of each tomogram"),
    ],
)
def test_a_mistake_is_one_line_and_exit_64(line: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 64
    assert capsys.readouterr() == ("", f"isonet2: {words}\n")


def test_all_mistakes_are_said_at_once() -> None:
    with pytest.raises(UserError) as found:
        tool_from_flags(Psf, ["--cube_size", "2", "--ac", "7"])
    assert str(found.value).count("\n") == 1


def test_commands_print_what_they_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.mrc", "b.mrc"):
        write_mrc(Path(name), np.random.default_rng(1).normal(size=(16, 16, 16)).astype(np.float32),
                  pixel_size_angstrom=8.0)  # fmt: skip
    for line in ("psf --cube_size 16", "fsc a.mrc b.mrc", "resize a.mrc --apix 16"):
        assert main(line.split()) == 0
    printed = capsys.readouterr().out
    assert "psf/tilts_-60_60_psf.mrc" in printed
    assert "FSC 0.143" in printed
    assert "≤ 16 Å" in printed
    assert "resized/a.mrc: 8×8×8 voxels (z, y, x) of 16×16×16 Å" in printed


def test_help_comes_without_torch() -> None:
    code = (
        "import sys\nfrom isonet2.cli import main\n"
        "assert [main([name, '--help']) for name in ('psf', 'fsc', 'resize')] == [0, 0, 0]\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)

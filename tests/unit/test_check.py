"""check: planted mistakes are found and clean tomograms left alone; what it writes, and how it stops a run.

The whole campaign, at several noise levels, is tests/bench/check_cases.py; this is its quick part.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from PIL import Image

from isonet2.cli import main
from isonet2.errors import UserError
from isonet2.io.star import PHASES_FLIPPED, TomogramRow, write_star
from isonet2.job.models import Job
from isonet2.parallel.world import World
from isonet2.report.findings import Finding, table
from isonet2.stages import check as stage

sys.path.append(str(Path(__file__).resolve().parents[1] / "bench"))
planted: Any = import_module("planted")


class NoFigure:
    def __init__(self, *_: object) -> None: ...

    def savefig(self, path: Path, **_: object) -> None:
        path.touch()


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than measuring."""
    monkeypatch.setattr("isonet2.report.check_figure.check_figure", NoFigure)


@pytest.fixture(scope="module")
def clean() -> Any:
    """Halves of 5 Å a voxel, 4 µm, −50…62°: two zeros of the CTF within the signal."""
    return planted.sample((48, 96, 96), pixel=5.0, defocus=4e4, tilts=(-50.0, 62.0), snr=1.0, particles=40, membranes=1)


def found(rows: list[TomogramRow], folder: Path) -> list[Finding]:
    return stage.examine(rows, Path, folder / "check", World())


def alarms(findings: list[Finding]) -> set[str]:
    return {finding.subject for finding in findings if finding.verdict in ("error", "doubt")}


CERTAIN = (
    "tilts declared too wide", "tilts declared too narrow", "sign of the tilts", "y and z exchanged", "tilt axis x",
    "pixel size twice the header's", "identical halves", "a half of something else", "halves shifted",
)  # fmt: skip


@pytest.mark.usefixtures("undrawn")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of numpy and mrcfile, for NaN and overflow
@pytest.mark.parametrize("mistake", planted.MISTAKES)
def test_a_planted_mistake_is_found_with_a_cure_and_little_else(clean: Any, tmp_path: Path, mistake: str) -> None:
    plant, subjects = planted.MISTAKES[mistake]
    findings = found([plant(clean).written(tmp_path)], tmp_path)
    assert alarms(findings) & set(subjects)
    assert len(alarms(findings)) <= 2
    for finding in findings:
        if finding.verdict in ("error", "doubt"):
            assert finding.cure
    if mistake in CERTAIN:
        assert {finding.subject for finding in findings if finding.verdict == "error"} == set(subjects)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("change", planted.CLEAN)
def test_clean_tomograms_are_left_alone(clean: Any, tmp_path: Path, change: str) -> None:
    findings = found([planted.CLEAN[change](clean).written(tmp_path)], tmp_path)
    assert [str(finding) for finding in findings if finding.verdict in ("error", "doubt")] == []
    assert {"wedge", "tilts", "pixel size", "values"} <= {finding.subject for finding in findings}


@pytest.mark.usefixtures("undrawn")
def test_cures_name_the_column_and_the_value(clean: Any, tmp_path: Path) -> None:
    def cures(sample: Any) -> str:
        return " ".join(finding.cure for finding in found([sample.written(tmp_path)], tmp_path))

    assert "set rlnTiltMin -50 and rlnTiltMax 62 in its row (" in cures(replace(clean, tilts=(-62.0, 50.0)))
    one_end = cures(replace(clean, tilts=(clean.tilts[0], 80.0)))
    assert f"set rlnTiltMin {clean.tilts[0]:g} and rlnTiltMax 6" in one_end  # the end that is right stays as declared
    assert "set rlnPixelSize 5 (" in cures(replace(clean, pixel=10.0))
    defocus = cures(replace(clean, defocus=2e4)).partition("rlnDefocus ")[2].partition(" ")[0]
    assert float(defocus) == pytest.approx(4e4, rel=0.06)
    assert "trimvol -rx" in cures(clean.both(lambda v: np.ascontiguousarray(v.swapaxes(0, 1))))


@pytest.mark.usefixtures("undrawn")
def test_what_nyquist_hides_cannot_be_told(tmp_path: Path) -> None:
    coarse = planted.sample((48, 64, 64), pixel=15.0, defocus=3e4, snr=1.0)
    findings = {finding.subject: finding for finding in found([coarse.written(tmp_path)], tmp_path)}
    assert findings["defocus"].verdict == "cannot tell"
    assert "first zero of 3 µm lies beyond 30 Å" in findings["defocus"].seen


@pytest.mark.usefixtures("undrawn")
def test_the_signs_of_the_phases_are_seen_in_the_data(clean: Any, tmp_path: Path) -> None:
    for sample, word in ((clean, "as they were taken"), (planted.phase_flipped(clean), "flipped")):
        for declared in ("0", "1"):
            row = replace(sample, extra={PHASES_FLIPPED: declared}).written(tmp_path)
            (finding,) = [finding for finding in found([row], tmp_path) if finding.subject == "phases"]
            assert finding.seen.startswith(word)
            assert (finding.verdict == "fine") == ((declared == "1") == (word == "flipped"))


@pytest.mark.usefixtures("undrawn")
def test_swapped_halves_find_their_partners_and_files_named_twice_are_said(clean: Any, tmp_path: Path) -> None:
    other = replace(clean.both(lambda v: v[::-1, ::-1].copy()), name="other")
    swapped = [
        replace(clean, odd=other.odd).written(tmp_path, 1),
        replace(other, odd=clean.odd).written(tmp_path, 2),
    ]
    said = [str(finding) for finding in found(swapped, tmp_path) if finding.verdict == "error"]
    assert [line.partition(" (")[0] for line in said] == [
        "tomo: halves: the first half belongs to the second of other",
        "other: halves: the first half belongs to the second of tomo",
    ]
    twice = [clean.written(tmp_path, 1), replace(other.written(tmp_path, 2), half2=str(tmp_path / "tomo_odd.mrc"))]
    assert any("tomo_odd.mrc is also a map of tomo" in finding.seen for finding in found(twice, tmp_path))


@pytest.fixture
def listed(clean: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """tomograms.star beside it, in the current folder."""
    monkeypatch.chdir(tmp_path)
    write_star(tmp_path / "tomograms.star", [clean.written(tmp_path / "maps")])
    return tmp_path / "tomograms.star"


def declare(star: Path, **changes: Any) -> None:
    row = stage.read_star(star)[0]
    write_star(star, [replace(row, **changes)])


def test_the_command_prints_a_table_and_writes_pictures(listed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "tomograms.star"]) == 0
    shown = capsys.readouterr().out
    assert "tilts" in shown
    assert "GB of disk" in shown
    assert "0 × error" not in shown  # what there is none of is not counted
    assert "; room: fine; pictures in check/" in shown
    written = json.loads((listed.parent / "check/check.json").read_text())
    assert written["measured"]["tomo"]["tilts_deg"] == pytest.approx([-50, 62], abs=3)
    assert {finding["verdict"] for finding in written["findings"]} <= {"fine", "cannot tell"}
    with Image.open(listed.parent / "check/tomo.png") as picture:
        assert picture.width > 800
        colours = {colour for _, colour in picture.convert("RGB").getcolors(10**6) or []}
    assert (0xD9, 0x73, 0x0D) in colours  # the declared ends
    assert (0x2F, 0x7F, 0xD1) in colours  # the correlation of the halves


@pytest.mark.usefixtures("undrawn")
def test_a_certain_mistake_is_exit_64_and_one_line(listed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    declare(listed, tilt_min_deg=-62.0, tilt_max_deg=50.0)
    assert main(["check", "tomograms.star"]) == 64
    shown = capsys.readouterr()
    assert "ERROR" in shown.out
    assert shown.err.startswith("isonet2: check: tomo: tilts: −5")
    assert shown.err.count("\n") == 1


@pytest.mark.usefixtures("undrawn")
def test_a_run_stops_once_unless_forced_and_looks_again_when_something_changed(
    listed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job.model_validate({"refine": {"method": "isonet2-n2n"}}).in_folder(listed.parent)
    looked: list[int] = []
    examine = stage.examine
    monkeypatch.setattr(stage, "examine", lambda rows, *a, **k: looked.append(len(rows)) or examine(rows, *a, **k))
    stage.check_in_run(job, World(), force=False)
    stage.check_in_run(job, World(), force=False)
    assert looked == [1]
    declare(listed, tilt_min_deg=-62.0, tilt_max_deg=50.0)
    for _ in range(2):
        with pytest.raises(UserError, match=r"(?s)sign of the tilts.*set rlnTiltMin -50 and rlnTiltMax 62.*--force"):
            stage.check_in_run(job, World(), force=False)
    assert stage.check_in_run(job, World(), force=True) > 0
    assert looked == [1, 1]
    with mrcfile.open(listed.parent / "maps/tomo_odd.mrc", "r+") as file:
        file.data[:] *= -1
    with pytest.raises(UserError, match="the other's negative"):
        stage.check_in_run(job, World(), force=False)


@pytest.mark.usefixtures("undrawn")
def test_run_stops_before_the_long_stages_and_force_goes_on(listed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    declare(listed, tilt_min_deg=-20.0)
    (listed.parent / "job.yaml").write_text("version: 1\nmake_mask: {}\n")
    assert main(["run", "job.yaml"]) == 64
    assert not (listed.parent / "mask").exists()
    assert main(["run", "--force"]) == 0
    assert list((listed.parent / "mask").glob("*.mrc"))
    assert main(["make_mask", "tomograms.star"]) == 0  # a stage by itself only warns
    assert "W check: tomo: tilts" in capsys.readouterr().err


def test_a_run_looks_at_four_of_many() -> None:
    rows = [TomogramRow(index=n, tomogram=f"{n}.mrc", pixel_size_angstrom=1, tilt_min_deg=0, tilt_max_deg=1,
                        number_subtomos=1) for n in range(1, 1001)]  # fmt: skip
    assert [row.index for row in stage._some(rows)] == [1, 334, 667, 1000]
    assert [row.index for row in stage._some(rows[:2])] == [1, 2]


def test_a_table_says_the_worst_first() -> None:
    findings = [Finding("t", "wedge", "fine", "good"), Finding("t", "halves", "error", "bad", "do this")]
    assert table(findings).splitlines() == [
        "t",
        "  ERROR        halves        bad",
        "                             → do this",
        "  fine         wedge         good",
    ]


@pytest.mark.usefixtures("undrawn")
def test_real_and_other_simulated_tomograms_are_as_their_notes_say(real_data: Path, tmp_path: Path) -> None:
    common = {"pixel_size_angstrom": 15.0, "defocus_angstrom": 3e4, "tilt_max_deg": 60.0, "number_subtomos": 10}
    rows = [
        TomogramRow(
            index=number, half1=str(real_data / f"truth/t{number}/even.mrc"),
            half2=str(real_data / f"truth/t{number}/odd.mrc"), tilt_min_deg=low, **common,
        )
        for number, low in ((1, -60.0), (2, -51.0))
    ]  # fmt: skip
    real = TomogramRow(
        index=3, tomogram=str(real_data / "microtubule_13pf.mrc"), pixel_size_angstrom=10.52, tilt_min_deg=-66.0,
        tilt_max_deg=57.0, number_subtomos=10,
    )  # fmt: skip
    findings = found([*rows, real], tmp_path)
    assert alarms(findings) == set()
    wedge = json.loads((tmp_path / "check/check.json").read_text())["measured"]["microtubule_13pf"]["tilts_deg"]
    assert wedge == pytest.approx([-66, 57], abs=1.5)
    turned = found([replace(real, tilt_min_deg=-57.0, tilt_max_deg=66.0)], tmp_path)
    assert alarms(turned) == {"tilts"}

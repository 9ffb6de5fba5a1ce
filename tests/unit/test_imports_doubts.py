"""What prepare_star warns of, refuses or leaves out in folders of other programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from left_by_others import (
    ROTX,
    aretomo_ctf,
    aretomo_folder,
    imod_folder,
    listed,
    put_map,
    relion_project,
    tilt_com,
    told,
    warp_folder,
    warp_xml,
)

from isonet2.errors import UserError
from isonet2.io.relion import offer_to_relion
from isonet2.io.star import update_row
from isonet2.io.tilts import read_tilts
from isonet2.job.load import load_job
from isonet2.job.models import Job
from isonet2.stages.init import init
from isonet2.stages.prepare_star import inputs


def warp_with_shift(folder: Path, radians: float) -> None:
    param = f'<Param Name="PhaseShift" Value="{radians / 3.14159265}" />'
    warp_folder(folder, xml=warp_xml().replace('<Param Name="Voltage"', f'{param}<Param Name="Voltage"'))


def aretomo_with_shift(folder: Path, radians: float) -> None:
    aretomo_folder(folder)
    (folder / "Position_1_CTF.txt").write_text(
        aretomo_ctf().replace("    0.00    0.2114", f"    {radians:.2f}  0.2114")
    )


def imod_with_shift(folder: Path, radians: float) -> None:
    imod_folder(folder)
    (folder / "TS01.defocus").write_text(f"5 0 0 0 0 3\n1 6 0 0 4000 4100 20. {radians * 180 / 3.14159265}\n")


def imod_in_radians(folder: Path, radians: float) -> None:
    imod_folder(folder)
    (folder / "TS01.defocus").write_text(f"12 0 0 0 0 3\n1 6 0 0 4000 {radians}\n")


def relion_with_shift(folder: Path, radians: float) -> None:
    relion_project(folder, ["TS_01"])
    star = folder / "AlignTiltSeries/job005/tilt_series/TS_01.star"
    lines = star.read_text().replace("_rlnTomoYTilt #5", "_rlnTomoYTilt #5\n_rlnPhaseShift #6").split("\n")
    degrees = radians * 180 / 3.14159265
    star.write_text("\n".join(f"{line}\t{degrees}" if line.startswith("frames/") else line for line in lines))


@pytest.mark.parametrize(
    "make", [warp_with_shift, aretomo_with_shift, imod_with_shift, imod_in_radians, relion_with_shift]
)
def test_a_phase_plate_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path, float], None]
) -> None:
    for radians, warnings in ((1.57, 1), (0.05, 0)):
        make(tmp_path / str(warnings), radians)
        with told(monkeypatch) as lines:
            listed(tmp_path / str(warnings), ".")
        assert sum("phase plate, whose shift (1.57 rad)" in line for line in lines) == warnings
        assert sum("take CTF_mode None" in line and "phase plate" in line for line in lines) == warnings


@pytest.mark.parametrize(("value", "flipped", "warnings"), [(0, False, 0), (1, True, 1), (2, True, 0)])
def test_filtered_amplitudes_of_aretomo3_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: int, flipped: bool, warnings: int
) -> None:
    aretomo_folder(tmp_path, CorrCTF=[value, 15])
    aretomo_folder(tmp_path, "Position_2", CorrCTF=[value, 15])
    with told(monkeypatch) as lines:
        assert {row.phases_flipped for row in listed(tmp_path, ".")} == {flipped}
    assert sum("-CorrCTF 2 or 0, or CTF_mode None" in line for line in lines) == warnings


def test_further_binnings_of_aretomo3_are_no_further_tomograms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aretomo_folder(tmp_path)
    for number in ("2ND", "3RD"):
        put_map(tmp_path / f"Position_1_{number}_Vol.mrc", shape=(4, 10, 8))
    with told(monkeypatch) as lines:
        assert [row.name for row in listed(tmp_path, ".")] == ["Position_1_Vol"]
    assert sum("Position_1_2ND_Vol.mrc (of 2): another binning" in line for line in lines) == 1


def of_two_axes(folder: Path) -> None:
    imod_folder(folder, com="")
    for axis in "ab":
        (folder / f"tilt{axis}.com").write_text(tilt_com(f"TS01{axis}"))


def untrimmed(folder: Path) -> None:
    imod_folder(folder)
    (folder / "TS01_rec.mrc").unlink()
    put_map(folder / "TS01_ali.mrc", shape=(6, 20, 16))


def only_a_stack(folder: Path) -> None:
    """Of which the alignment has left out two images."""
    imod_folder(folder)
    for end in ("_rec", "_full_rec"):
        (folder / f"TS01{end}.mrc").unlink()
    put_map(folder / "TS01.mrc", shape=(8, 80, 64))
    (folder / "tilt.com").unlink()


def nothing_yet(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "tilt.com").write_text(tilt_com())
    (folder / "TS01.rawtlt").write_text("-40\n0\n50\n")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (of_two_axes, r"two tilt axes are not modelled"),
        (untrimmed, r"Etomo is not done here, TS01\.mrc is no tomogram: trim"),
        (only_a_stack, r"TS01\.mrc is no tomogram"),
        (nothing_yet, r"no tomogram is there"),
    ],
)
@pytest.mark.parametrize(("place", "source"), [(".", "auto"), ("..", "auto"), (".", "imod")])
def test_what_etomo_has_not_finished_is_refused(
    tmp_path: Path, make: Callable[[Path], None], words: str, place: str, source: str
) -> None:
    make(tmp_path / "a/TS01")
    with pytest.raises(UserError, match=words):
        listed(tmp_path / "a/TS01", place, source=source)


def test_what_etomo_has_not_finished_beside_others_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imod_folder(tmp_path / "TS01")
    untrimmed(tmp_path / "TS02")
    with told(monkeypatch) as lines:
        assert [row.tomogram for row in listed(tmp_path, ".")] == ["TS01/TS01_rec.mrc"]
    assert any("TS02: Etomo is not done here" in line and "left out (of 1)" in line for line in lines)


def test_tomograms_beside_lists_of_other_names_are_a_plain_folder(tmp_path: Path) -> None:
    put_map(tmp_path / "full/a_bin4.mrc")
    (tmp_path / "full/a.tlt").write_text("-40\n0\n50\n")
    untrimmed(tmp_path / "full/etomo")
    assert [row.name for row in listed(tmp_path, "full")] == ["a_bin4"]


def test_a_thin_tomogram_is_no_stack(tmp_path: Path) -> None:
    imod_folder(tmp_path, com="")
    put_map(tmp_path / "TS01_rec.mrc", shape=(6, 20, 16), labels=[ROTX])
    assert [row.name for row in listed(tmp_path, ".")] == ["TS01_rec"]


@pytest.mark.parametrize(
    ("lines", "tilts"),
    [
        (("exc 1  # a bad one", "OFF 1  # °"), (-23, 1.5, 25, 37, 61)),
        (("INCLUDE 2-5", "EXCLUDELIST2 3"), (-24, 24, 36)),
        (("DONE", "EXCLUDELIST 1-5"), (-48, -24, 0.5, 24, 36, 60)),
        (("OUTPUTFILE 5", "O 5"), (-48, -24, 0.5, 24, 36, 60)),  # neither is OFFSET
    ],
)
def test_what_a_command_file_may_say(tmp_path: Path, lines: tuple[str, ...], tilts: tuple[float, ...]) -> None:
    com = "".join(line for line in tilt_com().splitlines(keepends=True) if not line.startswith("OFFSET"))
    imod_folder(tmp_path, com=com + "\n".join(lines) + "\n")
    (row,) = listed(tmp_path, ".")
    assert read_tilts(tmp_path / str(row.tilt_file)) == tilts


def test_short_names_of_the_optics(tmp_path: Path) -> None:
    imod_folder(tmp_path)
    (tmp_path / "ctfcorrection.com").write_text("$ctfphaseflip -StandardInput\nVolt 200 # kV\ncs 2.2\nampCon 0.08\n")
    (row,) = listed(tmp_path, ".")
    assert (row.voltage_kv, row.cs_mm, row.amplitude_contrast) == (200, 2.2, 0.08)


@pytest.mark.parametrize("line", ["PARALLEL", "RotateBy90 1"])
def test_planes_that_tilt_itself_turned_are_refused(tmp_path: Path, line: str) -> None:
    imod_folder(tmp_path, com=tilt_com("TS01", line))
    with pytest.raises(UserError, match=r"TS01_rec\.mrc: made with (PARALLEL|ROTATEBY90) in tilt\.com"):
        listed(tmp_path, ".")


@pytest.mark.parametrize(
    ("xml", "defocus"),
    [
        (warp_xml(unused=[0.02]), pytest.approx(38900)),  # of -3°, the first of the two that are nearest
        (warp_xml().replace(' Value="3.9202"', ""), pytest.approx(38900)),
    ],
)
def test_the_defocus_of_warp_is_of_an_image_that_has_one(tmp_path: Path, xml: str, defocus: Any) -> None:
    warp_folder(tmp_path, xml=xml)
    assert listed(tmp_path, ".")[0].defocus_angstrom == defocus


def test_the_pixel_size_of_warp_is_the_nearest(tmp_path: Path) -> None:
    for pixel in ("10.00", "10.05", "7.50"):
        warp_folder(tmp_path, pixel=pixel, halves=False)
    for asked, taken in ((9.9975, "10.00"), (10.04, "10.05"), (7.4954, "7.50")):
        assert listed(tmp_path, ".", pixel_size=asked)[0].tomogram == f"reconstruction/TS_1_{taken}Apx.mrc"
    with pytest.raises(UserError, match=r"reconstructions at 7\.50, 10\.00, 10\.05 Å: choose one"):
        listed(tmp_path, ".", pixel_size=8)


@pytest.mark.parametrize("make", [warp_folder, imod_folder])
def test_a_subfolder_that_may_not_be_read_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], Path]
) -> None:
    """Mode 0 keeps root out of nothing: the system's refusal is put in its place."""
    make(tmp_path / "TS01")
    (tmp_path / "lost+found").mkdir()
    listing = Path.iterdir

    def refusing(path: Path) -> Iterator[Path]:
        if path.name == refused:
            raise PermissionError(13, "Permission denied", str(path))
        return listing(path)

    monkeypatch.setattr(Path, "iterdir", refusing)
    refused = "lost+found"
    assert len(listed(tmp_path, ".")) == 1
    refused = tmp_path.name
    with pytest.raises(UserError, match="cannot be read: Permission denied"):
        listed(tmp_path, ".")


def test_init_says_what_to_do_where_several_things_lie(tmp_path: Path) -> None:
    star = relion_project(tmp_path)
    other = tmp_path / "Tomograms/job011/tomograms.star"
    other.parent.mkdir()
    other.write_text(star.read_text())
    with pytest.raises(UserError, match=r"job011.*: list one by isonet2 prepare_star PATH --from PROGRAM, then init"):
        init(tmp_path)
    listed(tmp_path, "Tomograms/job011/tomograms.star", source="relion")
    assert load_job(init(tmp_path)).prepare_star is None


def test_a_list_of_relion_from_windows(tmp_path: Path) -> None:
    """A byte order mark is passed over, and line ends are kept."""
    star = relion_project(tmp_path / "relion", ["TS_01"])
    star.write_bytes(b"\xef\xbb\xbf" + star.read_bytes().lstrip().replace(b"\n", b"\r\n"))
    star.write_bytes(star.read_bytes().replace(b"# version 50001\r\n\r\n", b""))
    assert star.read_bytes().startswith(b"\xef\xbb\xbfdata_global\r\n")
    folder = tmp_path / "relion/job"
    listed(folder, "../Tomograms/job006/tomograms.star")
    update_row(folder / "tomograms.star", 1, denoised="d.mrc")
    (written,) = offer_to_relion(folder / "tomograms.star", Job().in_folder(folder).path)
    lines = written.read_bytes().split(b"\r\n")
    assert not any(b"\n" in line or b"\r" in line for line in lines)
    assert b"_rlnTomoReconstructedTomogramDenoised #17 " in lines
    assert any(line.rstrip().endswith(b"half2.mrc job/d.mrc") for line in lines)


def test_metadata_are_read_once_while_they_do_not_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warp_folder(tmp_path)
    parse = ElementTree.parse
    read: list[Path] = []
    monkeypatch.setattr(ElementTree, "parse", lambda path: (read.append(path), parse(path))[1])
    inputs(Job.model_validate({"prepare_star": {"full": "."}}).in_folder(tmp_path))
    assert listed(tmp_path, ".")[0].tilt_min_deg == -51
    assert len(read) == 1
    (tmp_path / "TS_1.xml").write_text(warp_xml([-60.0, 0.0, 39.0]))
    assert listed(tmp_path, ".")[0].tilt_min_deg == -39

"""What files of these programs look like in public repositories, and what their versions write differently."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from left_by_others import (
    aretomo_aln,
    aretomo_ctf,
    aretomo_folder,
    aretomo_session,
    imod_folder,
    listed,
    put_map,
    relion_project,
    told,
    warp_folder,
    warp_xml,
)

from isonet2.errors import UserError
from isonet2.io.tilts import read_tilts

BARE = "# AreTomo Alignment / Priims bprmMn \n# 3  0\n# SEC ROT GMAG TX TY SMEAN SFIT SCALE BASE TILT\n" + "".join(
    f"{n:5d}   -93.7196    1.00000    155.235    708.750     1.00     1.00     1.00     0.00 {tilt:9.2f}\n"
    for n, tilt in enumerate((-51.98, 2.01, 68.0))
)
"""As AreTomo 1.2 writes it: no RawSize, and the images are counted from 0."""
JOB = """
# version 50001

data_job

_rlnJobTypeLabel             relion.reconstructtomograms
_rlnJobIsContinue                       0

data_joboptions_values

loop_
_rlnJobOptionVariable #1
_rlnJobOptionValue #2
binned_angpix         10
{}
  do_queue         No
""".replace("\n", " \n")


def flat_record(**changed: object) -> str:
    """As versions 1 of AreTomo3 write it: nothing nested, and names in a list without quotes."""
    said = json.loads(aretomo_session(**changed))["parameters"]
    lines = [f'     "{name}":  {value},' for name, value in said.items()]
    return "\n".join(
        ["{", '     "Name":  "AreTomo3",', '     "InSkips":  [_Map, _Gain],', *lines, '     "Time":  ""', "}"]
    )


@pytest.mark.parametrize("record", [flat_record, aretomo_session])
def test_the_record_of_aretomo3_is_read_however_it_is_nested(tmp_path: Path, record: Callable[..., str]) -> None:
    aretomo_folder(tmp_path)
    (tmp_path / "AreTomo3_Session.json").write_text(
        record(kV=200, Cs=2.2, AmpContrast=0.08, FlipVol=2, CorrCTF=[0, 15])
    )
    (row,) = listed(tmp_path, ".")
    assert (row.voltage_kv, row.cs_mm, row.amplitude_contrast, row.phases_flipped) == (200, 2.2, 0.08, False)
    assert row.tilt_max_deg == 45.01
    (tmp_path / "AreTomo3_Session.json").write_text("{}")
    with pytest.raises(UserError, match=r"Session\.json: not the record of AreTomo3"):
        listed(tmp_path, ".")


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(("fits", "defocus"), [((1e4, 2e4, 3e4, 4e4, 5e4), 3e4), ((1e4, 2e4, 9e4, 3e4, 4e4, 5e4), 3e4)])
def test_dark_images_of_aretomo3_are_left_out_of_the_fits_too(
    tmp_path: Path, first: int, fits: tuple[float, ...], defocus: float
) -> None:
    """SEC counts those that were used, in the versions whose files are in alnfile; the third of six was dark."""
    aretomo_folder(tmp_path)
    tilts = dict(enumerate((-45.01, -42.01, -0.01, 41.99, 53.99), start=first))
    (tmp_path / "Position_1.aln").write_text(aretomo_aln(tilts))
    (tmp_path / "Position_1_CTF.txt").write_text(aretomo_ctf(fits))
    assert listed(tmp_path, ".")[0].defocus_angstrom == defocus


@pytest.mark.parametrize(
    ("raw", "rotation_deg", "taken"),
    [("80 64 6", 83.93, True), ("80 64 6", -93.7, True), ("64 80 6", -4.3, True), ("80 64 6", -4.3, False)],
)
def test_where_the_tilt_axis_is_nearly_x_aretomo_swaps_the_sides(
    tmp_path: Path, raw: str, rotation_deg: float, taken: bool
) -> None:
    """CCorrectUtil::CalcAlignedSize: a K3's 5760×4092 becomes 4092×5760. The volume has 8 planes of 20×16."""
    aretomo_folder(tmp_path)
    (tmp_path / "Position_1.aln").write_text(aretomo_aln(raw=raw, rotation_deg=rotation_deg))
    if taken:
        assert listed(tmp_path, ".")[0].tilt_min_deg == -45.01
    else:
        with pytest.raises(UserError, match="its planes are xz"):
            listed(tmp_path, ".")


@pytest.mark.parametrize("end", ["_rec.mrc", ".rec"])
@pytest.mark.parametrize("aln", [BARE, aretomo_aln({0: -51.98, 1: 2.01, 2: 68.0}, raw="80 64 3")])
def test_what_aretomo_and_aretomo2_leave_is_theirs_and_not_imods(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, aln: str
) -> None:
    """The raw tilts lie beside it; what counts are the corrected ones of the alignment."""
    for half in ("", "_EVN", "_ODD"):
        put_map(tmp_path / f"TS_1{half}{end}")
        (tmp_path / f"TS_1{half}.aln").write_text(aln)
    put_map(tmp_path / "TS_1.mrc", shape=(3, 64, 80))  # the tilt series
    (tmp_path / "TS_1.rawtlt").write_text("-60\n-6\n60\n")
    (tmp_path / "TS_1_ctf.txt").write_text(aretomo_ctf((1e4, 2e4, 3e4), hand=""))
    with told(monkeypatch) as lines:
        (row,) = listed(tmp_path, ".")
    assert (row.tomogram, row.half1, row.half2) == (f"TS_1{end}", f"TS_1_EVN{end}", f"TS_1_ODD{end}")
    assert (row.tilt_min_deg, row.tilt_max_deg, row.defocus_angstrom) == (-51.98, 68, 2e4)
    assert row.phases_flipped is None
    assert any("asymmetric tilts, and nothing tells which way z runs" in line for line in lines)
    assert not any("AreTomo3_Session" in line and "missing" in line for line in lines)
    (tmp_path / "TS_1.tlt").write_text("-50\n2\n70\n")  # IMOD aligned the series after that
    assert listed(tmp_path, ".", source="imod")[0].tilt_max_deg == 70
    with pytest.raises(UserError, match="nothing of aretomo there"):
        listed(tmp_path, ".", source="aretomo")


def test_volumes_of_aretomo3_moved_away_from_their_alignment_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aretomo_folder(tmp_path)
    (tmp_path / "Position_1.aln").unlink()
    with told(monkeypatch) as lines:
        (row,) = listed(tmp_path, ".")
    assert (row.half2, row.tilt_max_deg) == ("Position_1_ODD_Vol.mrc", 60)
    assert any("Position_1 (of 1) say no tilts: give tilt_min and tilt_max" in line for line in lines)


@pytest.mark.parametrize(
    ("options", "flipped"),
    [
        ('do_fourier         No \nother_args         "" ', False),
        ('do_fourier        Yes \nother_args         "" ', True),
        ('do_fourier         No \nother_args "--ctf --SNR 5" ', True),
        ('other_args         "" ', None),  # a version that has not asked
        ("do_fourier         No \nother_args --ctf --SNR 5 ", None),  # no table of two columns
    ],
)
def test_relions_job_says_whether_it_corrected_the_ctf(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str, flipped: bool | None
) -> None:
    star = relion_project(tmp_path, ["TS_01"])
    (star.parent / "job.star").write_text(JOB.format(options))
    with told(monkeypatch) as lines:
        assert listed(tmp_path, ".")[0].phases_flipped is flipped
    assert any("TS_01 (of 1): RELION has filtered amplitudes" in line for line in lines) is (flipped is True)


def test_what_is_deselected_in_warp_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, said in (("TS_1", "null"), ("TS_2", "True"), ("TS_3", "")):
        warp_folder(tmp_path, name, xml=warp_xml().replace('UnselectManual="null"', f'UnselectManual="{said}"'))
    with told(monkeypatch) as lines:
        assert [row.name for row in listed(tmp_path, ".")] == ["TS_1_10.00Apx", "TS_3_10.00Apx"]
    assert any("TS_2 (of 1): deselected in Warp: left out" in line for line in lines)
    for name in ("TS_1", "TS_3"):
        (tmp_path / f"{name}.xml").write_text((tmp_path / "TS_2.xml").read_text(encoding="utf-8-sig"))
    with pytest.raises(UserError, match="every tilt series is deselected"):
        listed(tmp_path, ".")


@pytest.mark.parametrize("make", [warp_folder, aretomo_folder, imod_folder, relion_project])
def test_line_ends_marks_and_tabs_change_nothing(tmp_path: Path, make: Callable[[Path], object]) -> None:
    made = tmp_path / "made"
    make(made)
    (made / "TS01.defocus").write_text("1 0 0. 0. 0 3\n1 2 -48.0 -24.0  4000 4100 20.\n3 6 .5 60  3900. 3950. 21.\n")
    before = listed(tmp_path / "job", "../made")
    for path in made.rglob("*.*"):
        if path.suffix not in (".mrc", ".png"):
            text = path.read_text(encoding="utf-8-sig").replace("\n", "\r\n")
            text = text if path.suffix == ".xml" else text.replace("  ", "\t")
            path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    after = listed(tmp_path / "job", "../made")
    assert after == before


@pytest.mark.parametrize(
    ("content", "tilts"),
    [
        ("\ufeff-60\n0\n60\n", (-60, 0, 60)),
        ("  -45.01    3      1.49\n   -0.01     1      2.01\n   44.99    2      1.63\n", (-45.01, -0.01, 44.99)),
        ("-3 1\n0 0\n3 2\n", (-3, 0, 3)),
        ("-3 1\n0 5\n3 2\n", None),  # no order
        ("-3 1\n0\n3 2\n", None),
    ],
)
def test_a_list_of_tilts_may_say_when_images_were_taken(
    tmp_path: Path, content: str, tilts: tuple[float, ...] | None
) -> None:
    (tmp_path / "a.tlt").write_text(content, encoding="utf-8")
    if tilts is None:
        with pytest.raises(UserError, match="not a list of tilts"):
            read_tilts(tmp_path / "a.tlt")
    else:
        assert read_tilts(tmp_path / "a.tlt") == tilts


def test_halves_do_not_count_as_tomograms(tmp_path: Path) -> None:
    for end in ("", "_EVN", "_ODD"):
        put_map(tmp_path / f"all/a{end}_Vol.mrc")
    with pytest.raises(UserError, match=r"all: both halves of a_Vol lie there, .* name it as even and odd"):
        listed(tmp_path, "all")
    assert [row.half1 for row in listed(tmp_path, "all", even="all", odd="all")] == ["all/a_EVN_Vol.mrc"]
    (tmp_path / "all/a_ODD_Vol.mrc").unlink()
    assert len(listed(tmp_path, "all")) == 2  # an average that is called after one half


def test_lists_of_tilts_that_nobody_asked_for_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_map(tmp_path / "full/a_bin4.mrc")
    (tmp_path / "full/a.tlt").write_text("-40\n0\n50\n")
    for options, warnings in (({}, 1), ({"tilt_min": -40}, 1), ({"tilt_min": -40, "tilt_max": 50}, 0)):
        with told(monkeypatch) as lines:
            listed(tmp_path, "full", **options)
        assert sum("a.tlt (of 1): not used" in line for line in lines) == warnings

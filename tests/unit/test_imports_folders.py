"""prepare_star takes folders of WarpTools, AreTomo3 and IMOD."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from left_by_others import (
    FLIPYZ,
    ROTX,
    aretomo_aln,
    aretomo_ctf,
    aretomo_folder,
    imod_folder,
    listed,
    put_map,
    tilt_com,
    told,
    warp_folder,
    warp_xml,
)

from isonet2.errors import UserError
from isonet2.io.tilts import read_tilts


def test_warptools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warp_folder(tmp_path / "warp_tiltseries", xml=warp_xml(unused=[51.0, -3.0]))
    with told(monkeypatch) as lines:
        (row,) = listed(tmp_path, ".")
    base = "warp_tiltseries/reconstruction"
    assert row.tomogram == f"{base}/TS_1_10.00Apx.mrc"
    assert (row.half1, row.half2) == (f"{base}/even/TS_1_10.00Apx.mrc", f"{base}/odd/TS_1_10.00Apx.mrc")
    assert row.pixel_size_angstrom == 10
    assert (row.tilt_min_deg, row.tilt_max_deg) == (-42, 60.01)  # the other sign, without what was not used
    assert read_tilts(tmp_path / str(row.tilt_file)) == (60.01, -0.02, -3, -42)
    assert row.defocus_angstrom == pytest.approx(39202)  # of the grid at 0.02°
    assert (row.voltage_kv, row.cs_mm, row.amplitude_contrast) == (200, 2.7, 0.07)
    assert row.phases_flipped is True
    assert "taken as warp by reconstruction/TS_1_10.00Apx.mrc (--from names another)" in lines[0]
    assert any("protein bright" in line for line in lines)
    assert any("phase-flipped: deconv, and trainings with a CTF_mode, need --phaseflipped" in line for line in lines)


@pytest.mark.parametrize(
    "place", ["warp_tiltseries", "warp_tiltseries/reconstruction", "warp_tiltseries/reconstruction/even"]
)
def test_warptools_is_found_from_each_of_its_folders(tmp_path: Path, place: str) -> None:
    warp_folder(tmp_path / "warp_tiltseries")
    (row,) = listed(tmp_path, place, source="warp")
    assert row.half2 is not None


@pytest.mark.parametrize(
    ("xml", "defocus", "ends"),
    [
        (warp_xml(estimate="0"), 0, (-51, 60.01)),  # ts_ctf never ran
        (warp_xml(attributes='LevelAngleX="1" LevelAngleY="2.5"'), 39202, (-53.5, 57.51)),
        (warp_xml().replace('Depth="6"', 'Depth="1"'), 39200, (-51, 60.01)),  # one value for all
    ],
)
def test_what_warps_xml_may_say(tmp_path: Path, xml: str, defocus: float, ends: tuple[float, float]) -> None:
    warp_folder(tmp_path, xml=xml)
    (row,) = listed(tmp_path, ".")
    assert row.defocus_angstrom == pytest.approx(defocus)
    assert (row.tilt_min_deg, row.tilt_max_deg) == pytest.approx(ends)


def test_xml_of_warp_1_is_in_utf_16(tmp_path: Path) -> None:
    warp_folder(tmp_path, xml=warp_xml().replace('encoding="utf-8"', 'encoding="utf-16"'), encoding="utf-16")
    assert listed(tmp_path, ".")[0].tilt_min_deg == -51


def test_deconvolved_halves_of_warp_are_refused(tmp_path: Path) -> None:
    warp_folder(tmp_path)
    put_map(tmp_path / "reconstruction/deconv/TS_1_10.00Apx.mrc")
    with pytest.raises(UserError, match=r"even/TS_1_10\.00Apx\.mrc: this half is deconvolved, .* without --deconv"):
        listed(tmp_path, ".")
    for half in ("even", "odd"):
        (tmp_path / f"reconstruction/{half}/TS_1_10.00Apx.mrc").unlink()
    assert listed(tmp_path, ".")[0].half1 is None  # of the full one there is an own file


def test_of_several_pixel_sizes_one_has_to_be_chosen(tmp_path: Path) -> None:
    warp_folder(tmp_path)
    warp_folder(tmp_path, pixel="7.50", halves=False)
    with pytest.raises(UserError, match=r"reconstructions at 7\.50, 10\.00 Å: choose one by prepare_star\.pixel_size"):
        listed(tmp_path, ".")
    assert listed(tmp_path, ".", pixel_size=7.5)[0].tomogram == "reconstruction/TS_1_7.50Apx.mrc"


def test_aretomo3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aretomo_folder(tmp_path / "out")
    with told(monkeypatch) as lines:
        (row,) = listed(tmp_path, "out")
    assert (row.tomogram, row.half1) == ("out/Position_1_Vol.mrc", "out/Position_1_EVN_Vol.mrc")
    assert (row.tilt_min_deg, row.tilt_max_deg) == (-45.01, 53.99)  # z as FlipVol 1 leaves it
    assert read_tilts(tmp_path / str(row.tilt_file)) == (-45.01, -42.01, -0.01, 41.99, 53.99)
    assert row.defocus_angstrom == 40500  # of the fourth raw image, which is the third that was used
    assert (row.voltage_kv, row.cs_mm, row.amplitude_contrast) == (300, 2.7, 0.07)
    assert row.phases_flipped is True
    assert not any("asymmetric" in line for line in lines)


@pytest.mark.parametrize(
    ("session", "files", "expected"),
    [
        ({"FlipVol": 2}, {}, {"tilt_min_deg": -53.99, "tilt_max_deg": 45.01}),
        ({"CorrCTF": [0, 15]}, {}, {"phases_flipped": False}),
        ({}, {"_CTF.txt": aretomo_ctf((1e4, 2e4, 3e4, 4e4, 5e4))}, {"defocus_angstrom": 3e4}),  # without the dark one
        ({}, {"_CTF.txt": aretomo_ctf(hand="")}, {"defocus_angstrom": 40500}),  # of older versions
        ({}, {"_CTF.txt": aretomo_ctf((1e4, 2e4))}, {"defocus_angstrom": 0, "phases_flipped": None}),
        ({}, {".aln": aretomo_aln(hello=True)}, {"tilt_min_deg": -45.01}),  # a line that a version has left there
        ({}, {".aln": aretomo_aln({n - 1: t for n, t in {1: -40.0, 2: 0.0, 3: 40.0}.items()}, raw="80 64 3"),
              "_CTF.txt": aretomo_ctf((1e4, 2e4, 3e4))}, {"defocus_angstrom": 2e4}),  # counted from 0
    ],
)  # fmt: skip
def test_what_aretomo3_may_say(
    tmp_path: Path, session: dict[str, Any], files: dict[str, str], expected: dict[str, Any]
) -> None:
    aretomo_folder(tmp_path, **session)
    for end, text in files.items():
        (tmp_path / f"Position_1{end}").write_text(text)
    (row,) = listed(tmp_path, ".")
    assert {name: getattr(row, name) for name in expected} == expected


def test_aretomo3_without_its_record_is_taken_at_its_defaults_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aretomo_folder(tmp_path)
    (tmp_path / "AreTomo3_Session.json").unlink()
    with told(monkeypatch) as lines:
        (row,) = listed(tmp_path, ".")
    assert (row.tilt_min_deg, row.phases_flipped) == (-45.01, True)
    for words in ("a corrected CTF (-CorrCTF 1) and -FlipVol 1 are assumed", "asymmetric tilts, and nothing tells",
                  "do not say voltage (300), cs (2.7), ac (0.1)"):  # fmt: skip
        assert any(words in line for line in lines)
    assert listed(tmp_path, ".", flip_tilts=True)[0].tilt_max_deg == 45.01


def test_aretomo3s_default_planes_xz_are_refused(tmp_path: Path) -> None:
    aretomo_folder(tmp_path, FlipVol=0)
    for half in ("", "_EVN", "_ODD"):
        put_map(tmp_path / f"Position_1{half}_Vol.mrc", shape=(20, 8, 16))
    with pytest.raises(UserError, match=r"Position_1_Vol\.mrc: its planes are xz \(20×8×16 voxels\): .* -FlipVol 1"):
        listed(tmp_path, ".")


def test_imod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of Etomo: neither the stack nor the untrimmed tomogram is taken."""
    imod_folder(tmp_path, com=tilt_com("TS01", "EXCLUDELIST2 2,6", offset="1.5 0"))
    (tmp_path / "TS01.defocus").write_text("1 0 0. 0. 0 3\n1 2 -48.0 -24.0 4000 4100 20.\n3 6 .5 60 3900. 3950. 21.\n")
    (tmp_path / "ctfcorrection.com").write_text(
        "$ctfphaseflip -StandardInput\nVoltage      200\nSphericalAberration 2.2\nAmplitudeContrast 0.08\n"
    )
    with told(monkeypatch) as lines:
        (row,) = listed(tmp_path, ".")
    assert (row.tomogram, row.half1) == ("TS01_rec.mrc", None)
    assert read_tilts(tmp_path / str(row.tilt_file)) == (-46.5, 2, 25.5, 37.5)  # z as rotx leaves it
    assert (row.tilt_min_deg, row.tilt_max_deg) == (-46.5, 37.5)
    assert row.defocus_angstrom == 39250  # in nm there, astigmatic, of two groups of views
    assert (row.voltage_kv, row.cs_mm, row.amplitude_contrast) == (200, 2.2, 0.08)
    assert any("TS01_rec.mrc and TS01.tlt" in line for line in lines)


def test_imod_with_a_folder_for_each_and_halves(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for end in ("", "_even", "_odd"):
            put_map(tmp_path / f"{name}/{name}{end}.rec", labels=[FLIPYZ])
        (tmp_path / f"{name}/{name}.rawtlt").write_text("-40\n0\n50\n")
    rows = listed(tmp_path, ".", source="imod")
    assert [(row.tomogram, row.half1, row.half2) for row in rows] == [
        (f"{name}/{name}.rec", f"{name}/{name}_even.rec", f"{name}/{name}_odd.rec") for name in "ab"
    ]
    assert (rows[0].tilt_min_deg, rows[0].tilt_max_deg, rows[0].phases_flipped) == (-50, 40, None)


@pytest.mark.parametrize(
    ("labels", "com", "words"),
    [
        ([], tilt_com(), r"TS01_rec\.mrc: its planes are xz, .* trimvol -rx"),
        ([ROTX], tilt_com("TS01", "EXCLUDELIST 1-5"), r"tilt\.com: leaves 1 of 6 tilts"),
        ([ROTX], tilt_com("TS01", "EXCLUDELIST two"), r"tilt\.com: 'two' is no list of views"),
    ],
)
def test_folders_of_imod_that_cannot_be_used_are_refused(
    tmp_path: Path, labels: list[str], com: str, words: str
) -> None:
    imod_folder(tmp_path, com=com, labels=labels)
    if not labels:
        put_map(tmp_path / "TS01_rec.mrc", shape=(20, 8, 16))
    with pytest.raises(UserError, match=words):
        listed(tmp_path, ".")


def test_a_tomogram_without_a_list_of_tilts_beside_others_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imod_folder(tmp_path)
    put_map(tmp_path / "b.mrc")
    with told(monkeypatch) as lines:
        assert len(listed(tmp_path, ".")) == 1
    assert any("b.mrc (of 1): no list of tilts is called like it: left out" in line for line in lines)


def test_a_bare_mrc_beside_its_halves_is_their_average(tmp_path: Path) -> None:
    for end in ("", "_EVN", "_ODD"):
        put_map(tmp_path / f"a{end}.mrc")
    (tmp_path / "a.tlt").write_text("-40\n0\n50\n")
    (row,) = listed(tmp_path, ".")
    assert (row.tomogram, row.half1, row.half2) == ("a.mrc", "a_EVN.mrc", "a_ODD.mrc")


@pytest.mark.parametrize(("name", "taken"), [("TS01.rec", None), ("TS01.mrc", "TS01_rec.mrc")])
def test_of_two_tomograms_of_one_series_a_bare_mrc_is_the_series(tmp_path: Path, name: str, taken: str | None) -> None:
    imod_folder(tmp_path)
    put_map(tmp_path / name)
    if taken is None:
        with pytest.raises(UserError, match=r"TS01\.rec and TS01_rec\.mrc: two tomograms of one series: leave one"):
            listed(tmp_path, ".")
    else:
        assert listed(tmp_path, ".")[0].tomogram == taken


def test_a_label_of_ctfphaseflip_says_that_phases_are_flipped(tmp_path: Path) -> None:
    imod_folder(tmp_path, labels=["ctfPhaseFlip: CTF correction with phase flipping only", ROTX])
    assert listed(tmp_path, ".")[0].phases_flipped is True


@pytest.mark.parametrize("angles", [(-100.0, 0.0, 40.0), (0.1, 0.2)])
def test_tilts_that_are_none_are_refused(tmp_path: Path, angles: tuple[float, ...]) -> None:
    warp_folder(tmp_path, xml=warp_xml(angles))
    with pytest.raises(UserError, match=r"TS_1\.xml: . tilts from .*: those of no series"):
        listed(tmp_path, ".")

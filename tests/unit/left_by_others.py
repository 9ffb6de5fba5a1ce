"""Small folders like those that RELION 5, WarpTools, AreTomo3 and IMOD leave: names, text and headers as theirs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np

from isonet2 import log
from isonet2.io.star import TomogramRow, read_star
from isonet2.job.models import Job
from isonet2.parallel.world import World
from isonet2.stages import prepare_star

SHAPE = (8, 20, 16)  # z, y, x


def put_map(path: Path, *, shape: tuple[int, int, int] = SHAPE, voxel: float = 10.0, mode: type = np.float32,
            labels: Sequence[str] = ()) -> Path:  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(path, np.ones(shape, mode), overwrite=True) as mrc:
        mrc.voxel_size = voxel
        for label in labels:
            mrc.add_label(label)
    return path


@contextmanager
def told(monkeypatch: Any) -> Iterator[list[str]]:
    """Every line that prepare_star says or warns of."""
    lines: list[str] = []
    for name in ("info", "warn"):
        monkeypatch.setattr(log, name, lines.append)
        monkeypatch.setattr(prepare_star, name, lines.append)
    yield lines


def listed(folder: Path, full: str, **options: Any) -> list[TomogramRow]:
    """The rows that prepare_star writes for a job in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    star = options.pop("star_file", "tomograms.star")
    job = Job.model_validate({"star_file": star, "prepare_star": {"full": full, **options}}).in_folder(folder)
    prepare_star.run(job, World())
    return read_star(folder / star)


# RELION 5, after the skeleton project of TomoBabel/cets-relion: its own tables have a space behind every line

GLOBAL = ("rlnTomoName", "rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast",
          "rlnMicrographOriginalPixelSize", "rlnTomoHand", "rlnOpticsGroupName", "rlnTomoTiltSeriesPixelSize",
          "rlnTomoTiltSeriesStarFile", "rlnEtomoDirectiveFile", "rlnTomoTomogramBinning", "rlnTomoSizeX",
          "rlnTomoSizeY", "rlnTomoSizeZ", "rlnTomoReconstructedTomogramHalf1",
          "rlnTomoReconstructedTomogramHalf2")  # fmt: skip
TILTED = {-54.0: (38593.777344, 38453.007812), -3.0: (39039.273438, 38788.375), 0.0: (38855.828125, 38750.828125),
          3.0: (39181.238281, 39140.960938), 57.0: (39527.78125, 39418.410156)}  # fmt: skip


def relion_row(name: str, halves: Sequence[str] = ("half1", "half2")) -> list[str]:
    maps = [f"Tomograms/job006/tomograms/rec_{name}_{half}.mrc" for half in halves]
    return [name, "300.000000", "2.700000", "0.070000", "0.675000", "-1.00000", "optics1", "1.350000",
            f"AlignTiltSeries/job005/tilt_series/{name}.star", f"AlignTiltSeries/job005/external/{name}/{name}.edf",
            "7.407407", "4000", "4000", "2000", *maps]  # fmt: skip


def relion_text(rows: Sequence[Sequence[str]], labels: Sequence[str] = GLOBAL) -> str:
    names = [f"_{label} #{n} " for n, label in enumerate(labels, start=1)]
    lines = ["     " + "   ".join(row) + " " for row in rows]
    return "\n".join(["", "# version 50001", "", "data_global", "", "loop_ ", *names, *lines, " ", ""])


def tilt_star(tilts: dict[float, tuple[float, float]], angle: str = "rlnTomoYTilt") -> str:
    """As RELION's Python tools write it, with starfile."""
    labels = ["rlnMicrographMovieName", "rlnTomoNominalStageTiltAngle", "rlnDefocusU", "rlnDefocusV", angle]
    names = [f"_{label} #{n}" for n, label in enumerate(dict.fromkeys(labels), start=1)]
    rows = [
        f"frames/t_{n}.mrc\t{tilt + 0.0015:.6f}\t{u:.6f}\t{v:.6f}" + (f"\t{tilt:.6f}" if len(names) == 5 else "")
        for n, (tilt, (u, v)) in enumerate(tilts.items())
    ]
    head = "# Created by the starfile Python package (version 0.4.12) at 13:50:17 on 15/03/2024"
    return "\n".join([head, "", "data_TS_01", "", "loop_", *names, *rows, "", ""])


def relion_project(folder: Path, names: Sequence[str] = ("TS_01", "TS_03")) -> Path:
    """A project with its list: Tomograms/job006/tomograms.star."""
    for name in names:
        for half in ("half1", "half2"):
            put_map(folder / f"Tomograms/job006/tomograms/rec_{name}_{half}.mrc", voxel=10)
        series = folder / f"AlignTiltSeries/job005/tilt_series/{name}.star"
        series.parent.mkdir(parents=True, exist_ok=True)
        series.write_text(tilt_star(TILTED))
    star = folder / "Tomograms/job006/tomograms.star"
    star.write_text(relion_text([relion_row(name) for name in names]))
    return star


# WarpTools, after TiltSeries.SaveMeta

WARP_ANGLES = (-60.01, -3.0, 0.02, 3.0, 42.0, 51.0)


def warp_xml(angles: Sequence[float] = WARP_ANGLES, *, unused: Sequence[float] = (), estimate: str = "7.41",
             attributes: str = "", defocus: float = 3.92) -> str:  # fmt: skip
    lines = "\n".join
    nodes = "".join(
        f'\t\t<Node X="0" Y="0" Z="{z}" Value="{defocus + angle / 100:.4f}" />\n' for z, angle in enumerate(angles)
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<TiltSeries DataDirectory="/data/tomostar" AreAnglesInverted="False" PlaneNormal="0, 0, 1" {attributes} '
        f'UnselectFilter="False" UnselectManual="null" CTFResolutionEstimate="{estimate}">\n'
        f"\t<Angles>{lines(f'{angle:g}' for angle in angles)}</Angles>\n"
        f"\t<UseTilt>{lines(str(angle not in unused) for angle in angles)}</UseTilt>\n"
        f"\t<AxisAngle>{lines('85,3' for _ in angles)}</AxisAngle>\n"
        '\t<CTF>\n\t\t<Param Name="PixelSize" Value="0.7894" />\n\t\t<Param Name="Voltage" Value="200" />\n'
        '\t\t<Param Name="Cs" Value="2.7" />\n\t\t<Param Name="Amplitude" Value="0.07" />\n'
        f'\t\t<Param Name="Defocus" Value="{defocus}" />\n\t</CTF>\n'
        f'\t<GridCTF Width="1" Height="1" Depth="{len(angles)}" MarginX="0">\n{nodes}\t</GridCTF>\n'
        "</TiltSeries>"
    )


def warp_folder(folder: Path, name: str = "TS_1", *, halves: bool = True, pixel: str = "10.00", xml: str | None = None,
                encoding: str = "utf-8-sig") -> Path:  # fmt: skip
    """A processing folder; volumes in mode 12, XML with a byte order mark as .NET writes it."""
    for place in ("", "even/", "odd/") if halves else ("",):
        path = folder / f"reconstruction/{place}{name}_{pixel}Apx.mrc"
        put_map(path, voxel=float(pixel), mode=np.float16)
        path.with_suffix(".png").write_bytes(b"a preview")
    (folder / f"{name}.xml").write_text(warp_xml() if xml is None else xml, encoding=encoding)
    return folder


# AreTomo3, after CSaveAlignFile, CSaveCtfResults and CAreTomo3Json

ARETOMO_TILTS = {1: -45.01, 2: -42.01, 4: -0.01, 5: 41.99, 6: 53.99}  # image 3 was dark


def aretomo_aln(tilts: dict[int, float] = ARETOMO_TILTS, *, hello: bool = False, raw: str = "80 64 6",
                rotation_deg: float = 83.9316) -> str:  # fmt: skip
    """Of images that lie on their side, as those of a K3 do, since the tilt axis is nearly that of x."""
    rows = [
        f"{number:5d}  {rotation_deg:9.4f}  {1.0:9.5f}  {-3.761:9.3f}  {12.89:9.3f}  "
        f"{1:7.2f}  {1:7.2f}  {1:7.2f}  {0:7.2f}  {tilt:8.2f}"
        for number, tilt in tilts.items()
    ]
    head = ["# AreTomo Alignment / Priims bprmMn", f"# RawSize = {raw}", "# NumPatches = 1"]
    darks = ["# DarkFrame =     2    3   -39.01"]
    offsets = ["# AlphaOffset =     2.00", "# BetaOffset =     0.00", "# Thickness = 1500"]
    columns = "# SEC     ROT         GMAG       TX          TY      SMEAN     SFIT    SCALE     BASE     TILT"
    local = [f"{0:4d} {0:3d} {-1480.69:8.2f}  {-1012.73:8.2f}  {-6.31:8.2f}  {-21.99:8.2f}  {1.0:4.1f}"]
    lines = [*head, *darks, *offsets, columns, *rows, "# Local Alignment", *local, ""]
    return "\n".join(["Hello", *lines] if hello else lines)


def aretomo_ctf(defoci: Sequence[float] = (41000, 41100, 41200, 40500, 41300, 41400), hand: str = "    1") -> str:
    head = "# Columns: #1 micrograph number; #2 - defocus 1 [A]; #3 - defocus 2; #4 - azimuth of astigmatism; "
    rows = [
        f"{n:4d}   {value + 100:8.2f}  {value - 100:8.2f}  {-40.2:8.2f}  {0.0:8.2f}  {0.2114:8.4f}  {9.1:8.4f}{hand}"
        for n, value in enumerate(defoci, start=1)
    ]
    return "\n".join([head + "#5 - additional phase shift [radian]; #6 - cross correlation; #7 - spacing", *rows, ""])


def aretomo_session(**changed: Any) -> str:
    said = {"PixSize": 2.5, "kV": 300, "Cs": 2.7, "AtBin": [4.0, 0.0, 0.0], "FlipVol": 1, "AmpContrast": 0.07,
            "CorrCTF": [1, 15], "TiltAxis": [-95.75, 1.0]}  # fmt: skip
    return json.dumps({"software": {"name": "AreTomo3", "version": "2.0.6"}, "parameters": {**said, **changed}})


def aretomo_folder(folder: Path, name: str = "Position_1", **session: Any) -> Path:
    for half in ("", "_EVN", "_ODD"):
        put_map(folder / f"{name}{half}_Vol.mrc")
    put_map(folder / f"{name}.mrc", shape=(6, 80, 64))  # the tilt series
    put_map(folder / f"{name}_CTF.mrc", shape=(6, 8, 8))
    (folder / f"{name}.aln").write_text(aretomo_aln())
    (folder / f"{name}_CTF.txt").write_text(aretomo_ctf())
    (folder / "AreTomo3_Session.json").write_text(aretomo_session(**session))
    return folder


# IMOD, after Etomo's own command files

TLT = (-48.0, -24.0, 0.5, 24.0, 36.0, 60.0)
ROTX, FLIPYZ = "clip: rotx - rotation by -90 around X", "clip: flipyz"


def tilt_com(name: str = "TS01", *more: str, offset: str = "0.0") -> str:
    lines = ["# Command file to run Tilt", "#", "####CreatedVersion####5.2.17", "$setenv IMOD_OUTPUT_FORMAT MRC",
             "$tilt -StandardInput", f"InputProjections {name}_ali.mrc", f"OutputFile {name}_full_rec.mrc",
             "IMAGEBINNED 4", f"TILTFILE {name}.tlt", f"XTILTFILE {name}.xtilt", "THICKNESS 32", "RADIAL .35 .035",
             "XAXISTILT 1.5", "LOG 0", "SCALE 0 1000", "PERPENDICULAR", "MODE 2", "FULLIMAGE 64 80",
             "SUBSETSTART 0 0", "AdjustOrigin", f"OFFSET {offset}", *more,
             "$if (-e ./savework) ./savework", ""]  # fmt: skip
    return "\n".join(lines)


def imod_folder(folder: Path, name: str = "TS01", *, com: str | None = None, labels: Sequence[str] = (ROTX,)) -> Path:
    put_map(folder / f"{name}_rec.mrc", labels=labels)
    put_map(folder / f"{name}_full_rec.mrc", shape=(20, 8, 16))
    put_map(folder / f"{name}.mrc", shape=(len(TLT), 80, 64))  # the tilt series
    (folder / f"{name}.tlt").write_text("".join(f"{tilt:7.2f}\n" for tilt in TLT))
    (folder / f"{name}.rawtlt").write_text("".join(f"{tilt - 0.5:.2f}\n" for tilt in TLT))
    (folder / "tilt.com").write_text(tilt_com(name) if com is None else com)
    return folder

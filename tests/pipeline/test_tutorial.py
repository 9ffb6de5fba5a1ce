"""The command lines of IsoNet2's tutorial, as they are written there, on tomograms of seconds; sizes are appended."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from isonet2.cli import main
from isonet2.io.star import read_star, update_rows

SMALL = {
    "prepare_star": "--number_subtomos 4",
    "deconv": "--chunk_size 48",
    "make_mask": "",
    "denoise": "--cube_size 16 --channels 4,8 --convolutions 1 --epochs 1",
    "refine": "--cube_size 16 --channels 4,8 --convolutions 1 --epochs 1",
    "predict": "",
}
DEFOCUS = "MODIFY STAR FILE WITH CORRECT DEFOCUS"
HALVES = "isonet.py prepare_star --even tomoset/EVN --odd tomoset/ODD --pixel_size 5.35 --number_subtomos 800 "
FLOWS = {  # chapter by chapter: its lines, and files that they leave
    "3.1 halves": (
        [HALVES, DEFOCUS,
         "isonet.py refine tomograms.star -o 01_test --CTF_mode network",
         "isonet.py refine tomograms.star -o 01_test --CTF_mode wiener"],
        ["01_test/network_isonet2-n2n_unet-tiny_16_full.pt", "01_test/earlier_1/metrics.jsonl"],
    ),
    "3.2 one map, made of halves": (
        [f"{HALVES} –create_average True", DEFOCUS,
         "isonet.py deconv tomograms.star",
         "isonet.py make_mask tomograms.star",
         "isonet.py refine tomograms.star -o 01_test --noise_level 0.2",
         "isonet.py predict tomograms.star 01_test/network_isonet2_unet-tiny_16_full.pt --tomo_idx 1 "
         "--input_column rlnDeconvTomoName"],
        ["deconv/TS_01.mrc", "mask/TS_02_mask.mrc", "01_test/network_isonet2_unet-tiny_16_full.pt",
         "corrected_tomos/corrected_TS_01.mrc"],
    ),
    "3.3 denoise": (
        [HALVES, DEFOCUS,
         "isonet.py deconv tomograms.star",
         "isonet.py make_mask tomograms.star",
         "isonet.py denoise tomograms.star -o 03_test",
         "isonet.py denoise tomograms.star -o 03_test --CTF_mode network",
         "isonet.py denoise tomograms.star -o 03_test --CTF_mode wiener"],
        [f"03_test/{name}network_n2n_unet-tiny_16_full.pt" for name in ("", "earlier_1/", "earlier_2/")],
    ),
    "IsoNet's words": (
        ["isonet.py prepare_star tomograms --outputstar tomograms.star --pixelsize 10 --numbersubtomos 4", DEFOCUS,
         "isonet.py deconv tomograms.star --deconvfolder dec --snrfalloff 0.7 --deconvstrength 1 --chunksize 48 "
         "--highpassnyquist 0.03 --overlap_rate 0.3 --ncpu 1",
         "isonet.py make_mask tomograms.star --maskfolder masks --patchsize 4 --densitypercentage 50 "
         "--stdpercentage 50 --zcrop 0.2",
         "isonet.py refine tomograms.star --outputdir results --gpuID 0 --iterations 3 --noiselevel 0.1 0.2 "
         "--noisestartiter 1 2 --method isonet2 --arch unet-small --log_level info",
         "isonet.py predict tomograms.star results/network_isonet2_unet-small_16_full.pt --gpuID 0 --outputdir out "
         "--inputcolumn rlnTomoName --save_slices"],
        ["dec/TS_02.mrc", "masks/TS_01_mask.mrc", "out/corrected_TS_02.mrc"],
    ),
    "4 the same data in other words": (
        ["isonet.py prepare_star -e tomoset/EVN -o tomoset/ODD --create_average True", DEFOCUS,
         "isonet.py refine tomograms.star --method isonet2",
         "isonet.py prepare_star -f tomograms", DEFOCUS,
         "isonet.py refine tomograms.star --with_deconv True --with_mask True --with_predict True",
         "isonet.py make_mask tomograms.star --input_column rlnDeconvTomoName",
         "isonet.py refine tomograms.star --input_column rlnDeconvTomoName --method isonet2 --noise_level 0.2"],
        ["isonet_maps/network_isonet2_unet-tiny_16_full.pt", "corrected_tomos/corrected_TS_02.mrc"],
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def tomoset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tomograms and their halves, named as AreTomo does."""
    folder = tmp_path_factory.mktemp("tomoset")
    size = "--size 24,40,48 --pixel_size 10 --snr 2 --particles 8 --membranes 0 --tilt_step 6"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # a command leaves its records where it is given
        assert main(f"simulate --count 2 {size}".split()) == 0
    for kind, name in (("even", "tomoset/EVN"), ("odd", "tomoset/ODD"), ("full", "tomograms")):
        (folder / name).mkdir(parents=True)
        for number, path in enumerate(sorted((folder / "simulated" / kind).glob("*.mrc")), start=1):
            half = f"_{name[-3:]}" if kind != "full" else ""
            path.rename(folder / name / f"TS_0{number}{half}.mrc")
    return folder


@pytest.fixture
def here(tomoset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("tomoset", "tomograms"):
        shutil.copytree(tomoset / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def typed(line: str) -> int:
    """The exit code of a line of the tutorial."""
    program, stage, *words = line.split()
    assert program == "isonet.py"
    return main([stage, *words, *SMALL[stage].split()])


@pytest.mark.parametrize("chapter", FLOWS)
def test_every_line_of_the_tutorial_runs(chapter: str, here: Path) -> None:
    lines, left = FLOWS[chapter]
    for line in lines:
        if line == DEFOCUS:
            indices = [row.index for row in read_star(here / "tomograms.star")]
            update_rows(here / "tomograms.star", {index: {"defocus_angstrom": 30000.0} for index in indices})
        else:
            assert typed(line) == 0, line
    assert [name for name in left if not (here / name).is_file()] == []


def test_the_program_has_the_name_that_is_in_their_scripts(here: Path) -> None:
    script = Path(sys.executable).with_name("isonet.py")
    words = (
        "prepare_star --even tomoset/EVN --odd tomoset/ODD --pixel_size 5.35 --number_subtomos 800 –create_average True"
    )
    subprocess.run([script, *words.split()], check=True, capture_output=True)
    row, _ = read_star(here / "tomograms.star")
    assert (row.tomogram, row.number_subtomos, row.pixel_size_angstrom) == ("average/TS_01.mrc", 800, 5.35)


def test_of_halves_and_averages_one_line_asks_for_the_method(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("isonet.py prepare_star -e tomoset/EVN -o tomoset/ODD --create_average True") == 0
    capsys.readouterr()
    assert typed("isonet.py refine tomograms.star") == 64
    [line] = capsys.readouterr().err.splitlines()
    assert "choose isonet2-n2n" in line


def test_without_a_deconvolved_map_the_one_that_it_is_made_of_is_read(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed("isonet.py prepare_star tomograms") == 0
    assert typed("isonet.py refine tomograms.star --input_column rlnDeconvTomoName") == 0
    told = capsys.readouterr().err
    assert told.count("TS_01: rlnDeconvTomoName is empty, rlnTomoName is read instead") == 1
    network = torch.load("isonet_maps/network_isonet2_unet-tiny_16_full.pt", weights_only=False)
    assert "rlnTomoName" in str({name: value for name, value in network.items() if name != "model_state_dict"})


REFUSED = {
    "isonet.py refine subtomo.star --gpuID 0": "subtomo.star: a list of subtomograms, as extract of IsoNet 1",
    "isonet.py predict tomograms.star model_iter30.h5 --gpuID 0": "model_iter30.h5 is a network of IsoNet 1",
    "isonet.py refine tomograms.star --pretrained_model model.h5": "model.h5 is a network of IsoNet 1",
}


@pytest.mark.parametrize("line", REFUSED)
def test_what_only_isonet_1_can_read_is_refused_in_a_sentence(
    line: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed("isonet.py prepare_star tomograms") == 0
    columns = ["rlnSubtomoIndex", "rlnImageName", "rlnCubeSize", "rlnCropSize", "rlnPixelSize"]
    rows = "\n".join(f"_{name} #{number}" for number, name in enumerate(columns, start=1))
    Path("subtomo.star").write_text(f"\ndata_\n\nloop_\n{rows}\n1\tsubtomo/TS_01_000000.mrc\t64\t96\t10.0\n\n")
    capsys.readouterr()
    assert typed(line) == 64
    [said] = capsys.readouterr().err.splitlines()
    assert REFUSED[line] in said


def test_lists_go_to_json_and_come_back(here: Path) -> None:
    assert typed("isonet.py prepare_star tomograms") == 0
    before = read_star(here / "tomograms.star")
    assert main(["star2json", "tomograms.star"]) == 0
    rows = json.loads((here / "tomograms.json").read_text())
    rows[0]["rlnDefocus"] = 25000
    (here / "rows.json").write_text(json.dumps(rows))
    assert main(["json2star", "rows.json", "back.star"]) == 0
    first, second = read_star(here / "back.star")
    assert (first.defocus_angstrom, second) == (25000.0, before[1])
    for wrong in ("{}", "[1]", "no json"):
        (here / "rows.json").write_text(wrong)
        assert main(["json2star", "rows.json", "back.star"]) == 64

"""init: the job file that is written fits what lies in the folder."""

from __future__ import annotations

import re
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from isonet2.cli import main
from isonet2.errors import UserError
from isonet2.io.star import TomogramRow, write_star
from isonet2.job import examples
from isonet2.job.examples import run_command
from isonet2.job.load import load_job
from isonet2.job.models import STAGES, Refine
from isonet2.job.settings import sections, settings_of
from isonet2.stages import init as module
from isonet2.stages.init import init


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr(module, "gpu_count", lambda: 0)


def tomogram(path: Path, shape: tuple[int, int, int] = (72, 128, 144)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(path, np.zeros(shape, np.int8)) as file:
        file.voxel_size = 8.5


@pytest.mark.parametrize(
    ("names", "even", "odd"),
    [
        (("EVN/t1.mrc", "ODD/t1.mrc"), "EVN", "ODD"),
        (("data/even/t1.rec", "data/odd/t1.rec", "data/full/t1.rec"), "data/even", "data/odd"),
        (("s1_half1/a_half1.mrc", "s1_half2/a_half2.mrc"), "s1_half1", "s1_half2"),
        (("t1_EVN_Vol.mrc", "t1_ODD_Vol.mrc", "t1_Vol.mrc"), ".", "."),
        (("my data: 1/even/x.mrc", "my data: 1/odd/x.mrc"), "my data: 1/even", "my data: 1/odd"),
        (("Null/even/x.mrc", "Null/odd/x.mrc", "even/mask/x.mrc"), "Null/even", "Null/odd"),
    ],
)
@pytest.mark.parametrize("inside", [False, True])
def test_halves_are_found_by_the_names_of_folders_or_files(tmp_path, monkeypatch, names, even, odd, inside):
    for name in names:
        tomogram(tmp_path / name)
    monkeypatch.chdir(tmp_path if inside else "/")
    job = load_job(init(Path() if inside else tmp_path))
    assert (job.prepare_star.even, job.prepare_star.odd, job.prepare_star.full) == (even, odd, None)
    assert [name for name in STAGES if getattr(job, name)] == [
        "prepare_star", "make_mask", "refine", "predict", "report",
    ]  # fmt: skip


def test_the_written_job_is_good_and_is_not_written_over(tmp_path, capsys):
    for half in ("even", "odd"):
        tomogram(tmp_path / half / "t1.mrc")
    assert main(["init", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"{tmp_path}/job.yaml: written.")
    assert "steps                       71,250" in shown
    assert main(["validate", str(tmp_path / "job.yaml")]) == 0
    before = (tmp_path / "job.yaml").read_text()
    assert main(["init", str(tmp_path)]) == 64
    assert "is there already" in capsys.readouterr().err
    assert (tmp_path / "job.yaml").read_text() == before


def test_every_key_is_explained_and_defaults_stay_behind_a_mark(tmp_path):
    for half in ("even", "odd"):
        tomogram(tmp_path / half / "t1.mrc")
    text = init(tmp_path, full=True).read_text()
    for name in set(sections()) - {"simulate"}:
        part = re.split(rf"\n#?{name}:\n", text)[1]
        for setting in settings_of(sections()[name]):
            assert f"  # {setting.explained}" in part
            assert any(line.strip("# ").startswith(f"{setting.name}:") for line in part.split("\n"))
    assert "  #epochs: 50\n" in text
    assert "# What isonet2 init found here: pairs of half tomograms: 1; the first has 72×128×144 voxels" in text
    running = re.sub(r"\n#(container|deconv|extract|denoise):\n.*?(?=\n\n)", "", text, flags=re.DOTALL)
    uncommented = running.replace("  #", "  ").replace("\n#seed", "\nseed").replace("\n#star_file", "\nstar_file")
    keys = [line for line in uncommented.split("\n") if ":" in line and line.split(":")[0].strip().isidentifier()]
    (tmp_path / "all.yaml").write_text("\n".join(keys))
    everything = load_job(tmp_path / "all.yaml")
    assert everything.refine == Refine(method="isonet2-n2n", arch="unet-tiny", cube_size=32)


@pytest.mark.parametrize("checkout", [True, False])
def test_the_file_is_short_and_names_the_command_of_the_readme(tmp_path, monkeypatch, capsys, checkout):
    for half in ("even", "odd"):
        tomogram(tmp_path / half / "t1.mrc")
    if not checkout:
        monkeypatch.setattr(examples, "_LAUNCHER", tmp_path / "launch" / "run.sh")
    root = Path(__file__).resolve().parents[2]
    monkeypatch.chdir(root)
    path = tmp_path / "job.yaml"
    assert main(["init", str(tmp_path)]) == 0
    text, command = path.read_text(), f"bash launch/run.sh {path}" if checkout else f"isonet2 run {path}"
    assert len(text) < 3500
    assert f"#   isonet2 validate {path}\n#   {command}\n" in text
    assert f"then: {command}\n" in capsys.readouterr().out
    assert "isonet2 reference, or init --full" in text
    for key in ("even: even", "tilt_min: -60", "#defocus:", "#epochs: 50", "#ranks_per_node: 1", "#tomo_idx:"):
        assert re.search(rf"^  {key} +# \w", text, re.MULTILINE), key
    # What is behind a mark is what holds without the line.
    (tmp_path / "all.yaml").write_text(re.sub(r"^  #(\w+:) *(?! )", r"  \1 ", text, flags=re.MULTILINE))
    assert load_job(tmp_path / "all.yaml") == load_job(path)
    if checkout:
        monkeypatch.chdir(tmp_path)
        assert run_command("a b/job.yaml") == f"bash {root}/launch/run.sh 'a b/job.yaml'"
        assert "\nbash launch/run.sh tomoset/job.yaml" in (root / "README.md").read_text()


@pytest.mark.parametrize(("shape", "cube_size"), [((72, 128, 144), 32), ((30, 500, 500), 24), ((15, 50, 50), 8)])
def test_cubes_fit_the_tomograms(tmp_path, shape, cube_size):
    for half in ("even", "odd"):
        tomogram(tmp_path / half / "t1.mrc", shape)
    assert load_job(init(tmp_path)).refine.cube_size == cube_size


def test_each_gpu_gets_a_rank(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "gpu_count", lambda: 4)
    for half in ("even", "odd"):
        tomogram(tmp_path / half / "t1.mrc", (96, 96, 96))
    assert load_job(init(tmp_path)).resources.ranks_per_node == 4


def test_tomograms_without_halves_are_refined_by_the_method_for_one_map(tmp_path):
    tomogram(tmp_path / "tomograms" / "t1.mrc")
    path = init(tmp_path)
    job = load_job(path)
    assert job.prepare_star.full == "tomograms"
    assert (job.refine.method, job.refine.noise_level) == ("isonet2", (0.2,))
    assert "\n#deconv:\n" in path.read_text()


def test_a_list_of_tomograms_is_taken_as_it_is(tmp_path):
    tomogram(tmp_path / "e.mrc")
    tomogram(tmp_path / "o.mrc")
    angles = {"tilt_min_deg": -60.0, "tilt_max_deg": 60.0, "pixel_size_angstrom": 8.5}
    write_star(
        tmp_path / "tomograms.star", [TomogramRow(index=1, half1="e.mrc", half2="o.mrc", number_subtomos=50, **angles)]
    )
    job = load_job(init(tmp_path))
    assert job.prepare_star is None
    assert job.refine.cube_size == 32


def test_nothing_is_written_where_nothing_is_found(tmp_path):
    (tmp_path / "mask").mkdir()
    tomogram(tmp_path / "mask" / "t1.mrc")
    tomogram(tmp_path / ".hidden" / "t1.mrc")
    with pytest.raises(UserError, match=r"no \.mrc, \.rec, \.map files in it or below it"):
        init(tmp_path)
    assert not (tmp_path / "job.yaml").exists()

"""The command line of each stage: every spelling that is in people's scripts, and what is said about the others."""

from __future__ import annotations

import shlex

import pytest

from isonet2.errors import UserError
from isonet2.job.flags import help_page, job_from_flags, parse_flags, stage_settings
from isonet2.job.load import make_job
from isonet2.job.models import STAGES
from isonet2.job.settings import Setting, written

TUTORIAL = [
    # (as in IsoNet2's tutorial or in its users' scripts, what it means)
    (
        "prepare_star --even tomoset/EVN --odd tomoset/ODD --pixel_size 5.35 --number_subtomos 8  –create_average True",
        {"even": "tomoset/EVN", "odd": "tomoset/ODD", "pixel_size": 5.35, "number_subtomos": 8, "create_average": True},
    ),
    ("prepare_star -e EVN -o ODD --create_average", {"even": "EVN", "odd": "ODD", "create_average": True}),
    ("prepare_star tomograms", {"full": "tomograms"}),
    ("prepare_star -f tomograms", {"full": "tomograms"}),
    ("prepare_star --full=tomograms", {"full": "tomograms"}),
    (
        "prepare_star folder --outputstar t.star --pixelsize 10 --numbersubtomos 100",
        {"full": "folder", "star_file": "t.star", "pixel_size": 10.0, "number_subtomos": 100},
    ),
    ("prepare_star --even=E --odd=O --create_average False", {"even": "E", "odd": "O", "create_average": False}),
    (
        "prepare_star --even E --odd O —create-average --tilt-min -51 --defocus 3e4 2.5e4",
        {"even": "E", "odd": "O", "create_average": True, "tilt_min": (-51.0,), "defocus": (30000.0, 25000.0)},
    ),
    ("prepare_star --defocus 30000 2023_tomos", {"defocus": (30000.0,), "full": "2023_tomos"}),
    ("prepare_star t --rlnDefocus [30000, 25000]", {"defocus": (30000.0, 25000.0)}),
    ("prepare_star t --defocus=30000,25000 --number_subtomos auto", {"defocus": (30000.0, 25000.0)}),
    ("prepare_star t --tilt_min=-6e1 --tilt_max 1e1", {"tilt_min": (-60.0,), "tilt_max": (10.0,)}),
    ("deconv tomograms.star", {"star_file": "tomograms.star", "output_dir": "deconv", "input_column": None}),
    (
        "deconv t.star --deconvfolder d --snrfalloff 0.7 --deconvstrength 1 --chunksize 200 --overlap_rate 0.5",
        {"output_dir": "d", "snrfalloff": 0.7, "deconvstrength": 1.0, "chunk_size": 200, "overlap_rate": 0.5},
    ),
    ("deconv --ncpu 4 --isCTFflipped True --highpassnyquist 0.03 --tomo_idx 1,3",
     {"threads_per_rank": 4, "phaseflipped": True, "highpassnyquist": 0.03, "tomo_idx": "1,3"}),
    (
        "make_mask t.star --maskfolder m --patchsize 6 --densitypercentage 40 --stdpercentage 30 --zcrop 0.3",
        {"star_file": "t.star", "output_dir": "m", "patch_size": 6, "density_percentage": 40.0, "std_percentage": 30.0,
         "z_crop": 0.3},
    ),
    ("make_mask tomograms.star --input_column rlnDeconvTomoName", {"input_column": "rlnDeconvTomoName"}),
    ("make_mask", {"star_file": "tomograms.star", "output_dir": "mask"}),
    ("refine tomograms.star -o 01_test", {"output_dir": "01_test", "star_file": "tomograms.star"}),
    ("refine s.star --outputdir r --iterations 30 --with_predict False", {"epochs": 30, "with_predict": False}),
    ("refine s.star --gpuID 0,1 --noise_mode None --normalisation none",
     {"gpuID": (0, 1), "noise_mode": "nofilter", "normalisation": "none"}),
    ("deconv s.star --chunk_size None --ncpu 4", {"chunk_size": 256}),
    ("refine --seed 7 --learning-rate=1e-4 --threads 3", {"seed": 7, "learning_rate": 1e-4, "threads_per_rank": 3}),
    ("refine --epochs 3 --epochs 5", {"epochs": 5}),
    (
        "predict tomograms.star isonet_maps/network.pt --tomo_idx 1,3,5-7 --inputcolumn rlnDeconvTomoName",
        {"star_file": "tomograms.star", "model": "isonet_maps/network.pt", "tomo_idx": "1,3,5-7",
         "input_column": "rlnDeconvTomoName"},
    ),
    ("predict --model b --star_file a", {"star_file": "a", "model": "b"}),
    ("predict b.pt --star_file a.star", {"star_file": "a.star", "model": "b.pt"}),
    ("predict a.star --apply_mw_x1 -o 010 b.pt", {"star_file": "a.star", "model": "b.pt", "output_dir": "010"}),
    ("predict a.star --apply_mw_x1=False -- -b.pt", {"model": "-b.pt", "apply_mw_x1": False}),
    ("predict m.pt 'with space.pt' --output_dir 'my maps'", {"model": "with space.pt", "output_dir": "my maps"}),
    ("simulate --size 64 96 96 --count 2", {"size": (64, 96, 96), "count": 2}),
    ("simulate --size=64,96,96 --seed=3", {"size": (64, 96, 96), "seed": 3}),
    ("report t.star --truth_folder truth", {"star_file": "t.star", "truth_folder": "truth"}),
    ("extract t.star --cube_size 64 -o /scratch --verify", {"cube_size": 64, "cache_dir": "/scratch", "verify": True}),
]  # fmt: skip


@pytest.mark.parametrize(("line", "meaning"), TUTORIAL)
def test_lines_from_the_tutorial_mean_what_they_say(line, meaning):
    stage, *arguments = shlex.split(line)
    job = job_from_flags(stage, arguments)
    resources = {name: getattr(job.resources, name) for name in ("threads_per_rank", "gpuID")}
    said = {"star_file": job.star_file, "seed": job.seed, **resources}
    said |= dict(getattr(job, stage))
    assert {name: said[name] for name in meaning} == meaning
    assert [name for name in STAGES if getattr(job, name) is not None] == [stage]


@pytest.mark.parametrize("stage", STAGES)
def test_every_setting_has_a_flag_in_every_spelling(stage):
    for setting in stage_settings(stage):
        value = written(setting.default) if setting.default is not None else "7"
        for name in (setting.name, setting.name.replace("_", "-"), *setting.aliases):
            dashes = "-" if len(name) == 1 else "--"
            for arguments in ([f"{dashes}{name}", value], [f"{dashes}{name}={value}"], [f"–{name}", value]):
                given = parse_flags(arguments, stage_settings(stage))
                assert {key: written(v) for key, v in given.items()} == {setting.name: value}


def mistakes(line: str) -> list[str]:
    stage, *arguments = shlex.split(line)
    with pytest.raises(UserError) as caught:
        job_from_flags(stage, arguments)
    return str(caught.value).split("\n")


def test_mistakes_are_named_as_they_were_typed():
    assert mistakes("refine t.star --epoch 20 --ouput_dir=x") == [
        "unknown option --epoch (did you mean '--epochs'?)",
        "unknown option --ouput_dir (did you mean '--output_dir'?)",
    ]
    assert mistakes("refine t.star --epochs many --cube_size 100 -z") == ["unknown option -z"]
    assert mistakes("refine t.star --epochs many --cube_size 100") == [
        "--epochs: got 'many', needs a whole number ≥ 1",
        "--cube_size: cube_size 100 does not fit unet-tiny, which needs a multiple of 8: take 96 or 104",
    ]
    assert mistakes("refine --epochs --seed 3") == ["--epochs: a value is missing, it needs a whole number ≥ 1"]
    assert mistakes("refine --mixed_precision=perhaps") == ["--mixed_precision: got 'perhaps', needs true or false"]
    assert mistakes("refine a.star b.star") == ["unexpected argument 'b.star' (by position: star_file)"]
    assert mistakes("refine --threads 0") == ["--threads: got '0', needs a whole number ≥ 1"]
    assert mistakes("prepare_star --even E") == ["--even: even and odd go together: name both folders"]


def test_pairs_are_collected_however_they_are_given():
    pairs = Setting("set", "", kind="pairs")
    assert parse_flags(["--set", "a=1", "b=-2", "--set=c=3", "--set", "d=x y"], [pairs]) == {
        "set": ["a=1", "b=-2", "c=3", "d=x y"]
    }


def test_flags_that_are_not_given_leave_the_defaults():
    for stage in set(STAGES) - {"prepare_star", "predict"}:
        assert job_from_flags(stage, []) == make_job({stage: {}}, {})


@pytest.mark.parametrize("width", [60, 100])
def test_help_shows_examples_first_then_every_option_with_unit_and_default_within_the_terminal(width):
    page = help_page("isonet2 refine: trains.", ["isonet2 refine t.star"], stage_settings("refine"), width=width)
    lines = page.split("\n")
    assert lines.index("Examples:") < lines.index("By position, or by name:") < lines.index("Options:")
    assert max(map(len, lines)) <= width
    assert all(f"--{setting.name}" in page for setting in stage_settings("refine"))
    flat = " ".join(page.split())
    assert "--cube_size side of a training cube; a multiple of the network's divisor [voxels]" in flat
    assert "(default 32; a whole number ≥ 8)" in flat
    assert "--output_dir, -o folder for checkpoints" in flat

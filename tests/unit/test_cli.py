"""The program as people and schedulers meet it: exit codes, one line for a mistake, help at once."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from samples import torch_set

import isonet2
from isonet2.cli import main
from isonet2.errors import Interrupted, LaunchError
from isonet2.io.mrc import write_mrc
from isonet2.job.flags import job_from_flags
from isonet2.job.models import STAGES, Predict
from isonet2.job.settings import sections, settings_of
from isonet2.job.tools import TOOLS, tool_from_flags

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(isonet2.__file__).parents[1])}
VERBS = ("run", "validate", "plan", "init", *STAGES, *TOOLS, "status", "schema", "reference")


@pytest.fixture
def ran(monkeypatch, tmp_path):
    """The jobs that were started in the current folder, an empty one, and how; nothing is run."""
    monkeypatch.chdir(tmp_path)
    jobs = []
    pipeline = SimpleNamespace(
        run=lambda job, **how: jobs.append((job, how)), predict_tomogram=lambda job, index: jobs.append((job, index))
    )
    monkeypatch.setitem(sys.modules, "isonet2.pipeline", pipeline)
    return jobs


def test_a_job_file_runs_with_its_changes(ran, tmp_path):
    (tmp_path / "job.yaml").write_text("simulate:\n")
    assert main(["run", "job.yaml", "--set", "simulate.count=3", "--set=seed=5", "--restart"]) == 0
    [(job, how)] = ran
    assert (job.simulate.count, job.seed, job.folder) == (3, 5, tmp_path)
    assert how == {"restart": True, "stages": None, "force": False}


def test_a_scheduler_starts_some_stages_or_one_tomogram_of_a_job(ran, tmp_path):
    (tmp_path / "job.yaml").write_text("simulate:\nprepare_star: {full: simulated/full}\n")
    assert main(["run", "job.yaml", "--stages", "simulate,prepare_star"]) == 0
    assert ran.pop()[1] == {"restart": False, "stages": ["simulate", "prepare_star"], "force": False}
    (tmp_path / "job.yaml").write_text("simulate:\nprepare_star: {full: simulated/full}\nrefine:\npredict:\n")
    assert main(["run", "job.yaml", "--stages", "predict", "--tomogram", "12"]) == 0
    assert ran.pop()[1] == 12


def test_a_stage_runs_alone_even_if_it_was_done(ran):
    assert main(["simulate", "--count", "2"]) == 0
    [(job, how)] = ran
    assert job.simulate.count == 2
    assert how == {"always": True}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("refine --epoch 20", "isonet2: unknown option --epoch (did you mean '--epochs'?)"),
        ("refin t", "isonet2: unknown command 'refin' (did you mean 'refine'?); isonet2 --help lists them all"),
        ("run job.yaml --restrat", "isonet2: unknown option --restrat (did you mean '--restart'?)"),
        ("run absent.yaml", "isonet2: absent.yaml: cannot be read as a job file: No such file or directory"),
        ("run job.yaml --set refine.epoch=2", "isonet2: --set refine.epoch=2: unknown key (did you mean 'epochs'?)"),
        ("plan --json=perhaps", "isonet2: --json: got 'perhaps', needs true or false"),
        ("run --stages refine", "isonet2: --stages: 'refine' is none of this job's stages: simulate"),
        ("run --tomogram 1", "isonet2: --tomogram goes with --stages predict"),
        ("reference more", "isonet2: unexpected argument 'more'"),
        ("prepare_star even odd", "isonet2: unexpected argument 'odd' (by position: full)"),
        ("run .", "isonet2: .: is a folder: name the job file, as in job.yaml"),
        ("simulate --count 1 -o job.yaml",
         "isonet2: --output_dir: {}/job.yaml is a file, where a folder is needed"),
        ("json2star rows.json job.yaml/x", "isonet2: job.yaml: File exists"),
        ("json2star rows.json .", "isonet2: .: is a folder: name a file"),
        ("init nowhere", "isonet2: nowhere: no such folder"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_exit_64_before_anything_runs(ran, tmp_path, capsys, arguments, line):
    (tmp_path / "job.yaml").write_text("simulate:\n")
    (tmp_path / "rows.json").write_text('[{"rlnTomoName": "a"}]')
    assert main(arguments.split()) == 64
    assert capsys.readouterr() == ("", line.format(tmp_path) + "\n")
    assert ran == []


def test_a_job_whose_inputs_are_missing_does_not_start(ran, tmp_path, capsys):
    (tmp_path / "job.yaml").write_text("make_mask:\n")
    missing = f"list 'no.star' is not there (seen from {tmp_path}); isonet2 prepare_star makes it\n"
    assert main(["run", "job.yaml", "--set", "star_file=no.star"]) == 64
    assert capsys.readouterr().err == f"isonet2: --set star_file=no.star: {missing}"
    assert main(["make_mask", "no.star"]) == 64
    assert capsys.readouterr().err == f"isonet2: --star_file: {missing}"
    assert ran == []


@pytest.mark.parametrize("verb", sorted({*VERBS} - {"watch"}))  # which would watch until the run begins
def test_without_arguments_only_what_looks_around_does_anything(ran, tmp_path, capsys, verb):
    (tmp_path / "job.yaml").write_text("simulate:\n")
    code = main([verb])
    said = capsys.readouterr().err
    if verb in ("validate", "plan", "status", "schema", "reference"):
        assert (code, said) == (0, "")
    elif verb in ("init", "report"):  # of what lies here: nothing
        assert code == 64
        assert "needs arguments" not in said
    else:
        assert code == 64
        assert said.startswith(f"isonet2: {verb}: needs arguments, as in\n  ")
        assert f"isonet2 {verb} " in said.split("\n")[1]
    assert ran == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job.yaml"]


def test_help_names_no_default_that_is_not_taken(capsys):
    for verb, expected in (("run", False), ("deconv", False), ("validate", True)):
        assert main([verb, "--help"]) == 0
        position = capsys.readouterr().out.partition("By position, or by name:")[2].partition("Options:")[0]
        assert ("default job.yaml" in position or "default tomograms.star" in position) is expected


def test_a_long_path_of_the_launcher_breaks_no_column(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.split("tomoset/job.yaml    check it")[1].splitlines()[1:]
    assert lines[0].rstrip().endswith("run.sh tomoset/job.yaml")
    assert lines[1] == " " * 39 + "do it; after an interruption, go on"


def test_only_the_first_rank_speaks(ran, capsys, monkeypatch):
    for name, value in torch_set(1, 2).items():
        monkeypatch.setenv(name, value)
    assert main(["refine", "--epoch", "20"]) == 64
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 75), (Interrupted("saved"), 75), (LaunchError("1 rank of 2"), 70)]
)
def test_each_way_to_end_has_its_exit_code(monkeypatch, tmp_path, capsys, error, code):
    def fail(*_args: object, **_kwargs: object) -> None:
        raise error

    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "isonet2.pipeline", SimpleNamespace(run=fail))
    assert main(["simulate", "--count", "1"]) == code
    assert re.fullmatch(r"isonet2: [^\n]+\n", capsys.readouterr().err)


def test_an_error_of_the_program_keeps_its_traceback(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "isonet2.pipeline", SimpleNamespace(run=lambda *_args, **_kwargs: 1 / 0))
    with pytest.raises(ZeroDivisionError):
        main(["simulate", "--count", "1"])


def test_the_overview_lists_every_command(capsys):
    for arguments in (["--help"], ["-h"], ["-help"], ["help"]):
        assert main(arguments) == 0
        listed = re.findall(r"^  (\w+)  +[A-Z]", capsys.readouterr().out, re.MULTILINE)
        assert listed == list(VERBS)
    assert main([]) == 64


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_each_command_begins_with_examples_that_work(ran, capsys, monkeypatch, verb):
    monkeypatch.setenv("COLUMNS", "80")
    assert main([verb.replace("_", "-"), "--help"]) == 0
    page = capsys.readouterr().out
    assert main(["help", verb]) == 0
    assert capsys.readouterr().out == page
    examples = re.search(r"Examples:\n((?:  .+\n)+)", page)
    assert examples
    assert "Options:" not in page[: page.index("Examples:")]
    for line in examples[1].strip().split("\n"):
        assert f"isonet2 {verb}" in line
        if verb in STAGES:
            job_from_flags(verb, line.split(f"isonet2 {verb}")[1].split())
        if verb in TOOLS:
            tool_from_flags(TOOLS[verb], line.split(f"isonet2 {verb}")[1].split())
    assert all(
        len(line) <= 80 for line in page.split("\n") if not line.startswith("  isonet2") and "torchrun" not in line
    )


def test_the_version_is_the_packages(capsys):
    for word in ("--version", "-V", "-v", "version"):
        assert main([word]) == 0
        assert capsys.readouterr().out == f"isonet2 {isonet2.__version__}\n"


def test_the_plan_is_json_for_scripts(ran, tmp_path, capsys):
    (tmp_path / "job.yaml").write_text("simulate:\nresources:\n  ranks_per_node: 2\n  threads_per_rank: 1\n")
    assert main(["plan", "job.yaml", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["stages"], plan["ranks"], plan["nodes"], plan["threads_per_rank"]) == (["simulate"], 2, 1, 1)
    assert plan["simulation_bytes"] == 96 * 192 * 192 * 4 * 4


def test_the_reference_has_every_key_with_its_default(capsys):
    assert main(["reference"]) == 0
    text = capsys.readouterr().out
    for name, section in sections().items():
        part = text.split(f"### `{name}:`")[1].split("###")[0]
        rows = [line for line in part.split("\n") if line.startswith("| `")]
        assert [re.findall(r"`(\w+)`", row)[0] for row in rows] == [setting.name for setting in settings_of(section)]
    assert "| `padding_factor` |" in text
    assert f"| a number > 1 and ≤ 3 | `{Predict().padding_factor:g}` |" in text


@pytest.mark.parametrize("arguments", ["--help", "refine --help", "validate", "plan --json", "init .", "reference"])
def test_what_needs_no_training_answers_in_a_second_without_torch(tmp_path, arguments):
    for half in ("even", "odd"):
        write_mrc(tmp_path / half / "a.mrc", np.zeros((32, 40, 48), np.float32), pixel_size_angstrom=10)
    if not arguments.startswith("init"):
        (tmp_path / "job.yaml").write_text("prepare_star:\n  even: even\n  odd: odd\nmake_mask:\n")
    code = (
        "import sys\nfrom isonet2.cli import main\ncode = main()\n"
        "assert not {'torch', 'h5py', 'matplotlib', 'scipy', 'pandas'} & set(sys.modules)\nsys.exit(code)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code, *arguments.split()], cwd=tmp_path, env=ENVIRONMENT, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # The processor's time, since others may be busy on this machine.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


def test_the_module_is_the_program(tmp_path):
    command = [sys.executable, "-m", "isonet2", "refine", "--epoch=3"]
    run = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (64, "")
    assert run.stderr == "isonet2: unknown option --epoch (did you mean '--epochs'?)\n"


def test_the_package_offers_the_job_and_run_without_loading_torch_before_it_must():
    code = (
        "import sys, isonet2; isonet2.Job; assert 'torch' not in sys.modules; "
        "isonet2.run; assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        isonet2.other  # noqa: B018


def test_a_reader_who_has_seen_enough_gets_no_traceback():
    run = f"{sys.executable} -m isonet2 reference | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", run], capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""

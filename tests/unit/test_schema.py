"""The JSON Schema of job files says of them what the loader says, as far as a schema can."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import yaml

from isonet2.cli import main
from isonet2.errors import UserError
from isonet2.io.mrc import write_mrc
from isonet2.job.load import _CoreLoader, load_job
from isonet2.job.schema import job_schema
from isonet2.job.settings import sections, settings_of

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = job_schema()
CHECK = jsonschema.Draft202012Validator(SCHEMA)
JOBS = [
    *re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL),
    *re.findall(r'JOB = """\n(.*?)"""', (ROOT / "tests/pipeline/small_job.py").read_text(), re.DOTALL),
]


def mistakes(text: str) -> set[str]:
    """Where the schema finds something wrong in a job file that an editor has read."""
    found = CHECK.iter_errors(yaml.load(text, Loader=_CoreLoader))
    return {"/".join(map(str, mistake.absolute_path)) for mistake in found}


def test_it_is_a_schema_of_the_draft_that_it_names() -> None:
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    CHECK.check_schema(SCHEMA)


@pytest.mark.parametrize("text", JOBS)
def test_the_jobs_of_readme_and_tests_are_valid(text: str) -> None:
    assert mistakes(text) == set()


def test_what_init_writes_is_valid_with_all_its_defaults(tmp_path: Path) -> None:
    for half in ("even", "odd"):
        write_mrc(tmp_path / half / "t.mrc", np.ones((32, 32, 32), np.float32), pixel_size_angstrom=10)
    assert main(["init", str(tmp_path), "--full"]) == 0
    text = (tmp_path / "job.yaml").read_text()
    assert mistakes(text) == set()
    shown = re.sub(
        r"^#(\w+:)$|^(\s*)#(\w+: \S)", r"\1\2\3", text, flags=re.MULTILINE
    )  # every default, as init shows it
    assert mistakes(shown) == set()
    assert mistakes(shown.replace("epochs: 50", "epochs: 50 times")) == {"denoise/epochs", "refine/epochs"}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("refine: {epochs: 20}", None),
        ("refine:", None),
        ("{}", ""),
        ("version: 1", ""),
        ("version: 2\nrefine:", "version"),
        ("refin: {epochs: 20}", ""),
        ("refine: {epoch: 20}", "refine"),
        ("refine: {epochs: 0}", "refine/epochs"),
        ("refine: {epochs: many}", "refine/epochs"),
        ("refine: {epochs: 2.5}", "refine/epochs"),
        ("refine: {epochs: }", "refine/epochs"),
        ("refine: {iterations: 5}", None),
        ("refine: {iterations: 5, epochs: 5}", "refine"),
        ("refine: {arch: unet-huge}", "refine/arch"),
        ("refine: {CTF_mode: None}", None),
        ("refine: {CTF_mode: network}", None),
        ("refine: {CTF_mode: on}", "refine/CTF_mode"),
        ("refine: {learning_rate: 1e-4}", None),
        ("refine: {learning_rate: -1e-4}", "refine/learning_rate"),
        ("refine: {batch_size: None}", None),
        ("refine: {noise_level: 0.1, method: isonet2}", None),
        ("refine: {noise_level: [0.1, 0.2], noise_start_iter: '2,5', method: isonet2}", None),
        ("refine: {noise_level: [0.1, low], method: isonet2}", "refine/noise_level"),
        ("refine: {with_preview: 7}", "refine/with_preview"),
        ("refine: {output_dir: 010}", None),
        ("refine: [epochs, 20]", "refine"),
        ("simulate: {size: [96, 192, 192]}", None),
        ("simulate: {size: '96,192,192'}", None),
        ("simulate: {size: [96, 192]}", "simulate/size"),
        ("prepare_star: {full: t, number_subtomos: auto}", None),
        ("prepare_star: {full: t, number_subtomos: 3000}", None),
        ("prepare_star: {full: t, number_subtomos: some}", "prepare_star/number_subtomos"),
        ("refine:\nresources: {wall_time: 12:00:00, gpuID: 0,}", None),
        ("refine:\nresources: {wall_time: 12 hours}", "resources/wall_time"),
        ("refine:\nresources: {gpuID: '0,2'}", None),
        ("refine:\nresources: {nodes: 0}", "resources/nodes"),
        ("refine:\ncontainer: {image: i.sif, binds: [/data, '/raw:/in:ro']}", None),
    ],
)
def test_the_schema_finds_what_the_loader_finds(text: str, place: str | None, tmp_path: Path) -> None:
    assert mistakes(text) == (set() if place is None else {place})
    (tmp_path / "job.yaml").write_text(text)
    if place is None:
        load_job(tmp_path / "job.yaml")
    else:
        with pytest.raises(UserError):
            load_job(tmp_path / "job.yaml")


def test_every_setting_is_there_under_each_spelling_with_its_sentence_and_its_default() -> None:
    seen = 0
    for name, kind in sections().items():
        known: dict[str, Any] = SCHEMA["$defs"][name]["properties"]
        spellings = {
            spelling: setting for setting in settings_of(kind) for spelling in (setting.name, *setting.aliases)
        }
        assert set(known) == set(spellings)
        for spelling, setting in spellings.items():
            assert setting.explained in known[spelling]["description"]
            if setting.default is not None:
                wanted = list(setting.default) if isinstance(setting.default, tuple) else setting.default
                assert known[spelling]["default"] == wanted
                jsonschema.validate(wanted, known[spelling])
            seen += 1
    assert seen > 120


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(SCHEMA))

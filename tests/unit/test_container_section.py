"""The container section: isonet2 and the launch scripts, which have to read it without isonet2, read the same."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from isonet2 import cli, pipeline
from isonet2.errors import UserError
from isonet2.io.atomic import existing_file
from isonet2.io.pairing import list_files
from isonet2.job.container import image_facts
from isonet2.job.load import dump_job, load_job
from isonet2.job.models import Container, Job, Predict, Report
from isonet2.stages.validate import validate

LAUNCH = Path(__file__).resolve().parents[2] / "launch"
X = {"image": "x.sif"}
ALIKE: list[tuple[str, list[str], dict[str, Any] | None]] = [
    # a job file but for its report, what is --set, and the section that both read
    ("", [], None),
    ("# container: {image: x.sif}\n", [], None),
    ("container:\n  image: x.sif\n", [], X),
    ("container:\n  image: x.sif\nseed: 3\n", [], X),
    ("container :\n image: x.sif\n", [], X),
    ('"container":\n  "image": "x.sif"\n', [], X),
    ("'container': {'image': 'x.sif'}\n", [], X),
    ("container: {image: x.sif}\n", [], X),
    ("container: { image: x.sif , }  # ours\n", [], X),
    ("container: {\n  image: x.sif,\n  gpu: nv}\n", [], {**X, "gpu": "nv"}),
    ("container:\r\n  image: x.sif\r\n", [], X),
    ("container:\n  image: x.sif   # the best\n\n# and\n\n  gpu: rocm\n", [], {**X, "gpu": "rocm"}),
    ("container:\n  image:\n    x.sif\n", [], X),
    ("container:\n  image: /a b/it's one.sif\n", [], {"image": "/a b/it's one.sif"}),
    ("container:\n  image: localhost:5000/isonet2:cpu#1\n", [], {"image": "localhost:5000/isonet2:cpu#1"}),
    ("container: {image: 'docker://a/b@sha256:00', runtime: singularity}\n", [],
     {"image": "docker://a/b@sha256:00", "runtime": "singularity"}),
    ("container:\n  image: 010\n  binds: 1e3\n", [], {"image": "010", "binds": ("1e3",)}),
    ("container:\n  image: x.sif\n  binds: [/a b, '/c:/d:ro', \"/e:ro\"]\n", [],
     {**X, "binds": ("/a b", "/c:/d:ro", "/e:ro")}),
    ("container:\n  binds:\n  - /a # b\n\n  - \"/c d\"\n  -   e:/f\n  image: x.sif\n", [],
     {**X, "binds": ("/a", "/c d", "e:/f")}),
    ("container: {binds: [\n  /a,\n  /b], image: x.sif}\n", [], {**X, "binds": ("/a", "/b")}),
    ("container:\n  image: x.sif\n  binds: []\n", [], X),
    ("container:\n  image: x.sif\n", ["container=null"], None),
    ("container: {image: x.sif}\n", ["container=~", "container.image=y"], {"image": "y"}),
    ("container:\n  image: x.sif\n  gpu: nv\n", ["container.image='y z.sif'"], {"image": "y z.sif", "gpu": "nv"}),
    ("container:\n  image: x.sif\n  binds: [/a]\n", ["container.binds=[/b, /c]", "seed=3"],
     {**X, "binds": ("/b", "/c")}),
    ("", ["container.image=x.sif", "container.runtime=docker", "container.image=z"],
     {"image": "z", "runtime": "docker"}),
    ("", ["container={image: x.sif, binds: [/a]}"], {**X, "binds": ("/a",)}),
]  # fmt: skip
REFUSED = [  # YAML that the scripts do not read
    "container:\n  image: 'it''s.sif'\n",
    'container:\n  image: "\\x41.sif"\n',
    "container:\n  image: >-\n    x.sif\n",
    "container:\n  image: 'c #d.sif'\n",
    "container: {\n  image: x.sif,\ngpu: nv}\n",
    "container:\n  image: x[1].sif\n",
    "container:\n  image : x.sif\n",
    "container:\n  image: x.sif\n  gpu : nv\n",
    "container:\n  image: x.sif\n  binds: ['/a{b}']\n",
    "seed: &n 3\ncontainer:\n  image: !!str x.sif\n",
    "? container\n: image: x.sif\n",
]


def values(section: Container | None) -> list[str]:
    """In the order in which the scripts keep them."""
    return [str(section.image), section.runtime, section.gpu, *section.binds] if section else []


def scripts_read(path: Path, settings: list[str], truth: Container | None) -> subprocess.CompletedProcess[str]:
    """What launch/container.sh makes of a job, a line for each value, after it was told what isonet2 does."""
    line = 'set -euo pipefail; . "$0"; N=$1; shift; read_container "${@:1:N}"; as_isonet2_reads_it "${@:N+1}"; '
    line += 'printf "%s\\n" "${READ[@]}"'
    words = [str(path), *(word for setting in settings for word in ("--set", setting))]
    command = ["bash", "-c", line, str(LAUNCH / "container.sh"), str(len(words)), *words, *values(truth)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(("text", "settings", "section"), ALIKE)
def test_the_scripts_read_what_isonet2_reads(
    text: str, settings: list[str], section: dict[str, Any] | None, tmp_path: Path
) -> None:
    job = tmp_path / "job.yaml"
    job.write_bytes(f"version: 1\n{text}report:\n".encode())
    truth = Container.model_validate(section) if section else None
    assert load_job(job, settings).container == truth
    done = scripts_read(job, settings, truth)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == (values(truth) or [""])


@pytest.mark.parametrize("indent", [None, 1, "\t"])
@pytest.mark.parametrize("section", [None, X, {**X, "gpu": "nv", "binds": ["/a b", "/c:/d:ro"]}])
def test_they_read_json_alike_too(indent: int | str | None, section: dict[str, Any] | None, tmp_path: Path) -> None:
    job = tmp_path / "job.json"
    job.write_text(json.dumps({"report": {}, **({"container": section} if section else {}), "seed": 3}, indent=indent))
    truth = load_job(job).container
    assert (truth is None) is (section is None)
    done = scripts_read(job, [], truth)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("text", REFUSED)
def test_what_they_read_otherwise_they_refuse(text: str, tmp_path: Path) -> None:
    job = tmp_path / "job.yaml"
    job.write_text(f"{text}report:\n")
    truth = load_job(job).container
    assert truth is not None
    done = scripts_read(job, [], truth)
    assert (done.returncode, done.stdout) == (64, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("container: ")


def test_a_byte_order_mark_changes_nothing_and_a_margin_is_refused(tmp_path: Path) -> None:
    job = tmp_path / "job.yaml"
    job.write_text("\ufeffcontainer:\n  image: x.sif\nreport:\n")
    assert scripts_read(job, [], load_job(job).container).returncode == 0
    job.write_text("  container:\n    image: x.sif\n  report:\n")
    done = scripts_read(job, [], load_job(job).container)
    assert (done.returncode, done.stderr) == (64, "container: the section is indented: write it at the margin\n")


def test_what_only_some_of_a_section_is_read_of_is_refused_too(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("report:\n")
    done = scripts_read(tmp_path / "job.yaml", [], Container(image="x.sif"))
    assert (done.returncode, done.stdout) == (64, "")
    assert "taken for '' where isonet2 reads 'x.sif auto none'" in done.stderr


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("", "job.yaml:1: container: image: name a .sif file"),
        ("  image:\n", "job.yaml:2: container: image: name a .sif file"),
        (
            "  image: x\n  runtime: charliecloud\n",
            "job.yaml:3: container.runtime: got 'charliecloud', needs one of auto",
        ),
        ("  image: x\n  gpu: cuda\n", "job.yaml:3: container.gpu: got 'cuda', needs one of none, nv, rocm"),
        ("  image: x\n  bind: /a\n", "job.yaml:3: container.bind: unknown key (did you mean 'binds'?)"),
        ("  image: x\n  binds: {a: b}\n", "job.yaml:3: container.binds: needs a text or a list of texts"),
        (
            "  image: x\n  binds: [/a, '/a:b']\n",
            "job.yaml:3: container: binds: '/a:b': needs a folder, or folder:/folder",
        ),
        ("  image: x\n  binds: '/a,/b'\n", "job.yaml:3: container: binds: '/a,/b': needs a folder"),
    ],
)
def test_mistakes_in_it_have_a_line_each(section: str, said: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path("job.yaml").write_text(f"container:\n{section}report:\n")
    with pytest.raises(UserError) as caught:
        load_job("job.yaml")
    [line] = str(caught.value).splitlines()
    assert line.startswith(said)


def test_it_is_written_down_with_the_job_and_changes_no_result(tmp_path: Path) -> None:
    section = Container(image="x.sif", binds=("/a b", "/c:/d:ro"), gpu="nv")
    (tmp_path / "resolved.yaml").write_text(dump_job(Job(container=section, predict=Predict(model="n.pt"))))
    assert load_job(tmp_path / "resolved.yaml").container == section
    keys = {pipeline._key("report", Job(container=image, report=Report()), {}, "") for image in (None, section)}
    assert len(keys) == 1


IN_IMAGE = {"ISONET2_IN_CONTAINER": "1", "ISONET2_IMAGE": "/x.sif", "ISONET2_RUNTIME": "apptainer"}


@pytest.mark.parametrize(
    ("environment", "facts"),
    [
        (IN_IMAGE, {"image": "/x.sif", "digest": None, "runtime": "apptainer"}),
        (
            {**IN_IMAGE, "ISONET2_IMAGE_DIGEST": "sha256:1"},
            {"image": "/x.sif", "digest": "sha256:1", "runtime": "apptainer"},
        ),
        ({"ISONET2_IMAGE": "/x.sif"}, None),  # a site's, while this runs outside
        ({"ISONET2_IN_CONTAINER": "1"}, None),  # started by hand
        ({}, None),
    ],
)
def test_the_image_is_known_where_the_scripts_started_it(environment: dict[str, str], facts: Any) -> None:
    assert image_facts(environment) == facts


@pytest.mark.parametrize("name", ["ISONET2_IN_CONTAINER", "APPTAINER_CONTAINER", None])
def test_in_a_container_what_is_missing_may_not_be_bound(name: str | None, tmp_path: Path, monkeypatch: Any) -> None:
    for other in ("ISONET2_IN_CONTAINER", "APPTAINER_CONTAINER"):
        monkeypatch.delenv(other, raising=False)
    if name:
        monkeypatch.setenv(name, "1")
    job = Job(report=Report(truth_folder=str(tmp_path / "truth"))).in_folder(tmp_path)
    said = []
    for look in (
        lambda: existing_file(tmp_path / "a.mrc", what="tomogram"),
        lambda: list_files(tmp_path / "even", (".mrc",)),
        lambda: validate(job),
    ):
        with pytest.raises(UserError) as caught:
            look()
        said += str(caught.value).splitlines()
    hint = "; in a container, its folder must be in container.binds" if name else ""
    assert said == [
        f"{tmp_path}/a.mrc: no such file (tomogram){hint}",
        f"{tmp_path}/even: no such folder{hint}",
        f"star_file: list 'tomograms.star' is not there (seen from {tmp_path}); isonet2 prepare_star makes it{hint}",
        f"report.truth_folder: folder '{tmp_path}/truth' is not there{hint}",
    ]


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("section", ["", "container: {image: x.sif}\n"])
def test_a_job_that_runs_outside_of_its_image_says_so(
    section: str, inside: bool, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    for name in ("ISONET2_IN_CONTAINER", "APPTAINER_CONTAINER"):
        monkeypatch.delenv(name, raising=False)
    if inside:
        monkeypatch.setenv("ISONET2_IN_CONTAINER", "1")
    monkeypatch.setattr(pipeline, "run", lambda *_, **__: None)
    (tmp_path / "job.yaml").write_text(f"{section}simulate:\n  count: 1\n")
    assert cli.main(["run", str(tmp_path / "job.yaml")]) == 0
    lines = capsys.readouterr().err.splitlines()
    expected = [
        "isonet2: warning: container: this runs outside of the image; launch/run.sh and slurm/submit.sh start it inside"
    ]
    assert lines == (expected if section and not inside else [])

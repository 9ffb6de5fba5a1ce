"""The image under real engines: what it holds, how large it is, and that it works under what facilities do to it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from common import ROOT, Image

pytestmark = pytest.mark.timeout(1500)  # the first test may wait for the image


def said(image: Image, *command: str, code: int = 0, **environment: str) -> str:
    """What a command says, which ends with that code."""
    done = subprocess.run(
        command, env={**image.environment, **environment}, capture_output=True, text=True, cwd="/", check=False
    )
    assert done.returncode == code, f"{done.returncode}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done.stdout


def in_docker(image: Image, *command: str, options: tuple[str, ...] = (), code: int = 0) -> str:
    return said(image, "docker", "run", "--rm", "--network=none", *options, image.name, *command, code=code)


def test_docker_with_a_read_only_root_no_network_no_home_and_any_user(image: Image) -> None:
    told = in_docker(
        image, "smoke.sh", options=("--read-only", "--tmpfs=/tmp:exec", "--user=12345:12345", "--env=HOME=/nowhere")
    )
    assert "all is well" in told
    assert "not tried" not in told


def test_apptainer_with_nothing_of_the_host(image: Image, tmp_path: Path) -> None:
    """With a clean environment, without a home, with its own /tmp."""
    bare = ("--cleanenv", "--no-home", "--contain", f"--bind={tmp_path}:/tmp")
    assert "all is well" in said(image, "apptainer", "exec", *bare, str(image.sif), "smoke.sh")


def test_apptainer_with_all_of_the_host(image: Image) -> None:
    """Its own %test."""
    assert "all is well" in said(image, "apptainer", "test", str(image.sif))


def test_a_job_behind_a_link_below_a_home_that_is_kept_out(image: Image, tmp_path: Path) -> None:
    """By scripts that lie in the image, all that a facility pulls."""
    scripts = tmp_path / "apps"
    scripts.mkdir()
    copy = ("cp", "-r", "/isonet2/share/launch", "/isonet2/share/slurm", str(scripts))
    said(image, "apptainer", "exec", f"--bind={scripts}", str(image.sif), *copy)
    (tmp_path / "scratch").mkdir()
    link = Path.home() / f"isonet2-test-{os.getpid()}"
    link.symlink_to(tmp_path / "scratch")
    try:
        (link / "job.yaml").write_text(f"{JOB.partition('refine')[0]}container: {{image: {image.sif}}}\n")
        run = (str(scripts / "launch" / "run.sh"), str(link / "job.yaml"))
        said(image, "bash", *run, APPTAINER_CONTAIN="1")
        said(image, "bash", *run, "--restart")
    finally:
        link.unlink()
    record = json.loads((tmp_path / "scratch" / "provenance.json").read_text())
    labels = json.loads(said(image, "docker", "image", "inspect", "--format={{json .Config.Labels}}", image.name))
    assert record["git_revision"] == labels["org.opencontainers.image.revision"]


def test_help_tells_how_to_bind_and_to_submit(image: Image) -> None:
    told = said(image, "apptainer", "run", str(image.sif), "--help")
    assert "--bind" in told
    assert "slurm/submit.sh" in told
    assert "isonet2 run" in told
    assert told == in_docker(image, "--help")
    assert "apptainer run isonet2.sif --help" in said(image, "apptainer", "run-help", str(image.sif))


def test_commands_of_isonet2_and_programs_of_the_image_both_run(image: Image) -> None:
    assert re.match(r"isonet2 \d", in_docker(image, "--version", options=("--entrypoint=isonet2",)))
    assert in_docker(image, "python", "-c", "print(1 + 1)") == "2\n"
    in_docker(image, "validate", "/nowhere/job.yaml", code=64)


def test_labels_say_version_revision_and_licence(image: Image) -> None:
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    labels = json.loads(said(image, "docker", "image", "inspect", "--format={{json .Config.Labels}}", image.name))
    names = ("version", "licenses", "revision", "source", "title")
    found = {name: labels[f"org.opencontainers.image.{name}"] for name in names}
    assert (found["version"], found["licenses"], found["title"]) == (version[1], "BSD-3-Clause", "isonet2")
    of_sif = said(image, "apptainer", "inspect", "--labels", str(image.sif))
    assert f"Version: {version[1]}" in of_sif
    assert f"Revision: {found['revision']}" in of_sif


def test_it_is_small_and_has_neither_root_nor_tools_to_build_with(image: Image) -> None:
    """What is beyond base and torch: at most 400 MB."""
    size = {}
    for name in (image.name, "isonet2-base:bookworm"):
        size[name] = int(said(image, "docker", "image", "inspect", "--format={{.Size}}", name))
    torch_mb = float(re.search(r"(\d+) MB  torch and what it needs", image.log)[1])  # type: ignore[index]
    beyond = (size[image.name] - size["isonet2-base:bookworm"]) / 1e6 - torch_mb
    assert 0 < beyond < 400
    assert f"{size[image.name] // 1_000_000} MB, sha256:" in image.log
    assert said(image, "docker", "image", "inspect", "--format={{.Config.User}}", image.name) == "1000:1000\n"
    look = (
        "for tool in gcc cc make git pip pip3 mpicc mpicxx; do command -v $tool; done; "
        "find /isonet2 -type d -name tests; ls -A /var/cache/apt /var/lib/apt/lists /root/.cache 2> /dev/null"
    )
    left = in_docker(image, "sh", "-c", f"{look}; true", options=("--user=0",)).split()
    assert [line for line in left if not line.endswith(":")] == []


def test_what_the_host_says_wins_over_the_defaults_of_the_image(image: Image) -> None:
    show = ("sh", "-c", "echo $MPLCONFIGDIR $OMP_NUM_THREADS")
    assert in_docker(image, *show, options=("--env=MPLCONFIGDIR=/scratch/m", "--env=OMP_NUM_THREADS=3")) == (
        "/scratch/m 3\n"
    )
    assert in_docker(image, *show).startswith("/tmp/isonet2-matplotlib")
    in_sif = ("apptainer", "run", str(image.sif), *show)
    assert said(image, *in_sif, MPLCONFIGDIR="/scratch/m", OMP_NUM_THREADS="3") == "/scratch/m 3\n"
    assert said(image, *in_sif, OMP_NUM_THREADS="3") == f"/tmp/isonet2-matplotlib-{os.getuid()} 3\n"


def test_the_bill_of_materials_lists_what_is_installed(image: Image) -> None:
    bill = json.loads(image.bill.read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    versions = {part["purl"].split("@")[0]: part["version"] for part in bill["components"]}
    locks = [(ROOT / "containers" / f"{name}.lock").read_text() for name in ("packages", "mpich", "torch-cpu")]
    for package in ("torch", "numpy", "mpich", "mpi4py", "h5py"):
        assert re.search(rf"^{package}=={re.escape(versions[f'pkg:pypi/{package}'])}\s", "\n".join(locks), re.MULTILINE)
    assert versions["pkg:deb/debian/python3-minimal"]
    assert len({part["bom-ref"] for part in bill["components"]}) == len(bill["components"])
    digest = said(image, "docker", "image", "inspect", "--format={{.Id}}", image.name).strip()
    assert bill["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": digest.removeprefix("sha256:")}]
    hashed = next(part for part in bill["components"] if part["purl"].startswith("pkg:pypi/torch@"))
    assert all(re.fullmatch("[0-9a-f]{64}", each["value"]) for each in hashed["properties"])


JOB = """
version: 1
resources: {ranks_per_node: 2, threads_per_rank: 1, gpus_per_node: 0}
simulate: {count: 1, size: [32, 48, 48], pixel_size: 15, snr: 2, particles: 20, membranes: 0}
prepare_star: {even: simulated/even, odd: simulated/odd, number_subtomos: 16}
make_mask:
refine: {channels: [4, 8], cube_size: 16, epochs: 500}
"""


@pytest.mark.parametrize("runtime", ["docker", "apptainer"])
def test_a_stop_reaches_the_ranks_and_a_checkpoint_is_written(image: Image, tmp_path: Path, runtime: str) -> None:
    """By the scripts of the project, with the image named in the job file; what is written belongs to the user."""
    folder = tmp_path / "a job"
    folder.mkdir()
    name = image.name if runtime == "docker" else image.sif
    (folder / "job.yaml").write_text(f"{JOB}container: {{image: '{name}', runtime: {runtime}}}\n")
    command = ["bash", str(ROOT / "launch" / "run.sh"), str(folder / "job.yaml")]
    environment = {**image.environment, "PYTHON": "/nowhere/python", "OMP_NUM_THREADS": "1"}
    with (tmp_path / "said").open("w") as file:
        run = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
    metrics = folder / "isonet_maps" / "metrics.jsonl"
    while run.poll() is None and not metrics.exists():
        time.sleep(0.5)
    if run.poll() is None:
        run.send_signal(signal.SIGTERM)
    assert run.wait(timeout=120) == 75, (tmp_path / "said").read_text()[-4000:]
    assert list((folder / "isonet_maps" / "checkpoints").iterdir())
    assert {path.stat().st_uid for path in folder.rglob("*")} == {folder.stat().st_uid}
    record = json.loads((folder / "provenance.json").read_text())
    assert record["container"]["image"] == str(name)
    assert record["container"]["digest"].startswith("sha256:")


@pytest.mark.parametrize("runtime", ["docker", "apptainer"])
def test_a_signal_to_the_container_itself_is_heard_too(image: Image, tmp_path: Path, runtime: str) -> None:
    """Without the scripts: docker stop, or a batch system that knows of one process alone."""
    (tmp_path / "job.yaml").write_text(JOB.replace("ranks_per_node: 2", "ranks_per_node: 1"))
    docker = ["docker", "run", "--rm", "--network=none", "--user=0", f"--volume={tmp_path}:{tmp_path}", image.name]
    apptainer = ["apptainer", "exec", f"--bind={tmp_path}", str(image.sif), "isonet2"]
    run = subprocess.Popen(
        [*(docker if runtime == "docker" else apptainer), "run", str(tmp_path / "job.yaml")],
        env=image.environment, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while run.poll() is None and not (tmp_path / "isonet_maps" / "metrics.jsonl").exists():
        time.sleep(0.5)
    if run.poll() is None:
        run.send_signal(signal.SIGTERM)
    assert run.wait(timeout=120) == 75
    assert list((tmp_path / "isonet_maps" / "checkpoints").iterdir())

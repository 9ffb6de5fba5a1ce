"""Which program starts the image of a job; and what cannot be started is refused before anything else happens."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from image_host import IN_FILES, RUNTIMES, Host

CHOICES = [
    # image, runtime, what is installed, what is started
    ("x.sif", "auto", RUNTIMES, "apptainer"),
    ("x.sif", "auto", ("singularity", "docker"), "singularity"),
    ("x.sif", "singularity", RUNTIMES, "singularity"),
    ("sandbox", "auto", RUNTIMES, "apptainer"),
    ("isonet2", "auto", RUNTIMES, "docker"),
    ("isonet2:cpu", "auto", ("apptainer", "podman"), "podman"),
    ("localhost/isonet2", "podman", RUNTIMES, "podman"),
    ("sandbox", "docker", RUNTIMES, "docker"),
    ("docker://a/b:1", "auto", RUNTIMES, "apptainer"),
    ("oras://a/b:1", "auto", ("singularity", "podman"), "singularity"),
]


def test_a_docker_that_is_podman_is_started_as_podman(tmp_path: Path) -> None:
    host = Host(tmp_path, "docker", "podman")
    host.put("docker", '#!/bin/bash\n[ "$1" = --version ] && echo podman version 4.9\n')
    for image, runtime in (("a/b", "auto"), ("docker://a/b", "docker")):
        job = host.job({"image": image, "runtime": runtime})
        done = host.contain("echo $ISONET2_RUNTIME $ISONET2_IMAGE", job)
        assert (done.returncode, done.stdout) == (0, "podman a/b\n"), done.stderr


@pytest.mark.parametrize(("name", "runtime", "installed", "chosen"), CHOICES)
def test_who_starts_the_image(name: str, runtime: str, installed: tuple[str, ...], chosen: str, tmp_path: Path) -> None:
    host = Host(tmp_path, *installed)
    job = host.job({"image": name, "runtime": runtime})
    (job.parent / "sandbox" / ".singularity.d").mkdir(parents=True)
    (job.parent / "isonet2").mkdir()
    done = host.contain('echo "$ISONET2_RUNTIME|$ISONET2_IMAGE|$PYTHON"', job)
    assert done.returncode == 0, done.stderr
    found = name
    if chosen in IN_FILES:
        found = str(job.parent / (name.replace("://", "___").replace("/b:", "_b_") + ".sif" if "://" in name else name))
    assert done.stdout.strip() == f"{chosen}|{found}|{host.project}/launch/contained.sh"


def test_an_image_of_a_registry_is_pulled_once(tmp_path: Path) -> None:
    host = Host(tmp_path, "apptainer", "docker")
    for image in ("docker://a/b:1", "oras://unknown"):
        job = host.job({"image": image})
        done = [host.contain("", job).returncode for _ in range(2)]
        assert done == ([0, 0] if image == "docker://a/b:1" else [64, 64])
    pulls = [start.words for start in host.starts("pull")]
    assert [words[-1] for words in pulls] == ["docker://a/b:1", "oras://unknown", "oras://unknown"]
    assert [path.name for path in sorted(job.parent.glob("*.sif*"))] == ["docker___a_b_1.sif", "x.sif"]
    again = host.contain("", host.job({"image": "docker://a/b:1"}))
    assert f"docker___a_b_1.sif, pulled on {datetime.now():%Y-%m-%d}" in again.stderr
    host.contain("", host.job({"image": "unknown"}))
    assert [(start.runtime, start.words) for start in host.starts("pull")][3:] == [("docker", ("unknown",))]


REFUSED = [
    ({"image": "y.sif"}, RUNTIMES, "y.sif: no such file"),
    ({"image": "isonet2:cpu", "runtime": "apptainer"}, RUNTIMES, "isonet2:cpu: no such file"),
    ({"image": "unknown"}, RUNTIMES, "docker has no image unknown and finds none"),
    ({"image": "x.sif"}, ("docker",), "x.sif needs apptainer, and there is none in the PATH"),
    ({"image": "isonet2"}, ("apptainer",), "isonet2 needs docker, and there is none in the PATH"),
    ({"image": "isonet2", "runtime": "podman"}, ("docker",), "isonet2 needs podman, and there is none in the PATH"),
    ({"image": "x.sif", "runtime": "rm"}, RUNTIMES, "runtime rm: take auto, apptainer"),
    ({"image": "x.sif", "binds": ["/no such folder"]}, RUNTIMES, "binds: /no such folder: there is no"),
    ({"image": "x.sif", "binds": ["/tmp:in"]}, RUNTIMES, "binds: '/tmp:in': needs a folder, or folder:/folder/inside"),
    (
        {"image": "x.sif", "binds": ["/"]},
        RUNTIMES,
        "binds: /: there is no such folder here, or it is the whole of this host",
    ),
    ({"gpu": "nv"}, RUNTIMES, "the section names no image"),
]


@pytest.mark.parametrize(("section", "installed", "said"), REFUSED)
def test_what_cannot_be_started_is_refused_at_once_in_one_line(
    section: dict[str, Any], installed: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    host = Host(tmp_path, *installed)
    done = host.bash(host.project / "launch" / "run.sh", host.job(section))
    assert (done.returncode, done.stdout) == (64, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("container: ")
    assert said in line
    assert not host.starts("run")


def test_a_colon_in_the_name_of_a_folder_keeps_it_out(tmp_path: Path) -> None:
    host = Host(tmp_path, "docker")
    (tmp_path / "a:b").mkdir()
    done = host.bash(host.project / "launch" / "run.sh", host.job({"image": "i"}), cwd=tmp_path / "a:b")
    assert (done.returncode, done.stderr) == (
        64,
        f"container: {tmp_path}/a:b: a colon or a comma in the name keeps it out\n",
    )


def test_a_file_that_is_no_image_is_refused_after_what_the_runtime_says(tmp_path: Path) -> None:
    host = Host(tmp_path, "apptainer")
    job = host.job({"image": "broken.sif"})
    (job.parent / "broken.sif").write_text("text")
    for script in ("launch/run.sh", "slurm/submit.sh"):
        done = host.bash(host.project / script, job)
        assert done.returncode == 64
        assert done.stderr == f"container: apptainer could not start {job.parent}/broken.sif, and ended with 255\n"


def test_how_what_runs_inside_ends_is_not_taken_for_that(tmp_path: Path) -> None:
    host = Host(tmp_path, "apptainer")
    host.put("apptainer", "#!/bin/bash\nexit 137\n")
    done = host.bash(host.project / "launch" / "run.sh", host.job({"image": "x.sif"}))
    assert (done.returncode, done.stderr) == (137, "")


@pytest.mark.parametrize("place", ["/usr", "/usr/lib/", "/etc", "/lib64", "/isonet2/lib"])
def test_what_would_hide_the_image_is_not_bound(place: str, tmp_path: Path) -> None:
    host = Host(tmp_path, "docker")
    job = host.job({"image": "isonet2", "binds": [f"{tmp_path}:{place}"]})
    done = host.bash(host.project / "launch" / "run.sh", job)
    assert done.returncode == 64
    assert done.stderr == f"container: {place.rstrip('/')} would hide what the image has there: use another folder\n"

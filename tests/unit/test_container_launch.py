"""The launch scripts with a container section: what they start inside which image, and what they let into it."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from image_host import IN_FILES, RUNTIMES, Host, Start

from isonet2.parallel.launchers import LAUNCHERS

SAY_ENVIRONMENT = "import json, os; print(json.dumps(dict(os.environ) | {'cwd': os.getcwd()}))"


def image_of(runtime: str) -> str:
    return "x.sif" if runtime in IN_FILES else "isonet2:cpu"


def contained(host: Host, section: dict[str, Any], *words: str, **environment: str) -> dict[str, str]:
    """The environment that a python inside finds."""
    done = host.contain('"$PYTHON" -c "$CODE"', host.job(section), *words, CODE=SAY_ENVIRONMENT, **environment)
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


def last(host: Host) -> Start:
    return host.starts("run")[-1]


SMALL = {
    "resources": {"ranks_per_node": 2, "threads_per_rank": 1},
    "simulate": {"count": 1, "size": [24, 32, 32], "particles": 3, "membranes": 0, "tilt_step": 12.0},
}


def test_a_job_on_two_ranks_runs_inside_and_says_in_which_image(tmp_path: Path) -> None:
    """Under a site that cleans the environment; from the job's folder, which has a space; as torchrun starts ranks."""
    host = Host(tmp_path, "apptainer")
    (tmp_path / "raw maps").mkdir()
    job = host.job({"image": "x.sif", "binds": [f"{tmp_path}/raw maps:/raw:ro"], "gpu": "nv"}, **SMALL)
    script = host.project / "launch" / "run.sh"
    done = host.bash(script, "job.yaml", cwd=job.parent, APPTAINER_CLEANENV="1", PYTHONPATH="/nowhere")
    assert done.returncode == 0, done.stderr
    assert (job.parent / "simulated" / "even").is_dir()
    record = json.loads((job.parent / "provenance.json").read_text())
    digest = f"sha256:{hashlib.sha256(b'an image').hexdigest()}"
    assert record["container"] == {"image": str(job.parent / "x.sif"), "digest": digest, "runtime": "apptainer"}
    assert record["ranks"] == 2
    starts = host.starts()
    assert [start.inside[:3] for start in starts[:2]] == [["-m", "isonet2", "validate"], ["-m", "isonet2", "plan"]]
    assert starts[2].inside == [str(host.project / "launch" / "plan.py")]
    assert starts[3].inside[:2] == ["-m", "torch.distributed.run"]
    assert len(starts) == 4  # the ranks are inside already
    for start in starts:
        assert "--nv" in start.words
        assert start.values("--bind") == [
            f"{tmp_path}/raw maps:/raw:ro", *(f"{place}:{place}" for place in sorted((job.parent, host.project)))
        ]  # fmt: skip


def test_docker_too_and_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    host = Host(tmp_path, "docker")
    job = host.job({"image": "isonet2:cpu"}, simulate=SMALL["simulate"])
    words = (host.project / "launch" / "run.sh", job, "--launcher", "local")
    done = host.bash(*words)
    assert done.returncode == 0, done.stderr
    record = json.loads((job.parent / "provenance.json").read_text())
    expected = {"image": "isonet2:cpu", "digest": "registry/isonet2:cpu@sha256:12", "runtime": "docker"}
    assert record["container"] == expected
    again = host.bash(*words)
    assert "simulate: done before" in again.stderr


def test_a_section_that_the_scripts_misread_ends_before_the_first_stage(tmp_path: Path) -> None:
    host = Host(tmp_path, "apptainer")
    job = host.job(simulate={})
    job.write_text('container:\n  image: x.sif\n  gpu: "\\x6ev"\nsimulate:\n')
    for script in ("launch/run.sh", "slurm/submit.sh"):
        done = host.bash(host.project / script, job)
        assert done.returncode == 64
        assert done.stderr.splitlines()[-1] == (
            r"container: taken for 'x.sif auto \x6ev' where isonet2 reads 'x.sif auto nv': write one key or bind a line"
        )
    assert not (job.parent / "logs").exists()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_each_place_is_bound_once_and_behind_those_around_it(runtime: str, tmp_path: Path) -> None:
    host = Host(tmp_path, runtime)
    (tmp_path / "scratch").mkdir()
    binds = ["~/scratch", f"{tmp_path}:ro", "../raw maps:/maps/", f"{tmp_path}/scratch/"]
    (tmp_path / "raw maps").mkdir()
    section = {"image": image_of(runtime), "binds": binds}
    contained(host, section, TMPDIR=f"{tmp_path}/scratch/", SLURM_TMPDIR=f"{tmp_path}/no longer there")
    option = "--bind" if runtime in IN_FILES else "--volume"
    job = tmp_path / "a job"
    assert last(host).values(option) == [
        f"{tmp_path}/raw maps:/maps", f"{tmp_path}:{tmp_path}:ro",
        *(f"{place}:{place}" for place in (job, tmp_path / "scratch", host.project)),
    ]  # fmt: skip


def test_what_a_link_leads_to_is_bound_before_the_link(tmp_path: Path) -> None:
    """In the image the home may be there, with its links, and what they lead to may not."""
    host = Host(tmp_path, "apptainer")
    (tmp_path / "z real").mkdir()
    host.job({"image": "x.sif"}).parent.rename(tmp_path / "z real" / "job")
    (tmp_path / "a job").symlink_to("z real/job")
    (tmp_path / "data").symlink_to("z real")
    contained(host, {"image": "x.sif", "binds": [f"{tmp_path}/data:ro"]})
    real = tmp_path / "z real"
    assert last(host).values("--bind") == [
        *(f"{place}:{place}" for place in (tmp_path, host.project)), f"{real}:{real}:ro", f"{real}/job:{real}/job",
        f"{tmp_path}/a job:{tmp_path}/a job", f"{tmp_path}/data:{tmp_path}/data:ro",
    ]  # fmt: skip


def test_what_runs_inside_leaves_the_input_of_the_script_alone(tmp_path: Path) -> None:
    host = Host(tmp_path, "docker")
    line = f'for N in 1 2; do read -r JOB; bash "{host.project}/launch/run.sh" "$JOB"; done'
    job = host.job({"image": "isonet2"}, simulate=SMALL["simulate"])
    done = host.bash("-c", f"{line} <<< $0$'\\n'$0", job, CDPATH=".:/")
    assert done.returncode == 0, done.stderr
    assert "simulate: done before" in done.stderr


def test_the_root_of_the_host_is_never_bound(tmp_path: Path) -> None:
    host = Host(tmp_path, "apptainer")
    assert host.contain('cd /; "$PYTHON" -c pass', host.job({"image": "x.sif"})).returncode == 0
    assert last(host).values("--bind") == [f"{place}:{place}" for place in (tmp_path / "a job", host.project)]


OPTIONS = {
    ("apptainer", "none"): set(),
    ("apptainer", "nv"): {"--nv"},
    ("singularity", "rocm"): {"--rocm"},
    ("docker", "none"): set(),
    ("docker", "nv"): {"--gpus=all"},
    ("docker", "rocm"): {"--device=/dev/kfd", "--device=/dev/dri"},
    ("podman", "nv"): {"--device=nvidia.com/gpu=all"},
    ("podman", "rocm"): {"--device=/dev/kfd", "--device=/dev/dri"},
}


@pytest.mark.parametrize(("runtime", "gpu"), OPTIONS)
def test_gpus_are_asked_for_in_the_words_of_the_runtime(runtime: str, gpu: str, tmp_path: Path) -> None:
    host = Host(tmp_path, runtime)
    contained(host, {"image": image_of(runtime), "gpu": gpu})
    every = set().union(*OPTIONS.values())
    assert every & set(last(host).words) == OPTIONS[runtime, gpu]


@pytest.mark.parametrize(
    ("runtime", "numbers", "user", "groups"),
    [
        ("docker", "1234 100 100 77", "1234:100", {"100", "77"}),
        ("docker", "0 0 0", "0:0", {"0"}),
        ("podman", "1234 100 100 77", "1234:100", {"--userns=keep-id", "--group-add=keep-groups"}),
        ("podman", "0 0 0", "0:0", set()),
    ],
)
def test_what_is_written_belongs_to_the_user(
    runtime: str, numbers: str, user: str, groups: set[str], tmp_path: Path
) -> None:
    """Also where the image names another. `numbers`: of the user, the group, all groups."""
    host = Host(tmp_path, runtime)
    cases = "-u) echo $1 ;; -g) echo $2 ;; -G) shift 2; echo $* ;;"
    host.put("id", f"#!/bin/bash\nOF=$1\nset -- {numbers}\ncase $OF in {cases} esac\n")
    found = contained(host, {"image": "isonet2"})
    start = last(host)
    assert start.values("--user") == [user]
    keeps = {word for word in start.words if "keep" in word}
    assert {*start.values("--group-add"), *keeps} == groups
    assert (found["HOME"], found["cwd"]) == (str(tmp_path), str(tmp_path))
    assert {"--rm", "--interactive", "--network=host", "--ipc=host", "--pull=never"} <= set(start.words)


def test_under_a_rootless_docker_the_user_is_root(tmp_path: Path) -> None:
    host = Host(tmp_path, "docker")
    host.put("id", "#!/bin/bash\necho 1234\n")
    text = (host.programs / "docker").read_text()
    host.put(
        "docker",
        text.replace('if verb == "image":', 'if verb == "info": print("[name=rootless]")\nif verb == "image":'),
    )
    contained(host, {"image": "isonet2"})
    assert last(host).values("--user") == ["0:0"]
    assert last(host).values("--group-add") == []


READ = {
    name for launcher in LAUNCHERS
    for name in (*launcher.signs, launcher.rank, *launcher.size, *launcher.local_rank, *launcher.also)
}  # fmt: skip
OURS = {
    "ISONET2_STOP_AT", "ISONET2_MPI", "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "NCCL_SOCKET_IFNAME", "LAUNCHER",
    "GLOO_SOCKET_IFNAME", "OMP_NUM_THREADS", "TORCHELASTIC_RUN_ID", "NODES", "RANKS", "FOLDER", "PYTHONFAULTHANDLER",
    "SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "PMI_FD", "PMIX_NAMESPACE", "NODE_RANK", "CORES", "USER",
    "CUDA_DEVICE_ORDER", "PYTORCH_CUDA_ALLOC_CONF", "HDF5_USE_FILE_LOCKING", "FI_PROVIDER",
}  # fmt: skip
POISON = {"PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "LD_PRELOAD_OF_HOST", "MODULEPATH"}


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_what_launchers_say_gets_into_a_clean_environment_and_the_hosts_python_does_not(
    runtime: str, tmp_path: Path
) -> None:
    host = Host(tmp_path, runtime)
    environment = {name: f"{name} of the host" for name in READ | OURS | POISON}
    clean = {f"{name.upper()}_CLEANENV": "1" for name in IN_FILES}
    found = contained(host, {"image": image_of(runtime)}, **environment, **clean)
    assert {name: found[name] for name in READ | OURS} == {name: environment[name] for name in READ | OURS}
    assert POISON & found.keys() == set()
    assert [found[name] for name in ("ISONET2_IN_CONTAINER", "PYTHONNOUSERSITE", "PYTHONSAFEPATH")] == ["1", "1", "1"]


def test_where_the_environment_stays_the_hosts_python_does_not_get_in_either(tmp_path: Path) -> None:
    found = contained(Host(tmp_path, "apptainer"), {"image": "x.sif"}, **dict.fromkeys(POISON, "/host"))
    assert POISON & found.keys() == {"LD_PRELOAD_OF_HOST", "MODULEPATH"}


def test_inside_an_image_python_is_just_python(tmp_path: Path) -> None:
    host = Host(tmp_path, "apptainer")
    host.put("python", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    code = "import sys; print(sys.argv[1:])"
    done = host.bash(host.project / "launch" / "contained.sh", "-c", code, "a b", ISONET2_IN_CONTAINER="1")
    assert (done.returncode, done.stdout) == (0, "['a b']\n")
    for inside in ("ISONET2_IN_CONTAINER", "APPTAINER_CONTAINER"):
        done = host.contain('echo "${PYTHON:-untouched}"', host.job({"image": "y.sif"}), **{inside: "1"})
        assert (done.returncode, done.stdout) == (0, "untouched\n")
    assert host.starts() == []


def test_a_site_may_name_the_image_for_jobs_that_do_not(tmp_path: Path) -> None:
    host = Host(tmp_path, *RUNTIMES)
    (tmp_path / "site.sif").write_text("image")
    (tmp_path / "lustre").mkdir()
    site = {"ISONET2_IMAGE": f"{tmp_path}/site.sif", "ISONET2_GPU": "nv", "ISONET2_BINDS": f"{tmp_path}/lustre,/var:ro"}
    contained(host, {}, **site)
    assert (last(host).runtime, last(host).words.count(f"{tmp_path}/site.sif")) == ("apptainer", 1)
    assert "--nv" in last(host).words
    assert {f"{tmp_path}/lustre:{tmp_path}/lustre", "/var:/var:ro"} <= set(last(host).values("--bind"))
    contained(host, {"image": "isonet2", "runtime": "podman"}, **site)
    assert last(host).runtime == "podman"
    assert not {"--device=nvidia.com/gpu=all", "/var:/var:ro"} & set(last(host).words)
    contained(host, {"image": "isonet2"}, "--set", "container=null", **site)
    assert last(host).runtime == "apptainer"


def test_without_an_image_nothing_changes(tmp_path: Path) -> None:
    host = Host(tmp_path, *RUNTIMES)
    line = 'image_digest; env | grep ISONET2_ || echo "$PYTHON"'
    assert host.contain(line, host.job(), PYTHON="mine").stdout == "mine\n"
    job = host.job({"image": "x.sif"})
    assert host.contain(line, job, "--set", "container=null", PYTHON="mine").stdout == "mine\n"
    assert host.starts() == []

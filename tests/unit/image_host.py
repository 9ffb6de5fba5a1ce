"""A host whose container runtimes note how they are started, and then run Python right here, with what they let in.

It has a few programs and the scripts; to isonet2 nothing leads but these runtimes.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RUNTIMES = ("apptainer", "singularity", "docker", "podman")
IN_FILES = ("apptainer", "singularity")  # these take their images from files
ROOT = Path(__file__).resolve().parents[2]
_RUNTIME = """#!{python} -IS
import json, os, sys
name, (verb, *words) = os.path.basename(sys.argv[0]), sys.argv[1:]
if verb == "--version":
    sys.exit(print(name.capitalize(), "version 20.10"))
with open({log!r}, "a") as log:
    log.write(json.dumps([name, verb, *words]) + chr(10))
if verb == "pull" and name in ("apptainer", "singularity"):
    open(words[0], "w").write("image")
if verb == "image":
    print("registry/" + words[-1] + "@sha256:12")
if verb != "run":
    sys.exit("unknown" in str(words[-1:]))
environment = {{}}
if name in ("apptainer", "singularity"):
    prefix = name.upper() + "ENV_"
    if not os.environ.get(name.upper() + "_CLEANENV"):
        environment = dict(os.environ)
    environment |= {{key.removeprefix(prefix): text for key, text in os.environ.items() if key.startswith(prefix)}}
while words[0].startswith("-"):
    option = words.pop(0)
    value = words.pop(0) if option in {with_value!r} else ""
    if option == "--env":
        key, equals, text = value.partition("=")
        environment[key] = text if equals else os.environ[key]
    if option in ("--pwd", "--workdir"):
        os.chdir(value)
environment["PATH"] = {path!r}
image, python, *arguments = words
if image.endswith("broken.sif"):
    sys.exit(255)
assert python == "python"
os.execve({inside!r}, ["python", *arguments], environment)
"""
_TOOLS = (
    "awk", "basename", "bash", "cat", "cksum", "cut", "date", "dirname", "env", "flock", "getent", "grep", "head",
    "hostname", "id", "mkdir", "mv", "nproc", "python3", "readlink", "realpath", "rm", "sed", "sha256sum", "sleep",
    "sort", "tr",
)  # fmt: skip
_WITH_VALUE = ("--pwd", "--bind", "--workdir", "--volume", "--env", "--user", "--group-add")


@dataclass(frozen=True)
class Start:
    """How a runtime was started."""

    runtime: str
    verb: str
    words: tuple[str, ...]

    def values(self, option: str) -> list[str]:
        """What it was given behind an option, in the order of the command."""
        return [value for name, value in zip(self.words, self.words[1:], strict=False) if name == option]

    @property
    def inside(self) -> list[str]:
        """What python was told."""
        return list(self.words[self.words.index("python") + 1 :])


class Host:
    """A folder with the project, without .venv, and with these runtimes in the PATH, in which Python is `python`."""

    def __init__(self, folder: Path, *runtimes: str, python: str = sys.executable) -> None:
        self.folder, self.log = folder, folder / "starts"
        self.project = folder / "the project"
        for part in ("launch", "slurm"):
            shutil.copytree(ROOT / part, self.project / part)
        self.programs = folder / "bin"
        self.programs.mkdir()
        for tool in _TOOLS:
            (self.programs / tool).symlink_to(str(shutil.which(tool, path="/usr/bin:/bin")))
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        text = _RUNTIME.format(
            python=sys.executable, log=str(self.log), with_value=_WITH_VALUE, path=path, inside=python
        )
        for runtime in runtimes:
            self.put(runtime, text)

    def put(self, program: str, text: str) -> None:
        """Another program in the PATH."""
        (self.programs / program).unlink(missing_ok=True)  # a link to one of the real host
        (self.programs / program).write_text(text)
        (self.programs / program).chmod(0o755)

    def bash(self, *words: str | Path, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        """bash with these words, in an environment that has nothing but these variables."""
        plain = {"PATH": str(self.programs), "HOME": str(self.folder), "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            ["/bin/bash", *map(str, words)],
            env={**plain, **environment}, cwd=cwd or self.folder,
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    def contain(self, line: str, *words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """A line of script behind `contain` with these words, in the current folder of a user."""
        script = f'set -euo pipefail; . "{self.project}/launch/container.sh"; contain "$@"; {line}'
        return self.bash("-c", script, "bash", *words, **environment)

    def starts(self, *verbs: str) -> list[Start]:
        """All that was asked of the runtimes so far, or what began with one of these words."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        found = [json.loads(line) for line in lines]
        return [Start(name, verb, tuple(words)) for name, verb, *words in found if not verbs or verb in verbs]

    def job(self, section: dict[str, Any] | None = None, **sections: Any) -> Path:
        """A job file in a folder of its own, beside which is an image: x.sif."""
        folder = self.folder / "a job"
        folder.mkdir(exist_ok=True)
        (folder / "x.sif").write_bytes(b"an image")
        text = {"version": 1, **({"container": section} if section else {}), **(sections or {"report": {}})}
        (folder / "job.yaml").write_text(json.dumps(text))
        return folder / "job.yaml"

"""The image that a job runs in: what the job file says of it, and what launch/contained.sh says inside of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from pydantic import model_validator

from isonet2.job.option import Section, Texts, option

_BIND = re.compile(r"[^:,]+(:/[^:,]*)?(:r[ow])?")


class Container(Section):
    """The image in which launch/run.sh and slurm/ start every stage; without this section, stages run on the host."""

    image: str | None = option(
        None,
        "has to be named: a .sif file, an address such as docker://name:tag, or an image of docker or podman",
    )
    runtime: Literal["auto", "apptainer", "singularity", "docker", "podman"] = option(
        "auto", "what starts it; auto: apptainer or singularity for files and addresses, else docker or podman"
    )
    binds: Texts = option(
        (), "what it sees of the host beside the folder of the job and the current one, as in [/data, /raw:/in/it:ro]"
    )
    gpu: Literal["none", "nv", "rocm"] = option("none", "which GPUs it sees: nv for NVIDIA's, rocm for AMD's")

    @model_validator(mode="after")
    def _consistent(self) -> Container:
        if not self.image:
            raise ValueError("image: name a .sif file, an address, or an image of docker or podman")
        for bind in self.binds:
            if not _BIND.fullmatch(bind):
                raise ValueError(
                    f"binds: '{bind}': needs a folder, or folder:/folder/inside, each with :ro or not; "
                    "and no colon or comma in their names"
                )
        return self


def inside_image(environment: Mapping[str, str]) -> bool:
    """Whether this process runs in an image: ours and launch/contained.sh say so, and so does Apptainer."""
    return any(environment.get(name) for name in ("ISONET2_IN_CONTAINER", "APPTAINER_CONTAINER"))


def image_facts(environment: Mapping[str, str]) -> dict[str, str | None] | None:
    """The image that the launch scripts started this process in: its name or path, its digest, and what runs it."""
    if not inside_image(environment) or "ISONET2_IMAGE" not in environment:
        return None
    names = {"image": "ISONET2_IMAGE", "digest": "ISONET2_IMAGE_DIGEST", "runtime": "ISONET2_RUNTIME"}
    return {fact: environment.get(name) or None for fact, name in names.items()}


def missing_hint(environment: Mapping[str, str]) -> str:
    """What the line about a file that is not there says besides, in an image."""
    return "; in a container, its folder must be in container.binds" if inside_image(environment) else ""

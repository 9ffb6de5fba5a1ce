"""What is in this image, as a CycloneDX 1.5 bill of materials on stdout, and where its size goes, in words on stderr.

    python sbom.py requirements.lock NAME VERSION sha256:DIGEST > isonet2.cdx.json

Of Debian's packages dpkg knows, of Python's their own metadata; the lock file adds the hashes that were allowed.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import uuid
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from urllib.parse import quote

QUOTE = '"'
Component = dict[str, object]


def main() -> None:
    lock, name, version, digest = sys.argv[1:]
    system, packages = system_packages(), python_packages(Path(lock).read_text(encoding="utf-8"))
    components = [component for component, _ in (*system.values(), *packages.values())]
    content = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "tools": {"components": [{"type": "application", "name": "sbom.py of isonet2"}]},
            "component": {
                "type": "container",
                "name": name,
                "version": version,
                "purl": f"pkg:oci/{name}@{quote(digest, safe='')}?tag={version}",
                "hashes": [{"alg": "SHA-256", "content": digest.removeprefix("sha256:")}],
            },
        },
        "components": components,
    }
    number = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(content, sort_keys=True))
    json.dump({**content, "serialNumber": f"urn:uuid:{number}"}, sys.stdout, indent=1)
    of_torch = {part for part in needed_by("torch") if part in packages}
    parts = {
        "system and Python": sum(size for _, size in system.values()),
        "torch and what it needs": sum(packages[part][1] for part in of_torch),
        "isonet2 and the rest": sum(size for part, (_, size) in packages.items() if part not in of_torch),
    }
    sys.stderr.write("".join(f"{size / 1e6:7.0f} MB  {what}\n" for what, size in parts.items()))


def system_packages() -> dict[str, tuple[Component, int]]:
    """By name: the component, and its bytes as dpkg counts them."""
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    distribution = release["ID"].strip(QUOTE)
    fields = "${Package} ${Version} ${Architecture} ${Installed-Size}\n"
    said = subprocess.run(
        ["dpkg-query", "--show", f"--showformat={fields}"], capture_output=True, text=True, check=True
    )
    found = {}
    for name, version, architecture, kilobytes in map(str.split, said.stdout.splitlines()):
        place = f"{distribution}-{release['VERSION_ID'].strip(QUOTE)}"
        purl = f"pkg:deb/{distribution}/{quote(name)}@{quote(version)}?arch={architecture}&distro={place}"
        found[name] = library(name, version, purl), int(kilobytes) * 1024
    return found


def python_packages(lock: str) -> dict[str, tuple[Component, int]]:
    """By normalised name: the component, and the bytes of its files."""
    hashes: dict[str, list[str]] = {}
    for line in lock.splitlines():
        if start := re.match(r"([A-Za-z0-9._-]+)==", line):
            allowed = hashes.setdefault(normalised(start[1]), [])
        elif found := re.search(r"sha256:([0-9a-f]{64})", line):
            allowed.append(found[1])
    packages = {}
    for package in metadata.distributions():
        name, version = normalised(package.metadata["Name"]), package.version
        kind = "generic" if name == "isonet2" else "pypi"  # which is not where it comes from
        component = library(name, version, f"pkg:{kind}/{name}@{quote(version)}")
        if hashes.get(name):
            component["properties"] = [{"name": "lock:sha256", "value": value} for value in hashes[name]]
        files = [Path(str(package.locate_file(file))) for file in package.files or ()]
        packages[name] = component, sum(file.stat().st_size for file in files if file.is_file())
    return packages


def needed_by(name: str) -> set[str]:
    """The package itself and all that it requires here."""
    found, left = set(), {name}
    while left:
        one = left.pop()
        found.add(one)
        try:
            required = metadata.requires(one) or []
        except metadata.PackageNotFoundError:  # for other platforms
            continue
        names = (re.match(r"[A-Za-z0-9._-]+", line) for line in required if "extra ==" not in line)
        left |= {normalised(each[0]) for each in names if each} - found
    return found


def library(name: str, version: str, purl: str) -> Component:
    return {"type": "library", "name": name, "version": version, "purl": purl, "bom-ref": purl}


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main()

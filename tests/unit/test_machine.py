"""What a scheduler or a container leaves of a machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from isonet2.parallel import machine


@pytest.mark.parametrize(
    ("cpu", "memory", "cores", "gigabytes"),
    [
        ({"cpu.max": "max 100000", "job/cpu.max": "max 100000"}, {"job/memory.max": "max"}, None, None),
        ({"job/step/cpu.max": "100000 100000"}, {"job/memory.max": "1000000000"}, 1, 1.0),
        (
            {"job/cpu.max": "50000 100000"},
            {"job/step/memory.max": "3000000000", "job/memory.max": "2000000000"},
            1,
            2.0,
        ),
    ],
)
def test_the_least_that_any_group_around_us_grants_counts(
    cpu: dict[str, str], memory: dict[str, str], cores: int | None, gigabytes: float | None,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for name, text in (cpu | memory).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    own = tmp_path / "own"
    own.write_text("1:name=systemd:/elsewhere\n0::/job/step\n")
    monkeypatch.setattr(machine, "_GROUPS", tmp_path)
    monkeypatch.setattr(machine, "_OWN", own)
    assert machine.core_count() == (cores or len(os.sched_getaffinity(0)))
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert machine.memory_bytes() == (gigabytes * 1e9 if gigabytes else whole)


def test_without_control_groups_the_machine_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_OWN", tmp_path / "missing")
    assert machine.core_count() == len(os.sched_getaffinity(0))

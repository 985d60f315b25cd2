"""How many processors the engine's thread counts with."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aiostoolap.core import processors

NONE = "max 100000"


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory like /sys/fs/cgroup; the process may use eight processors."""
    monkeypatch.setattr(processors, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(processors, "_MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    return tmp_path / "groups"


def belong(groups: Path, membership: str, files: dict[str, str]) -> None:
    """Makes the process a member of groups that have these files."""
    groups.with_name("membership").write_text(membership)
    for name, text in files.items():
        (groups / name).parent.mkdir(parents=True, exist_ok=True)
        (groups / name).write_text(text + "\n")


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "150000 100000"}, 1),
        ("0::/\n", {"cpu.max": "20000 100000"}, 1),
        ("0::/\n", {"cpu.max": "300000 100000"}, 3),
        ("0::/\n", {"cpu.max": NONE}, 8),
        ("0::/\n", {"cpu.max": "nonsense"}, 8),
        ("0::/\n", {}, 8),
        ("0::/a/b\n", {"a/b/cpu.max": NONE, "a/cpu.max": "200000 100000"}, 2),
        ("0::/of/the/host\n", {"cpu.max": "400000 100000"}, 4),
        ("4:memory:/\n", {"cpu.max": "100000 100000"}, 8),
        ("3:cpu,cpuacct:/a\n0::/\n", {"cpu/a/cpu.cfs_quota_us": "50000", "cpu/a/cpu.cfs_period_us": "10000"}, 5),
        ("3:cpu:/a\n", {"cpu/a/cpu.cfs_quota_us": "-1", "cpu/a/cpu.cfs_period_us": "100000"}, 8),
        ("nonsense\n", {"cpu.max": "100000 100000"}, 8),
    ],
)
def test_the_quota_of_a_container_counts(groups: Path, membership: str, files: dict[str, str], expected: int) -> None:
    belong(groups, membership, files)
    assert processors.processors() == expected


def test_without_control_groups_the_affinity_counts(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert processors.processors() == 8
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert processors.processors() == 1

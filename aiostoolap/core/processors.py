"""How many processors this process may use."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

_MEMBERSHIP = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")


def processors() -> int:
    """How many there are, or as many as its affinity or a quota of time allows it: containers have such quotas."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *map(int, _quotas())]))


def _quotas() -> Iterator[float]:
    """How many processors' time each control group of this process, or one around it, may take; see cgroups(7)."""
    for quota, group in _groups():
        with contextlib.suppress(OSError, ValueError):
            yield quota(group)


def _groups() -> Iterator[tuple[Callable[[Path], float], Path]]:
    """Where those groups may be, and what reads their quotas."""
    with contextlib.suppress(OSError, ValueError):
        for line in _MEMBERSHIP.read_text(encoding="utf-8").splitlines():
            _, controllers, name = line.split(":", 2)
            if not controllers:
                quota, mount = _quota_2, _GROUPS
            elif "cpu" in controllers.split(","):
                quota, mount = _quota_1, _GROUPS / "cpu"
            else:
                continue
            # In a container, the path may be that of the host, and what is mounted its own group.
            path = PurePosixPath(name).relative_to("/")
            yield from ((quota, mount / group) for group in (path, *path.parents))


def _quota_1(group: Path) -> float:
    quota = int((group / "cpu.cfs_quota_us").read_text(encoding="ascii"))
    if quota < 0:
        raise ValueError("there is none")
    return quota / int((group / "cpu.cfs_period_us").read_text(encoding="ascii"))


def _quota_2(group: Path) -> float:
    quota, period = (group / "cpu.max").read_text(encoding="ascii").split()
    return int(quota) / int(period)  # Without a quota, it is "max".

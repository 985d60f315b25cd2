"""What the benchmarks run on."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

LIBRARIES = ("wasmtime", "msgspec", "anyio", "uvloop", "fastapi", "uvicorn", "sqlalchemy")


def describe() -> dict[str, str]:
    """The machine and what is installed, by name."""
    return {
        "Date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "Processor": f"{processor()}, {os.cpu_count()} cores",
        "Memory": memory(),
        "System": f"{platform.system()} {platform.machine()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "Revision": revision(),
        "Libraries": ", ".join(f"{name} {found}" for name in LIBRARIES if (found := version(name))),
    }


def revision() -> str:
    """The commit that is checked out, and whether files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def processor() -> str:
    """The model of the processor."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def memory() -> str:
    """How much there is."""
    if not hasattr(os, "sysconf"):
        return "unknown"
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / (1 << 30):.0f} GiB"


def version(distribution: str) -> str | None:
    """The version of what is installed; None if it is not."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def resident() -> int:
    """Bytes of memory that this process holds now.

    Raises:
        OSError: this system does not say.
    """
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

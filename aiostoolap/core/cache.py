"""The file that keeps the compiled module: compiling takes seconds, loading the result a millisecond.

What is loaded from it is run as machine code, so it is read only from a directory that belongs to this user alone.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import stat
import sys
import tempfile
from pathlib import Path

_log = logging.getLogger("aiostoolap")


def directory() -> Path:
    """The directory for cached modules: AIOSTOOLAP_CACHE, or one in the user's cache directory."""
    if chosen := os.environ.get("AIOSTOOLAP_CACHE"):
        return Path(chosen)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "aiostoolap"


class Cache:
    """The modules that are kept. What is wrong with their directory is a warning, and not one for each module."""

    def __init__(self) -> None:
        self._folder = _folder()

    def path(self, digest: str, compiler: str) -> Path | None:
        """Where the module of that sha256, compiled by that compiler for this processor, is kept.

        Returns:
            None if nothing can be kept; the module is compiled each time then.
        """
        if self._folder is None:
            return None
        key = hashlib.sha256(f"{digest} {compiler} {_processor()}".encode()).hexdigest()
        return self._folder / f"{key[:32]}.cwasm"

    def store(self, file: Path, module: bytes) -> None:
        """Writes a compiled module; others see the whole file or none."""
        try:
            with tempfile.TemporaryDirectory(dir=file.parent) as folder:
                new = Path(folder) / file.name
                with new.open("wb") as stream:
                    stream.write(module)
                    stream.flush()
                    os.fsync(stream.fileno())
                new.replace(file)
        except OSError as error:
            _log.warning("the compiled engine could not be cached: %s", error)
            self._folder = None  # There is no room for the next one either.


def _folder() -> Path | None:
    """The directory, made if it is missing; None if there is none that can be trusted."""
    try:
        folder = directory()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _is_ours(folder):
            return folder
        _log.warning("%s is not this user's alone: the compiled engine is not cached there", folder)
    except (OSError, RuntimeError) as error:
        _log.warning(
            "no directory for the compiled engine, so each process compiles it; AIOSTOOLAP_CACHE names one: %s", error
        )
    return None


def is_trusted(file: Path) -> bool:
    """Whether a cached module is there, and was written by this user."""
    try:
        return _is_ours(file)
    except OSError:
        return False


def _is_ours(file: Path) -> bool:
    status = file.lstat()
    if stat.S_ISLNK(status.st_mode):
        return False
    if sys.platform == "win32":
        return True  # The user's own directory is private there by its access list.
    return status.st_uid == os.geteuid() and not status.st_mode & 0o022


def _processor() -> str:
    """What compiled code depends on: code for one processor may not run on another that shares the home directory."""
    try:
        with Path("/proc/cpuinfo").open(encoding="ascii", errors="replace") as lines:
            features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        features = platform.processor()
    return f"{sys.platform} {platform.machine()} {features}"

"""The lock on a database's directory: the one that the native engine takes, on the file `db.lock`."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from aiostoolap.core.protocol import Hold
from aiostoolap.errors import DatabaseLockedError, InterfaceError, OperationalError

__all__: list[str] = []


def make_folder(folder: Path) -> None:
    """Makes a database's directory, if it is missing.

    Raises:
        OperationalError: it cannot be made.
        InterfaceError: a file is in its place.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise InterfaceError(f"{folder} is a file, but a database is a directory") from None
    except OSError as error:
        raise OperationalError(f"the database's directory cannot be made: {error}") from None


class Locks:
    """The locks of one engine: one for each directory, held as long as a connection to it is open.

    Args:
        root: the engine's directory; None if it has none.
    """

    def __init__(self, root: Path | None) -> None:
        self._root = root
        self._guard = threading.Lock()
        self._held: dict[PurePosixPath, DirectoryLock] = {}
        self._modes: dict[PurePosixPath, str] = {}
        self._counts: dict[PurePosixPath, int] = {}

    def acquire(self, folder: PurePosixPath, sync_mode: str) -> None:
        """Locks a directory below the root, or counts one more connection to it.

        Args:
            folder: the directory.
            sync_mode: the database's, which those who join it cannot change.

        Raises:
            InterfaceError: the engine has no root, or the directory leads out of it.
            DatabaseLockedError: another process, or another engine, has it locked.
            OperationalError: it cannot be made or written.
        """
        if self._root is None:
            raise InterfaceError("the engine has no root directory: give it one to open file databases")
        with self._guard:
            if folder not in self._held:
                path = self._root / folder
                if not path.resolve().is_relative_to(self._root.resolve()):
                    raise InterfaceError(f"{path} leads out of the engine's root {self._root}")
                make_folder(path)
                self._held[folder] = DirectoryLock(path)
                self._modes[folder] = sync_mode
            self._counts[folder] = self._counts.get(folder, 0) + 1

    def hold(self, folder: PurePosixPath, sync_mode: str) -> Hold:
        """What a connection to a directory holds."""
        path = Path() if self._root is None else self._root / folder
        return Hold(path, lambda: self.acquire(folder, sync_mode), lambda: self.release(folder))

    def modes(self) -> Mapping[Path, str]:
        """The directories that are locked, each with its database's sync_mode."""
        with self._guard:
            return {} if self._root is None else {self._root / folder: self._modes[folder] for folder in self._held}

    def release(self, folder: PurePosixPath) -> None:
        """Counts one connection less; the last one lets others in."""
        with self._guard:
            count = self._counts.pop(folder, 1) - 1
            if count > 0:
                self._counts[folder] = count
            elif folder in self._held:
                self._held.pop(folder).release()

    def release_all(self) -> None:
        """Lets others in everywhere: the engine is gone."""
        with self._guard:
            while self._held:
                self._held.popitem()[1].release()


class DirectoryLock:
    """Keeps every other engine out of a directory, in this process and in others, native ones included.

    Args:
        folder: the database's directory.

    Raises:
        DatabaseLockedError: it is locked; the message names the process that holds it.
        OperationalError: the lock file cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self._descriptor = os.open(folder / "db.lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise OperationalError(f"the database's directory cannot be used: {error}") from None
        try:
            _lock(self._descriptor)
        except OSError:
            holder = _holder(self._descriptor)
            self.release()
            raise DatabaseLockedError(f"{folder} is open in {holder}", "database_locked") from None
        with contextlib.suppress(OSError):  # Who holds it is good to know, but no condition.
            os.truncate(self._descriptor, 0)
            os.write(self._descriptor, str(os.getpid()).encode())
        _all_held.add(self)

    def release(self) -> None:
        """Lets others in. May be called again."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with contextlib.suppress(OSError):  # Somebody has closed it for us.
                os.close(descriptor)


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _holder(descriptor: int) -> str:
    """Who wrote their number into the lock file."""
    text = ""
    with contextlib.suppress(OSError):
        text = os.read(descriptor, 20).decode("ascii", "replace").strip()
    if text == str(os.getpid()):
        return f"another engine of this process ({text})"
    return f"process {text}" if text.isdigit() else "another process"


_all_held: weakref.WeakSet[DirectoryLock] = weakref.WeakSet()


def _release_in_child() -> None:
    # The lock belongs to the open file, which a child shares: it must not outlive the parent there.
    for lock in list(_all_held):
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_in_child)

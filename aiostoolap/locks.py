"""The lock on a database's directory: the one that the native engine takes, on the file `db.lock`."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import threading
import time
import weakref
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from aiostoolap import stamp
from aiostoolap.core.inheritance import Hold
from aiostoolap.directory import check_files, find, make_folder, open_file
from aiostoolap.errors import DatabaseLockedError, InterfaceError, OperationalError
from aiostoolap.seconds import is_time

__all__: list[str] = []

_NAMING = 0.05
"""Seconds within which the process that has got a lock has surely written its number, or will not."""


def check_timeout(lock_timeout: float) -> None:
    """Refuses what is no time to wait for a lock.

    Raises:
        InterfaceError: it is negative, or no number.
    """
    if not is_time(lock_timeout):
        raise InterfaceError(f"lock_timeout is a number of seconds from 0 on, not {lock_timeout!r}; inf waits for ever")


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

    def acquire(self, folder: PurePosixPath, version: str, sync_mode: str) -> None:
        """Locks a directory below the root, and stamps it, or counts one more connection to it.

        Args:
            folder: the directory, as the engine's root sees it.
            version: the engine's.
            sync_mode: the database's, which those who join it cannot change.

        Raises:
            InterfaceError: the engine has no root, or the directory leads out of it.
            DatabaseLockedError: another process, or another engine, has it locked.
            OperationalError: it cannot be made or written, or a newer engine has written it.
            CorruptDatabaseError: its stamp is garbled.
        """
        if self._root is None:
            raise InterfaceError("the engine has no root directory: give it one to open file databases")
        with self._guard:
            if folder not in self._held:
                path = find(self._root, Path(folder))
                make_folder(path)
                lock = DirectoryLock(path)
                try:
                    stamp.check(path, version)
                    check_files(path)
                except BaseException:
                    lock.release()
                    raise
                self._held[folder] = lock
                self._modes[folder] = sync_mode
            self._counts[folder] = self._counts.get(folder, 0) + 1

    def hold(self, folder: PurePosixPath, version: str, sync_mode: str) -> Hold:
        """What a connection to a directory holds; the arguments are those of `acquire`."""
        path = Path() if self._root is None else self._root / folder
        return Hold(path, lambda: self.acquire(folder, version, sync_mode), lambda: self.release(folder))

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
            self._descriptor = open_file(folder / "db.lock", os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise OperationalError(f"the database's directory cannot be used: {error}") from None
        try:
            _lock(self._descriptor)
        except (BlockingIOError, PermissionError):
            holder = _holder(self._descriptor)
            self.forget()
            raise DatabaseLockedError(f"{folder} is open in {holder}", "database_locked") from None
        except OSError as error:
            self.forget()
            raise OperationalError(f"the database's directory cannot be locked: {error}") from None
        _write(self._descriptor, str(os.getpid()))
        _all_held.add(self)

    def release(self) -> None:
        """Lets others in. May be called again."""
        if self._descriptor >= 0:
            # Else the next holder would go by this number until it has written its own.
            _write(self._descriptor, "")
            _unlock(self._descriptor)
        self.forget()

    def forget(self) -> None:
        """Closes the file alone, which another process may go on to hold."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with contextlib.suppress(OSError):  # Somebody has closed it for us.
                os.close(descriptor)


class Claim:
    """A directory to fill, empty at first, which nobody else claims; what an ended process has left there is removed.

    On Windows, and on file systems without such locks, nobody is kept from claiming it as well.

    Args:
        folder: the directory.

    Raises:
        BlockingIOError: somebody else has claimed it.
        OSError: it cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self._descriptor = -1
        try:
            while not self._take(folder):
                self.release()
        except BaseException:
            self.release()
            raise

    def _take(self, folder: Path) -> bool:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            if sys.platform != "win32":
                self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
                try:
                    _lock(self._descriptor)
                except BlockingIOError as error:
                    raise BlockingIOError(error.errno, "somebody else is making it", str(folder)) from None
                except OSError:
                    pass  # There are no such locks.
                if not os.path.samestat(os.fstat(self._descriptor), folder.stat()):
                    return False  # Whoever had claimed it has renamed or removed it just now.
            if not any(folder.iterdir()):
                return True
            shutil.rmtree(folder)
        return False

    def release(self) -> None:
        """Gives it up. May be called again."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            _unlock(descriptor)
            os.close(descriptor)


def _write(descriptor: int, holder: str) -> None:
    with contextlib.suppress(OSError):  # Who holds it is good to know, but no condition.
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, holder.encode())


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _unlock(descriptor: int) -> None:
    """Unlocks a file that is about to be closed: a copy of the descriptor may have got into a child."""
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, 0, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_UN)


def _holder(descriptor: int) -> str:
    """Who wrote their number into the lock file: the one that has just got the lock may be about to."""
    give_up = time.monotonic() + _NAMING
    while not _is_alive(number := _number(descriptor)):
        if time.monotonic() > give_up:
            return "another process"
        time.sleep(_NAMING / 50)
    if number == os.getpid():
        return f"another engine of this process ({number}): share its connection, or clone() that"
    return f"process {number}"


def _number(descriptor: int) -> int:
    """What stands in a lock file; 0 if that is no process's number."""
    with contextlib.suppress(OSError, ValueError):
        os.lseek(descriptor, 0, os.SEEK_SET)
        return int(os.read(descriptor, 20))
    return 0


def _is_alive(number: int) -> bool:
    """Whether there is such a process, as far as this one can see."""
    if number <= 0:
        return False
    if sys.platform == "win32":
        return True  # There is no harmless signal there.
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


_all_held: weakref.WeakSet[DirectoryLock] = weakref.WeakSet()


def _release_in_child() -> None:
    # The lock belongs to the open file, which a child shares: it must not outlive the parent there.
    for lock in list(_all_held):
        lock.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_in_child)

"""`Logs`: the files that hold the logs of the databases that are open."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from aiostoolap.directory import sync

__all__: list[str] = []

Version = tuple[int, int]
"""What differs when a file has grown or was replaced."""


class Logs:
    """Looks at the logs from outside of the engine, and syncs those that it leaves unsynced.

    Args:
        modes: gives the directories of the databases that are open, each with its sync_mode.
    """

    def __init__(self, modes: Callable[[], Mapping[Path, str]]) -> None:
        self._modes = modes
        self._seen: dict[Path, Version] = {}
        self._synced: dict[Path, Version] = {}
        self._stored: dict[Path, Version] | None = None
        self._unsynced: set[Path] = set()

    @property
    def unsynced(self) -> bool:
        """Whether there is something to sync, now or when it has come to rest."""
        return bool(self._unsynced)

    def size(self) -> int:
        """The size of the largest log, in bytes.

        Raises:
            OSError: a directory cannot be read.
        """
        return max((sum(size for size, _ in _files(folder).values()) for folder in self._modes()), default=0)

    def look(self) -> list[Path]:
        """The files to sync: of sync_mode=normal, changed since they were synced, and at rest since the last look.

        While commits go on, the engine itself syncs the log now and then, by one of them.

        Raises:
            OSError: a directory cannot be read.
        """
        before, seen, unsynced = self._seen, dict[Path, Version](), set[Path]()
        for folder, mode in self._modes().items():
            files = _files(folder)
            seen |= files
            if mode == "normal":
                unsynced |= {file for file, version in files.items() if self._synced.get(file) != version}
        self._seen, self._unsynced = seen, unsynced
        self._synced = {file: version for file, version in self._synced.items() if file in seen}
        return sorted(file for file in unsynced if before.get(file) == seen[file])

    def sync(self, files: Iterable[Path]) -> None:
        """Makes files durable, as the last look has seen them.

        Raises:
            OSError: one cannot be synced.
        """
        for file in files:
            with suppress(FileNotFoundError):  # A checkpoint has removed it.
                sync(file)
            self._synced[file] = self._seen[file]
            self._unsynced.discard(file)

    def store(self) -> None:
        """Notes that all that is in the logs is in the tables' files as well.

        Raises:
            OSError: a directory cannot be read.
        """
        self._stored = None
        self._stored = {file: version for folder in self._modes() for file, version in _files(folder).items()}

    def is_stored(self) -> bool:
        """Whether nothing has been written since `store`. Not known with sync_mode=none, where commits stay in memory.

        Raises:
            OSError: a directory cannot be read.
        """
        modes = self._modes()
        if "none" in modes.values():
            return False
        return self._stored == {file: version for folder in modes for file, version in _files(folder).items()}


def _files(folder: Path) -> dict[Path, Version]:
    """The files of a database's log, some of which may go meanwhile."""
    files = {}
    with suppress(FileNotFoundError):
        for file in (folder / "wal").iterdir():
            if file.suffix == ".log":
                with suppress(FileNotFoundError):
                    status = file.stat()
                    files[file] = status.st_size, status.st_mtime_ns
    return files

"""`Backup`: a copy of a database's directory, most of it made while the engine goes on."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from aiostoolap.directory import RESTORING, is_plain, make_durable, sync, sync_tree
from aiostoolap.errors import InterfaceError, OperationalError
from aiostoolap.locks import Claim

__all__: list[str] = []

_SETTLED = 2_000_000_000
"""Nanoseconds after its last change from which on a file's time tells of a further one, whatever the file system."""
_Version = tuple[int, int, int]


class Backup:
    """A copy of a directory in two steps: `prepare` copies what has been there for a while, `finish` the rest.

    Args:
        source: the database's directory.
        target: the copy's, which must not exist yet.

    Raises:
        InterfaceError: the target exists, lies within the source, or cannot be a database.
    """

    def __init__(self, source: Path, target: str | os.PathLike[str]) -> None:
        target = Path(target).absolute()
        try:
            str(target).encode()  # What opens it takes UTF-8.
            exists = os.path.lexists(target)
            inside = target.resolve().is_relative_to(source.resolve())
        except (OSError, RuntimeError, ValueError) as error:  # A link to itself is a RuntimeError before Python 3.13.
            raise InterfaceError(f"{str(target)!r} cannot be a backup: {error}") from None
        if exists:
            raise InterfaceError(f"{target} exists; a backup is a new directory")
        if inside:
            raise InterfaceError(f"{target} lies within the database; put the backup elsewhere")
        self._source = source
        self._target = target
        self._partial = target.with_name(f".{target.name}.partial")
        self._claim: Claim | None = None
        self._copied: dict[Path, _Version] = {}
        self._busy = threading.Lock()
        """Held to prepare and to discard: a task that is cancelled leaves its thread behind."""
        self._wanted = True
        self.is_discarded = False

    def prepare(self) -> None:
        """Copies the files that have not changed lately; the engine may change any of them meanwhile.

        Raises:
            OperationalError: the copy cannot be written, or another one is being made there.
        """
        with self._busy, _writing():
            if not self._wanted:
                return
            make_durable(self._target.parent)
            self._claim = Claim(self._partial)
            for file in self._files():
                if not self._wanted:
                    break
                with suppress(FileNotFoundError):  # The engine has removed it.
                    version = _version(file)
                    if version[2] < time.time_ns() - _SETTLED:
                        self._copy(file)
                        self._copied[file] = version

    def finish(self, ready: bytes | None) -> None:
        """Copies what has changed since, while the engine stands still, and gives the copy its name.

        Args:
            ready: what the engine says when it has written what it had to write; None if it has not.

        Raises:
            OperationalError: the copy cannot be written.
        """
        if ready is None:
            return
        with _writing():
            there = set(self._files())
            for gone in self._copied.keys() - there:
                self._place(gone).unlink()
            for file in there:
                if self._copied.get(file) != _version(file):
                    self._copy(file)
            sync_tree(self._partial, files=True)
            self._partial.rename(self._target)
            try:
                sync(self._target.parent)
            except OSError:
                self._target.rename(self._partial)  # It is no copy that outlasts a loss of power.
                raise
            if self._claim is not None:
                self._claim.release()
                self._claim = None  # What is made there from now on is another backup's.

    def discard(self) -> None:
        """Removes a copy that was not finished, and has `prepare` stop. May be called again."""
        self._wanted = False
        with self._busy:
            if self._claim is not None:
                shutil.rmtree(self._partial, ignore_errors=True)
                self._claim.release()
                self._claim = None
            self.is_discarded = True

    def _files(self) -> Iterator[Path]:
        for folder, folders, names in os.walk(self._source):
            if Path(folder) == self._source:
                folders[:] = [name for name in folders if name not in RESTORING]
            # What is no plain file is not the engine's; a link might lead anywhere.
            yield from filter(is_plain, (Path(folder, name) for name in names if name != "db.lock"))

    def _place(self, file: Path) -> Path:
        return self._partial / file.relative_to(self._source)

    def _copy(self, file: Path) -> None:
        place = self._place(file)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place, follow_symlinks=False)


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OperationalError(f"the backup cannot be written: {error}") from None


def _version(file: Path) -> _Version:
    """What differs when a file is changed or replaced."""
    status = file.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns

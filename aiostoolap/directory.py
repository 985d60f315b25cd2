"""A database's directory, as far as the host itself makes, reads and writes there: never by way of a symbolic link."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from aiostoolap.errors import InterfaceError, OperationalError

__all__: list[str] = []

RESTORING = (".restoring", ".restored")
"""The directories that a restore makes in a database's, and removes: the second one takes the place of the others."""
_PARTS = ("wal", "volumes", "snapshots", *RESTORING)
"""The directories that the engine makes there."""

# What a system lacks of these, it does not need: Windows has neither such links by default nor pipes among its files.
_SAFE = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def make_folder(folder: Path) -> None:
    """Makes a database's directory, if it is missing, so that it outlasts a loss of power.

    Raises:
        OperationalError: it cannot be made.
        InterfaceError: a file is in its place.
    """
    try:
        make_durable(folder)  # The engine syncs what is in the directory, not its own name.
    except FileExistsError:
        raise InterfaceError(f"{folder} is a file, but a database is a directory") from None
    except OSError as error:
        raise OperationalError(f"the database's directory cannot be made: {error}") from None


def make_durable(folder: Path) -> None:
    """Makes a directory, and those above that are missing, so that they outlast a loss of power.

    Raises:
        OSError: it cannot be made.
    """
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    there = missing[-1].parent if missing else folder
    with suppress(PermissionError):
        sync(there.parent)  # Whoever made it may have been killed before this.
    for place in reversed(missing):
        place.mkdir(exist_ok=True)
        sync(place.parent)
    folder.mkdir(exist_ok=True)  # An error, if it is a file.


def find_folder(path: str | os.PathLike[str] | None) -> Path | None:
    """A directory that is there, by a name that does not change with links; None for None.

    Raises:
        InterfaceError: it is not a directory.
    """
    if path is None:
        return None
    try:
        folder = Path(path).resolve()
        if folder.is_dir():
            str(folder).encode()  # wasmtime takes UTF-8.
            return folder
    except (OSError, RuntimeError, ValueError) as error:  # A link to itself is a RuntimeError before Python 3.13.
        raise InterfaceError(f"{os.fspath(path)!r} cannot be a directory for the engine: {error}") from None
    raise InterfaceError(f"{folder} is not a directory; make it first")


def find(root: Path, folder: Path) -> Path:
    """Where a directory below a root is.

    Raises:
        InterfaceError: it leads out of the root, or nowhere.
    """
    path = root / folder
    try:
        inside = path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError) as error:  # A link to itself is a RuntimeError before Python 3.13.
        raise InterfaceError(f"{str(path)!r} cannot be a database: {error}") from None
    if not inside:
        raise InterfaceError(f"{path} leads out of the engine's root {root}")
    return path


def check_files(folder: Path) -> None:
    """Refuses a database with files that the engine could not read: it passes over some of them without a word.

    Raises:
        OperationalError: there is a link, another thing that is no file, or one that this process may not read.
    """
    try:
        for part in _PARTS:
            if (folder / part).is_symlink():
                raise OperationalError(f"{folder / part} is a link, which the engine does not follow")
            if (folder / part).is_dir():
                _check_files(folder / part)
    except OSError as error:
        raise OperationalError(f"the database's files cannot be read: {error}") from None


def _check_files(folder: Path) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _check_files(Path(entry.path))
            elif not entry.is_file(follow_symlinks=False):
                raise OperationalError(f"{entry.path} is no plain file, which the engine does not read")
            elif not os.access(entry.path, os.R_OK):
                raise OperationalError(f"this process may not read {entry.path}")


def open_file(file: Path, flags: int) -> int:
    """Opens a file that is a plain one, or that `flags` let it make, and returns its descriptor.

    Raises:
        OSError: it cannot be opened, or is a link, a pipe, or another thing that is no file.
    """
    descriptor = os.open(file, flags | _SAFE, 0o644)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{file} is no plain file")
    return descriptor


def is_plain(file: Path) -> bool:
    """Whether it is a file itself, and no link, pipe or other thing; false if it is gone."""
    try:
        return stat.S_ISREG(file.lstat().st_mode)
    except FileNotFoundError:
        return False


def sync(path: Path) -> None:
    """Makes a file, or the entries of a directory, durable.

    Raises:
        OSError: it cannot be.
    """
    if os.name == "nt" and path.is_dir():
        return  # Windows has no such call: directories are journaled.
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path, *, files: bool) -> None:
    """Makes the entries of a directory and of all below it durable.

    Args:
        folder: the directory.
        files: what is in the files, too.

    Raises:
        OSError: one of them cannot be.
    """
    for path, _, names in os.walk(folder, onerror=_raise):
        for name in names if files else ():
            sync(Path(path, name))
        sync(Path(path))


def _raise(error: OSError) -> None:
    raise error

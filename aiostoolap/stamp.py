"""The stamp in a database's directory: the newest engine that has written there.

The files themselves do not tell: an older engine opens those of a newer one without an error, and reads some wrongly.
The native engine knows nothing of the stamp, and leaves it alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from pathlib import Path

from aiostoolap.directory import open_file, sync
from aiostoolap.errors import CorruptDatabaseError, OperationalError

__all__: list[str] = []

NAME = "aiostoolap.json"
"""The stamp's name in the directory."""
FORMAT = 1
"""The version of the stamp's own form."""

_LONGEST = 4096


def check(folder: Path, engine: str) -> None:
    """Refuses a directory that a newer engine has written, and notes in others that this one is going to.

    Args:
        folder: the database's directory, which is locked.
        engine: this engine's version, such as "0.4.2".

    Raises:
        OperationalError: a newer engine has written there, or the stamp cannot be read or written.
        CorruptDatabaseError: the stamp is garbled.
    """
    file = folder / NAME
    try:
        written = _read(file, engine)
        if written is None or _order(written) < _order(engine):
            _write(file, engine)
    except OSError as error:
        raise OperationalError(f"the database's stamp cannot be read or written: {error}") from None
    if written is not None and _order(written) > _order(engine):
        raise OperationalError(
            f"{folder} was written by version {written} of the engine; this is {engine}, which could read it wrongly. "
            f"Use a version of aiostoolap with engine {written} or newer",
            "newer_engine",
        )


def _read(file: Path, engine: str) -> str | None:
    """The version in a stamp; None if there is no stamp."""
    try:
        descriptor = open_file(file, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        content = os.read(descriptor, _LONGEST)
    finally:
        os.close(descriptor)
    try:
        if len(content) == _LONGEST:
            raise ValueError
        stamp = json.loads(content)
        form, written = stamp["format"], stamp["engine"]
        if not (isinstance(form, int) and isinstance(written, str) and _order(written)):
            raise ValueError
    except (ValueError, TypeError, KeyError, RecursionError):
        raise CorruptDatabaseError(
            f"{file} is garbled, which says what engine has written the database: if none newer than {engine} has, "
            "remove that file, and open the database again",
            "corrupt",
        ) from None
    if form > FORMAT:
        raise OperationalError(
            f"{file} has the format {form}, and this version of aiostoolap knows {FORMAT}. Use a version of aiostoolap "
            f"with engine {written} or newer",
            "newer_engine",
        )
    return written


def _write(file: Path, engine: str) -> None:
    """Replaces the stamp, durably: it has to be there before anything of that engine is."""
    content = json.dumps({"format": FORMAT, "engine": engine}) + "\n"
    partial = file.with_name(f".{NAME}.partial")
    with contextlib.suppress(FileNotFoundError):
        partial.unlink()
    descriptor = open_file(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        os.write(descriptor, content.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    partial.replace(file)
    sync(file.parent)


def _order(version: str) -> tuple[int, ...]:
    """A version by which it can be compared; empty if it is none. What follows the numbers does not count."""
    found = re.match(r"\d{1,9}(\.\d{1,9}){0,5}", version, re.ASCII)
    return tuple(map(int, found[0].split("."))) if found else ()

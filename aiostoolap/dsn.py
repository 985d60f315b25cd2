"""Names of databases: what `connect()` and `Engine.open()` take."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qsl, unquote, urlsplit

from aiostoolap.errors import InterfaceError

__all__ = ["OPTIONS"]

_SWITCHES = ("on", "off", "true", "false", "1", "0", "yes", "no")
_NUMBER = range(2**32)

OPTIONS: Mapping[str, tuple[str, ...] | range] = {
    "sync_mode": ("none", "normal", "full"),
    "compact_threshold": _NUMBER,
    "keep_snapshots": _NUMBER,
    "wal_flush_trigger": _NUMBER,
    "wal_buffer_size": range(2**30 + 1),  # It is allocated at once.
    "wal_max_size": range(1, 2**32),  # With 0, the engine begins a file for each record, and loses all of them.
    "sync_interval_ms": _NUMBER,
    "volume_compression": _SWITCHES,
    "compression": _SWITCHES,
    "target_volume_rows": _NUMBER,
    "checkpoint_on_close": _SWITCHES,
}
"""The engine's options of a file database, and what each takes.

Not its `hot_max_rows` and `hot_max_bytes`, where a commit over the limit waits for a thread that is not there, and
not `wal_compression` and `compression_threshold`, which it reads and never looks at.
"""

_GUEST_ROOT = PurePosixPath("/data")


@dataclass(frozen=True, slots=True)
class Dsn:
    """A database as the engine knows it.

    Attributes:
        text: the DSN in its one form, for the engine.
        folder: the database's directory below the engine's root; None for an in-memory database.
        sync_mode: "none", "normal" or "full".
    """

    text: str
    folder: PurePosixPath | None
    sync_mode: str = "normal"


def parse(text: str) -> Dsn:
    """Reads a DSN of `Engine.open`: `memory://`, `memory://name` or `file:///data/path?option=value`.

    Raises:
        InterfaceError: it is none, or an option is unknown or ill-formed.
    """
    scheme, separator, rest = str(text).partition("://")  # It may be a Path.
    if not separator or scheme not in ("memory", "file"):
        raise InterfaceError(f"{text!r} is not a DSN: use memory://, memory://name or file:///data/path")
    location, _, query = rest.partition("?")
    options = _options(query)
    if scheme == "memory":
        if options:
            raise InterfaceError("an in-memory database takes no options")
        return Dsn(_checked(f"memory://{location}"), None)
    path = PurePosixPath(_checked(unquote(location)))
    if not path.is_absolute() or ".." in path.parts or not path.is_relative_to(_GUEST_ROOT) or "?" in str(path):
        raise InterfaceError(
            f"{location!r} is not below {_GUEST_ROOT}, where the engine's root is: use file://{_GUEST_ROOT}/name"
        )
    return file_dsn(path.relative_to(_GUEST_ROOT), options)


def _checked(text: str) -> str:
    """The same text, if it is one that the engine can be told of."""
    if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in text):
        raise InterfaceError(f"a database's name cannot hold a NUL character, or what is not Unicode: {text!r}")
    return text


def _options(query: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError:
        raise InterfaceError(f"{query!r} are not options: use option=value&option=value") from None


def file_dsn(folder: PurePosixPath, options: Mapping[str, str | int | bool]) -> Dsn:
    """The DSN of a database in a directory below the root.

    Raises:
        InterfaceError: an option is unknown or ill-formed.
    """
    texts = {name: _option(name, value) for name, value in sorted(options.items())}
    query = "&".join(f"{name}={value}" for name, value in texts.items())
    text = f"file://{_GUEST_ROOT / folder}" + (f"?{query}" if query else "")
    return Dsn(text, folder, texts.get("sync_mode", "normal"))


def _option(name: str, value: str | int | bool) -> str:
    text = {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value).lower()
    wanted = OPTIONS.get(name)
    if wanted is None:
        raise InterfaceError(f"the option {name!r} is unknown; there are {', '.join(OPTIONS)}")
    if not isinstance(value, str | int):  # None is no "none", which is a sync_mode.
        raise InterfaceError(f"the option {name} takes a text, a number or a bool, not {value!r}")
    if isinstance(wanted, range):
        if not (text.isascii() and text.isdigit() and len(text) <= 20 and int(text) in wanted):
            raise InterfaceError(
                f"the option {name} takes a whole number from {wanted[0]} to {wanted[-1]}, not {value!r}"
            )
    elif text not in wanted:
        raise InterfaceError(f"the option {name} takes one of {', '.join(wanted)}, not {value!r}")
    return text


@dataclass(frozen=True, slots=True)
class Target:
    """What `connect()` is to open.

    Attributes:
        root: the database's directory on this machine; None for an in-memory database.
        options: the engine's options that the URL carried.
    """

    root: Path | None
    options: Mapping[str, str]


def parse_target(target: str | os.PathLike[str]) -> Target:
    """Reads what `connect()` takes: a path, a `file:` URL of this machine, or `memory://`.

    Raises:
        InterfaceError: it is none of them.
    """
    text = os.fsdecode(target)
    if not text:
        raise InterfaceError("a database's path cannot be empty")
    if isinstance(target, str):
        if text == ":memory:":
            return Target(None, {})
        if text.startswith("memory://"):
            parse(text)
            return Target(None, {})
        if text.startswith("file:"):
            return _parse_url(text)
        if "://" in text:
            raise InterfaceError(f"{text!r} is not a database: use a path, a file: URL or memory://")
    return Target(Path(_checked(text)).absolute(), {})


def _parse_url(text: str) -> Target:
    try:
        url = urlsplit(text)
    except ValueError as error:
        raise InterfaceError(f"{text!r} is not a URL: {error}") from None
    if url.netloc not in ("", "localhost") or url.fragment:
        raise InterfaceError(f"{text!r} is not a file of this machine: use file:///path/to/database")
    path = _local_path(url.path)
    if not path:
        raise InterfaceError(f"{text!r} has no path")
    return Target(Path(_checked(path)).absolute(), _options(url.query))


def _local_path(path: str) -> str:
    """The path that a URL's path stands for on this machine."""
    if sys.platform == "win32":
        from urllib.request import url2pathname  # Imported here: it takes longer than all the rest.

        return url2pathname(path)
    return unquote(path)

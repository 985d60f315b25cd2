"""A file system in memory that knows what is durable: what fsync has reached, and what is only written."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

Survival: TypeAlias = Literal["all", "none", "prefix", "subset"]
"""What a loss of power leaves of what was not synced: all (a killed process), nothing, for each file and directory what
came first, or any of it."""
SURVIVALS: tuple[Survival, ...] = ("all", "none", "prefix", "subset", "subset", "subset")

_SECTOR = 512
_T = TypeVar("_T")


class File:
    """A file: its content, and how it came from what is durable.

    Attributes:
        data: the content.
        durable: the content when it was last synced.
        pending: what was done since: writes with their offsets, and sizes that were set.
    """

    __slots__ = ("data", "durable", "number", "pending")

    def __init__(self, number: int, data: bytes = b"") -> None:
        self.number = number
        self.data = bytearray(data)
        self.durable = data
        self.pending: list[tuple[int, bytes | None]] = []

    def write(self, offset: int, piece: bytes) -> None:
        _write(self.data, offset, piece)
        self.pending.append((offset, piece))

    def resize(self, size: int) -> None:
        _resize(self.data, size)
        self.pending.append((size, None))

    def sync(self) -> None:
        if self.pending:
            self.durable = bytes(self.data)
            self.pending.clear()


@dataclass(slots=True)
class Change:
    """What was done to a directory since it was synced: `name` now stands for `node`, and `gone` for nothing."""

    name: str | None
    node: File | Folder | None
    gone: str | None


class Folder:
    """A directory: its entries, and how they came from what is durable."""

    __slots__ = ("durable", "entries", "number", "pending")

    def __init__(self, number: int) -> None:
        self.number = number
        self.entries: dict[str, File | Folder] = {}
        self.durable: dict[str, File | Folder] = {}
        self.pending: list[Change] = []

    def link(self, name: str, node: File | Folder) -> None:
        self.entries[name] = node
        self.pending.append(Change(name, node, None))

    def unlink(self, name: str) -> None:
        del self.entries[name]
        self.pending.append(Change(None, None, name))

    def rename(self, old: str, new: str) -> None:
        """Within the directory, which is atomic."""
        node = self.entries.pop(old)
        self.entries[new] = node
        self.pending.append(Change(new, node, old))

    def sync(self) -> None:
        if self.pending:
            self.durable = dict(self.entries)
            self.pending.clear()


class Disk:
    """The whole file system, with one directory at its root."""

    def __init__(self) -> None:
        self.now = 1_750_000_000 * 10**9
        """Nanoseconds since 1970."""
        self._numbers = 0
        self.root = self.folder()

    def file(self, data: bytes = b"") -> File:
        self._numbers += 1
        return File(self._numbers, data)

    def folder(self) -> Folder:
        self._numbers += 1
        return Folder(self._numbers)

    def files(self) -> dict[str, File]:
        """All files, by their paths."""
        return {path: node for path, node in _walk(self.root, "") if isinstance(node, File)}

    def sync_folders(self) -> None:
        """Makes the entries of all directories durable, as our own import does."""
        for _, node in [("", self.root), *_walk(self.root, "")]:
            if isinstance(node, Folder):
                node.sync()

    def copy(self) -> Disk:
        """Another one with the same content, all of it durable."""
        return self.crash(random.Random(0), "all")

    def crash(self, rng: random.Random, survival: Survival) -> Disk:
        """What is there after a loss of power, all of it durable."""
        disk = Disk()
        disk.now = self.now
        disk.root = disk._survivor(self.root, rng, survival)
        return disk

    def _survivor(self, folder: Folder, rng: random.Random, survival: Survival) -> Folder:
        entries = dict(folder.durable)
        for change in _chosen(folder.pending, rng, survival):
            if change.gone is not None:
                entries.pop(change.gone, None)
            if change.name is not None and change.node is not None:
                entries[change.name] = change.node
        left = self.folder()
        for name, node in entries.items():
            if isinstance(node, Folder):
                left.entries[name] = self._survivor(node, rng, survival)
            else:
                left.entries[name] = self.file(_surviving_content(node, rng, survival))
        left.durable = dict(left.entries)
        return left


def _surviving_content(file: File, rng: random.Random, survival: Survival) -> bytes:
    if not file.pending:
        return file.durable
    if survival == "all":
        return bytes(file.data)
    content = bytearray(file.durable)
    chosen = _chosen(file.pending, rng, survival)
    for number, (offset, piece) in enumerate(chosen, 1):
        if piece is None:
            _resize(content, offset)
        elif number < len(chosen) or survival == "none" or rng.random() < 0.3:
            _write(content, offset, piece)
        else:
            _tear(content, offset, piece, rng)
    return bytes(content)


def _tear(content: bytearray, offset: int, piece: bytes, rng: random.Random) -> None:
    """Writes a part of a piece: its beginning, or any of its sectors, with zeros or what was there in the others."""
    if rng.random() < 0.6:
        _write(content, offset, piece[: rng.randrange(len(piece) + 1)])
        return
    end = offset + len(piece)
    if len(content) < end:
        _resize(content, end)
    for start in range(offset - offset % _SECTOR, end, _SECTOR):
        if rng.random() < 0.5:
            first, last = max(start, offset), min(start + _SECTOR, end)
            content[first:last] = piece[first - offset : last - offset]


def _chosen(pending: list[_T], rng: random.Random, survival: Survival) -> list[_T]:
    match survival:
        case "all":
            return pending
        case "none":
            return []
        case "prefix":
            return pending[: rng.randrange(len(pending) + 1)]
        case "subset":
            chance = rng.random()
            return [change for change in pending if rng.random() < chance]


def _write(content: bytearray, offset: int, piece: bytes) -> None:
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(piece)] = piece


def _resize(content: bytearray, size: int) -> None:
    if size < len(content):
        del content[size:]
    else:
        content.extend(bytes(size - len(content)))


def _walk(folder: Folder, path: str) -> Iterator[tuple[str, File | Folder]]:
    for name, node in folder.entries.items():
        yield f"{path}{name}", node
        if isinstance(node, Folder):
            yield from _walk(node, f"{path}{name}/")

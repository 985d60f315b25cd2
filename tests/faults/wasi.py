"""The imports of the engine's module over a `Disk`: the real binary on files that are not there."""

from __future__ import annotations

import ctypes
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import wasmtime
from wasmtime import _ffi as ffi

from aiostoolap.core.modules import BUNDLED, load
from aiostoolap.core.runtime import GUEST_ROOT, Runtime
from tests.faults.disk import Disk, File, Folder

BADF, EXIST, INVAL, IO, ISDIR, NOENT, NOSPC, NOTDIR, NOTEMPTY = 8, 20, 28, 29, 31, 44, 51, 54, 55
_CREATE, _DIRECTORY, _EXCLUSIVE, _TRUNCATE = 1, 2, 4, 8
_APPEND = 1
_FOLDER_TYPE, _FILE_TYPE = 3, 4
_FIRST_DESCRIPTOR = 4
_ROOT_DESCRIPTOR = 3

CHANGES = frozenset(
    (
        "fd_write",
        "fd_sync",
        "fd_filestat_set_size",
        "path_create_directory",
        "path_create",
        "path_rename",
        "path_unlink_file",
        "path_remove_directory",
        "sync_directories",
    )
)
"""The calls that change what is on the disk, or what is durable. `path_create` is a `path_open` that makes a file."""
READS = frozenset(("fd_read", "fd_pread", "fd_readdir", "fd_filestat_get", "path_filestat_get", "path_open"))


class Observer:
    """Sees each call before it has an effect, and may hinder it."""

    def before(self, call: str) -> int:
        """The errno that the call is to fail with; 0 lets it be."""
        return 0

    def length(self, call: str, size: int) -> int:
        """How many bytes a read or a write of so many is to do, at least 1 of them."""
        return size


@dataclass(slots=True)
class _Open:
    node: File | Folder
    position: int = 0
    append: bool = False


class SimulatedRuntime(Runtime):
    """An instance of the engine on a `Disk`, whose clock and random numbers are known.

    Args:
        disk: the files; its time goes on where it was.
        observer: sees the calls.
        seed: of the random numbers that the engine gets.
    """

    wasm = BUNDLED
    """The module; another build of it, to try that."""

    def __init__(self, disk: Disk, observer: Observer | None = None, seed: int = 0) -> None:
        self.disk = disk
        self.observer = observer or Observer()
        self.failure: BaseException | None = None
        """What a function here raised: a fault of the simulation. The engine saw EIO."""
        self._rng = random.Random(seed)
        self._open: dict[int, _Open] = {_ROOT_DESCRIPTOR: _Open(disk.root)}
        self._next = _FIRST_DESCRIPTOR
        super().__init__(self.wasm, memory_limit=1 << 30)

    def _link(self, linker: wasmtime.Linker) -> None:
        self._callbacks = []
        for wanted in load(self.wasm).module.imports:
            if wanted.name == "sleep":
                continue  # Of the alarm.
            module, name = wanted.module.encode(), str(wanted.name).encode()
            assert isinstance(wanted.type, wasmtime.FuncType)
            callback = _callback(self._guarded(getattr(self, str(wanted.name))), wanted.type)
            self._callbacks.append(callback)
            error = ffi.wasmtime_linker_define_func_unchecked(
                linker.ptr(),
                ctypes.create_string_buffer(module),
                len(module),
                ctypes.create_string_buffer(name),
                len(name),
                wanted.type.ptr(),
                callback,
                None,
                _NO_FINALIZER,
            )
            assert not bool(error)

    def _guarded(self, function: Callable[..., int | None]) -> Callable[..., int | None]:
        def call(*arguments: int) -> int | None:
            try:
                return function(*arguments)
            except BaseException as error:  # wasmtime could not say it, and the engine is to go on.
                self.failure = self.failure or error
                return IO

        return call

    # Memory.

    def _put(self, layout: str, address: int, *values: Any) -> None:
        struct.pack_into("<" + layout, self._memory, address, *values)

    def _text(self, address: int, size: int) -> str:
        return str(self._memory[address : address + size], "utf-8")

    def _vectors(self, address: int, count: int) -> list[tuple[int, int]]:
        return list(struct.iter_unpack("<II", self._memory[address : address + 8 * count]))

    # Names.

    def _place(self, path: str) -> tuple[Folder, str]:
        """The directory of a path, and the name in it.

        Raises:
            KeyError: there is no such directory.
        """
        *folders, name = [part for part in path.split("/") if part not in ("", ".")] or ["."]
        folder = self.disk.root
        for part in folders:
            folder = cast(Folder, folder.entries[part])
            if not isinstance(folder, Folder):
                raise KeyError(part)
        return folder, name

    def _find(self, path: str) -> File | Folder | None:
        try:
            folder, name = self._place(path)
        except KeyError:
            return None
        return folder if name == "." else folder.entries.get(name)

    # The functions of WASI, by the names and in the order of the specification.

    def environ_get(self, environ: int, buffer: int) -> int:
        return 0

    def environ_sizes_get(self, count: int, size: int) -> int:
        self._put("I", count, 0)
        self._put("I", size, 0)
        return 0

    def clock_time_get(self, clock: int, precision: int, result: int) -> int:
        self.disk.now += 100_000
        self._put("Q", result, self.disk.now)
        return 0

    def fd_close(self, fd: int) -> int:
        return 0 if self._open.pop(fd, None) else BADF

    def fd_fdstat_get(self, fd: int, result: int) -> int:
        at = self._open.get(fd)
        if at is None:
            return BADF
        self._put("BxHxxxxQQ", result, _type(at.node), at.append, 2**64 - 1, 2**64 - 1)
        return 0

    def fd_filestat_get(self, fd: int, result: int) -> int:
        at = self._open.get(fd)
        if at is None:
            return BADF
        return self.observer.before("fd_filestat_get") or self._put_stat(at.node, result)

    def fd_filestat_set_size(self, fd: int, size: int) -> int:
        at = self._open.get(fd)
        if at is None or not isinstance(at.node, File):
            return BADF
        if failed := self.observer.before("fd_filestat_set_size"):
            return failed
        at.node.resize(size)
        return 0

    def fd_pread(self, fd: int, vectors: int, count: int, offset: int, result: int) -> int:
        at = self._open.get(fd)
        if at is None or not isinstance(at.node, File):
            return BADF
        return self.observer.before("fd_pread") or self._read("fd_pread", at.node, vectors, count, offset, result)

    def fd_prestat_get(self, fd: int, result: int) -> int:
        if fd != _ROOT_DESCRIPTOR:
            return BADF
        self._put("BxxxI", result, 0, len(GUEST_ROOT))
        return 0

    def fd_prestat_dir_name(self, fd: int, path: int, size: int) -> int:
        self._memory[path : path + size] = GUEST_ROOT.encode()[:size]
        return 0

    def fd_read(self, fd: int, vectors: int, count: int, result: int) -> int:
        at = self._open.get(fd)
        if at is None or not isinstance(at.node, File):
            return BADF
        if failed := self.observer.before("fd_read"):
            return failed
        self._read("fd_read", at.node, vectors, count, at.position, result)
        at.position += struct.unpack_from("<I", self._memory, result)[0]
        return 0

    def _read(self, call: str, file: File, vectors: int, count: int, offset: int, result: int) -> int:
        pieces = self._vectors(vectors, count)
        wanted = min(sum(size for _, size in pieces), max(0, len(file.data) - offset))
        left = self.observer.length(call, wanted) if wanted else 0
        done = 0
        for address, size in pieces:
            size = min(size, left - done)
            self._memory[address : address + size] = bytes(file.data[offset + done : offset + done + size])
            done += size
        self._put("I", result, done)
        return 0

    def fd_readdir(self, fd: int, buffer: int, size: int, cookie: int, result: int) -> int:
        at = self._open.get(fd)
        if at is None or not isinstance(at.node, Folder):
            return BADF
        if failed := self.observer.before("fd_readdir"):
            return failed
        entries: list[tuple[str, File | Folder]] = [(".", at.node), ("..", at.node), *at.node.entries.items()]
        listing = bytearray()
        for number, (name, node) in enumerate(entries[cookie:], cookie + 1):
            listing += struct.pack("<QQIBxxx", number, node.number, len(name.encode()), _type(node)) + name.encode()
        piece = bytes(listing[:size])
        self._memory[buffer : buffer + len(piece)] = piece
        self._put("I", result, len(piece))
        return 0

    def fd_seek(self, fd: int, offset: int, whence: int, result: int) -> int:
        at = self._open.get(fd)
        if at is None or not isinstance(at.node, File):
            return BADF
        start = (0, at.position, len(at.node.data))[whence]
        if start + offset < 0:
            return INVAL
        at.position = start + offset
        self._put("Q", result, at.position)
        return 0

    def fd_sync(self, fd: int) -> int:
        at = self._open.get(fd)
        if at is None or not isinstance(at.node, File):
            return BADF  # As wasmtime does for directories.
        if failed := self.observer.before("fd_sync"):
            return failed
        at.node.sync()
        return 0

    def fd_write(self, fd: int, vectors: int, count: int, result: int) -> int:
        at = self._open.get(fd)
        if at is None or not isinstance(at.node, File):
            return BADF
        if failed := self.observer.before("fd_write"):
            return failed
        piece = b"".join(
            bytes(self._memory[address : address + size]) for address, size in self._vectors(vectors, count)
        )
        if piece:
            piece = piece[: self.observer.length("fd_write", len(piece))]
            if at.append:
                at.position = len(at.node.data)
            at.node.write(at.position, piece)
            at.position += len(piece)
        self._put("I", result, len(piece))
        return 0

    def path_create_directory(self, fd: int, path: int, size: int) -> int:
        try:
            folder, name = self._place(self._text(path, size))
        except KeyError:
            return NOENT
        if name == "." or name in folder.entries:
            return EXIST
        if failed := self.observer.before("path_create_directory"):
            return failed
        folder.link(name, self.disk.folder())
        return 0

    def path_filestat_get(self, fd: int, flags: int, path: int, size: int, result: int) -> int:
        node = self._find(self._text(path, size))
        if failed := self.observer.before("path_filestat_get"):
            return failed
        return NOENT if node is None else self._put_stat(node, result)

    def path_open(
        self, fd: int, lookup: int, path: int, size: int, how: int, base: int, inheriting: int, flags: int, result: int
    ) -> int:
        try:
            folder, name = self._place(self._text(path, size))
        except KeyError:
            return NOENT
        node = folder if name == "." else folder.entries.get(name)
        if node is None and not how & _CREATE:
            return self.observer.before("path_open") or NOENT
        if node is not None and how & _CREATE and how & _EXCLUSIVE:
            return EXIST
        if isinstance(node, File) and how & _DIRECTORY:
            return NOTDIR
        truncates = isinstance(node, File) and how & _TRUNCATE and node.data
        if failed := self.observer.before("path_create" if node is None or truncates else "path_open"):
            return failed
        if node is None:
            node = self.disk.file()
            folder.link(name, node)
        elif truncates:
            cast(File, node).resize(0)
        self._put("I", result, self._next)
        self._open[self._next] = _Open(node, append=bool(flags & _APPEND))
        self._next += 1
        return 0

    def path_remove_directory(self, fd: int, path: int, size: int) -> int:
        try:
            folder, name = self._place(self._text(path, size))
        except KeyError:
            return NOENT
        node = folder.entries.get(name)
        if not isinstance(node, Folder):
            return NOENT if node is None else NOTDIR
        if node.entries:
            return NOTEMPTY
        if failed := self.observer.before("path_remove_directory"):
            return failed
        folder.unlink(name)
        return 0

    def path_rename(self, fd: int, old: int, old_size: int, new_fd: int, new: int, new_size: int) -> int:
        try:
            folder, name = self._place(self._text(old, old_size))
            target, new_name = self._place(self._text(new, new_size))
            node = folder.entries[name]
        except KeyError:
            return NOENT
        if isinstance(target.entries.get(new_name), Folder):
            return ISDIR
        if failed := self.observer.before("path_rename"):
            return failed
        if folder is target:
            folder.rename(name, new_name)
        else:  # Not atomic: a loss of power may leave both, or none.
            target.link(new_name, node)
            folder.unlink(name)
        return 0

    def path_unlink_file(self, fd: int, path: int, size: int) -> int:
        try:
            folder, name = self._place(self._text(path, size))
        except KeyError:
            return NOENT
        node = folder.entries.get(name)
        if not isinstance(node, File):
            return NOENT if node is None else ISDIR
        if failed := self.observer.before("path_unlink_file"):
            return failed
        folder.unlink(name)
        return 0

    def poll_oneoff(self, subscriptions: int, events: int, count: int, result: int) -> int:
        """Sleeps, which takes no time here."""
        for number in range(count):
            userdata, kind = struct.unpack_from("<QB", self._memory, subscriptions + 48 * number)
            timeout = struct.unpack_from("<Q", self._memory, subscriptions + 48 * number + 24)[0]
            self.disk.now += timeout
            self._put("QHBxxxxx16x", events + 32 * number, userdata, 0, kind)
        self._put("I", result, count)
        return 0

    def proc_exit(self, code: int) -> None:
        """What is called does not expect that it returns, and traps."""

    def random_get(self, buffer: int, size: int) -> int:
        self._memory[buffer : buffer + size] = self._rng.randbytes(size)
        return 0

    def sched_yield(self) -> int:
        return 0

    def sync_directories(self) -> int:
        if failed := self.observer.before("sync_directories"):
            return failed
        self.disk.sync_folders()
        return 0

    # Requests.

    def _put_stat(self, node: File | Folder, result: int) -> int:
        size = len(node.data) if isinstance(node, File) else 0
        self._put("QQBxxxxxxxQQQQQ", result, 1, node.number, _type(node), 1, size, 0, 0, 0)
        return 0


def _callback(function: Callable[..., int | None], kind: wasmtime.FuncType) -> Any:
    """What wasmtime calls. Its own `define_func` takes ten times as long for each call, and there are millions."""
    i64 = [str(parameter) == "i64" for parameter in kind.params]
    answers = bool(kind.results)

    def call(_environment: Any, _caller: Any, values: Any, _count: int) -> int:
        result = function(*[values[n].i64 if wide else values[n].i32 for n, wide in enumerate(i64)])
        if answers:
            values[0].i32 = result
        return 0

    return ffi.wasmtime_func_unchecked_callback_t(call)


_NO_FINALIZER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)()


def _type(node: File | Folder) -> int:
    return _FOLDER_TYPE if isinstance(node, Folder) else _FILE_TYPE

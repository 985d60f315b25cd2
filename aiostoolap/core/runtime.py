"""The WebAssembly instance: bytes in, bytes out.

All of it runs on the thread that made it; other threads use the ring.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import wasmtime

from aiostoolap.core import modules, protocol, ring
from aiostoolap.core.alarm import Alarm
from aiostoolap.core.function import Function, export
from aiostoolap.directory import sync_tree
from aiostoolap.errors import InterfaceError, MemoryLimitError

GUEST_ROOT = "/data"
"""Where an engine's directory is mounted."""
GUEST_IMPORTS = "/import"
"""Where the directory is mounted whose files COPY may read; engine/src/files.rs knows it."""

_SMALLEST_INPUT = 1 << 16
_KEPT_INPUT = 1 << 22
_ADDRESSES = 1 << 32

_log = logging.getLogger("aiostoolap")
_has_run = False
_is_orphaned = False
"""Whether wasmtime's threads, which every file is read and written by, stayed behind at a fork."""


class Runtime:
    """One instance of the engine.

    Args:
        wasm: the module; None for the bundled one.
        root: the host directory that the instance sees as /data; None for none.
        imports: the host directory that it sees as /import, and can only read; None for none.
        memory_limit: bytes that it may allocate.
        folders: says which directories it has databases open in.

    Raises:
        InterfaceError: the module is not one that this version of the package can use, or this process is a fork of one
            that has run an engine.
    """

    def __init__(
        self,
        wasm: Path | None = None,
        root: Path | None = None,
        imports: Path | None = None,
        memory_limit: int = _ADDRESSES - 1,
        folders: Callable[[], Iterable[Path]] = tuple,
    ) -> None:
        global _has_run
        if _is_orphaned:
            raise InterfaceError(
                "the engine cannot run in this process, a fork of one that has run it: threads that wasmtime needs are "
                "not here. Start such processes with the method spawn"
            )
        compiled = modules.load(wasm or modules.BUNDLED)
        _has_run = True
        self._root = root
        self._folders = folders
        self._store = wasmtime.Store(compiled.engine)
        self._imports = imports
        linker = wasmtime.Linker(compiled.engine)
        self._link(linker)
        self._alarm = Alarm(compiled.engine, compiled.alarm)
        self._alarm.link(linker, self._store)
        try:
            exports = linker.instantiate(self._store, compiled.module).exports(self._store)
            memory = exports["memory"]
            if not isinstance(memory, wasmtime.Memory):
                raise KeyError("memory")
            self._linear = memory
            self._memory, self._words = _views(memory, self._store)
            initialize = exports.get("_initialize")
            if isinstance(initialize, wasmtime.Func):
                initialize(self._store)
            abi = export(exports, "abi_version")(self._store)
            if abi != protocol.ABI_VERSION:
                raise InterfaceError(f"the module speaks version {abi} of the protocol, not {protocol.ABI_VERSION}")
            self._serve = Function(self._store, export(exports, "serve"))
            self._run = Function(self._store, export(exports, "run"))
            self._input = Function(self._store, export(exports, "input"))
            address = export(exports, "ring")(self._store)
            self.ring = ring.Ring(self._memory, self._words, address, self._alarm.ring)
        except KeyError as error:
            raise InterfaceError(f"the module is not a build of aiostoolap's engine: {error} is missing") from None
        except (wasmtime.WasmtimeError, wasmtime.Trap) as error:
            raise InterfaceError(f"the module cannot be started: {error}") from None
        self._grow(_SMALLEST_INPUT)
        self.ask(protocol.set_memory_limit(memory_limit))
        self.version = protocol.engine_version(self.ask(protocol.versions()))
        """The engine's version."""

    def _link(self, linker: wasmtime.Linker) -> None:
        """Defines what the module imports. `tests/faults` puts a file system of its own in the place of this."""
        self._store.set_wasi(_wasi(self._root, self._imports))
        linker.define_wasi()
        sync_type = wasmtime.FuncType([], [wasmtime.ValType.i32()])
        linker.define_func("aiostoolap", "sync_directories", sync_type, self._sync_directories)

    def ask(self, request: protocol.Request) -> bytes:
        """Runs a request that does not fail, before any others.

        Raises:
            InterfaceError: it has failed.
        """
        self.run(self.ring.own, request.body)
        reply = self.ring.read(self.ring.own)
        if isinstance(reply, bytes):
            return reply
        raise InterfaceError(f"the module does not do what it should: {protocol.failure(reply.body).message}")

    def serve(self) -> ring.Left:
        """Serves the requests of the ring, without Python's lock, until there is something to do here.

        Raises:
            EngineLostError: the instance trapped; it cannot be used again.
        """
        return self.ring.left(self._serve())

    def run(self, slot: int, body: bytes) -> bool:
        """Runs one request, whose reply is then in the slot; true if it succeeded.

        Raises:
            EngineLostError: the instance trapped; it cannot be used again.
            MemoryLimitError: the request does not fit below the memory limit; it did not run.
        """
        size = len(body)
        if size > self._capacity or self._capacity > _KEPT_INPUT:
            self._grow(max(size, _SMALLEST_INPUT))
        self._memory[self._address : self._address + size] = body
        self._run(self.ring.index(slot), size)
        return not self.ring.has_failed(slot)

    def transacting(self) -> set[protocol.Handle]:
        """The connections in which SQL has begun a transaction, also after a trap."""
        return self.ring.transacting(self._linear.data_len(self._store))

    def close(self) -> None:
        """Frees the instance."""
        self._memory.release()
        self._words.release()
        self._alarm.close()
        self._store.close()

    def sync_directories(self) -> int:
        """Makes the entries of all directories of the open databases durable.

        Returns:
            0, or the errno of the first failure.
        """
        try:
            for folder in self._folders():
                if folder.exists():  # One that somebody has removed does not keep the others from their work.
                    sync_tree(folder, files=False)
        except OSError as error:
            return error.errno or errno.EIO
        return 0

    def _sync_directories(self) -> int:
        # Never raises: wasmtime keeps one exception for the whole process.
        try:
            failed = self.sync_directories()
        except Exception:
            _log.exception("fsync of the directories failed")
            failed = errno.EIO
        return _WASI_ERRNO.get(failed, _WASI_EIO) if failed else 0

    def _grow(self, capacity: int) -> None:
        """Has the module make another buffer for bodies; without one, it has none until the next call."""
        address = self._input(capacity) & 0xFFFFFFFF
        self._address, self._capacity = address, capacity if address else 0
        if not address:
            raise MemoryLimitError("the request does not fit below the engine's memory limit")


def _views(memory: wasmtime.Memory, store: wasmtime.Store) -> tuple[memoryview, memoryview]:
    """The linear memory as bytes and as 32-bit words. It never moves: all its addresses are reserved at once."""
    address = ctypes.addressof(memory.data_ptr(store).contents)
    whole = memoryview((ctypes.c_char * _ADDRESSES).from_address(address))
    return whole.cast("B"), whole.cast("B").cast("I")


def _wasi(root: Path | None, imports: Path | None) -> wasmtime.WasiConfig:
    # wasmtime has another thread do each write and each fsync, two wake-ups for each: its Rust API could turn that off
    # (`allow_blocking_current_thread`), its C API cannot. Functions of Python in their place would need its lock.
    wasi = wasmtime.WasiConfig()
    if root is not None:
        wasi.preopen_dir(str(root), GUEST_ROOT)
    if imports is not None:
        wasi.preopen_dir(str(imports), GUEST_IMPORTS, fs_mutable=False)
    return wasi


# WASI numbers its errors by the alphabet.
_WASI_EIO = 29
_WASI_ERRNO = {errno.EACCES: 2, errno.EIO: _WASI_EIO, errno.ENOENT: 44, errno.ENOSPC: 51, errno.EROFS: 69}


def _forget_threads() -> None:
    global _is_orphaned
    _is_orphaned = _has_run


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)

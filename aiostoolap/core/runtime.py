"""The WebAssembly instance: bytes in, bytes out. The home of wasmtime.

All of it runs on the thread that made it; other threads use the ring. Calls go through
`wasmtime_func_call_unchecked` with values that are allocated once: wasmtime's own `Func.__call__` looks up the
function's type each time and takes eight times as long.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import wasmtime
from wasmtime import _ffi as ffi

from aiostoolap.core import cache, protocol, ring
from aiostoolap.directory import sync_tree
from aiostoolap.errors import EngineLostError, InterfaceError, MemoryLimitError

BUNDLED = Path(__file__).parent.parent / "stoolap.wasm"
GUEST_ROOT = "/data"
"""Where an engine's directory is mounted."""
GUEST_IMPORTS = "/import"
"""Where the directory is mounted whose files COPY may read; engine/src/files.rs knows it."""

_SMALLEST_INPUT = 1 << 16
_KEPT_INPUT = 1 << 22
# Deeply nested SQL recurses in the parser. The module's own stack has 32 MiB, see engine/build.rs.
_WASM_STACK = 64 << 20
_FIBER_STACK = 128 << 20
_ADDRESSES = 1 << 32

_log = logging.getLogger("aiostoolap")
_modules: dict[str, tuple[wasmtime.Engine, wasmtime.Module]] = {}
_modules_lock = threading.Lock()
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
        engine, module = load(wasm or BUNDLED)
        _has_run = True
        self._root = root
        self._folders = folders
        self._store = wasmtime.Store(engine)
        self._imports = imports
        linker = wasmtime.Linker(engine)
        self._link(linker)
        try:
            exports = linker.instantiate(self._store, module).exports(self._store)
            memory = exports["memory"]
            if not isinstance(memory, wasmtime.Memory):
                raise KeyError("memory")
            self._linear = memory
            self._memory, self._words = _views(memory, self._store)
            initialize = exports.get("_initialize")
            if isinstance(initialize, wasmtime.Func):
                initialize(self._store)
            abi = _function(exports, "abi_version")(self._store)
            if abi != protocol.ABI_VERSION:
                raise InterfaceError(f"the module speaks version {abi} of the protocol, not {protocol.ABI_VERSION}")
            self._serve = _Call(self._store, _function(exports, "serve"))
            self._run = _Call(self._store, _function(exports, "run"))
            self._input = _Call(self._store, _function(exports, "input"))
            self.ring = ring.Ring(self._memory, self._words, _function(exports, "ring")(self._store))
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


class _Call:
    """An exported function of at most two i32 arguments, called without wasmtime's checks."""

    def __init__(self, store: wasmtime.Store, function: wasmtime.Func) -> None:
        raw = ffi.wasmtime_val_raw_t
        self._values = (raw * 2)()
        self._first, self._second = self._values
        trap = ctypes.POINTER(ffi.wasm_trap_t)()
        self._trap = trap
        call = ffi.dll.wasmtime_func_call_unchecked
        call.restype = ctypes.c_void_p
        context = store._context()
        arguments = (
            context,
            ctypes.byref(function._func),
            ctypes.cast(self._values, ctypes.POINTER(raw)),
            2,
            ctypes.byref(trap),
        )
        self._call: Callable[[], int | None] = lambda: call(*arguments)

    def __call__(self, first: int = 0, second: int = 0) -> int:
        self._first.i32, self._second.i32 = first, second
        error = self._call()
        if error or _is_set(self._trap):
            raise EngineLostError(_describe(error, self._trap))
        return int(self._first.i64) & 0xFFFFFFFFFFFFFFFF


def _is_set(pointer: Any) -> bool:
    return bool(pointer)


def _describe(error: int | None, trap: Any) -> str:
    reason: BaseException
    if error:
        reason = wasmtime.WasmtimeError._from_ptr(ctypes.cast(error, ctypes.POINTER(ffi.wasmtime_error_t)))
    else:
        reason = wasmtime.Trap._from_ptr(trap)
    lines = str(reason).strip().splitlines()
    return f"the engine's instance is gone: {lines[-1] if lines else reason!r}"


def _function(exports: Any, name: str) -> wasmtime.Func:
    function = exports[name]
    if not isinstance(function, wasmtime.Func):
        raise KeyError(name)
    return function


def _views(memory: wasmtime.Memory, store: wasmtime.Store) -> tuple[memoryview, memoryview]:
    """The linear memory as bytes and as 32-bit words. It never moves: all its addresses are reserved at once."""
    address = ctypes.addressof(memory.data_ptr(store).contents)
    whole = memoryview((ctypes.c_char * _ADDRESSES).from_address(address))
    return whole.cast("B"), whole.cast("B").cast("I")


def _wasi(root: Path | None, imports: Path | None) -> wasmtime.WasiConfig:
    wasi = wasmtime.WasiConfig()
    if root is not None:
        wasi.preopen_dir(str(root), GUEST_ROOT)
    if imports is not None:
        wasi.preopen_dir(str(imports), GUEST_IMPORTS, fs_mutable=False)
    return wasi


# WASI numbers its errors by the alphabet.
_WASI_EIO = 29
_WASI_ERRNO = {errno.EACCES: 2, errno.EIO: _WASI_EIO, errno.ENOENT: 44, errno.ENOSPC: 51, errno.EROFS: 69}


def load(wasm: Path) -> tuple[wasmtime.Engine, wasmtime.Module]:
    """The compiled module: from this process, else from the cache file, else compiled now, which takes seconds.

    Args:
        wasm: the module's file.

    Raises:
        InterfaceError: the file cannot be read, or is not WebAssembly.
    """
    digest = _digest(wasm)
    with _modules_lock:
        if digest not in _modules:
            engine = wasmtime.Engine(_config())
            _modules[digest] = engine, _load(engine, wasm, digest)
        return _modules[digest]


def _load(engine: wasmtime.Engine, wasm: Path, digest: str) -> wasmtime.Module:
    # Its version would take longer to look up than all the rest. What does not fit after all is refused below.
    file = cache.path(digest, f"wasmtime of {Path(ffi.dll._name).stat().st_size} bytes")
    if file is not None and cache.is_trusted(file):
        try:
            return wasmtime.Module.deserialize_file(engine, str(file))
        except wasmtime.WasmtimeError as error:
            _log.info("the cached engine does not fit, so it is compiled again: %s", error)
    _log.info("compiling the engine, once for this machine")
    try:
        module = wasmtime.Module.from_file(engine, str(wasm))
    except wasmtime.WasmtimeError as error:
        raise InterfaceError(f"{wasm} is not a WebAssembly module that can be compiled: {error}") from None
    if file is not None:
        cache.store(file, bytes(module.serialize()))
    return module


def _digest(wasm: Path) -> str:
    """The sha256 of the module's file; of the bundled one as it was noted when it was built."""
    try:
        if wasm == BUNDLED:
            noted = json.loads(wasm.with_suffix(".wasm.json").read_bytes())
            return str(noted["output"]["sha256"])
        return hashlib.sha256(wasm.read_bytes()).hexdigest()
    except OSError as error:
        raise InterfaceError(f"the engine's module cannot be read: {error}") from None


def _forget_threads() -> None:
    # After a fork: a thread of the parent may have held it, and wasmtime's are gone.
    global _modules_lock, _is_orphaned
    _modules_lock = threading.Lock()
    _is_orphaned = _has_run


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


def _config() -> wasmtime.Config:
    config = wasmtime.Config()
    config.wasm_exceptions = True
    config.memory_may_move = False
    config.max_wasm_stack = _WASM_STACK
    # wasmtime insists on more than the stack above, though it runs nothing on a stack of its own here.
    set_size = ffi.dll.wasmtime_config_async_stack_size_set
    set_size.argtypes = [ctypes.c_void_p, ctypes.c_uint64]
    set_size.restype = None
    set_size(config.ptr(), _FIBER_STACK)
    return config

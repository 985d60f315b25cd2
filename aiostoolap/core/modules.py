"""The compiled module: from this process, from the cache file, or compiled now."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import wasmtime
from wasmtime import _ffi as ffi

from aiostoolap.core import alarm, cache
from aiostoolap.errors import InterfaceError

BUNDLED = Path(__file__).parent.parent / "stoolap.wasm"

# Deeply nested SQL recurses in the parser. The module's own stack has 32 MiB, see engine/build.rs.
_WASM_STACK = 64 << 20
_FIBER_STACK = 128 << 20

_log = logging.getLogger("aiostoolap")
_modules: dict[str, Compiled] = {}
_modules_lock = threading.Lock()


class Compiled(NamedTuple):
    """What was compiled for one wasmtime engine."""

    engine: wasmtime.Engine
    module: wasmtime.Module
    alarm: wasmtime.Module


def load(wasm: Path) -> Compiled:
    """The compiled module: from this process, else from the cache file, else compiled now, which takes seconds.

    Args:
        wasm: the module's file.

    Raises:
        InterfaceError: the file cannot be read, or is not WebAssembly.
    """
    digest = _digest(wasm)
    with _modules_lock:
        if digest not in _modules:
            engine, kept = wasmtime.Engine(_config()), cache.Cache()
            module = _cached(engine, kept, digest, functools.partial(_compile, engine, wasm))
            alarm_digest = hashlib.sha256(alarm.SOURCE.encode()).hexdigest()
            _modules[digest] = Compiled(engine, module, _cached(engine, kept, alarm_digest, lambda: _assemble(engine)))
        return _modules[digest]


def _cached(
    engine: wasmtime.Engine, kept: cache.Cache, digest: str, make: Callable[[], wasmtime.Module]
) -> wasmtime.Module:
    # Its version would take longer to look up than all the rest. What does not fit after all is refused below.
    file = kept.path(digest, f"wasmtime of {Path(ffi.dll._name).stat().st_size} bytes")
    if file is not None and cache.is_trusted(file):
        try:
            return wasmtime.Module.deserialize_file(engine, str(file))
        except wasmtime.WasmtimeError as error:
            _log.info("the cached engine does not fit, so it is compiled again: %s", error)
    module = make()
    if file is not None:
        kept.store(file, bytes(module.serialize()))
    return module


def _compile(engine: wasmtime.Engine, wasm: Path) -> wasmtime.Module:
    _log.info("compiling the engine, once for this machine")
    try:
        return wasmtime.Module.from_file(engine, str(wasm))
    except wasmtime.WasmtimeError as error:
        raise InterfaceError(f"{wasm} is not a WebAssembly module that can be compiled: {error}") from None


def _assemble(engine: wasmtime.Engine) -> wasmtime.Module:
    return wasmtime.Module(engine, bytes(wasmtime.wat2wasm(alarm.SOURCE)))


def _digest(wasm: Path) -> str:
    """The sha256 of the module's file; of the bundled one as it was noted when it was built, if it is that one."""
    try:
        if wasm == BUNDLED:
            noted = json.loads(wasm.with_suffix(".wasm.json").read_bytes())["output"]
            if noted["bytes"] == wasm.stat().st_size:
                return str(noted["sha256"])
        return hashlib.sha256(wasm.read_bytes()).hexdigest()
    except (OSError, ValueError) as error:
        raise InterfaceError(f"the engine's module cannot be read: {error}") from None


def _forget_threads() -> None:
    # After a fork: a thread of the parent may have held it.
    global _modules_lock
    _modules_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


def _config() -> wasmtime.Config:
    config = wasmtime.Config()
    config.wasm_exceptions = True
    config.memory_may_move = False
    config.shared_memory = True  # For the alarm.
    config.max_wasm_stack = _WASM_STACK
    # wasmtime insists on more than the stack above, though it runs nothing on a stack of its own here.
    set_size = ffi.dll.wasmtime_config_async_stack_size_set
    set_size.argtypes = [ctypes.c_void_p, ctypes.c_uint64]
    set_size.restype = None
    set_size(config.ptr(), _FIBER_STACK)
    return config

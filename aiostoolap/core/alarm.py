"""`Alarm`: the engine's thread sleeps inside of the module, without Python's lock, until another thread wakes it.

A thread that wants Python's lock before it is awake waits until the tasks give it back; this one serves meanwhile.
"""

from __future__ import annotations

import wasmtime
from wasmtime import _ffi as ffi

from aiostoolap.core.function import Function, export

# In a memory of its own, since only a shared one can be waited at: how often it rang.
SOURCE = """
(module
  (import "alarm" "memory" (memory 1 1 shared))
  (func (export "sleep") (param $rung i32) (param $nanoseconds i64) (result i32)
    (drop (memory.atomic.wait32 (i32.const 0) (local.get $rung) (local.get $nanoseconds)))
    (i32.atomic.load (i32.const 0)))
  (func (export "ring")
    (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1)))
    (drop (memory.atomic.notify (i32.const 0) (i32.const 1)))))
"""


class Alarm:
    """What the engine imports to sleep, and what wakes it.

    Args:
        engine: that of the store of the engine's instance.
        module: `SOURCE`, compiled for it.
    """

    def __init__(self, engine: wasmtime.Engine, module: wasmtime.Module) -> None:
        self._engine, self._module = engine, module
        self._memory = _SharedMemory(engine, wasmtime.MemoryType(wasmtime.Limits(1, 1), shared=True))
        self._store = wasmtime.Store(engine)
        self._ring = Function(self._store, self._instantiate(self._store, "ring"))

    def link(self, linker: wasmtime.Linker, store: wasmtime.Store) -> None:
        """Defines what the module imports: `sleep`."""
        linker.define(store, "aiostoolap", "sleep", self._instantiate(store, "sleep"))

    def ring(self) -> None:
        """Wakes the thread that sleeps, or is about to; from any thread, but one at a time."""
        self._ring()

    def close(self) -> None:
        """Frees it."""
        self._store.close()

    def _instantiate(self, store: wasmtime.Store, name: str) -> wasmtime.Func:
        linker = wasmtime.Linker(self._engine)
        linker.define(store, "alarm", "memory", self._memory)
        return export(linker.instantiate(store, self._module).exports(store), name)


class _SharedMemory(wasmtime.SharedMemory):
    def _as_extern(self) -> ffi.wasmtime_extern_t:
        # The inherited one (of wasmtime 50) passes a pointer to the pointer, which ctypes refuses.
        memory = ffi.wasmtime_extern_union(sharedmemory=self.ptr())
        return ffi.wasmtime_extern_t(ffi.WASMTIME_EXTERN_SHAREDMEMORY, memory)

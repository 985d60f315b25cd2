"""`Function`: calls into WebAssembly, in an eighth of the time that wasmtime's own take.

`Func.__call__` looks up the function's type each time. This calls `wasmtime_func_call_unchecked`, with values that are
allocated once.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import wasmtime
from wasmtime import _ffi as ffi

from aiostoolap.errors import EngineLostError


class Function:
    """An exported function of at most two i32 arguments.

    Args:
        store: where it runs.
        function: what is exported.
    """

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
        """Calls it, without Python's lock; returns its result as 64 bits.

        Raises:
            EngineLostError: it trapped; its instance cannot be used again.
        """
        self._first.i32, self._second.i32 = first, second
        error = self._call()
        if error or _is_set(self._trap):
            raise _loss(error, self._trap)
        return int(self._first.i64) & 0xFFFFFFFFFFFFFFFF


def _is_set(pointer: Any) -> bool:
    return bool(pointer)


def _loss(error: int | None, trap: Any) -> EngineLostError:
    """What has happened, with the functions that it has happened in as a note."""
    reason: BaseException
    if error:
        reason = wasmtime.WasmtimeError._from_ptr(ctypes.cast(error, ctypes.POINTER(ffi.wasmtime_error_t)))
    else:
        reason = wasmtime.Trap._from_ptr(trap)
    told = str(reason).strip() or repr(reason)
    loss = EngineLostError(f"the engine's instance is gone: {told.splitlines()[-1].strip()}")
    loss.add_note(told)
    return loss


def export(exports: Any, name: str) -> wasmtime.Func:
    """An exported function.

    Raises:
        KeyError: there is none of that name.
    """
    function = exports[name]
    if not isinstance(function, wasmtime.Func):
        raise KeyError(name)
    return function

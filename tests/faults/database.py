"""A database on a `Disk`, asked without thread and event loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiostoolap.core import extensions, protocol
from aiostoolap.core.protocol import Handle, Request
from tests.faults.disk import Disk
from tests.faults.wasi import Observer, SimulatedRuntime

FOLDER = "db"
_EXPECTED = "File locking not supported on this platform"
_decode_rows = extensions.RowDecoders(raw_json=False, vector=bytes).tuples


class EngineError(Exception):
    """What the engine answered in place of a result."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code


class Database:
    """One instance with one open database.

    Args:
        disk: where its files are.
        observer: sees the calls.
        seed: of the engine's random numbers.
        options: of the DSN.

    Raises:
        EngineError: it could not be opened.
        EngineLostError: the instance trapped.
    """

    def __init__(
        self, disk: Disk, observer: Observer | None = None, seed: int = 0, options: str = "sync_mode=full"
    ) -> None:
        self._runtime = SimulatedRuntime(disk, observer, seed)
        self.warnings: list[str] = []
        """What the engine printed, but for what it always prints."""
        try:
            body = self.ask(protocol.open_database(f"file:///data/{FOLDER}?{options}"))
        except BaseException:
            self.discard()
            raise
        self.handle, printed = protocol.opened(body)
        self._note(printed)

    def ask(self, request: Request) -> bytes:
        """Runs one request.

        Raises:
            EngineError: it failed.
            EngineLostError: the instance trapped.
        """
        runtime = self._runtime
        runtime.run(runtime.ring.own, request.body)
        return self._take(runtime.ring.own)

    def ask_together(self, requests: Sequence[Request]) -> list[bytes | EngineError]:
        """Runs requests as those of many tasks run: they share the log's fsync."""
        ring = self._runtime.ring
        slots = [ring.place(number, request.body) for number, request in enumerate(requests, 1)]
        ring.order(follow=False, patience=0, doze=0, time=None)
        while not self._runtime.serve().idle:
            pass
        replies: list[bytes | EngineError] = []
        for slot in slots:
            try:
                replies.append(self._take(slot))
            except EngineError as error:
                replies.append(error)
            ring.release(slot)
        return replies

    def query(
        self, sql: str, parameters: Sequence[Any] = (), connection: Handle | None = None
    ) -> list[tuple[Any, ...]]:
        request = protocol.query(
            self.handle if connection is None else connection,
            sql,
            parameters,
            2**31,
            2**31,
            nanoseconds=True,
            maps=False,
        )
        return _decode_rows(protocol.head(self.ask(request))[3])

    def execute(self, sql: str, parameters: Sequence[Any] = (), connection: Handle | None = None) -> int:
        target = self.handle if connection is None else connection
        return protocol.handle(self.ask(protocol.execute(target, sql, parameters)))

    def maintain(self, task: str, argument: str | None = None) -> None:
        self.ask(protocol.maintain(self.handle, task, argument))

    def close(self) -> None:
        """Closes the database, and drops the instance."""
        try:
            self.ask(protocol.close_all())
        finally:
            self.discard()

    def discard(self) -> None:
        """Drops the instance, as the end of the process would."""
        self._runtime.close()

    def _take(self, slot: int) -> bytes:
        runtime = self._runtime
        if runtime.failure is not None:
            raise runtime.failure
        reply = runtime.ring.read(slot)
        if isinstance(reply, bytes):
            return reply
        self._note(reply.printed)
        if reply.ok:
            return reply.body
        failure = protocol.failure(reply.body)
        raise EngineError(failure.code, failure.message)

    def _note(self, printed: str) -> None:
        self.warnings += [line for line in printed.splitlines() if line and _EXPECTED not in line]

"""What outlives an instance of the engine: the connections and prepared statements that the next one takes over."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from aiostoolap.core import protocol
from aiostoolap.core.protocol import Handle, Request


@dataclass(frozen=True, slots=True)
class Hold:
    """What a connection holds on the host's side as long as it is open: the lock of its directory.

    Args:
        folder: the directory.
        acquire: called on the engine's thread before the connection is opened.
        release: called there after it is closed, or could not be opened.
    """

    folder: Path
    acquire: Callable[[], None]
    release: Callable[[], None]


class Inheritance:
    """The connections and prepared statements of an engine, by their handles, which stay the same in each instance.

    It makes the requests that open and close them, and so hears of each on the engine's thread, before anybody else.
    """

    def __init__(self) -> None:
        self._connections: dict[Handle, str] = {}
        self._statements: dict[Handle, tuple[Handle, str]] = {}

    def open_database(self, dsn: str, hold: Hold | None) -> Request:
        """A request for a connection, which has `hold` from before it is opened until it is closed."""
        return self._open(protocol.open_database(dsn).body, lambda body: protocol.opened(body)[0], lambda: dsn, hold)

    def clone(self, connection: Handle, hold: Hold | None) -> Request:
        """A request for another connection to the same database."""
        body = protocol.clone(connection).body
        return self._open(body, protocol.handle, lambda: self._connections[connection], hold)

    def close(self, connection: Handle, hold: Hold | None) -> Request:
        """A request that closes a connection."""

        def closed(_: bytes | None) -> None:
            self._connections.pop(connection, None)
            for statement, (owner, _sql) in list(self._statements.items()):
                if owner == connection:
                    del self._statements[statement]
            if hold is not None:
                hold.release()

        return Request(protocol.close(connection).body, after=closed, keep=True)

    def prepare(self, connection: Handle, sql: str) -> Request:
        """A request for a prepared statement."""

        def prepared(body: bytes | None) -> None:
            if body is not None:
                self._statements[protocol.prepared(body).statement] = connection, sql

        request = protocol.prepare(connection, sql)
        return Request(request.body, lambda body: self.release(protocol.prepared(body).statement), after=prepared)

    def release(self, statement: Handle) -> Request:
        """A request that releases a prepared statement."""

        def released(_: bytes | None) -> None:
            self._statements.pop(statement, None)

        return Request(protocol.close(statement).body, after=released, keep=True)

    def request(self, last_handle: Handle, transacting: Iterable[Handle]) -> Request:
        """The request with which a new instance takes them over.

        Args:
            last_handle: above all handles of the instances before.
            transacting: the connections in which SQL had begun a transaction.
        """
        begun = frozenset(transacting)
        connections = [(handle, dsn, handle in begun) for handle, dsn in self._connections.items()]
        # Those of transactions are lost with them.
        statements = [(handle, *of) for handle, of in self._statements.items() if of[0] in self._connections]
        return protocol.inherit(last_handle, connections, statements)

    def _open(
        self, body: bytes, handle: Callable[[bytes], Handle], dsn: Callable[[], str], hold: Hold | None
    ) -> Request:
        def opened(reply: bytes | None) -> None:
            if reply is not None:
                self._connections[handle(reply)] = dsn()
            elif hold is not None:
                hold.release()

        def undo(reply: bytes) -> Request:
            return self.close(handle(reply), hold)

        return Request(body, undo, None if hold is None else hold.acquire, opened)

"""A client that loads a web service: HTTP/1.1 over connections that stay open, as little Python as possible."""

from __future__ import annotations

import asyncio
import itertools
import time


class Connection(asyncio.Protocol):
    """Asks again as soon as it is answered.

    Attributes:
        answered: how many answers have come.
    """

    def __init__(self, numbers: itertools.count[int], rows: int) -> None:
        self._numbers = numbers
        self._rows = rows
        self._buffer = b""
        self.answered = 0
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        number = next(self._numbers) * 7 % self._rows
        self._transport.write(b"GET /items/%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % number)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if len(body) < int(length):
            return
        if not head.startswith(b"HTTP/1.1 200"):
            self._fail(f"the service answered {head.splitlines()[0].decode()}")
            return
        self._buffer = b""
        self.answered += 1
        self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        self._fail("the service closed the connection")

    def _fail(self, why: str) -> None:
        if not self.failed.done():
            self.failed.set_exception(ConnectionError(why))

    def close(self) -> None:
        """Ends it."""
        self.failed.cancel()
        self._transport.close()


async def load(port: int, connections: int, seconds: float, rows: int) -> float:
    """Requests per second that a service answers.

    Raises:
        ConnectionError: it answered with an error, or went away.
    """
    loop = asyncio.get_running_loop()
    numbers = itertools.count()
    clients = []
    for _ in range(connections):
        _, client = await loop.create_connection(lambda: Connection(numbers, rows), "127.0.0.1", port)
        clients.append(client)
    try:
        begun, before = time.perf_counter(), sum(client.answered for client in clients)
        done, _ = await asyncio.wait(
            [client.failed for client in clients], timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        for failed in done:
            failed.result()
        return (sum(client.answered for client in clients) - before) / (time.perf_counter() - begun)
    finally:
        for client in clients:
            client.close()

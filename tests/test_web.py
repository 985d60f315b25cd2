"""The web examples, as real servers on loopback with real clients: one suite for FastAPI and aiohttp."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT
from typing import Any, Protocol, TypeAlias

import aiohttp
import httpx
import pytest
import uvicorn
from aiohttp import web

from aiostoolap import DB, Engine
from examples import aiohttp_app, fastapi_app

ROOT = Path(__file__).parent.parent
LINES = [{"product": "pen", "quantity": 2}, {"product": "ink", "quantity": 1}]

Reply: TypeAlias = tuple[int, Any]


class Client(Protocol):
    """What the tests need of an HTTP client."""

    async def get(self, path: str) -> Reply:
        """The status and the body, decoded if it is JSON."""

    async def post(self, path: str, body: object) -> Reply:
        """The status and the body, decoded if it is JSON."""

    def stream(self, path: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The pieces of the body as they come; the connection is closed at the end of the block."""


class Httpx:
    """The FastAPI example's client."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def get(self, path: str) -> Reply:
        return self._reply(await self._client.get(path))

    async def post(self, path: str, body: object) -> Reply:
        return self._reply(await self._client.post(path, json=body))

    @asynccontextmanager
    async def stream(self, path: str) -> AsyncIterator[AsyncIterator[bytes]]:
        async with self._client.stream("GET", path) as response:
            assert response.status_code == 200
            assert response.headers["Content-Type"].startswith("application/x-ndjson")
            yield response.aiter_bytes()

    def _reply(self, response: httpx.Response) -> Reply:
        return response.status_code, response.json()


class Aiohttp:
    """The aiohttp example's client."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def get(self, path: str) -> Reply:
        async with self._session.get(path) as response:
            return await self._reply(response)

    async def post(self, path: str, body: object) -> Reply:
        async with self._session.post(path, json=body) as response:
            return await self._reply(response)

    @asynccontextmanager
    async def stream(self, path: str) -> AsyncIterator[AsyncIterator[bytes]]:
        async with self._session.get(path) as response:
            assert response.status == 200
            assert response.headers["Content-Type"].startswith("application/x-ndjson")
            yield response.content.iter_any()

    async def _reply(self, response: aiohttp.ClientResponse) -> Reply:
        return response.status, await (
            response.json() if response.content_type == "application/json" else response.text()
        )


class Server(uvicorn.Server):
    """A uvicorn server that says when it has started, or failed to."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit as error:
            raise RuntimeError("the service did not start") from error  # An exit would end the test run.
        finally:
            self.ready.set()


@asynccontextmanager
async def serve_fastapi() -> AsyncIterator[Client]:
    """The FastAPI example under uvicorn."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        server = Server(uvicorn.Config(fastapi_app.app, lifespan="on", log_config=None, access_log=False))
        serving = asyncio.create_task(server.serve([listener]))
        await server.ready.wait()
        try:
            assert server.started
            async with httpx.AsyncClient(base_url=f"http://{host}:{port}", timeout=60) as client:
                yield Httpx(client)
        finally:
            server.should_exit = True
            await serving


@asynccontextmanager
async def serve_aiohttp() -> AsyncIterator[Client]:
    """The aiohttp example."""
    runner = web.AppRunner(aiohttp_app.make_app())
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0]
        unlimited = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(f"http://{host}:{port}", connector=unlimited) as session:
            yield Aiohttp(session)
    finally:
        await runner.cleanup()


Serve: TypeAlias = Callable[[], AbstractAsyncContextManager[Client]]


@pytest.fixture(params=[serve_fastapi, serve_aiohttp], ids=["fastapi", "aiohttp"])
def serve(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[Serve]:
    """Starts one of the examples; neither it nor its server may log a warning or an error."""
    yield request.param
    records = caplog.get_records("setup") + caplog.get_records("call") + caplog.records
    assert [record.getMessage() for record in records if record.levelno >= logging.WARNING] == []


@dataclass(frozen=True)
class Service:
    """A running example: its client, the engine below it, and another connection to its database."""

    client: Client
    engine: Engine
    db: DB

    async def cursors(self) -> int:
        """How many cursors are open."""
        return (await self.engine.stats()).cursors


@pytest.fixture
async def service(serve: Serve, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Service]:
    @asynccontextmanager
    async def connect(target: str) -> AsyncIterator[DB]:
        assert target == "memory://"
        async with await engine.open("memory://shared") as db:
            yield db

    monkeypatch.delenv("ORDERS_DB", raising=False)
    monkeypatch.setattr("examples.orders.connect", connect)
    async with await engine.open("memory://shared") as db:
        async with serve() as client:
            assert (await engine.stats()).connections == 2
            yield Service(client, engine, db)
        stats = await engine.stats()
        assert (stats.connections, stats.transactions, stats.statements, stats.cursors) == (1, 0, 0, 0)


def new(reference: str, customer: str = "Ada", lines: object = LINES) -> dict[str, object]:
    """An order as clients send it."""
    return {"reference": reference, "customer": customer, "lines": lines}


async def test_order_is_created_and_read(service: Service) -> None:
    client = service.client
    status, placed = await client.post("/orders", new("A-1"))
    assert status == 201
    assert placed == {"id": placed["id"], "reference": "A-1", "customer": "Ada"}
    await client.post("/orders", new("B-1", "Bob"))
    assert await client.get(f"/orders/{placed['id']}") == (200, placed)
    assert await client.get(f"/orders/{placed['id']}/lines") == (200, LINES)
    assert await client.get("/customers/Ada/orders") == (200, [placed])
    assert await client.get("/customers/Eve/orders") == (200, [])


async def test_errors_have_their_status_and_change_nothing(service: Service) -> None:
    client = service.client
    status, _ = await client.get("/orders/999")
    assert status == 404
    assert (await client.post("/orders", new("A-1")))[0] == 201
    status, detail = await client.post("/orders", new("A-1", "Eve"))
    assert status == 409
    assert "A-1" in str(detail)
    # The order itself is inserted before the line that is refused.
    status, _ = await client.post("/orders", new("A-2", "Eve", [*LINES, {"product": "nib", "quantity": 0}]))
    assert status == 422
    status, _ = await client.post("/orders", {"reference": "A-3"})
    assert status == 422
    assert await client.get("/customers/Eve/orders") == (200, [])
    assert await service.db.query_value("SELECT COUNT(*) FROM orders") == 1
    assert await service.db.query_value("SELECT COUNT(*) FROM order_lines") == len(LINES)


async def test_concurrent_requests(service: Service) -> None:
    """210 requests at once, and a further one for each of 70 of them."""
    client = service.client
    await service.db.execute_many(
        "INSERT INTO orders (id, reference, customer) VALUES ($1, $2, 'Old')", [(n, f"old-{n}") for n in range(1, 71)]
    )

    async def read(number: int) -> None:
        expected = {"id": number, "reference": f"old-{number}", "customer": "Old"}
        assert await client.get(f"/orders/{number}") == (200, expected)

    async def write(n: int) -> int:
        lines = [{"product": f"p{n}", "quantity": n + 1}]
        status, placed = await client.post("/orders", new(f"new-{n}", "New", lines))
        assert (status, placed["reference"]) == (201, f"new-{n}")
        assert await client.get(f"/orders/{placed['id']}/lines") == (200, lines)
        return int(placed["id"])

    async def race() -> int:
        return (await client.post("/orders", new("same", "Race")))[0]

    async with asyncio.TaskGroup() as group:
        writes, races = [], []
        for n in range(70):
            group.create_task(read(n + 1))
            writes.append(group.create_task(write(n)))
            races.append(group.create_task(race()))
    assert sorted(task.result() for task in races) == [201] + [409] * 69
    ids = [task.result() for task in writes]
    assert len(set(ids)) == 70
    expected = sorted((number, f"new-{n}") for n, number in enumerate(ids))
    status, found = await client.get("/customers/New/orders")
    assert (status, [(order["id"], order["reference"]) for order in found]) == (200, expected)
    assert await service.db.query_value("SELECT COUNT(*) FROM orders") == 70 + 70 + 1
    assert await service.db.query_value("SELECT COUNT(*) FROM order_lines") == 70 + len(LINES)


async def fill(db: DB, rows: int, customer: str) -> None:
    """Inserts orders 1 to `rows`."""
    await db.execute_many(
        "INSERT INTO orders (id, reference, customer) VALUES ($1, $2, $3)",
        ((n, f"A-{n}", customer) for n in range(1, rows + 1)),
    )


async def test_stream_gives_every_row_in_order(service: Service) -> None:
    await fill(service.db, 20_000, "Ada")
    async with service.client.stream("/export") as pieces:
        body = b"".join([piece async for piece in pieces])
    assert body.endswith(b"\n")
    assert [json.loads(line) for line in body.splitlines()] == [
        {"id": n, "reference": f"A-{n}", "customer": "Ada"} for n in range(1, 20_001)
    ]
    assert await service.cursors() == 0


async def test_client_that_leaves_the_stream_releases_the_cursor(service: Service) -> None:
    # More than the sockets between them buffer, so that the server is still in the middle of it.
    await fill(service.db, 20_000, "x" * 2000)
    async with service.client.stream("/export") as pieces:
        assert (await anext(pieces)).startswith(b'{"id":1,')
        assert await service.cursors() == 1
        status, _ = await service.client.get("/orders/20000")
        assert status == 200
    async with asyncio.timeout(30):
        while await service.cursors():
            pass
    assert (await service.client.get("/orders/0"))[0] == 404


async def test_orders_in_a_directory_outlive_the_service(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORDERS_DB", str(tmp_path / "orders"))
    async with serve() as client:
        _, placed = await client.post("/orders", new("A-1"))
    async with serve() as client:
        assert await client.get(f"/orders/{placed['id']}") == (200, placed)
        assert (await client.post("/orders", new("A-1")))[0] == 409


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
@pytest.mark.parametrize("module", ["fastapi_app", "aiohttp_app"])
async def test_module_runs_and_stops_without_warnings(module: str, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-X", "dev", "-W", "error", "-u", "-m", f"examples.{module}"),
        cwd=ROOT,
        env={**os.environ, "PORT": "0", "ORDERS_DB": str(tmp_path / "orders")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    output = ""
    try:
        while "unning on" not in output:
            line = await process.stdout.readline()
            assert line, output
            output += line.decode()
        url = next(word for word in output.split() if word.startswith("http://127.0.0.1:"))
        async with httpx.AsyncClient(timeout=60) as client:
            assert (await client.post(f"{url}/orders", json=new("A-1"))).status_code == 201
        process.send_signal(SIGINT)
        rest, _ = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    output += rest.decode()
    assert process.returncode == 0, output
    assert not any(word in output for word in ("Warning", "WARNING", "ERROR", "Traceback")), output

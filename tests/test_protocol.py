"""The module itself, by bytes: what another host could rely on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiostoolap.core import protocol
from aiostoolap.core.runtime import Runtime

T = TypeVar("T")


class Host:
    """The smallest host: a thread with a large stack, and one call."""

    def __init__(self) -> None:
        before = threading.stack_size(256 << 20)
        try:
            self.thread = ThreadPoolExecutor(1)
            self.runtime = self.on_thread(Runtime)
        finally:
            threading.stack_size(before)

    def on_thread(self, call: Callable[..., T], *arguments: Any) -> T:
        return self.thread.submit(call, *arguments).result()

    def raw(self, batch: bytes) -> list[protocol.Reply]:
        return protocol.decode_batch(self.on_thread(self.runtime.run, batch))

    def batch(self, *requests: protocol.Request) -> list[protocol.Reply]:
        """Runs requests as one batch, and what is left of it again."""
        replies: list[protocol.Reply] = []
        while len(replies) < len(requests):
            numbered = [(n, request.body) for n, request in enumerate(requests, 1)][len(replies) :]
            replies += self.raw(protocol.encode_batch(numbered))
        return replies

    def one(self, request: protocol.Request) -> memoryview:
        (reply,) = self.batch(request)
        assert reply.ok, protocol.failure(reply.body)
        return reply.body

    def code(self, request: protocol.Request) -> str:
        (reply,) = self.batch(request)
        assert not reply.ok
        return protocol.failure(reply.body).code

    def open(self) -> int:
        return protocol.opened(self.one(protocol.open_database("memory://")))[0]


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.on_thread(host.runtime.close)
    host.thread.shutdown()


def rows(body: memoryview) -> list[tuple[Any, ...]]:
    return protocol.RowDecoder(False, bytes).chunk(body).rows


def query(connection: int, sql: str, rows: int = 1_000, size: int = 1 << 20) -> protocol.Request:
    return protocol.query(connection, sql, None, rows, size, False)


def test_replies_come_in_order_and_fail_alone(host: Host) -> None:
    db = host.open()
    replies = host.batch(
        protocol.execute(db, "CREATE TABLE t (a INTEGER)", None),
        protocol.execute(db, "INSERT INTO t VALUES (1)", None),
        protocol.execute(db, "INSERT INTO missing VALUES (1)", None),
        protocol.Request(b"\xff not MessagePack"),
        query(db, "SELECT a FROM t"),
    )
    assert [(reply.number, reply.ok) for reply in replies] == [(1, True), (2, True), (3, False), (4, False), (5, True)]
    assert protocol.failure(replies[3].body).code == "protocol"
    assert rows(replies[4].body) == [(1,)]


def test_handles_are_used_once(host: Host) -> None:
    db = host.open()
    seen = {db}
    for _ in range(50):
        statement = protocol.prepared(host.one(protocol.prepare(db, "SELECT 1"))).statement
        transaction = protocol.handle(host.one(protocol.begin(db, None)))
        cursor = protocol.RowDecoder(False, bytes).chunk(host.one(query(db, "SELECT 1", rows=0))).cursor
        for handle in (statement, transaction, cursor):
            assert handle not in seen
            seen.add(handle)
            host.one(protocol.close(handle))
            assert host.code(protocol.close(handle)) == "closed"
        assert host.code(protocol.execute(transaction, "SELECT 1", None)) == "closed"
        assert host.code(protocol.execute(db, statement, None)) == "closed"
        assert host.code(protocol.fetch(cursor, 1, 1)) == "closed"


def test_a_handle_of_another_kind_is_refused(host: Host) -> None:
    db = host.open()
    statement = protocol.prepared(host.one(protocol.prepare(db, "SELECT 1"))).statement
    assert host.code(protocol.execute(statement, "SELECT 1", None)) == "closed"
    assert host.code(protocol.fetch(db, 1, 1)) == "closed"
    assert host.code(protocol.execute(db, db, None)) == "closed"
    host.one(query(db, "SELECT 1"))


def test_a_cursor_by_rows_and_by_bytes(host: Host) -> None:
    db = host.open()
    host.one(protocol.execute(db, "CREATE TABLE t (a INTEGER, b TEXT)", None))
    host.one(protocol.execute_many(db, "INSERT INTO t VALUES (?, ?)", [(n, "x" * 100) for n in range(1_000)]))
    decoder = protocol.RowDecoder(False, bytes)
    for limit, size in ((7, 1 << 20), (1_000_000, 500), (1, 1)):
        chunk = decoder.chunk(host.one(query(db, "SELECT a FROM t ORDER BY a", limit, size)))
        found, cursor = chunk.rows, chunk.cursor
        pieces = 1
        while cursor:
            more = decoder.more(host.one(protocol.fetch(cursor, limit, size)))
            assert len(more.rows) <= limit
            found += more.rows
            cursor = more.cursor
            pieces += 1
        assert found == [(n,) for n in range(1_000)]
        assert pieces > 1


def test_a_stop_hits_only_the_request_with_its_number(host: Host) -> None:
    db = host.open()
    host.runtime.stop(0, 99)
    (reply,) = host.raw(protocol.encode_batch([(98, query(db, "SELECT 1").body)]))
    assert reply.ok
    (reply,) = host.raw(protocol.encode_batch([(99, query(db, "SELECT 1").body)]))
    assert protocol.failure(reply.body).code == "cancelled"
    (reply,) = host.raw(protocol.encode_batch([(100, query(db, "SELECT 1").body)]))
    assert reply.ok


def test_a_long_batch_is_given_back_unfinished(host: Host) -> None:
    db = host.open()
    host.one(protocol.execute(db, "CREATE TABLE t (a INTEGER)", None))
    host.one(protocol.execute_many(db, "INSERT INTO t VALUES (?)", [(n,) for n in range(2_000)]))
    slow = query(db, "SELECT COUNT(*) FROM t a, t b WHERE a.a < b.a")
    replies = host.raw(protocol.encode_batch([(1, slow.body), (2, slow.body), (3, slow.body)]))
    assert len(replies) == 1


def test_closing_a_connection_closes_what_it_made(host: Host) -> None:
    db = host.open()
    statement = protocol.prepared(host.one(protocol.prepare(db, "SELECT 1"))).statement
    transaction = protocol.handle(host.one(protocol.begin(db, None)))
    inner = protocol.prepared(host.one(protocol.prepare(transaction, "SELECT 1"))).statement
    host.one(protocol.close(db))
    for handle in (statement, transaction, inner):
        assert host.code(protocol.close(handle)) == "closed"


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ((99,), "protocol"),
        ((13, 0, 9, "x"), "closed"),
        ((14, 0, "dance", None), "protocol"),
        ((10, 0, "serialisable"), "closed"),
        (("x",), "protocol"),
        ((4, -1, "SELECT 1", None), "protocol"),
        ((4, 1), "protocol"),
        ({}, "protocol"),
        (7, "protocol"),
    ],
    ids=str,
)
def test_malformed_requests_are_errors(host: Host, request_: object, code: str) -> None:
    host.open()
    if request_ == (14, 0, "dance", None):
        code = "protocol"
    assert host.code(protocol.Request(msgspec.msgpack.encode(request_))) == code


def mutable_requests(db: int) -> list[bytes]:
    requests = (
        protocol.execute(db, "SELECT $1, $2", (1, "two")),
        protocol.query(db, "SELECT :a", {"a": protocol.json([1])}, 10, 1_000, True),
        protocol.execute_many(db, "INSERT INTO t VALUES (?)", [(1,), (protocol.vector(b"\0" * 8),)]),
        protocol.begin(db, "snapshot"),
        protocol.maintain(db, "cleanup", None),
        protocol.script(db, "SELECT 1; SELECT 2"),
    )
    return [request.body for request in requests]


@given(
    kind=st.integers(0, 5),
    changes=st.lists(st.tuples(st.integers(0, 99), st.integers(0, 255)), max_size=4),
    cut=st.integers(1, 200),
)
@settings(max_examples=1_000)
def test_mutated_requests_never_kill_the_instance(
    host: Host, kind: int, changes: list[tuple[int, int]], cut: int
) -> None:
    db = host.open()
    body = bytearray(mutable_requests(db)[kind])
    for place, byte in changes:
        body[place % len(body)] = byte
    host.batch(protocol.Request(bytes(body[:cut])))
    db = host.open()
    assert rows(host.one(query(db, "SELECT 1"))) == [(1,)]
    host.one(protocol.close_all())


@given(batch=st.binary(max_size=60))
def test_random_batches_never_kill_the_instance(host: Host, batch: bytes) -> None:
    host.raw(batch)
    host.one(protocol.versions())


def test_it_is_described() -> None:
    text = (Path(__file__).parent.parent / "docs" / "protocol.md").read_text()
    for name in ("abi_version", "stop_slots", "input", "run", "sync_directories"):
        assert f"`{name}" in text or f".{name}" in text

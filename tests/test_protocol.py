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

from aiostoolap.core import extensions, protocol, ring
from aiostoolap.core.runtime import Runtime

T = TypeVar("T")


class Host:
    """The smallest host: a thread with a large stack, and one call."""

    def __init__(self) -> None:
        self.number = 0
        before = threading.stack_size(256 << 20)
        try:
            self.thread = ThreadPoolExecutor(1)
            self.runtime = self.on_thread(Runtime)
        finally:
            threading.stack_size(before)

    def on_thread(self, call: Callable[..., T], *arguments: Any) -> T:
        return self.thread.submit(call, *arguments).result()

    def batch(self, *requests: protocol.Request) -> list[ring.Reply]:
        """Runs requests that are all placed before the first of them runs."""
        return self.on_thread(self._serve, requests)

    def _serve(self, requests: tuple[protocol.Request, ...]) -> list[ring.Reply]:
        place = self.runtime.ring
        numbers = range(self.number + 1, self.number + 1 + len(requests))
        self.number += len(requests)
        slots = []
        for number, request in zip(numbers, requests, strict=True):
            slots.append(place.place(number, request.body))
        left = ring.Left(False, None, False)
        while not left.idle:
            place.order(follow=False, patience=0, doze=0, time=None)
            left = self.runtime.serve()
            place.expected()
            if left.attends is not None:
                self.runtime.run(left.attends, requests[slots.index(left.attends)].body)
                place.publish(left.attends, numbers[slots.index(left.attends)])
        replies = []
        for slot, number in zip(slots, numbers, strict=True):
            assert place.words[slot + ring.DONE] == number
            reply = place.read(slot)
            replies.append(ring.Reply(True, reply, "") if isinstance(reply, bytes) else reply)
            place.release(slot)
            self.last_slot = slot  # The next call takes it again.
        return replies

    def one(self, request: protocol.Request) -> bytes:
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


DECODERS = extensions.RowDecoders(False, bytes)


def rows(body: bytes) -> list[tuple[Any, ...]]:
    return DECODERS.tuples(protocol.head(body)[3])


def query(connection: int, sql: str, rows: int = 1_000, size: int = 1 << 20) -> protocol.Request:
    return protocol.query(connection, sql, None, rows, size, nanoseconds=False, maps=False)


def test_replies_come_in_order_and_fail_alone(host: Host) -> None:
    db = host.open()
    replies = host.batch(
        protocol.execute(db, "CREATE TABLE t (a INTEGER)", None),
        protocol.execute(db, "INSERT INTO t VALUES (1)", None),
        protocol.execute(db, "INSERT INTO missing VALUES (1)", None),
        protocol.Request(b"\xff not MessagePack"),
        query(db, "SELECT a FROM t"),
    )
    assert [reply.ok for reply in replies] == [True, True, False, False, True]
    assert protocol.failure(replies[3].body).code == "protocol"
    assert rows(replies[4].body) == [(1,)]


def test_handles_are_used_once(host: Host) -> None:
    db = host.open()
    seen = {db}
    for _ in range(50):
        statement = protocol.prepared(host.one(protocol.prepare(db, "SELECT 1"))).statement
        transaction = protocol.handle(host.one(protocol.begin(db, None)))
        cursor = protocol.head(host.one(query(db, "SELECT 1", rows=0)))[1]
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
    for limit, size in ((7, 1 << 20), (1_000_000, 500), (1, 1)):
        names, cursor, affected, encoded = protocol.head(host.one(query(db, "SELECT a FROM t ORDER BY a", limit, size)))
        assert (protocol.columns(names), affected) == (("a",), 0)
        found = DECODERS.tuples(encoded)
        pieces = 1
        while cursor:
            cursor, encoded = protocol.more(host.one(protocol.fetch(cursor, limit, size)))
            more = DECODERS.tuples(encoded)
            assert len(more) <= limit
            found += more
            pieces += 1
        assert found == [(n,) for n in range(1_000)]
        assert pieces > 1


def test_only_the_first_row(host: Host) -> None:
    db = host.open()
    host.one(protocol.execute(db, "CREATE TABLE t (a INTEGER)", None))
    host.one(protocol.execute_many(db, "INSERT INTO t VALUES (?)", [(n,) for n in range(3)]))
    for found in ([(0,)], []):
        request = protocol.query_one(db, "SELECT a FROM t ORDER BY a", None, False, False)
        body = host.one(request)
        assert (rows(body), protocol.head(body)[1]) == (found, 0)
        host.one(protocol.execute(db, "DELETE FROM t", None))


def test_rows_as_maps(host: Host) -> None:
    db = host.open()
    request = protocol.query(db, "SELECT 1 AS a, 'x' AS b", None, 9, 9, nanoseconds=False, maps=True)
    assert DECODERS.dicts(protocol.head(host.one(request))[3]) == [{"a": 1, "b": "x"}]


def test_a_stop_hits_only_the_request_with_its_number(host: Host) -> None:
    db = host.open()
    request = query(db, "SELECT 1")
    host.runtime.ring.stop(host.last_slot, host.number + 2)
    assert [host.batch(request)[0].ok for _ in range(3)] == [True, False, True]


def test_a_new_instance_takes_over_handles() -> None:
    host = Host()
    try:
        host.one(protocol.inherit(1000, [(3, "memory://", False), (5, "file:///data/x", True)], [(7, 5, "SELECT 1")]))
        assert host.open() == 1001
        lost = (
            protocol.execute(3, "SELECT 1", None),  # In memory.
            protocol.execute(9, "SELECT 1", None),  # A transaction, of which nothing is known.
            protocol.commit(9),
            protocol.fetch(9, 1, 1),
            protocol.execute(1001, 9, None),
        )
        assert [host.code(request) for request in lost] == ["lost"] * len(lost)
        # This host has no files.
        assert host.code(protocol.execute(5, 7, None)) in ("io_error", "wal_unavailable", "internal")
        for request in (
            protocol.rollback(9),
            protocol.close(9),
            protocol.close(3),
            protocol.close(7),
            protocol.close(5),
        ):
            host.one(request)
        assert host.code(protocol.execute(1002, "SELECT 1", None)) == "closed"
    finally:
        host.on_thread(host.runtime.close)
        host.thread.shutdown()


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
        protocol.query(db, "SELECT :a", {"a": extensions.json([1])}, 10, 1_000, nanoseconds=True, maps=True),
        protocol.execute_many(db, "INSERT INTO t VALUES (?)", [(1,), (extensions.vector(b"\0" * 8),)]),
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
    host.one(protocol.set_memory_limit(2**32 - 1))  # It may have become this request.
    db = host.open()
    assert rows(host.one(query(db, "SELECT 1"))) == [(1,)]
    host.one(protocol.close_all())


@given(words=st.lists(st.integers(0, 2**32 - 1), min_size=8, max_size=8))
def test_a_ring_of_nonsense_never_kills_the_instance(host: Host, words: list[int]) -> None:
    place = host.runtime.ring
    slot = place.place(7, b"")
    for offset, word in enumerate(words[:5]):
        place.words[slot + offset] = word
    place.order(follow=False, patience=words[5], doze=words[5], time=words[6])
    left = host.on_thread(host.runtime.serve)
    assert left.attends in (None, slot)
    place.words[slot + 2] = place.words[slot + 5] = 0
    place.words[slot] = 7
    place.release(slot)
    host.one(protocol.versions())


def test_it_is_described() -> None:
    text = (Path(__file__).parent.parent / "docs" / "protocol.md").read_text()
    for name in ("abi_version", "ring", "input", "serve", "run", "sync_directories"):
        assert f"`{name}" in text or f".{name}" in text

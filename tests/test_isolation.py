"""The classical anomalies, by their names in Berenson et al., "A Critique of ANSI SQL Isolation Levels" (1995), and in
Adya's thesis (1999): which of them each isolation level has."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeAlias

import pytest

import aiostoolap
from aiostoolap import DB, Isolation, TransactionConflictError, Tx
from tests.conftest import Settle

BOTH: tuple[Isolation, ...] = ("read committed", "snapshot")
Begin: TypeAlias = Callable[[], Coroutine[Any, Any, Tx]]


@pytest.fixture
async def db() -> AsyncIterator[DB]:
    async with aiostoolap.connect() as db:
        await db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, value INTEGER)")
        await db.execute("CREATE INDEX by_value ON t (value)")
        await db.execute("INSERT INTO t VALUES (1, 10), (2, 20)")
        yield db


async def value(session: DB | Tx, key: int) -> int:
    found: int = await session.query_value("SELECT value FROM t WHERE id = $1", (key,))
    return found


async def write(session: DB | Tx, key: int, new: int) -> int:
    return await session.execute("UPDATE t SET value = $2 WHERE id = $1", (key, new))


async def everything(db: DB) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await db.query("SELECT id, value FROM t ORDER BY id")]


@pytest.mark.parametrize("isolation", BOTH)
async def test_dirty_write(db: DB, isolation: Isolation) -> None:
    """P0, G0: two transactions change a row, and their changes mix."""
    one, two = await db.begin(isolation), await db.begin(isolation)
    await write(one, 1, 11)
    with pytest.raises(TransactionConflictError):
        await write(two, 1, 12)
    await two.rollback()
    await write(one, 2, 21)
    await one.commit()
    assert await everything(db) == [(1, 11), (2, 21)]


@pytest.mark.parametrize("isolation", BOTH)
async def test_dirty_read(db: DB, isolation: Isolation) -> None:
    """P1, G1a and G1b: what is undone later, or changed again, is read."""
    one, two = await db.begin(isolation), await db.begin(isolation)
    await write(one, 1, 101)
    assert await value(two, 1) == await value(db, 1) == 10
    await write(one, 1, 11)
    assert await two.query("SELECT id FROM t WHERE value IN (11, 101)") == []
    await one.rollback()
    assert await value(two, 1) == 10
    await two.commit()
    assert await everything(db) == [(1, 10), (2, 20)]


@pytest.mark.parametrize("isolation", BOTH)
async def test_circular_information_flow(db: DB, isolation: Isolation) -> None:
    """G1c: each of two transactions reads what the other has written."""
    one, two = await db.begin(isolation), await db.begin(isolation)
    await write(one, 1, 11)
    await write(two, 2, 22)
    assert (await value(one, 2), await value(two, 1)) == (20, 10)
    await one.commit()
    await two.commit()


@pytest.mark.parametrize("isolation", BOTH)
async def test_non_repeatable_read(db: DB, isolation: Isolation) -> None:
    """P2: a row is read again, and differs."""
    async with db.transaction(isolation) as tx:
        assert await value(tx, 1) == 10
        await write(db, 1, 11)
        assert await value(tx, 1) == (11 if isolation == "read committed" else 10)


@pytest.mark.parametrize("isolation", BOTH)
async def test_phantoms(db: DB, isolation: Isolation) -> None:
    """P3, PMP: rows that meet a condition come, and go."""
    sees_others = isolation == "read committed"
    async with db.transaction(isolation) as tx:
        assert await tx.query("SELECT id FROM t WHERE id > 1", into=int) == [2]
        await db.execute("INSERT INTO t VALUES (3, 30)")
        assert await tx.query("SELECT id FROM t WHERE id > 1 ORDER BY id", into=int) == ([2, 3] if sees_others else [2])
        await db.execute("DELETE FROM t WHERE id = 2")
        assert await tx.query("SELECT id FROM t WHERE id > 1 ORDER BY id", into=int) == ([3] if sees_others else [2])
        assert await tx.query_value("SELECT COUNT(*) FROM t WHERE id > 1") == 1


@pytest.mark.parametrize("isolation", BOTH)
async def test_read_skew(db: DB, isolation: Isolation) -> None:
    """A5A, G-single: two rows are read, from before and after another transaction."""
    async with db.transaction(isolation) as tx:
        assert await value(tx, 1) == 10
        async with db.transaction() as other:
            await write(other, 1, 12)
            await write(other, 2, 18)
        assert await value(tx, 2) == (18 if isolation == "read committed" else 20)


@pytest.mark.parametrize("isolation", BOTH)
async def test_lost_update(db: DB, isolation: Isolation) -> None:
    """P4: two transactions read a row, and each writes what follows from that."""
    one, two = await db.begin(isolation), await db.begin(isolation)
    first, second = await value(one, 1), await value(two, 1)
    await write(one, 1, first + 1)
    await one.commit()
    if isolation == "read committed":
        await write(two, 1, second + 1)
        await two.commit()
    else:
        with pytest.raises(TransactionConflictError):
            await write(two, 1, second + 1)
            await two.commit()
    assert await value(db, 1) == 11


@pytest.mark.parametrize("isolation", BOTH)
async def test_an_update_reads_and_writes_at_once(db: DB, isolation: Isolation) -> None:
    """P4 within one statement."""
    one, two = await db.begin(isolation), await db.begin(isolation)
    await one.execute("UPDATE t SET value = value + 1 WHERE id = 1")
    await one.commit()
    if isolation == "read committed":
        await two.execute("UPDATE t SET value = value + 1 WHERE id = 1")
        await two.commit()
        assert await value(db, 1) == 12
    else:
        with pytest.raises(TransactionConflictError):
            await two.execute("UPDATE t SET value = value + 1 WHERE id = 1")
            await two.commit()
        assert await value(db, 1) == 11


@pytest.mark.parametrize("isolation", BOTH)
async def test_write_skew(db: DB, isolation: Isolation) -> None:
    """A5B, G2-item: two transactions read the same rows, and write different ones. Neither level prevents it."""
    one, two = await db.begin(isolation), await db.begin(isolation)
    for tx in (one, two):
        assert await tx.query_value("SELECT SUM(value) FROM t") == 30
    await write(one, 1, -20)
    await write(two, 2, -10)
    await one.commit()
    await two.commit()
    assert await everything(db) == [(1, -20), (2, -10)]


@pytest.mark.parametrize("isolation", BOTH)
async def test_the_same_new_key(db: DB, isolation: Isolation) -> None:
    """Of two transactions that add a row with the same key, one does not commit."""
    one, two = await db.begin(isolation), await db.begin(isolation)
    await one.execute("INSERT INTO t VALUES (5, 1)")
    with pytest.raises((TransactionConflictError, aiostoolap.UniqueViolationError)):  # either of the two
        await two.execute("INSERT INTO t VALUES (5, 2)")
        await one.commit()
        await two.commit()
    if one.is_open:
        await one.commit()
    if two.is_open:
        await two.rollback()
    assert await value(db, 5) == 1


CHANGES = (
    "UPDATE t SET value = value + 1",
    "UPDATE t SET value = value + 1 WHERE id = 1",
    "UPDATE t SET value = value + 1 WHERE value = 0",
    "DELETE FROM t WHERE id = 1",
    "DELETE FROM t WHERE value < 5",
    "DELETE FROM t",
)


@pytest.mark.parametrize("second", CHANGES)
@pytest.mark.parametrize("first", [CHANGES[0], CHANGES[4]])
async def test_snapshots_conflict_over_rows_in_files(stored: DB, first: str, second: str) -> None:
    await stored.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, value INTEGER)")
    await stored.execute("INSERT INTO t VALUES (1, 0), (2, 7)")
    await stored.checkpoint()
    one, two = await stored.begin("snapshot"), await stored.begin("snapshot")
    await one.execute(first)
    await one.commit()
    assert await two.query("SELECT id, value FROM t", into=tuple) == [(1, 0), (2, 7)]
    with pytest.raises(TransactionConflictError):
        await two.execute(second)
        await two.commit()
    if two.is_open:
        await two.rollback()
    left = [(2, 7)] if first.startswith("DELETE") else [(1, 1), (2, 8)]
    assert await stored.query("SELECT id, value FROM t", into=tuple) == left


async def test_a_transaction_changes_rows_in_files_again_and_again(stored: DB) -> None:
    """What it has changed itself is no conflict, nor is what was changed before it began."""
    await stored.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, value INTEGER)")
    await stored.execute("INSERT INTO t VALUES (1, 0), (2, 7), (3, 9)")
    await stored.checkpoint()
    await stored.execute("UPDATE t SET value = value + 1 WHERE id = 3")
    async with stored.transaction("snapshot") as tx:
        assert await tx.execute("UPDATE t SET value = value + 1 WHERE id = 1") == 1
        assert await tx.execute("UPDATE t SET value = value + 1") == 3
        assert await tx.execute("DELETE FROM t WHERE value = 8") == 1
        assert await tx.execute("UPDATE t SET value = value * 10") == 2
    assert await stored.query("SELECT id, value FROM t ORDER BY id", into=tuple) == [(1, 20), (3, 110)]


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_the_end_of_a_large_transaction_frees_its_own_rows_alone(stored: DB, end: str, settle: Settle) -> None:
    await stored.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, value INTEGER)")
    await stored.execute_many("INSERT INTO t VALUES ($1, 0)", ((n,) for n in range(5_000)))
    await settle()
    one, two = await stored.begin(), await stored.begin()
    assert await one.execute("UPDATE t SET value = 1 WHERE id < 2500") == 2_500
    assert await two.execute("UPDATE t SET value = 2 WHERE id >= 2500") == 2_500
    await (one.commit() if end == "commit" else one.rollback())
    assert await stored.execute("UPDATE t SET value = value + 4 WHERE id < 2500") == 2_500
    with pytest.raises(TransactionConflictError):
        await stored.execute("UPDATE t SET value = 9 WHERE id = 4999")
    with pytest.raises(TransactionConflictError):
        await stored.execute("UPDATE t SET value = 9")
    await two.commit()
    assert await stored.execute("UPDATE t SET value = value + 8 WHERE id >= 2500") == 2_500
    left = [(5 if end == "commit" else 4, 2_500), (10, 2_500)]
    assert await stored.query("SELECT value, COUNT(*) FROM t GROUP BY value ORDER BY value", into=tuple) == left


async def test_a_snapshot_sees_no_row_that_was_deleted_before_it_was_opened(folder: Path) -> None:
    """The numbers of commits begin anew then, and those in the files are of the process before."""
    async with aiostoolap.connect(folder, checkpoint_every=None) as db:
        await db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, value INTEGER)")
        await db.execute("INSERT INTO t VALUES (1, 0), (2, 7), (3, 9)")
        await db.checkpoint()
        for _ in range(60):
            await db.query("SELECT 1 FROM t")
        await db.execute("DELETE FROM t WHERE id = 1")
    async with aiostoolap.connect(folder, checkpoint_every=None) as db:
        async with db.transaction("snapshot") as tx:
            assert await tx.query("SELECT id FROM t ORDER BY id", into=int) == [2, 3]
            assert await tx.execute("UPDATE t SET value = value + 1") == 2
        assert await db.query("SELECT id, value FROM t ORDER BY id", into=tuple) == [(2, 8), (3, 10)]


@pytest.mark.parametrize("isolation", BOTH)
@pytest.mark.parametrize("change", ["DELETE FROM t", "UPDATE t SET value = 5"])
async def test_a_checkpoint_takes_nothing_back(stored: DB, isolation: Isolation, change: str) -> None:
    await stored.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, value INTEGER)")
    await stored.execute("INSERT INTO t VALUES (1, 0), (2, 7)")
    async with stored.transaction(isolation) as tx:
        assert await tx.execute(change) == 2
        for _ in range(3):
            await stored.query("SELECT * FROM t JOIN t AS q ON q.id = t.value")
        await stored.checkpoint()
        left = [] if change.startswith("DELETE") else [(1, 5), (2, 5)]
        assert await tx.query("SELECT id, value FROM t ORDER BY id", into=tuple) == left
        assert await tx.query_value("SELECT COUNT(*) FROM t") == len(left)
        assert await stored.query("SELECT id, value FROM t ORDER BY id", into=tuple) == [(1, 0), (2, 7)]
    assert await stored.query("SELECT id, value FROM t ORDER BY id", into=tuple) == left


@pytest.mark.parametrize("change", ["DELETE FROM t WHERE id < 3", "UPDATE t SET value = -1, other = 9"])
async def test_a_snapshot_keeps_what_others_change(stored: DB, settle: Settle, change: str) -> None:
    queries = (
        "SELECT id, value FROM t ORDER BY id",
        "SELECT id, value FROM t ORDER BY id DESC LIMIT 2",
        "SELECT id FROM t LIMIT 9",
        "SELECT value FROM t WHERE id = 2",
        "SELECT id FROM t WHERE id IN (1, 2, 9) ORDER BY id",
        "SELECT id FROM t WHERE value = 1",
        "SELECT id FROM t WHERE value BETWEEN 1 AND 2 ORDER BY id",
        "SELECT t.id, q.id FROM t JOIN t AS q ON q.id = t.value ORDER BY t.id",
        "SELECT q.id, t.id FROM t JOIN t AS q ON q.value = t.id ORDER BY t.id",
        "SELECT id FROM t WHERE value IN (SELECT id FROM t) ORDER BY id",
        "SELECT id FROM t WHERE EXISTS (SELECT 1 FROM t AS q WHERE q.id = t.value) ORDER BY id",
        "SELECT COUNT(*), SUM(value), MIN(value), MAX(id) FROM t",
        "SELECT COUNT(*) FROM t WHERE value > 0",
        "SELECT value, COUNT(*) FROM t GROUP BY value ORDER BY value",
        "SELECT DISTINCT value FROM t ORDER BY value",
        "SELECT id, ROW_NUMBER() OVER (PARTITION BY value ORDER BY id) FROM t ORDER BY id",
    )
    await stored.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, value INTEGER, other INTEGER)")
    await stored.execute("CREATE INDEX t_value ON t(value)")
    await stored.execute("INSERT INTO t VALUES (1, 2, 0), (2, 1, 0), (3, 3, 0)")
    await settle()
    async with stored.transaction("snapshot") as tx:
        before = [await tx.query(sql, into=tuple) for sql in queries]
        await stored.execute(change)
        for step in ("", "VACUUM", "checkpoint"):
            await (stored.vacuum() if step == "VACUUM" else stored.checkpoint() if step else stored.query("SELECT 1"))
            for sql, rows in zip(queries, before, strict=True):
                assert await tx.query(sql, into=tuple) == rows, (step, sql)


async def test_an_upsert_does_not_pass_over_the_row_of_another_transaction(stored: DB, settle: Settle) -> None:
    await stored.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, value INTEGER)")
    tx = await stored.begin("snapshot")
    await stored.execute("INSERT INTO t VALUES (4, 3)")
    await settle()
    with pytest.raises(TransactionConflictError):
        await tx.execute("INSERT INTO t VALUES (4, 7) ON CONFLICT (id) DO UPDATE SET value = t.value + 1")
    await tx.rollback()
    assert await stored.query("SELECT * FROM t", into=tuple) == [(4, 3)]


@pytest.mark.parametrize("upsert", ["", " ON CONFLICT (id) DO UPDATE SET value = t.value + 1"])
async def test_a_snapshot_inserts_no_key_that_it_sees(stored: DB, upsert: str, settle: Settle) -> None:
    """An error, at the latest when it is committed, also if another transaction has deleted the row."""
    await stored.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, value INTEGER)")
    await stored.execute("INSERT INTO t VALUES (3, 4), (5, 5)")
    await settle()
    with pytest.raises((TransactionConflictError, aiostoolap.UniqueViolationError)):
        async with stored.transaction("snapshot") as tx:
            assert await tx.query_value("SELECT value FROM t WHERE id = 3") == 4
            await stored.execute("DELETE FROM t WHERE id = 3")
            await tx.execute(f"INSERT INTO t VALUES (3, 0){upsert}")
    async with stored.transaction("snapshot") as own:
        await own.execute("DELETE FROM t WHERE id = 5")
        await own.execute(f"INSERT INTO t VALUES (5, 6), (3, 1){upsert}")
    assert await stored.query("SELECT * FROM t ORDER BY id", into=tuple) == [(3, 1), (5, 6)]


@pytest.mark.parametrize("isolation", BOTH)
@pytest.mark.parametrize(
    "change", [None, "UPDATE t SET value = 17", "DELETE FROM t", "UPDATE t SET value = 9 WHERE id = 4"]
)
async def test_a_row_of_ones_own_is_not_that_of_another_with_its_key(
    stored: DB, isolation: Isolation, change: str | None
) -> None:
    """An error, at the latest when it is committed; a deletion leaves nothing to commit."""
    await stored.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, value INTEGER)")
    tx = await stored.begin(isolation)
    await tx.execute("INSERT INTO t VALUES (4, 2)")
    await stored.execute("INSERT INTO t VALUES (4, 4)")
    await stored.checkpoint()
    assert await tx.query("SELECT value FROM t", into=int) == [2]
    refused = pytest.raises((TransactionConflictError, aiostoolap.UniqueViolationError))
    with contextlib.suppress(TransactionConflictError) if change == "DELETE FROM t" else refused:
        if change is not None:
            await tx.execute(change)
        await tx.commit()
    if tx.is_open:
        await tx.rollback()
    assert await stored.query("SELECT * FROM t", into=tuple) == [(4, 4)]


async def test_a_transaction_does_not_write_to_a_table_that_was_made_anew(stored: DB, settle: Settle) -> None:
    """What it committed would be in the table that it has read, which is gone."""
    await stored.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, value INTEGER)")
    await stored.execute("INSERT INTO t VALUES (1, 0), (2, 7)")
    await settle()
    tx, fresh = await stored.begin(), await stored.begin()
    await tx.query("SELECT * FROM t")
    await stored.execute("DROP TABLE t")
    await stored.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, value TEXT)")
    with pytest.raises(TransactionConflictError, match="altered"):
        await tx.execute("INSERT INTO t VALUES (2, 'q')")
    await tx.rollback()
    await fresh.execute("INSERT INTO t VALUES (2, 'q')")
    await fresh.commit()
    assert await stored.query("SELECT * FROM t", into=tuple) == [(2, "q")]

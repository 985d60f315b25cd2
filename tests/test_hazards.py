"""What the engine is known to get wrong or to leave to us: a test for each, on our binary."""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import aiostoolap
from aiostoolap import DB, Tx
from tests.conftest import Settle

KEEPS_ITS_LOG: dict[str, str | int | bool] = {"checkpoint_on_close": False, "sync_mode": "full"}


def killed(folder: Path, script: str) -> None:
    """Runs a script on a database in a process that ends without closing it."""
    program = f"""
import asyncio, os, sys, aiostoolap

async def main():
    db = await aiostoolap.connect(sys.argv[1], options={{"sync_mode": "full"}}, checkpoint_every=None)
{script}
    os._exit(0)

asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", program, folder], check=True, timeout=60)


async def answers(db: DB | Tx, sql: str, params: Sequence[Any] = ()) -> list[Any]:
    return [tuple(row) for row in await db.query(sql, params)]


# The log.


async def test_a_torn_tail_is_cut(folder: Path) -> None:
    """What is committed after a torn tail is there after the next opening."""
    async with aiostoolap.connect(folder, options=KEEPS_ITS_LOG, checkpoint_every=None) as db:
        await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY)")
        await db.execute("INSERT INTO t VALUES (1)")
    newest = max((folder / "wal").glob("*.log"), key=lambda file: file.stat().st_mtime)
    newest.write_bytes(newest.read_bytes() + b"WAL1\x02 torn")
    with pytest.warns(aiostoolap.RecoveryWarning):
        db = await aiostoolap.connect(folder, options=KEEPS_ITS_LOG, checkpoint_every=None)
    await db.execute("INSERT INTO t VALUES (2)")
    await db.close()
    async with aiostoolap.connect(folder) as db:
        assert await db.query("SELECT a FROM t ORDER BY a", into=int) == [1, 2]


async def test_transactions_in_doubt_stay_undone(folder: Path) -> None:
    """An id of a transaction that did not commit is not given to one that does."""
    killed(
        folder,
        """
    await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY)")
    tx = await db.begin()
    await tx.execute("INSERT INTO t VALUES (1)")
""",
    )
    for n in (2, 3):
        killed(folder, f'    await db.execute("INSERT INTO t VALUES ({n})")')
    async with aiostoolap.connect(folder) as db:
        assert await db.query("SELECT a FROM t ORDER BY a", into=int) == [2, 3]


async def test_definitions_survive_a_kill_after_a_checkpoint(folder: Path) -> None:
    killed(
        folder,
        """
    await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
    await db.execute("CREATE INDEX by_b ON t (b)")
    await db.execute("INSERT INTO t VALUES (1, 'x')")
    await db.checkpoint()
    await db.execute("CREATE TABLE u (a INTEGER)")
    await db.execute("INSERT INTO u VALUES (5)")
""",
    )
    async with aiostoolap.connect(folder) as db:
        assert await answers(db, "SELECT * FROM t WHERE b = 'x'") == [(1, "x")]
        assert await answers(db, "SELECT * FROM u") == [(5,)]


async def test_a_file_that_cannot_be_one_is_no_memory_database(tmp_path: Path) -> None:
    folder = tmp_path / "db"
    folder.mkdir()
    (folder / "wal").write_text("not a directory")
    with pytest.raises(aiostoolap.DatabaseError):
        await aiostoolap.connect(folder)


# Definitions, savepoints, sealed rows.


async def test_savepoints_and_sealed_rows(folder: Path) -> None:
    async with aiostoolap.connect(folder, checkpoint_every=None) as db:
        await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b INTEGER)")
        await db.execute_many("INSERT INTO t VALUES (?, 0)", ((n,) for n in range(100)))
        await db.checkpoint()
        async with db.transaction() as tx:
            await tx.execute("UPDATE t SET b = 1 WHERE a = 1")
            with pytest.raises(RuntimeError):
                async with tx.savepoint():
                    await tx.execute("UPDATE t SET b = 2 WHERE a = 2")
                    await tx.execute("DELETE FROM t WHERE a = 3")
                    raise RuntimeError
            await tx.execute("DELETE FROM t WHERE a = 4")
    async with aiostoolap.connect(folder) as db:
        assert await db.query_value("SELECT COUNT(*) FROM t") == 99
        assert await answers(db, "SELECT * FROM t WHERE a <= 5 ORDER BY a") == [(0, 0), (1, 1), (2, 0), (3, 0), (5, 0)]


@pytest.mark.parametrize("sealed", [False, True])
async def test_columns_in_the_middle_are_dropped(folder: Path, sealed: bool) -> None:
    async with aiostoolap.connect(folder, checkpoint_every=None) as db:
        await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT, c INTEGER, d TEXT)")
        await db.execute_many("INSERT INTO t VALUES (?, 'b', ?, 'd')", ((n, n * n) for n in range(10)))
        if sealed:
            await db.checkpoint()
        await db.execute("ALTER TABLE t DROP COLUMN b")
        expected = [(n, n * n, "d") for n in range(10)]
        assert await answers(db, "SELECT * FROM t ORDER BY a") == expected
        await db.execute("INSERT INTO t VALUES (10, 100, 'e')")
        await db.checkpoint()
    async with aiostoolap.connect(folder) as db:
        assert await answers(db, "SELECT * FROM t ORDER BY a") == [*expected, (10, 100, "e")]


async def test_alterations_wait_for_those_who_write(db: DB) -> None:
    """What a transaction has written is not reached by a definition: it is refused, and can be tried again."""
    await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b INTEGER)")
    await db.execute("INSERT INTO t VALUES (1, 1)")
    tx = await db.begin()
    await tx.execute("INSERT INTO t VALUES (2, 2)")
    for sql in (
        "ALTER TABLE t DROP COLUMN b",
        "ALTER TABLE t ADD COLUMN c INTEGER",
        "CREATE INDEX by_b ON t (b)",
        "TRUNCATE TABLE t",
        "DROP TABLE t",
    ):
        with pytest.raises(aiostoolap.OperationalError, match="try again") as caught:
            await db.execute(sql)
        assert caught.value.code == "table_in_use"
    await db.execute("CREATE TABLE u (a INTEGER)")
    await tx.commit()
    reader = await db.begin()
    assert await reader.query_value("SELECT COUNT(*) FROM t") == 2
    await db.execute("CREATE INDEX by_b ON t (b)")
    assert await answers(db, "SELECT a FROM t WHERE b = 2") == [(2,)]
    await reader.rollback()


async def test_a_truncation_waits_for_snapshots(stored: DB, settle: Settle) -> None:
    await stored.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b INTEGER)")
    await stored.execute("INSERT INTO t VALUES (1, 1), (2, 2)")
    await settle()
    async with stored.transaction(isolation="snapshot") as tx:
        assert await tx.query_value("SELECT COUNT(*) FROM t") == 2
        with pytest.raises(aiostoolap.OperationalError) as caught:
            await stored.execute("TRUNCATE TABLE t")
        assert caught.value.code == "table_in_use"
        assert await answers(tx, "SELECT * FROM t ORDER BY a") == [(1, 1), (2, 2)]
    assert await stored.execute("TRUNCATE TABLE t") == 2
    assert await answers(stored, "SELECT * FROM t") == []


# What the engine remembers.


async def test_remembered_subqueries_do_not_answer_for_others(db: DB) -> None:
    await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b INTEGER)")
    await db.execute_many("INSERT INTO t VALUES (?, ?)", ((n, n % 3) for n in range(30)))
    sql = "SELECT COUNT(*) FROM t WHERE a IN (SELECT a FROM t WHERE b = $1 AND a < $2)"
    for b, a in ((0, 30), (1, 30), (2, 10), (0, 10)):
        assert await db.query_value(sql, (b, a)) == sum(n % 3 == b for n in range(a))
    other = await db.clone()
    assert await other.query_value("SELECT COUNT(*) FROM t") == 30
    await db.execute("DELETE FROM t WHERE a = 0")
    assert len(await other.query("SELECT * FROM t")) == 29
    assert await other.query_value(sql, (0, 30)) == 9
    await other.close()


async def test_texts_of_statements_are_told_apart(db: DB) -> None:
    """Plans are not found by a text in which spaces were put together."""
    await db.execute("CREATE TABLE t (a TEXT)")
    for value in ("a b", "a  b", "a\tb", "a\nb"):
        await db.execute(f"INSERT INTO t VALUES ('{value}')")
    assert await db.query("SELECT a FROM t", into=str) == ["a b", "a  b", "a\tb", "a\nb"]


async def test_uncommitted_rows_of_one_database_are_not_those_of_another(engine: aiostoolap.Engine) -> None:
    async with await engine.open_memory() as first, await engine.open_memory() as second:
        for db in (first, second):
            await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY)")
        for n in range(20):
            await first.execute("INSERT INTO t VALUES ($1)", (n,))
            tx = await second.begin()
            await tx.execute("INSERT INTO t VALUES ($1)", (n,))
            assert await first.query_value("SELECT COUNT(*) FROM t") == n + 1
            assert await second.query_value("SELECT COUNT(*) FROM t") == 0
            await tx.rollback()


# Text.


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE t SET a = 1 WERE id = 2",
        "DELETE FROM t WERE id = 2",
        "UPDATE t SET a = 1 DELETE FROM t",
        "SELECT 1 SELECT 2",
        "DELETE FROM t \0 WHERE id = 2",
        "frobnicate",
        "1 + 1",
    ],
)
async def test_words_after_a_statement(db: DB, sql: str) -> None:
    await db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER)")
    await db.execute("INSERT INTO t VALUES (1, 0), (2, 0)")
    with pytest.raises(aiostoolap.ProgrammingError) as caught:
        await db.execute(sql)
    assert "WERE" not in sql or re.search("WERE|'id'", str(caught.value))
    assert await answers(db, "SELECT * FROM t") == [(1, 0), (2, 0)]


async def test_comments_end_nothing(db: DB) -> None:
    await db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER)")
    await db.execute("INSERT INTO t VALUES (1, 0), (2, 0) -- two rows")
    assert await db.execute("UPDATE t SET a = 1 -- but\nWHERE id = 2") == 1
    assert await db.execute("UPDATE t /* not ; all */ SET a = 2 WHERE id = 2") == 1
    assert await answers(db, "SELECT * FROM t") == [(1, 0), (2, 2)]


LITERALS = ["it''s", "C:\\\\temp", "a\\nb", "", "-- no comment", "; DROP TABLE t", 'say "x"']


@pytest.mark.parametrize("literal", LITERALS)
async def test_literals_survive_what_is_printed_again(folder: Path, literal: str) -> None:
    """Views, DEFAULT and CHECK are stored as SQL that the engine prints."""
    async with aiostoolap.connect(folder) as db:
        text = await db.query_value(f"SELECT '{literal}'")
        await db.execute(f"CREATE TABLE t (a INTEGER, b TEXT DEFAULT '{literal}', c TEXT CHECK (c <> '{literal}'))")
        await db.execute(f"CREATE VIEW v AS SELECT a, '{literal}' AS b FROM t")
    async with aiostoolap.connect(folder) as db:
        await db.execute("INSERT INTO t (a, c) VALUES (1, 'other')")
        assert await answers(db, "SELECT a, b FROM t") == [(1, text)]
        assert await answers(db, "SELECT * FROM v") == [(1, text)]
        with pytest.raises(aiostoolap.CheckViolationError):
            await db.execute("INSERT INTO t (a, c) VALUES (2, $1)", (text,))


async def test_quoted_names_survive_what_is_printed_again(folder: Path) -> None:
    async with aiostoolap.connect(folder) as db:
        await db.execute('CREATE TABLE "a t" ("an id" INTEGER PRIMARY KEY, "order" INTEGER CHECK ("order" > 0))')
        await db.execute('CREATE VIEW v AS SELECT "an id" AS "The ""id""", q."order" FROM "a t" AS q')
        await db.execute(
            'CREATE VIEW w AS SELECT "q q"."The ""id""" AS "select" FROM v AS "q q" WHERE "q q"."order" > 1'
        )
    async with aiostoolap.connect(folder) as db:
        await db.execute('INSERT INTO "a t" VALUES (1, 1), (2, 2)')
        with pytest.raises(aiostoolap.CheckViolationError):
            await db.execute('INSERT INTO "a t" VALUES (3, 0)')
        result = await db.query("SELECT * FROM v")
        assert list(result.columns) == ['The "id"', "order"]
        assert [tuple(row) for row in result] == [(1, 1), (2, 2)]
        assert await answers(db, 'SELECT "select" FROM w') == [(2,)]


# Sizes.


@pytest.mark.parametrize("count", [1, 255, 256, 300, 1_000])
async def test_arguments_are_all_looked_at(db: DB, count: int) -> None:
    await db.execute("CREATE TABLE t (a INTEGER)")
    await db.execute("INSERT INTO t VALUES (1)")
    for sql in (
        f"SELECT LENGTH(CONCAT('x'{', a' * (count - 1)})) FROM t",
        f"SELECT GREATEST(a{', 0' * (count - 1)}) FROM t",
    ):
        if count > 255:
            with pytest.raises(aiostoolap.ProgrammingError, match="at most 255 arguments"):
                await db.query(sql)
        else:
            assert await db.query_value(sql) == (count if "CONCAT" in sql else 1)


async def test_long_statements_are_whole_or_refused(db: DB) -> None:
    """Where the engine counts in 16 bits, nothing wraps around."""
    await db.execute("CREATE TABLE t (a INTEGER)")
    await db.execute("INSERT INTO t VALUES (1), (2)")
    cases = " ".join(f"WHEN a = {n} THEN {n}" for n in range(10, 5_010))
    assert await db.query(f"SELECT CASE {cases} ELSE -1 END FROM t", into=int) == [-1, -1]
    listed = ", ".join(map(str, range(2, 70_002)))
    assert await db.query(f"SELECT a FROM t WHERE a + 0 IN ({listed})", into=int) == [2]
    marks = ", ".join("?" * 32_767)
    assert await db.query(f"SELECT a FROM t WHERE a IN ({marks})", range(2, 32_769), into=int) == [2]
    with pytest.raises(aiostoolap.ProgrammingError, match="32767"):
        await db.query(f"SELECT a FROM t WHERE a IN ({marks}, ?)", range(2, 32_770))
    columns = ", ".join(f"c{n} INTEGER" for n in range(3_000))
    await db.execute(f"CREATE TABLE w ({columns})")
    await db.execute(f"INSERT INTO w VALUES ({', '.join(map(str, range(3_000)))})")
    found = await answers(db, "SELECT c0, c255, c256, c2999 FROM w WHERE c2999 = 2999 AND c256 = 256")
    assert found == [(0, 255, 256, 2999)]


# Numbers and time.


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a / b FROM t",
        "SELECT a % b FROM t",
        "SELECT -9223372036854775808 % -1",
        "SELECT LPAD('x', 3000000000)",
        "SELECT REPEAT('x', 4000000000)",
        "SELECT at + 9223372036854775807 FROM t",
        "SELECT at - 9223372036854775807 FROM t",
        "SELECT at + INTERVAL '300000000 years' FROM t",
        "SELECT DATE_ADD(at, 9223372036854775807, 'month') FROM t",
    ],
)
async def test_calculations_that_cannot_be_done(db: DB, sql: str) -> None:
    await db.execute("CREATE TABLE t (a INTEGER, b INTEGER, at TIMESTAMP)")
    await db.execute("INSERT INTO t VALUES (-9223372036854775808, -1, '2026-01-01')")
    with contextlib.suppress(aiostoolap.Error):
        await db.query(sql)  # An error, or NULL: but never the end of the engine.
    assert await db.query_value("SELECT COUNT(*) FROM t") == 1
    assert await db.execute("INSERT INTO t VALUES (1, 1, NULL)") == 1


async def test_timestamps_out_of_range_are_refused(db: DB) -> None:
    await db.execute("CREATE TABLE t (at TIMESTAMP)")
    for value in (
        "'1677-09-20'",
        "CAST('2262-04-12' AS TIMESTAMP)",
        "CAST('2026-01-01' AS TIMESTAMP) + INTERVAL '300 years'",
    ):
        with pytest.raises(aiostoolap.DataError, match="2262"):
            await db.execute(f"INSERT INTO t VALUES ({value})")
    await db.execute("INSERT INTO t VALUES ('2026-01-01')")
    with pytest.raises(aiostoolap.DataError, match="2262"):
        await db.execute("UPDATE t SET at = at + INTERVAL '300 years'")
    assert len(await db.query("SELECT * FROM t WHERE at < '9999-12-31'")) == 1


# References between transactions.


@pytest.mark.parametrize("isolation", ["read committed", "snapshot"])
@pytest.mark.parametrize("first", ["parent", "child"])
async def test_a_foreign_key_holds_between_transactions(db: DB, isolation: Any, first: str) -> None:
    await db.execute("CREATE TABLE p (id INTEGER PRIMARY KEY)")
    await db.execute("CREATE TABLE c (id INTEGER PRIMARY KEY, p INTEGER REFERENCES p(id))")
    await db.execute("INSERT INTO p VALUES (1), (2)")
    steps = {"parent": "DELETE FROM p WHERE id = 1", "child": "INSERT INTO c VALUES (1, 1)"}
    one, other = await db.begin(isolation=isolation), await db.begin(isolation=isolation)
    second = "child" if first == "parent" else "parent"
    await one.execute(steps[first])
    await other.execute(steps[second])
    await one.commit()
    with pytest.raises(aiostoolap.TransactionConflictError):
        await other.commit()
    assert (await db.query_value("SELECT COUNT(*) FROM c WHERE p NOT IN (SELECT id FROM p)")) == 0
    # Those that do not meet go on.
    await asyncio.gather(db.execute("DELETE FROM p WHERE id = 2"), db.execute("INSERT INTO p VALUES (3)"))


@pytest.mark.parametrize("action", ["", "ON DELETE CASCADE", "ON DELETE SET NULL"])
@pytest.mark.parametrize(
    "delete", ["WHERE id = 1", "WHERE code = 10", "WHERE id < 2 AND code > 5", "WHERE id = 1 RETURNING id"]
)
async def test_a_foreign_key_to_another_column_than_the_primary_key(db: DB, delete: str, action: str) -> None:
    """What is called so by its own key, and by the other one's code, is told apart."""
    await db.execute_script(f"""
        CREATE TABLE p (id INTEGER PRIMARY KEY, code INTEGER UNIQUE);
        INSERT INTO p VALUES (1, 10), (2, 1);
        CREATE TABLE c (id INTEGER PRIMARY KEY, p_code INTEGER REFERENCES p(code) {action});
        INSERT INTO c VALUES (1, 10), (2, 1)
    """)
    sql = f"DELETE FROM p {delete}"
    if action:
        await db.query(sql) if "RETURNING" in sql else await db.execute(sql)
    else:
        with pytest.raises(aiostoolap.ForeignKeyViolationError):
            await db.execute(sql)
    left = {"": [(1, 10), (2, 1)], "ON DELETE CASCADE": [(2, 1)], "ON DELETE SET NULL": [(1, None), (2, 1)]}
    assert await db.query("SELECT * FROM c ORDER BY id", into=tuple) == left[action]
    assert await db.query_value("SELECT COUNT(*) FROM p") == (1 if action else 2)


@pytest.mark.parametrize("within", [False, True], ids=["alone", "in a transaction"])
async def test_a_foreign_key_looks_at_what_has_changed(db: DB, within: bool) -> None:
    await db.execute("CREATE TABLE p (id INTEGER PRIMARY KEY, s TEXT UNIQUE)")
    await db.execute("CREATE TABLE c (id INTEGER PRIMARY KEY, s TEXT REFERENCES p(s))")
    await db.execute("INSERT INTO p VALUES (1, 'x'), (2, 'y')")
    await db.execute("INSERT INTO c VALUES (1, 'x')")
    async with db.transaction() if within else contextlib.nullcontext(db) as session:
        assert await session.execute("UPDATE c SET s = 'nosuch' WHERE id = 9") == 0
        assert await session.execute("UPDATE p SET s = COALESCE(s, 'q')") == 2
        assert await session.execute("UPDATE p SET s = 'z' WHERE id = 2") == 1
        for sql in (
            "UPDATE c SET s = 'nosuch'",
            "UPDATE p SET s = 'w' WHERE id = 1",
            "UPDATE p SET s = s || '!' WHERE id > 0",
        ):
            with pytest.raises(aiostoolap.ForeignKeyViolationError):
                await session.execute(sql)
    assert await db.query("SELECT id, s FROM p ORDER BY id", into=tuple) == [(1, "x"), (2, "z")]
    assert await db.query("SELECT id, s FROM c", into=tuple) == [(1, "x")]


@pytest.mark.parametrize("action", ["", "ON UPDATE CASCADE", "ON UPDATE SET NULL"])
async def test_an_upsert_looks_at_foreign_keys(db: DB, action: str) -> None:
    await db.execute("CREATE TABLE p (id INTEGER PRIMARY KEY, code TEXT UNIQUE)")
    await db.execute(f"CREATE TABLE c (id INTEGER PRIMARY KEY, code TEXT REFERENCES p(code) {action})")
    await db.execute("INSERT INTO p VALUES (2, 'b'), (3, 'x')")
    await db.execute("INSERT INTO c VALUES (7, 'b')")
    upsert = "INSERT INTO p VALUES (2, 'n') ON CONFLICT (id) DO UPDATE SET code = EXCLUDED.code"
    if action:
        assert await db.execute(upsert) == 1
        assert await db.query_value("SELECT code FROM c") == ("n" if action.endswith("CASCADE") else None)
    else:
        with pytest.raises(aiostoolap.ForeignKeyViolationError):
            await db.execute(upsert)
        assert await db.query("SELECT * FROM p ORDER BY id", into=tuple) == [(2, "b"), (3, "x")]
    assert await db.execute("INSERT INTO p VALUES (3, 'y') ON CONFLICT (id) DO UPDATE SET code = EXCLUDED.code") == 1
    with pytest.raises(aiostoolap.ForeignKeyViolationError):
        await db.execute("INSERT INTO c VALUES (7, 'y') ON CONFLICT (id) DO UPDATE SET code = 'nosuch'")
    assert await db.execute("INSERT INTO c VALUES (7, 'y') ON CONFLICT (id) DO UPDATE SET code = 'y'") == 1


async def test_a_cascade_does_not_follow_itself(db: DB) -> None:
    await db.execute("CREATE TABLE p (id INTEGER PRIMARY KEY, n INTEGER UNIQUE)")
    await db.execute("CREATE TABLE c (id INTEGER PRIMARY KEY, n INTEGER REFERENCES p(n) ON UPDATE CASCADE)")
    await db.execute("INSERT INTO p VALUES (1, 1), (2, 2), (3, 3)")
    await db.execute("INSERT INTO c VALUES (1, 1), (2, 2), (3, 3)")
    for refused in ("UPDATE p SET n = n + 1", "UPDATE p SET n = 4 - n"):
        with pytest.raises(aiostoolap.NotSupportedError):
            await db.execute(refused)
    assert await db.query("SELECT id, n FROM c ORDER BY id", into=tuple) == [(1, 1), (2, 2), (3, 3)]
    assert await db.execute("UPDATE p SET n = n + 10") == 3
    assert await db.query("SELECT id, n FROM c ORDER BY id", into=tuple) == [(1, 11), (2, 12), (3, 13)]


@pytest.mark.parametrize("within", [False, True])
async def test_a_cascade_looks_at_checks(db: DB, within: bool) -> None:
    await db.execute("CREATE TABLE p (id INTEGER PRIMARY KEY, n INTEGER UNIQUE)")
    reference = "REFERENCES p(n) ON UPDATE CASCADE"
    await db.execute(
        f"CREATE TABLE c (id INTEGER PRIMARY KEY, n INTEGER CHECK (n < 10) {reference}, m INTEGER CHECK (m > 0))"
    )
    await db.execute("INSERT INTO p VALUES (1, 1), (2, 2)")
    await db.execute("INSERT INTO c VALUES (1, 1, 7)")
    async with db.transaction() as tx:
        with pytest.raises(aiostoolap.CheckViolationError) as failure:
            await (tx if within else db).execute("UPDATE p SET n = n + 18")
        assert failure.value.fields["column"] == "n"
        assert await tx.query("SELECT n FROM p ORDER BY n", into=int) == [1, 2]
    assert await db.query("SELECT n FROM c", into=int) == [1]
    assert await db.execute("UPDATE p SET n = n + 7") == 2
    assert await db.query("SELECT n, m FROM c", into=tuple) == [(8, 7)]


async def test_a_foreign_key_holds_through_cascades(db: DB) -> None:
    await db.execute("CREATE TABLE a (id INTEGER PRIMARY KEY)")
    await db.execute("CREATE TABLE b (id INTEGER PRIMARY KEY, a INTEGER REFERENCES a(id) ON DELETE CASCADE)")
    await db.execute("CREATE TABLE c (id INTEGER PRIMARY KEY, b INTEGER REFERENCES b(id))")
    await db.execute("INSERT INTO a VALUES (1)")
    await db.execute("INSERT INTO b VALUES (1, 1)")
    tx = await db.begin()
    assert await tx.execute("DELETE FROM a WHERE id = 1") == 1
    await db.execute("INSERT INTO c VALUES (1, 1)")
    with pytest.raises(aiostoolap.TransactionConflictError):
        await tx.commit()
    assert await answers(db, "SELECT b.id FROM c JOIN b ON c.b = b.id") == [(1,)]


# Answers.


async def fill(db: DB) -> None:
    await db.execute_script("""
        CREATE TABLE c (id INTEGER PRIMARY KEY, y INTEGER, z TEXT);
        CREATE INDEX by_y ON c (y);
        CREATE INDEX by_both ON c (z, y DESC);
        INSERT INTO c VALUES (1, 5, 'a'), (2, 7, 'b'), (3, NULL, 'c'), (4, 10, NULL);
        CREATE TABLE l (o INTEGER, s INTEGER, late INTEGER);
        CREATE INDEX by_o ON l (o);
        INSERT INTO l VALUES (1, 1, 1), (2, 1, 1), (2, 2, 0), (3, 1, 1), (3, 2, 1);
        CREATE VIEW v AS SELECT id, y AS amount FROM c;
    """)


ANSWERS: list[tuple[str, list[Any]]] = [
    # Ranges that hold nothing.
    ("SELECT id FROM c WHERE y BETWEEN 9 AND 3", []),
    ("SELECT id FROM c WHERE y > 5 AND y < 5", []),
    ("SELECT id FROM c WHERE y >= 5 AND y < 5", []),
    ("SELECT id FROM c WHERE z = 'a' AND y BETWEEN 9 AND 3", []),
    ("SELECT id FROM c WHERE z > 'b' AND z < 'a'", []),
    # Columns of the same name.
    ("SELECT COUNT(*) AS k, 78 AS k FROM c", [(4, 78)]),
    ("SELECT y AS k, COUNT(*) AS k FROM c WHERE y > 6 GROUP BY y ORDER BY k", [(7, 1), (10, 1)]),
    ("SELECT id, id + 1 AS id FROM c WHERE id = 1", [(1, 2)]),
    # NULL in BETWEEN and IN.
    ("SELECT id FROM c WHERE y NOT BETWEEN NULL AND 6 ORDER BY id", [(2,), (4,)]),
    ("SELECT id FROM c WHERE NOT (y BETWEEN NULL AND 6) ORDER BY id", [(2,), (4,)]),
    ("SELECT id FROM c WHERE NOT (y NOT BETWEEN NULL AND 8)", []),
    ("SELECT id FROM c WHERE NOT (y NOT BETWEEN 6 AND 8)", [(2,)]),
    ("SELECT id FROM c WHERE NOT (y IN (5, NULL))", []),
    ("SELECT id FROM c WHERE NOT (y NOT IN (5, NULL))", [(1,)]),
    ("SELECT 5 BETWEEN NULL AND 4, 5 NOT BETWEEN NULL AND 4, 5 BETWEEN NULL AND 6", [(False, True, None)]),
    # Counts of rows beyond 32 bits.
    ("SELECT id FROM c ORDER BY id LIMIT 4294967296", [(1,), (2,), (3,), (4,)]),
    ("SELECT id FROM c ORDER BY id LIMIT 9223372036854775807 OFFSET 1", [(2,), (3,), (4,)]),
    ("SELECT id FROM c ORDER BY id LIMIT 1 OFFSET 4294967297", []),
    ("SELECT id FROM c ORDER BY id OFFSET 2147483648", []),
    # Subqueries.
    (
        "SELECT o, s FROM l a"
        " WHERE EXISTS (SELECT * FROM l c WHERE c.o = a.o AND c.s <> a.s AND c.late > 0) ORDER BY o, s",
        [(2, 2), (3, 1), (3, 2)],
    ),
    (
        "WITH r AS (SELECT o AS ro, SUM(s) AS t FROM l GROUP BY o) SELECT c.id FROM c JOIN r ON c.id = r.ro"
        " WHERE r.t = (SELECT MAX(t) FROM r) ORDER BY c.id",
        [(2,), (3,)],
    ),
    (
        "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 20000)"
        " SELECT COUNT(*), MAX(n) FROM r",
        [(20_000, 20_000)],
    ),
    ("SELECT id FROM v WHERE amount = (SELECT MIN(y) FROM c)", [(1,)]),
    ("SELECT q.id FROM (SELECT id FROM c) AS q WHERE q.id IN (SELECT 1 + 1)", [(2,)]),
    ("SELECT q.id FROM (SELECT id FROM c) AS q WHERE q.id > 3 AND EXISTS (SELECT 1 FROM l)", [(4,)]),
    ("WITH q AS (SELECT id FROM c) SELECT id FROM q WHERE id = (SELECT MAX(id) FROM c)", [(4,)]),
    # All parts of a statement count.
    ("SELECT DISTINCT 1 FROM c UNION ALL SELECT 1 FROM c", [(1,)] * 5),
    ("SELECT DISTINCT y / y FROM c WHERE y > 0 UNION ALL SELECT 9 ORDER BY 1 DESC LIMIT 2", [(9,), (1,)]),
    # UNION and EXCEPT bind alike, from the left; INTERSECT binds tighter.
    ("SELECT 1 UNION SELECT 2 EXCEPT SELECT 1", [(2,)]),
    ("SELECT 1 EXCEPT SELECT 1 UNION ALL SELECT 2", [(2,)]),
    ("SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 2 EXCEPT ALL SELECT 2 ORDER BY 1", [(1,), (2,)]),
    ("SELECT 1 EXCEPT SELECT 1 INTERSECT SELECT 2", [(1,)]),
    ("SELECT 1 UNION SELECT 2 INTERSECT SELECT 3", [(1,)]),
    ("WITH w AS (SELECT id AS x FROM c) SELECT DISTINCT 1 FROM w AS p CROSS JOIN w AS q", [(1,)]),
    (
        "WITH w AS (SELECT id AS x FROM c) SELECT p.x FROM w AS p JOIN w AS q ON p.x = q.x ORDER BY p.x LIMIT 2",
        [(1,), (2,)],
    ),
    (
        "WITH w AS (SELECT id AS x FROM c) SELECT p.x FROM w AS p JOIN w AS q ON p.x = q.x WHERE p.x > 1"
        " ORDER BY p.x DESC LIMIT 1 OFFSET 1",
        [(3,)],
    ),
    (
        "WITH w AS (SELECT id AS x FROM c) SELECT p.x FROM w AS p JOIN w AS q ON p.x = q.x WHERE p.x = 2"
        " UNION ALL SELECT x FROM w WHERE x = 3",
        [(2,), (3,)],
    ),
    (
        "WITH w AS (SELECT id AS x FROM c)"
        " SELECT p.x, SUM(q.x) OVER (ORDER BY p.x) FROM w AS p JOIN w AS q ON p.x = q.x ORDER BY p.x DESC LIMIT 1",
        [(4, 10)],
    ),
    ("SELECT COUNT(*), MAX(c.id) FROM c JOIN l ON c.id = l.o WHERE FALSE", [(0, None)]),
    ("SELECT c.id, COUNT(*) FROM c JOIN l ON c.id = l.o WHERE 1 = 0 GROUP BY c.id", []),
    # Subqueries in columns.
    ("SELECT EXISTS (SELECT 1 FROM l WHERE l.o = c.id), id FROM c WHERE id > 2", [(True, 3), (False, 4)]),
    ("SELECT NOT EXISTS (SELECT 1 FROM l WHERE o = 1), id FROM c LIMIT 1", [(False, 1)]),
    ("SELECT CASE WHEN EXISTS (SELECT 1 FROM l WHERE l.o = c.id) THEN 'k' END FROM c WHERE id > 2", [("k",), (None,)]),
    ("SELECT id > ALL (SELECT o FROM l), 2 = ANY (SELECT o FROM l) FROM c WHERE id > 2", [(False, True), (True, True)]),
    # A column of a table that has the name of one of the result.
    ("SELECT -id AS id FROM c ORDER BY c.id", [(-1,), (-2,), (-3,), (-4,)]),
    ("SELECT 9 - q.id AS id FROM (SELECT id FROM c) AS q WHERE q.id > 1 ORDER BY q.id LIMIT 2", [(7,), (6,)]),
    ("SELECT id % 2 AS id FROM c AS q ORDER BY id, q.id DESC", [(0,), (0,), (1,), (1,)]),
    # What the parser did not know.
    ("SELECT COUNT(ALL y), COUNT(*) FROM c", [(3, 4)]),
]


@pytest.mark.parametrize(("sql", "expected"), ANSWERS, ids=lambda value: str(value)[:60])
async def test_answers(db: DB, sql: str, expected: list[Any]) -> None:
    await fill(db)
    result = await db.query(sql)
    assert [tuple(row) for row in result] == expected
    assert not any(name.count("\x01") for name in result.columns)


async def test_answers_for_parameters(db: DB) -> None:
    await fill(db)
    between = "SELECT id FROM c WHERE y NOT BETWEEN $1 AND $2 ORDER BY id"
    assert await db.query(between, (None, 6), into=int) == [2, 4]
    assert await db.query(between, (6, 8), into=int) == [1, 4]
    assert await db.query("SELECT id FROM c WHERE NOT (y BETWEEN :a AND :b)", {"a": 8, "b": None}, into=int) == [1, 2]
    limited = "SELECT id FROM c ORDER BY id LIMIT $1 OFFSET $2"
    assert await db.query(limited, (2**32, 1), into=int) == [2, 3, 4]
    assert await db.query(limited, (2**63 - 1, 2**32), into=int) == []
    assert await db.query(limited, (1, 1), into=int) == [2]


async def test_no_null_where_none_may_be(stored: DB) -> None:
    await stored.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER NOT NULL, b TEXT)")
    await stored.execute_many("INSERT INTO t VALUES (?, ?, 'x')", ((n, n) for n in range(10)))
    for sealed in (False, True):
        if sealed:
            await stored.checkpoint()
        for sql in (
            "UPDATE t SET a = NULL",
            "UPDATE t SET a = NULL WHERE id = 1",
            "UPDATE t SET b = 'y', a = NULLIF(a, 5) WHERE id > 2",
            "INSERT INTO t VALUES (1, 5, 'z') ON CONFLICT (id) DO UPDATE SET a = NULL",
        ):
            with pytest.raises(aiostoolap.NotNullViolationError) as caught:
                await stored.execute(sql)
            assert caught.value.fields["column"] == "a"
        with pytest.raises(aiostoolap.NotNullViolationError):
            await stored.execute("UPDATE t SET a = $1 WHERE id = $2", (None, 3))
        assert await answers(stored, "SELECT * FROM t ORDER BY id") == [(n, n, "x") for n in range(10)]
        assert await stored.execute("UPDATE t SET b = 'x', a = a + 0") == 10


async def test_no_number_is_cut(db: DB) -> None:
    """An INTEGER column takes whole numbers of 64 bits and no others, by whatever statement."""
    await db.execute_script("""
        CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER);
        INSERT INTO t VALUES (1, 7);
        CREATE TABLE f (id INTEGER PRIMARY KEY, x FLOAT);
        INSERT INTO f VALUES (1, 1.5);
    """)
    for sql, params in (
        ("INSERT INTO t VALUES (2, 1.7)", ()),
        ("INSERT INTO t VALUES (2, $1)", (1.7,)),
        ("INSERT INTO t VALUES (2, $1)", (float("nan"),)),
        ("INSERT INTO t VALUES (2, $1)", (float("inf"),)),
        ("INSERT INTO t VALUES (2, 1e30)", ()),
        ("INSERT INTO t VALUES (2, 9223372036854775808)", ()),
        ("INSERT INTO t SELECT 2, x FROM f", ()),
        ("INSERT INTO t VALUES (1, 0) ON CONFLICT (id) DO UPDATE SET a = t.a * 1.1", ()),
        ("UPDATE t SET a = 0.5", ()),
        ("UPDATE t SET a = a * 1.1 WHERE id = 1", ()),
        ("UPDATE t SET a = $1 WHERE id = 1", (0.5,)),
        ("UPDATE t SET a = (SELECT x FROM f WHERE f.id = t.id)", ()),
    ):
        with pytest.raises(aiostoolap.DataError, match="'a'") as caught:
            await db.execute(sql, params)
        assert caught.value.code == "type_conversion"
    with pytest.raises(aiostoolap.DataError):
        await db.execute_many("INSERT INTO t VALUES ($1, $2)", [(2, 1), (3, 2.5)])
    assert await answers(db, "SELECT * FROM t") == [(1, 7)]
    assert await db.execute("INSERT INTO t VALUES (2, 3.0), (3, $1)", (-(2.0**62),)) == 2
    assert await db.execute("UPDATE t SET a = ROUND(a * 1.1) WHERE id = 1") == 1
    assert await answers(db, "SELECT * FROM t ORDER BY id") == [(1, 8), (2, 3), (3, -(2**62))]


async def test_what_cannot_be_computed_is_written_nowhere(db: DB) -> None:
    """The engine would leave such a column as it is and write the others, or write NULL."""
    await db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b TEXT)")
    await db.execute("INSERT INTO t VALUES (1, 1, 'x')")
    most = 2**63 - 1
    for sql in (
        f"INSERT INTO t VALUES (1, 0, '') ON CONFLICT (id) DO UPDATE SET b = 'y', a = t.a + {most}",
        "INSERT INTO t VALUES (1, 0, '') ON CONFLICT (id) DO UPDATE SET b = 'y', a = 'text'",
        f"UPDATE t SET b = 'y', a = (SELECT MAX(id) FROM t AS u WHERE u.id = t.id) + {most}",
        f"UPDATE t SET b = (SELECT MAX(b) FROM t AS u WHERE u.id = t.id), a = a + {most}",
    ):
        with pytest.raises(aiostoolap.DataError):
            await db.execute(sql)
        assert await answers(db, "SELECT * FROM t") == [(1, 1, "x")]


@pytest.mark.parametrize(
    ("sql", "params", "expected"),
    [
        (
            "SELECT k FROM u WHERE NOT EXISTS (SELECT 1 FROM t WHERE t.id = u.k AND t.a + 0 = 10) ORDER BY k",
            (),
            [2, 3, 4],
        ),
        ("SELECT k FROM u WHERE NOT EXISTS (SELECT 1 FROM t WHERE t.id = u.k AND t.a + 0 = 10)", (), [2, 3, 4]),
        ("SELECT k FROM u WHERE NOT EXISTS (SELECT 1 FROM t WHERE t.id = u.k AND ABS(t.a) = $1)", (10,), [2, 3, 4]),
        ("SELECT k FROM u WHERE NOT EXISTS (SELECT 1 FROM v WHERE v.id = u.k)", (), [3, 4]),
        (
            "WITH t AS (SELECT 9 AS id) SELECT k FROM u WHERE NOT EXISTS (SELECT 1 FROM t WHERE t.id = u.k)",
            (),
            [1, 2, 3, 4],
        ),
        ("SELECT k FROM u WHERE NOT EXISTS (SELECT 1 FROM t WHERE t.id = u.k)", (), [3, 4]),
    ],
)
async def test_rows_without_a_counterpart(db: DB, sql: str, params: tuple[Any, ...], expected: list[int]) -> None:
    await db.execute_script("""
        CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER);
        CREATE TABLE u (k INTEGER);
        CREATE VIEW v AS SELECT id FROM t;
        INSERT INTO t VALUES (1, 10), (2, 20);
        INSERT INTO u VALUES (1), (2), (3), (4);
    """)
    assert sorted(await db.query(sql, params, into=int)) == expected
    for limits, count in (("OFFSET 1", -1), ("LIMIT 0 + 1", 1), ("LIMIT 20000 OFFSET 0 + 1", -1)):
        found = await db.query(f"{sql} {limits}", params, into=int)
        assert len(found) == count % len(expected)


async def test_rows_without_a_counterpart_in_a_transaction(db: DB) -> None:
    await db.execute_script("""
        CREATE TABLE t (id INTEGER PRIMARY KEY);
        CREATE TABLE u (k INTEGER);
        INSERT INTO t VALUES (1);
        INSERT INTO u VALUES (1), (2);
    """)
    sql = "SELECT k FROM u WHERE NOT EXISTS (SELECT 1 FROM t WHERE t.id = u.k)"
    tx = await db.begin("snapshot")
    await db.execute("INSERT INTO t VALUES (2)")
    assert await tx.query(sql, into=int) == [2]
    await tx.rollback()
    tx = await db.begin()
    assert await tx.query(sql, into=int) == []
    await tx.execute("DELETE FROM t WHERE id = 2")
    assert await tx.query(sql, into=int) == [2]
    await tx.rollback()


async def test_sums_are_exact(stored: DB, settle: Settle) -> None:
    """Those with GROUP BY are in test_aggregates.py."""
    await stored.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v INTEGER)")
    await stored.execute("INSERT INTO t VALUES (1, 9007199254740992), (2, 1), (3, 1), (4, 1)")
    await settle()
    for sql in ("SELECT SUM(v) FROM t", "SELECT SUM(v), COUNT(*) FROM t", "SELECT SUM(v) FROM t WHERE id > 0"):
        assert (await answers(stored, sql))[0][0] == 2**53 + 3
    await stored.execute("INSERT INTO t VALUES (5, -9007199254740992)")
    assert await stored.query_value("SELECT SUM(v) FROM t") == 3
    await stored.execute("UPDATE t SET v = 9223372036854775807 WHERE id = 5")
    for sql in ("SELECT SUM(v) FROM t", "SELECT SUM(v) FROM t WHERE id > 0"):
        assert await stored.query_value(sql) == float(2**63 - 1 + 2**53 + 3)


async def test_negative_numbers_survive_what_is_printed_again(folder: Path) -> None:
    async with aiostoolap.connect(folder) as db:
        await db.execute("CREATE TABLE t (a FLOAT DEFAULT -1.5, b FLOAT CHECK (b > -2.5), c INTEGER DEFAULT -7)")
        await db.execute("CREATE VIEW v AS SELECT -1e300 AS r, -3 AS s, -(-3) AS u, -(-0.5) AS w FROM t")
    async with aiostoolap.connect(folder) as db:
        await db.execute("INSERT INTO t (b) VALUES (-2)")
        assert await answers(db, "SELECT a, b, c FROM t") == [(-1.5, -2.0, -7)]
        assert await answers(db, "SELECT * FROM v") == [(-1e300, -3, 3, 0.5)]
        with pytest.raises(aiostoolap.CheckViolationError):
            await db.execute("INSERT INTO t (b) VALUES (-3)")


async def test_lengths_are_parsed(db: DB) -> None:
    await db.execute("CREATE TABLE t (a VARCHAR(30) NOT NULL, b CHAR(2), c DECIMAL(10, 2))")
    await db.execute("INSERT INTO t VALUES ('x', 'yy', 1.5)")
    assert await answers(db, "SELECT * FROM t") == [("x", "yy", 1.5)]
    with pytest.raises(aiostoolap.ProgrammingError):
        await db.execute("CREATE TABLE u (a VARCHAR(x))")


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE c SET nosuch = 1",
        "UPDATE c SET y = nosuch + 1",
        "UPDATE c SET y = 1 WHERE nosuch = 1",
        "DELETE FROM c WHERE nosuch = 1",
        "DELETE FROM c WHERE c.nosuch = 1",
        "INSERT INTO c VALUES (9, 9, 'x') ON CONFLICT (id) DO UPDATE SET nosuch = 1",
        "SELECT id FROM c ORDER BY nosuch",
        "SELECT COUNT(*) FROM c GROUP BY nosuch",
        "SELECT COUNT(nosuch) FROM c",
        "SELECT SUM(c.nosuch) FROM c",
        "SELECT z, MAX(y) FROM c GROUP BY z HAVING MAX(nosuch) > 1",
        "SELECT id FROM c WHERE id IN (SELECT o FROM l WHERE l.o = nosuch)",
        "SELECT id FROM c WHERE EXISTS (SELECT 1 FROM l WHERE o = c.nosuch)",
        "SELECT c.id FROM c JOIN l ON c.id = l.nosuch",
        "SELECT ROW_NUMBER() OVER (ORDER BY nosuch) FROM c",
        "SELECT id FROM c UNION SELECT nosuch FROM l",
        "SELECT SUM(nosuch) FROM v",
        "SELECT amount FROM v ORDER BY nosuch",
        "SELECT SUM(nosuch) FROM (SELECT id, y FROM c) AS d",
        "SELECT SUM(d.nosuch) FROM (SELECT * FROM c) AS d",
        "WITH r AS (SELECT o FROM l) SELECT MAX(nosuch) FROM r",
        "WITH r(k) AS (SELECT o FROM l) SELECT MAX(o) AS nosuch FROM r",
    ],
)
async def test_unknown_columns_are_errors(db: DB, sql: str) -> None:
    await fill(db)
    before = await answers(db, "SELECT * FROM c ORDER BY id")
    with pytest.raises(aiostoolap.ProgrammingError, match=r"nosuch|\"o\"") as caught:
        await db.execute(sql)
    assert caught.value.code == "column_not_found"
    with pytest.raises(aiostoolap.ProgrammingError, match="no column is named"):
        await db.prepare(sql)
    assert await answers(db, "SELECT * FROM c ORDER BY id") == before


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id AS k FROM c GROUP BY k ORDER BY k",
        "SELECT y * 2 AS double FROM c ORDER BY double",
        "SELECT id FROM c a WHERE EXISTS (SELECT 1 FROM l WHERE o = a.id AND late = a.y)",
        "WITH r AS (SELECT o AS ro FROM l) SELECT ro FROM r ORDER BY ro",
        "SELECT k FROM (SELECT id AS k FROM c) AS d WHERE k > 1",
        'SELECT id FROM c WHERE z = "a"',
        "SELECT id FROM c UNION SELECT o FROM l ORDER BY id",
        "SELECT a.id, b.s FROM c a LEFT JOIN l b ON a.id = b.o ORDER BY a.id, b.s",
        "INSERT INTO c VALUES (1, 6, 'x') ON CONFLICT (id) DO UPDATE SET y = EXCLUDED.y + c.y RETURNING id, y",
        "UPDATE C SET Y = y + 1 WHERE ID = 1 RETURNING y",
        "SELECT SUM(y) OVER w FROM c WINDOW w AS (PARTITION BY z ORDER BY id)",
        "SELECT CURRENT_DATE, DATE_TRUNC('day', NOW()) FROM c",
        "SELECT SUM(amount), MAX(v.id) FROM v WHERE id > 1",
        "SELECT expr2 FROM (SELECT id, y + 1 FROM c) AS d ORDER BY id",
        "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT SUM(n) FROM r",
        "WITH a AS (SELECT id AS k FROM c), b AS (SELECT k FROM a) SELECT k FROM b GROUP BY k ORDER BY k",
        "SELECT g.value FROM GENERATE_SERIES(1, 3) AS g ORDER BY value",
    ],
)
async def test_known_columns_are_none(db: DB, sql: str) -> None:
    await fill(db)
    await db.query(sql)


async def test_columns_are_looked_for_again_after_a_change(db: DB) -> None:
    await fill(db)
    sql = "SELECT COUNT(w) FROM c"
    with pytest.raises(aiostoolap.ProgrammingError, match="no column is named"):
        await db.query(sql)
    await db.execute("ALTER TABLE c ADD COLUMN w INTEGER")
    assert await answers(db, sql) == [(0,)]
    async with await db.prepare(sql) as statement:
        await db.execute("ALTER TABLE c DROP COLUMN w")
        with pytest.raises(aiostoolap.ProgrammingError, match="no column is named"):
            await statement.query_value()


async def test_a_subquery_in_values_is_refused(db: DB) -> None:
    await fill(db)
    with pytest.raises(aiostoolap.NotSupportedError, match="INSERT INTO"):
        await db.execute("INSERT INTO c VALUES (9, 1 + (SELECT MAX(y) FROM c), 'q')")
    for explain in ("EXPLAIN", "EXPLAIN ANALYZE"):
        with pytest.raises(aiostoolap.NotSupportedError, match="INSERT INTO"):
            await db.query(f"{explain} INSERT INTO c VALUES (9, 1 + (SELECT MAX(y) FROM c), 'q')")
    await db.execute("INSERT INTO c SELECT 9, 1 + MAX(y), 'q' FROM c")
    assert await db.query_value("SELECT y FROM c WHERE id = 9") == 11


@pytest.mark.parametrize("name", ["x", "x2", "by_both", "zz", "a1", "long_name_of_an_index"])
async def test_correlated_subqueries_ask_an_index_that_begins_with_their_column(db: DB, name: str) -> None:
    await db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER)")
    await db.execute("INSERT INTO t VALUES (1, 11), (2, 21)")
    await db.execute(f"CREATE INDEX {name} ON t (a, id)")
    exists = "SELECT id FROM t AS p WHERE EXISTS (SELECT 1 FROM t AS q WHERE p.id = q.id) ORDER BY id"
    counted = "SELECT id, (SELECT COUNT(*) FROM t AS q WHERE p.id = q.id) FROM t AS p ORDER BY id"
    assert await db.query(exists, into=int) == [1, 2]
    assert await answers(db, counted) == [(1, 1), (2, 1)]
    async with db.transaction() as tx:
        await tx.execute("INSERT INTO t VALUES (3, 31)")
        await tx.execute("DELETE FROM t WHERE id = 1")
        assert await tx.query(exists, into=int) == [2, 3]
        assert await answers(tx, counted) == [(2, 1), (3, 1)]
    async with db.transaction(isolation="snapshot") as tx:
        assert await tx.query(exists, into=int) == [2, 3]
        await db.execute("DELETE FROM t WHERE id = 2")
        assert await tx.query(exists, into=int) == [2, 3]
        assert await answers(tx, counted) == [(2, 1), (3, 1)]


@pytest.mark.parametrize("indexed", [False, True])
async def test_a_snapshot_keeps_rows_that_others_change(db: DB, indexed: bool) -> None:
    await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b INTEGER)")
    if indexed:
        await db.execute("CREATE INDEX by_b ON t (b)")
    await db.execute_many("INSERT INTO t VALUES (?, ?)", ((n, n % 5) for n in range(50)))
    async with db.transaction(isolation="snapshot") as tx:
        assert await tx.query_value("SELECT COUNT(*) FROM t") == 50
        await db.execute("DELETE FROM t WHERE b = 3")
        await db.execute("UPDATE t SET b = 9 WHERE b = 2")
        for sql in (
            "SELECT COUNT(*) FROM t",
            "SELECT COUNT(*) FROM t WHERE a >= 0",
            "SELECT SUM(1) FROM t WHERE b >= 0",
            "SELECT COUNT(*) FROM t WHERE b BETWEEN 0 AND 4",
            "SELECT COUNT(*) FROM (SELECT a FROM t ORDER BY a LIMIT 100) AS s",
        ):
            assert await tx.query_value(sql) == 50, sql
        for b in (2, 3):
            assert await tx.query_value("SELECT COUNT(*) FROM t WHERE b = $1", (b,)) == 10
            assert len(await tx.query("SELECT a FROM t WHERE b = $1 ORDER BY a", (b,))) == 10
        assert await tx.query_value("SELECT MAX(b) FROM t") == 4
        assert await answers(tx, "SELECT b, COUNT(*) FROM t GROUP BY b ORDER BY b") == [(b, 10) for b in range(5)]
        assert (await answers(tx, "SELECT b FROM t ORDER BY b DESC LIMIT 1")) == [(4,)]
        await tx.execute("INSERT INTO t VALUES (100, 3)")
        assert await tx.query_value("SELECT COUNT(*) FROM t WHERE b = 3") == 11
        await tx.execute("DELETE FROM t WHERE a = 100")
        assert await tx.query("SELECT a FROM t WHERE a = 3", into=int) == [3]
    assert await db.query_value("SELECT COUNT(*) FROM t") == 40
    tx = await db.begin(isolation="snapshot")
    await db.execute("DELETE FROM t WHERE a = 1")
    with pytest.raises(aiostoolap.TransactionConflictError):
        await tx.execute("UPDATE t SET b = 9 WHERE a = 1")
        await tx.commit()
    assert await db.query("SELECT a FROM t WHERE a = 1") == []


@pytest.mark.parametrize("value", ["COUNT(*)", "SUM(id)", "ROW_NUMBER() OVER ()"])
async def test_an_update_leaves_no_column_out(stored: DB, settle: Settle, value: str) -> None:
    await stored.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b INTEGER)")
    await stored.execute("INSERT INTO t VALUES (1, 2, 3)")
    await settle()
    for changes in (f"a = 13, b = {value}", f"b = {value}, a = 13", f"b = {value}"):
        with pytest.raises(aiostoolap.Error):
            await stored.execute(f"UPDATE t SET {changes}")
    assert await answers(stored, "SELECT * FROM t") == [(1, 2, 3)]


async def test_a_condition_that_fails_is_an_error(stored: DB, settle: Settle) -> None:
    await stored.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER)")
    await stored.execute("INSERT INTO t VALUES (1, -5), (2, $1)", (2**63 - 1,))
    await settle()
    for statement in (
        "DELETE FROM t WHERE a + 1 < 0",
        "UPDATE t SET a = 0 WHERE a + 1 < 0",
        "SELECT id FROM t WHERE a + 1 < (SELECT COUNT(*) FROM t AS u WHERE u.id = t.id)",
    ):
        with pytest.raises(aiostoolap.Error, match="overflow"):
            await stored.query(statement)
    assert await stored.query_value("SELECT COUNT(*) FROM t") == 2

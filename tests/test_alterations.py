"""Definitions that the engine would get wrong, or accept and not keep: they are right, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

import aiostoolap
from aiostoolap import DB

SETUP = """
    CREATE TABLE parents (id INTEGER PRIMARY KEY, name TEXT);
    CREATE TABLE t (
        id INTEGER PRIMARY KEY, first INTEGER, mail TEXT UNIQUE, age INTEGER CHECK (age < 150), last TEXT,
        parent INTEGER REFERENCES parents (id), note TEXT
    );
    CREATE INDEX by_last ON t (last);
    INSERT INTO parents VALUES (1, 'p');
    INSERT INTO t VALUES (1, 1, 'a', 30, 'l', 1, 'n'), (2, 2, 'b', 40, 'm', NULL, NULL);
    CREATE TABLE pairs (a INTEGER, b INTEGER, c INTEGER, PRIMARY KEY (a, b));
    CREATE TABLE empty (id INTEGER PRIMARY KEY);
"""

REFUSED = [
    # Of ADD COLUMN, the engine looks at NOT NULL and DEFAULT alone.
    ("ALTER TABLE t ADD COLUMN n INTEGER UNIQUE", "not_supported"),
    ("ALTER TABLE t ADD COLUMN n INTEGER CHECK (n > 5)", "not_supported"),
    ("ALTER TABLE t ADD COLUMN n INTEGER REFERENCES parents (id)", "not_supported"),
    ("ALTER TABLE empty ADD COLUMN n INTEGER PRIMARY KEY", "not_supported"),
    # The rows that are there would hold NULL.
    ("ALTER TABLE t ADD COLUMN n INTEGER NOT NULL", "not_null_violation"),
    ("ALTER TABLE t ADD COLUMN n INTEGER NOT NULL DEFAULT NULL", "not_null_violation"),
    # Keys.
    ("ALTER TABLE t DROP COLUMN id", "primary_key_drop"),
    ("ALTER TABLE parents DROP COLUMN id", "primary_key_drop"),
    ("ALTER TABLE pairs DROP COLUMN b", "not_supported"),
    # An index knows its columns by place and by name.
    ("ALTER TABLE t DROP COLUMN first", "not_supported"),
    ("ALTER TABLE t DROP COLUMN mail", "not_supported"),
    ("ALTER TABLE t RENAME COLUMN mail TO email", "not_supported"),
    ("ALTER TABLE t RENAME COLUMN last TO surname", "not_supported"),
    # And so does a foreign key.
    ("ALTER TABLE t DROP COLUMN parent", "not_supported"),
    ("ALTER TABLE t RENAME COLUMN parent TO mother", "not_supported"),
    ("ALTER TABLE parents RENAME COLUMN id TO key_of_it", "not_supported"),
    ("ALTER TABLE parents RENAME TO ancestors", "not_supported"),
    # A CHECK keeps the name of old.
    ("ALTER TABLE t RENAME COLUMN age TO years", "not_supported"),
    # What would not be looked at, or be NULL.
    ("CREATE TABLE n (a INTEGER, b INTEGER, CHECK (a < b))", "not_supported"),
    ("CREATE TABLE n (a INTEGER CHECK (a < b), b INTEGER)", "column_not_found"),
    ("CREATE TABLE n (a INTEGER DEFAULT 'x')", "type_conversion"),
    ("CREATE TABLE n (a INTEGER DEFAULT 1.5)", "type_conversion"),
    ("CREATE TABLE n (a INTEGER DEFAULT (9223372036854775807 + 1))", "type_conversion"),
    ("ALTER TABLE t ADD COLUMN n INTEGER DEFAULT 2.5", "type_conversion"),
]


@pytest.mark.parametrize(("sql", "code"), REFUSED, ids=lambda value: value[:60])
async def test_what_would_not_be_kept_is_refused(db: DB, sql: str, code: str) -> None:
    await db.execute_script(SETUP)
    before = [await db.query(f"DESCRIBE {name}", into=tuple) for name in ("t", "parents", "pairs")]
    with pytest.raises(aiostoolap.DatabaseError) as caught:
        await db.execute(sql)
    assert caught.value.code == code
    assert [await db.query(f"DESCRIBE {name}", into=tuple) for name in ("t", "parents", "pairs")] == before


@pytest.mark.parametrize("sealed", [False, True])
async def test_what_is_allowed_is_kept(folder: Path, sealed: bool) -> None:
    async with aiostoolap.connect(folder, checkpoint_every=None) as db:
        await db.execute_script(SETUP)
        if sealed:
            await db.checkpoint()
        await db.execute("ALTER TABLE t DROP COLUMN note")
        await db.execute("ALTER TABLE t ADD COLUMN level INTEGER NOT NULL DEFAULT 4")
        await db.execute("ALTER TABLE t RENAME COLUMN first TO one")
        await db.execute("ALTER TABLE t RENAME COLUMN id TO number")
        await db.execute("ALTER TABLE empty ADD COLUMN n INTEGER NOT NULL")
        # As the refusal says: without the index, then with a new one.
        await db.execute("DROP INDEX by_last ON t")
        await db.execute("ALTER TABLE t RENAME COLUMN last TO surname")
        await db.execute("CREATE INDEX by_surname ON t (surname)")
    for _ in range(2):
        async with aiostoolap.connect(folder) as db:
            for sql, error in (
                ("INSERT INTO t VALUES (1, 1, 'x', 1, 'l', 1, 1)", aiostoolap.UniqueViolationError),
                ("INSERT INTO t VALUES (3, 1, 'a', 1, 'l', 1, 1)", aiostoolap.UniqueViolationError),
                ("INSERT INTO t VALUES (3, 1, 'x', 200, 'l', 1, 1)", aiostoolap.CheckViolationError),
                ("INSERT INTO t VALUES (3, 1, 'x', 1, 'l', 9, 1)", aiostoolap.ForeignKeyViolationError),
                ("INSERT INTO t VALUES (3, 1, 'x', 1, 'l', 1, NULL)", aiostoolap.NotNullViolationError),
                ("DELETE FROM parents", aiostoolap.ForeignKeyViolationError),
            ):
                with pytest.raises(error):
                    await db.execute(sql)
            expected = [(1, 1, "a", 30, "l", 1, 4), (2, 2, "b", 40, "m", None, 4)]
            assert await db.query("SELECT * FROM t ORDER BY number", into=tuple) == expected
            assert await db.query("SELECT number FROM t WHERE surname = 'm'", into=int) == [2]
            assert await db.query("SELECT number FROM t WHERE mail = 'a'", into=int) == [1]


async def test_a_table_of_files_is_not_renamed(folder: Path) -> None:
    """The engine logs its rows under the old name: after a kill, they were gone."""
    async with aiostoolap.connect(folder) as db:
        await db.execute("CREATE TABLE t (a INTEGER)")
        with pytest.raises(aiostoolap.NotSupportedError, match="renaming a table is refused"):
            await db.execute("ALTER TABLE t RENAME TO u")
        assert await db.query("SHOW TABLES", into=str) == ["t"]


async def test_a_table_in_memory_is_renamed(db: DB) -> None:
    await db.execute("CREATE TABLE t (a INTEGER)")
    await db.execute("INSERT INTO t VALUES (1)")
    await db.execute("ALTER TABLE t RENAME TO u")
    await db.execute("INSERT INTO u VALUES (2)")
    assert await db.query("SELECT a FROM u ORDER BY a", into=int) == [1, 2]


async def test_create_table_as_looks_at_all_rows(db: DB) -> None:
    await db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b TEXT, at TIMESTAMP)")
    await db.execute("INSERT INTO t VALUES (1, NULL, 'x', NULL), (2, 5, NULL, '2020-02-20')")

    async def types(name: str) -> list[str]:
        return [kind for _, kind, *_ in await db.query(f"DESCRIBE {name}", into=tuple)]

    await db.execute("CREATE TABLE blanks AS SELECT a, b, at FROM t ORDER BY id")
    assert await types("blanks") == ["Integer", "Text", "Timestamp"]
    assert await db.query("SELECT a FROM blanks ORDER BY a", into=tuple) == [(5,), (None,)]
    await db.execute("CREATE TABLE fractions AS SELECT CASE WHEN id = 1 THEN 1 ELSE 1.5 END AS v FROM t ORDER BY id")
    assert await types("fractions") == ["Float"]
    assert await db.query("SELECT v FROM fractions ORDER BY v", into=float) == [1.0, 1.5]
    await db.execute("CREATE TABLE nothing AS SELECT * FROM t WHERE FALSE")
    assert await types("nothing") == ["Integer", "Integer", "Text", "Timestamp"]
    await db.execute("CREATE TABLE chosen AS SELECT t.at, a FROM t WHERE FALSE")
    assert await types("chosen") == ["Timestamp", "Integer"]
    with pytest.raises(aiostoolap.DataError, match="'v' would hold"):
        await db.execute("CREATE TABLE mixed AS SELECT CASE WHEN id = 1 THEN 1 ELSE 'x' END AS v FROM t")
    assert "mixed" not in await db.query("SHOW TABLES", into=str)


async def test_what_stands_before_the_primary_key_stays(db: DB) -> None:
    """The key's index would not follow, and rows would be lost."""
    await db.execute("CREATE TABLE t (a TEXT, id INTEGER PRIMARY KEY, b TEXT)")
    await db.execute("INSERT INTO t VALUES ('x', 1, 'y'), ('x', 2, 'z')")
    with pytest.raises(aiostoolap.NotSupportedError, match="stands before the primary key"):
        await db.execute("ALTER TABLE t DROP COLUMN a")
    await db.execute("ALTER TABLE t DROP COLUMN b")
    assert await db.query("SELECT * FROM t ORDER BY id", into=tuple) == [("x", 1), ("x", 2)]


@pytest.mark.parametrize("columns", ["f", "f, g"])
async def test_a_unique_index_sees_all_rows(stored: DB, columns: str) -> None:
    await stored.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, f TEXT, g INTEGER)")
    await stored.execute("INSERT INTO t VALUES (1, 'a', 1), (2, NULL, 1), (3, 'b', 1)")
    await stored.checkpoint()
    await stored.execute("INSERT INTO t VALUES (4, 'a', 1), (5, NULL, 1)")
    with pytest.raises(aiostoolap.UniqueViolationError):
        await stored.execute(f"CREATE UNIQUE INDEX x ON t ({columns})")
    await stored.execute("UPDATE t SET f = 'c' WHERE id = 1")
    await stored.execute(f"CREATE UNIQUE INDEX x ON t ({columns})")
    with pytest.raises(aiostoolap.UniqueViolationError):
        await stored.execute("INSERT INTO t VALUES (6, 'b', 1)")

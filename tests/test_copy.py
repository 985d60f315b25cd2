"""COPY: rows from a file of the directory that is allowed for it; a write like any other."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

import aiostoolap
from aiostoolap import DB


@pytest.fixture
def imports(tmp_path: Path) -> Path:
    (tmp_path / "imports").mkdir()
    return tmp_path / "imports"


@pytest.fixture
async def db(imports: Path) -> AsyncIterator[DB]:
    async with aiostoolap.connect(copy_from=imports) as db:
        await db.execute(
            "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT NOT NULL, c FLOAT, d TIMESTAMP, e BOOLEAN, f JSON)"
        )
        yield db


async def test_csv_with_names(db: DB, imports: Path) -> None:
    (imports / "t.csv").write_text('b,a,c,d,e,f\n"x, y",1,1.5,2026-01-02 03:04:05,true,"{""k"": 1}"\nü,2,,,,\n')
    assert await db.execute("COPY t FROM 't.csv' WITH (FORMAT CSV, HEADER TRUE)") == 2
    assert await db.query("SELECT * FROM t ORDER BY a") == [
        (1, "x, y", 1.5, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), True, {"k": 1}),
        (2, "ü", None, None, None, None),
    ]


async def test_csv_of_some_columns(db: DB, imports: Path) -> None:
    (imports / "t.csv").write_text("1;x\n2;-\n")
    sql = "COPY t (a, b) FROM 't.csv' WITH (FORMAT CSV, HEADER FALSE, DELIMITER ';', NULL '?')"
    async with await db.prepare(sql) as statement:
        assert await statement.execute() == 2
    assert await db.query("SELECT a, b, c FROM t ORDER BY a") == [(1, "x", None), (2, "-", None)]


@pytest.mark.parametrize("lines", [True, False])
async def test_json(db: DB, imports: Path, *, lines: bool) -> None:
    rows = [{"a": 1, "b": "x", "f": [1, None]}, {"b": "y", "a": 2, "c": 2.5}]
    (imports / "t.json").write_text("\n".join(map(json.dumps, rows)) if lines else json.dumps(rows))
    assert await db.execute("COPY t FROM 't.json' WITH (FORMAT JSON)") == 2
    assert await db.query("SELECT a, b, c, f FROM t ORDER BY a") == [(1, "x", None, [1, None]), (2, "y", 2.5, None)]


BAD: list[tuple[str, type[aiostoolap.Error]]] = [
    ("1,x", aiostoolap.UniqueViolationError),
    ("9,", aiostoolap.NotNullViolationError),
    ("nine,x", aiostoolap.DataError),
    ("9", aiostoolap.ProgrammingError),
    ("9,x,more", aiostoolap.ProgrammingError),
]


@pytest.mark.parametrize(("line", "error"), BAD)
async def test_all_rows_or_none(db: DB, imports: Path, line: str, error: type[aiostoolap.Error]) -> None:
    await db.execute("INSERT INTO t (a, b) VALUES (1, 'old')")
    (imports / "bad.csv").write_text(f"2,x\n3,x\n{line}\n4,x\n")
    (imports / "good.csv").write_text("2,good\n")
    sql = "COPY t (a, b) FROM '{}' WITH (FORMAT CSV, HEADER FALSE)"
    with pytest.raises(error):
        await db.execute(sql.format("bad.csv"))
    assert await db.query("SELECT a, b FROM t") == [(1, "old")]
    async with db.transaction() as tx:
        await tx.execute("INSERT INTO t (a, b) VALUES (5, 'kept')")
        with pytest.raises(error):
            await tx.execute(sql.format("bad.csv"))
        assert await tx.query("SELECT a FROM t ORDER BY a", into=int) == [1, 5]
        assert await tx.execute(sql.format("good.csv")) == 1
    assert await db.query("SELECT a FROM t ORDER BY a", into=int) == [1, 2, 5]


async def test_in_a_transaction_it_is_rolled_back_with_it(db: DB, imports: Path) -> None:
    (imports / "t.csv").write_text("1,x\n2,y\n")
    sql = "COPY t (a, b) FROM 't.csv' WITH (FORMAT CSV, HEADER FALSE)"
    async with await db.begin() as tx:
        assert await tx.execute(sql) == 2
        assert await tx.query_value("SELECT COUNT(*) FROM t") == 2
        assert await db.query_value("SELECT COUNT(*) FROM t") == 0
        await tx.rollback()
    assert await db.execute(sql) == 2


async def test_it_meets_the_conflicts_of_other_transactions(db: DB, imports: Path) -> None:
    await db.execute("CREATE TABLE parents (id INTEGER PRIMARY KEY)")
    await db.execute("CREATE TABLE children (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES parents(id))")
    await db.execute("INSERT INTO parents VALUES (1)")
    (imports / "children.csv").write_text("1,1\n")
    sql = "COPY children FROM 'children.csv' WITH (FORMAT CSV, HEADER FALSE)"
    one, two = await db.begin(), await db.begin()
    await one.execute("DELETE FROM parents")
    await two.execute(sql)
    await one.commit()
    with pytest.raises(aiostoolap.TransactionConflictError):
        await two.commit()
    assert await db.query("SELECT * FROM children") == []
    with pytest.raises(aiostoolap.ForeignKeyViolationError):
        await db.execute(sql)


@pytest.mark.parametrize("within", [False, True])
async def test_it_can_be_stopped(db: DB, imports: Path, *, within: bool) -> None:
    with (imports / "t.csv").open("w") as file:
        file.writelines(f"{n},x\n" for n in range(400_000))
    sql = "COPY t (a, b) FROM 't.csv' WITH (FORMAT CSV, HEADER FALSE)"
    with pytest.raises(TimeoutError):
        if within:
            async with db.transaction() as tx:
                await tx.execute(sql, timeout=0.05)
        else:
            await db.execute(sql, timeout=0.05)
    assert await db.query_value("SELECT COUNT(*) FROM t") == 0
    await db.execute("INSERT INTO t (a, b) VALUES (0, 'not claimed')")


async def test_its_rows_survive(folder: Path, imports: Path) -> None:
    (imports / "t.csv").write_text("1,x\n2,y\n")
    for checkpoint in (False, True):
        async with aiostoolap.connect(folder, options={"checkpoint_on_close": checkpoint}, copy_from=imports) as db:
            await db.execute("CREATE TABLE IF NOT EXISTS t (a INTEGER PRIMARY KEY, b TEXT)")
            await db.execute("DELETE FROM t")
            await db.execute("COPY t FROM 't.csv' WITH (FORMAT CSV, HEADER FALSE)")
        async with aiostoolap.connect(folder) as db:
            assert await db.query("SELECT * FROM t ORDER BY a") == [(1, "x"), (2, "y")]


async def test_what_a_file_would_change_is_refused(db: DB, imports: Path) -> None:
    (imports / "t.csv").write_text("1,x,3000-01-01 00:00:00\n")
    with pytest.raises(aiostoolap.DataError):
        await db.execute("COPY t (a, b, d) FROM 't.csv' WITH (FORMAT CSV, HEADER FALSE)")


async def test_there_is_no_plan_of_it(db: DB, imports: Path) -> None:
    (imports / "t.csv").write_text("1,x\n")
    for explain in ("EXPLAIN", "EXPLAIN ANALYZE"):
        with pytest.raises(aiostoolap.Error):
            await db.execute(f"{explain} COPY t (a, b) FROM 't.csv' WITH (FORMAT CSV, HEADER FALSE)")
    assert await db.query_value("SELECT COUNT(*) FROM t") == 0

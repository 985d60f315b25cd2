"""Errors: their classes, codes and fields, and that they survive a journey between processes."""

from __future__ import annotations

import inspect
import pickle
import re
from pathlib import Path

import pytest

import aiostoolap
from aiostoolap import DB, errors

ENGINE = Path(__file__).parent.parent / "engine" / "src"


def classes() -> list[type[errors.Error]]:
    return [item for _, item in inspect.getmembers(errors, inspect.isclass) if issubclass(item, errors.Error)]


def test_every_class_is_exported_and_drawn() -> None:
    tree = errors.__doc__ or ""
    for item in classes():
        assert item.__name__ in errors.__all__
        assert getattr(aiostoolap, item.__name__) is item
        assert item.__name__ in tree


@pytest.mark.parametrize("item", classes())
def test_errors_can_be_pickled(item: type[errors.Error]) -> None:
    error = pickle.loads(pickle.dumps(item("what", "code", {"table": "t"})))
    assert type(error) is item
    assert (str(error), error.code, error.fields) == ("what", "code", {"table": "t"})


def test_every_code_of_the_engine_has_a_class() -> None:
    source = "".join(file.read_text() for file in ENGINE.glob("*.rs"))
    codes = set(re.findall(r'Failure::new\(\s*"(\w+)"', source))
    codes |= set(re.findall(r'(?:=> |^\s+)"([a-z_]+)"', (ENGINE / "errors.rs").read_text(), re.MULTILINE))
    codes |= set(re.findall(r'", "([a-z_]+)"\)', (ENGINE / "errors.rs").read_text()))
    assert len(codes) > 40
    assert codes - set(errors._CLASSES) == set()


def test_an_unknown_code_is_an_internal_error() -> None:
    error = errors.from_reply("new_code", "what", {})
    assert type(error) is errors.InternalError
    assert error.code == "new_code"


CASES: list[tuple[str, type[errors.Error], str, dict[str, str]]] = [
    ("INSERT INTO users VALUES (1, 'x', 1)", errors.UniqueViolationError, "primary_key_violation", {"value": "1"}),
    (
        "INSERT INTO users VALUES (2, 'Ada', 1)",
        errors.UniqueViolationError,
        "unique_violation",
        {"column": "name"},
    ),
    ("INSERT INTO users VALUES (2, NULL, 1)", errors.NotNullViolationError, "not_null_violation", {"column": "name"}),
    ("INSERT INTO users VALUES (2, 'x', -1)", errors.CheckViolationError, "check_violation", {"column": "age"}),
    (
        "INSERT INTO pets VALUES (1, 99)",
        errors.ForeignKeyViolationError,
        "foreign_key_violation",
        {"table": "pets", "column": "owner", "referenced_table": "users"},
    ),
    ("SELECT * FROM missing", errors.ProgrammingError, "table_not_found", {"table": "missing"}),
    ("SELECT missing FROM users", errors.ProgrammingError, "column_not_found", {"column": "missing"}),
    ("SELEC 1", errors.ProgrammingError, "syntax_error", {}),
    ("CREATE TABLE users (a INTEGER)", errors.ProgrammingError, "table_exists", {"table": "users"}),
    ("DROP TABLE missing", errors.ProgrammingError, "table_not_found", {"table": "missing"}),
    ("DROP INDEX missing ON users", errors.ProgrammingError, "index_not_found", {"index": "missing"}),
    ("CREATE INDEX i ON users(name)", errors.ProgrammingError, "index_exists", {}),
    ("CREATE UNIQUE INDEX i ON users(name)", errors.ProgrammingError, "index_exists", {}),
    ("DROP VIEW missing", errors.ProgrammingError, "view_not_found", {"view": "missing"}),
    ("SELECT missing(1) FROM users", errors.ProgrammingError, "function_not_found", {}),
    ("INSERT INTO users VALUES (2, 'x')", errors.ProgrammingError, "invalid_argument", {}),
    ("INSERT INTO users VALUES (2, 'x', 'old')", errors.DataError, "type_conversion", {}),
    ("SELECT TIMESTAMP '2024-01-01' + 9223372036854775807", errors.InternalError, "engine_panic", {}),
    ("SELECT LPAD('x', 3000000000)", errors.DatabaseError, "", {}),
    ("SELECT " + "(" * 30_000 + "1" + ")" * 30_000, errors.ProgrammingError, "too_deep", {}),
    ("SELECT 1" + " + 1" * 30_000, errors.ProgrammingError, "too_deep", {}),
]


@pytest.mark.parametrize(("sql", "item", "code", "fields"), CASES, ids=lambda value: str(value)[:40])
async def test_error(db: DB, sql: str, item: type[errors.Error], code: str, fields: dict[str, str]) -> None:
    await db.execute(
        "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, age INTEGER CHECK (age > 0))"
    )
    await db.execute("CREATE TABLE pets (id INTEGER PRIMARY KEY, owner INTEGER REFERENCES users(id))")
    await db.execute("INSERT INTO users VALUES (1, 'Ada', 36)")
    with pytest.raises(item) as caught:
        await db.query(sql)
    if code:
        assert caught.value.code == code
    assert fields.items() <= caught.value.fields.items()
    assert await db.query("SELECT id, name FROM users") == [(1, "Ada")]


async def test_deep_sql_runs(db: DB) -> None:
    assert await db.query_value("SELECT " + "(" * 5_000 + "1" + ")" * 5_000) == 1
    assert await db.query_value("SELECT 1" + " + 1" * 19_000) == 19_001
    assert await db.query_value("SELECT " + "NOT " * 5_000 + "TRUE") is True


async def test_many_panics_leave_the_database_alive(db: DB) -> None:
    await db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b INTEGER)")
    await db.execute("INSERT INTO t VALUES (1, -9223372036854775808)")
    for _ in range(20):
        for sql in (
            "SELECT {} FROM t",
            "UPDATE t SET b = {}",
            "INSERT INTO t SELECT 2, {} FROM t",
            "DELETE FROM t WHERE {} = 0",
        ):
            with pytest.raises(aiostoolap.InternalError, match="out of bounds"):
                await db.query(sql.format("EXTRACT(YEAR FROM TIMESTAMP '2024-01-01' + b)"))
        assert await db.query_value("SELECT COUNT(*) FROM t WHERE a = 1") == 1
        await db.execute("DELETE FROM t WHERE a = 2")
    assert await db.execute("INSERT INTO t VALUES (3, 3)") == 1

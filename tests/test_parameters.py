"""A parameter is worth what a literal in its place is, wherever it stands."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest

import aiostoolap
from aiostoolap import DB, Vector

SETUP = """
    CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b TEXT, f FLOAT, g INTEGER);
    CREATE TABLE u (id INTEGER PRIMARY KEY, tid INTEGER, c TEXT);
    INSERT INTO t VALUES (1, 10, 'x', 1.5, 1), (2, 20, 'y', 2.5, 1), (3, 30, 'x', 3.5, 2), (4, NULL, 'z', NULL, 2),
        (5, 50, NULL, 5.5, 3);
    INSERT INTO u VALUES (1, 1, 'c'), (2, 1, 'd'), (3, 2, 'e'), (4, 9, 'f');
    CREATE VIEW v AS SELECT id, a, b FROM t WHERE id < 5
"""

# Literals stand in braces; each is a parameter in its turn.
QUERIES = [
    "SELECT id + {1}, {'k'} FROM t ORDER BY id",
    "SELECT a * {2} FROM v ORDER BY id",
    "SELECT id FROM t WHERE a > {10} AND b = {'x'} ORDER BY id",
    "SELECT id FROM t WHERE a BETWEEN {10} AND {30} ORDER BY id LIMIT {2} OFFSET {1}",
    "SELECT id FROM t WHERE b LIKE {'x%'} OR a IN ({20}, {50}) ORDER BY id",
    "SELECT COUNT(*) + {1}, SUM(a) + {1}, MAX(a) - {3}, COALESCE(SUM(a), {0}) FROM t WHERE id > {100}",
    "SELECT COUNT(*), {'k'} FROM t WHERE b = {'x'}",
    "SELECT g, SUM(a) * {2} AS s FROM t GROUP BY g HAVING SUM(a) * {2} > {50} ORDER BY s DESC",
    "SELECT g, {'k'}, COUNT(*) FROM t GROUP BY g ORDER BY g",
    "SELECT b, COUNT(*), {'k'} FROM v GROUP BY b ORDER BY b",
    "SELECT GROUP_CONCAT(b, {'|'}) FROM t",
    "SELECT t.id, u.id FROM t JOIN u ON t.id + {0} = u.tid ORDER BY 1, 2",
    "SELECT t.id, u.id FROM t JOIN u ON t.id < u.tid + {0} WHERE u.c > {'c'} ORDER BY 1, 2",
    "SELECT t.id, u.c FROM t LEFT JOIN u ON t.id = u.tid AND u.c = {'d'} ORDER BY 1, 2",
    "SELECT id FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.tid = t.id + {1}) ORDER BY id",
    "SELECT id FROM t WHERE id IN (SELECT tid FROM u WHERE id > {1}) ORDER BY id",
    "SELECT id, (SELECT COUNT(*) + {10} FROM u WHERE u.tid = t.id) FROM t ORDER BY id",
    "WITH c(x) AS (SELECT id + {2} FROM t) SELECT x FROM c ORDER BY x LIMIT {3}",
    "SELECT id, SUM(id) OVER (ORDER BY id ROWS BETWEEN {1} PRECEDING AND CURRENT ROW) FROM t ORDER BY id",
    "SELECT id FROM t WHERE (a, b) IN (({10}, {'x'}), ({20}, {'y'})) ORDER BY id",
    "SELECT CASE WHEN a > {10} THEN {'big'} ELSE {'small'} END FROM t ORDER BY id",
    "SELECT id FROM t WHERE a = {10} UNION SELECT id + {100} FROM t WHERE a = {20} ORDER BY 1",
    "SELECT f * {0.5}, {TRUE}, {NULL} FROM t ORDER BY id",
    "SELECT x + {1} FROM (SELECT a + {1} AS x FROM t) q ORDER BY 1",
    "SELECT MAX(b) || {'it''s {}'} FROM t",
    "SELECT id FROM t WHERE id > {1} + {1} ORDER BY id",
    "SELECT id FROM t WHERE {4} - 1 < id ORDER BY id",
    "SELECT id FROM t WHERE id > -{2} AND id < ({2}) * 2 ORDER BY id",
    "SELECT id FROM t WHERE a BETWEEN {10} AND {10} + 10 ORDER BY id",
    "SELECT id FROM t WHERE a / {10} = {1} OR a % {20} = 10 ORDER BY id",
    "SELECT id FROM t WHERE b LIKE {'x'} || '%' ORDER BY id",
    "SELECT id FROM t WHERE a > ABS({-15}) ORDER BY id",
]
CHANGES = [
    "INSERT INTO t (id, a, b) VALUES ({9}, {1}, {'n'})",
    "INSERT INTO t (id, a) SELECT {100} + g, SUM(a) + {1} FROM t GROUP BY g",
    "INSERT INTO t (id, a) VALUES ({1}, {7}) ON CONFLICT (id) DO UPDATE SET a = {8}",
    "UPDATE t SET a = a + {1}, b = {'q'} WHERE id > {2}",
    "UPDATE t SET a = (SELECT MAX(id) + {1} FROM u)",
    "UPDATE t SET a = (SELECT COUNT(*) + {1} FROM u WHERE u.tid = t.id)",
    "UPDATE t SET a = {0} WHERE a > (SELECT AVG(a) + {1} FROM t)",
    "DELETE FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.tid = t.id + {1})",
    "DELETE FROM t WHERE a > (SELECT AVG(a) + {1} FROM t)",
    "UPDATE t SET a = a + {1} WHERE id > {1} + 1",
    "DELETE FROM t WHERE id < {1} * 3",
    "DELETE FROM t WHERE a < (SELECT COUNT(*) * {10} FROM u WHERE u.tid = t.id)",
    "DELETE FROM t WHERE id IN (SELECT tid FROM u WHERE c = {'e'})",
]
LITERAL = re.compile(r"\{((?:'(?:[^']|'')*')|[^{}]*)\}")


def forms(text: str) -> list[tuple[str, Any]]:
    """The statement with literals, and with parameters of each kind."""
    values: list[Any] = []

    def named(found: re.Match[str]) -> str:
        values.append(value(found[1]))
        return f":p{len(values)}"

    by_name = LITERAL.sub(named, text)
    numbers = iter(range(1, 100))
    return [
        (LITERAL.sub(lambda found: found[1], text), None),
        (by_name, {f"p{number}": item for number, item in enumerate(values, 1)}),
        (LITERAL.sub("?", text), values),
        (LITERAL.sub(lambda _: f"${next(numbers)}", text), values),
    ]


def value(literal: str) -> Any:
    if literal.startswith("'"):
        return literal[1:-1].replace("''", "'")
    if literal in ("TRUE", "NULL"):
        return {"TRUE": True, "NULL": None}[literal]
    return float(literal) if "." in literal else int(literal)


@pytest.mark.parametrize("text", QUERIES)
async def test_in_queries(db: DB, text: str) -> None:
    await db.execute_script(SETUP)
    (literals, _), *others = forms(text)
    expected = await db.query(literals, into=tuple)
    assert expected
    for sql, parameters in others:
        for _ in range(2):
            assert await db.query(sql, parameters, into=tuple) == expected, sql
        async with await db.prepare(sql) as statement:
            assert await statement.query(parameters, into=tuple) == expected, sql


@pytest.mark.parametrize("text", CHANGES)
async def test_in_changes(engine: aiostoolap.Engine, text: str) -> None:
    found = []
    for sql, parameters in forms(text):
        async with await engine.open_memory() as db:
            await db.execute_script(SETUP)
            changed = await db.execute(sql, parameters)
            found.append((changed, await db.query("SELECT * FROM t ORDER BY id", into=tuple)))
        async with await engine.open_memory() as db:
            await db.execute_script(SETUP)
            if parameters is not None:
                assert await db.execute_many(sql, [parameters]) == changed
                assert await db.query("SELECT * FROM t ORDER BY id", into=tuple) == found[-1][1]
    assert found == [found[0]] * 4
    assert found[0][0] > 0


async def test_values_beside_an_aggregate(db: DB) -> None:
    """Where parameters become literals, each type of them must survive."""
    moment = datetime(2024, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    values = [
        2**63 - 1,
        -(2**63),
        0.1,
        -1e300,
        "it's {} \\n -- ?",
        "",
        True,
        None,
        moment,
        {"a": [1, "'"]},
        Vector([0.5, 2]),
    ]
    await db.execute("CREATE TABLE t (a INTEGER)")
    await db.execute("INSERT INTO t VALUES (1)")
    for item in values:
        assert await db.query("SELECT COUNT(*), $1 FROM t", (item,), into=tuple) == [(1, item)]
    assert await db.query("SELECT COUNT(*), $1 FROM t", ("NUL \0",), into=tuple) == [(1, "NUL \0")]

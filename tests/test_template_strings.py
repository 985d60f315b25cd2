"""Template strings (PEP 750) as SQL: values are parameters, never text."""

from __future__ import annotations

import sys
from typing import Any

import pytest

import aiostoolap
from aiostoolap import DB

HAS_TEMPLATES = sys.version_info >= (3, 14)

pytestmark = pytest.mark.skipif(not HAS_TEMPLATES, reason="template strings came with Python 3.14")


def template(source: str, **values: Any) -> Any:
    """A template string; older interpreters cannot even parse one, so it is text here."""
    return eval(f"t{source!r}", values)


HOSTILE = "'; DROP TABLE t; --"


@pytest.fixture
async def t(db: DB) -> DB:
    await db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, data JSON)")
    await db.execute("INSERT INTO t VALUES (1, 'one', NULL), (2, $1, NULL)", (HOSTILE,))
    return db


async def test_every_verb_takes_one(t: DB) -> None:
    assert await t.execute(template("INSERT INTO t VALUES ({n}, {name}, {data})", n=3, name="x", data={"a": [1]})) == 1
    assert await t.query_value(template("SELECT data FROM t WHERE id = {n}", n=3)) == {"a": [1]}
    assert await t.query_one(template("SELECT id FROM t WHERE name = {name}", name=HOSTILE)) == (2,)
    assert await t.query(template("SELECT id FROM t WHERE id < {n} ORDER BY id", n=3), into=int) == [1, 2]
    query = t.query(template("SELECT id FROM t WHERE id > {n} ORDER BY id LIMIT {most}", n=1, most=9))
    assert [row.id async for row in query] == [2, 3]
    async with query as rows:
        assert await rows.fetchall() == [(2,), (3,)]
    async with t.transaction() as tx:
        assert await tx.execute(template("DELETE FROM t WHERE name = {name}", name=HOSTILE)) == 1
    assert await t.query_value(template("SELECT COUNT(*) FROM t")) == 2


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("SELECT {a}, {b}, {a}", (7, "x'", 7)),
        ("SELECT {a}+{a}", (14,)),
        ("SELECT id FROM t WHERE id={a}-{one} OR id IN ({one},{a})", (1,)),
        ("SELECT COUNT(*), {b} FROM t", (2, "x'")),
        ("SELECT CASE WHEN {a} > {one} THEN {b} END FROM t LIMIT {one}", ("x'",)),
        ("SELECT {none}", (None,)),
        ("SELECT '{{}}', {a}", ("{}", 7)),
        ("SELECT {a * 2 + len(b)}", (16,)),
    ],
)
async def test_a_value_stands_where_a_parameter_can(t: DB, source: str, expected: tuple[object, ...]) -> None:
    assert await t.query_one(template(source, a=7, b="x'", one=1, none=None), into=tuple) == expected


async def test_templates_within_templates(t: DB) -> None:
    some = template("id >= {least} AND {other}", least=1, other=template("name = {name}", name="one"))
    found = await t.query(template("SELECT id, {x} FROM t WHERE {some} LIMIT {n}", x="x", some=some, n=5), into=tuple)
    assert found == [(1, "x")]


async def test_the_text_stays_the_same(t: DB) -> None:
    """So a statement is planned once, whatever its values are, and the hook of statements sees none of them."""
    events: list[aiostoolap.StatementEvent] = []
    async with aiostoolap.Engine(on_statement=events.append) as engine, await engine.open_memory() as db:
        await db.query_value(template("SELECT {x} + 1", x=0))
        plans = (await engine.stats()).plans
        for n in range(20):
            assert await db.query_value(template("SELECT {x} + 1", x=n)) == n + 1
        assert (await engine.stats()).plans == plans
    assert {event.sql for event in events} == {"SELECT ? + 1"}


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("SELECT {x!r}", r"\{x!r\}: values are parameters"),
        ("SELECT {x!s}", r"\{x!s\}: values are parameters"),
        ("SELECT {x:>10}", r"\{x:>10\}: values are parameters"),
        ("SELECT {x + 1!a:5}", r"\{x \+ 1!a:5\}: values are parameters"),
        ("SELECT {x=}", r"\{x!r\}: values are parameters"),
        ("SELECT '{x}'", "parameter"),
        ("SELECT '{x}', {x}", "parameter"),
        ("SELECT 1 -- {x}", "parameter"),
        ("SELECT ?, {x}", "parameter"),
        ("SELECT $1, {x}", "parameters"),
        ("SELECT :x, {x}", "parameters"),
        ("SELECT a{x}", "unexpected '\\?'"),
        ("SELECT * FROM {x}", "expected table"),
        ("SELECT * FROM t{x}", "unexpected '\\?'"),
    ],
)
async def test_refused(t: DB, source: str, reason: str) -> None:
    with pytest.raises(aiostoolap.ProgrammingError, match=reason):
        await t.query(template(source, x=1))
    assert await t.query_value("SELECT COUNT(*) FROM t") == 2


async def test_a_value_that_cannot_be_a_parameter(t: DB) -> None:
    with pytest.raises(aiostoolap.DataError, match="parameter 2: object cannot be"):
        await t.query(template("SELECT {a}, {b}", a=1, b=object()))


async def test_parameters_beside_one_are_refused(t: DB) -> None:
    for params in ((1,), {"x": 1}, ()):
        with pytest.raises(aiostoolap.ProgrammingError, match="has its parameters in it"):
            await t.query_value(template("SELECT {x}", x=1), params)


async def test_verbs_that_take_none_say_so(t: DB) -> None:
    insert = template("INSERT INTO t (id) VALUES ({x})", x=5)
    with pytest.raises(aiostoolap.ProgrammingError, match="execute_many takes no template string"):
        await t.execute_many(insert, [(1,)])
    with pytest.raises(aiostoolap.ProgrammingError, match="execute_script takes no template string"):
        await t.execute_script(insert)
    with pytest.raises(aiostoolap.ProgrammingError, match="prepare takes no template string"):
        await t.prepare(insert)

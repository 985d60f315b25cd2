"""Parameters: all that Python has goes there and back, or is refused with a reason."""

from __future__ import annotations

import array
import dataclasses
import enum
import math
import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aiostoolap
from aiostoolap import DB, Json, Vector
from aiostoolap.values import adapt
from tests import adversarial

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
INTEGER = st.integers(-(2**63), 2**63 - 1)
TIMESTAMP = st.datetimes(
    datetime(1677, 9, 22),  # hypothesis adds the time zone
    datetime(2262, 4, 11),  # hypothesis adds the time zone
    timezones=st.just(UTC),
)
SCALAR = st.one_of(st.none(), st.booleans(), INTEGER, st.floats(allow_nan=False), TEXT, TIMESTAMP)
JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False), TEXT
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4)),
    max_leaves=10,
)


ENDLESS: list[Any] = []
ENDLESS.append(ENDLESS)


class Nowhere(tzinfo):
    """A time zone that does not know its offset, so that a datetime with it has none."""

    def utcoffset(self, moment: datetime | None) -> None:
        return None

    tzname = dst = utcoffset


def same(a: object, b: object) -> bool:
    return type(a) is type(b) and a == b


@given(values=st.lists(SCALAR, min_size=1, max_size=20))
@settings(max_examples=200)
async def test_round_trip_of_scalars(db: DB, values: list[Any]) -> None:
    marks = ", ".join("?" * len(values))
    row = await db.query_one(f"SELECT {marks}", values)
    assert row is not None
    assert all(map(same, row, values))


@given(value=st.one_of(st.dictionaries(TEXT, JSON, max_size=4), st.builds(Json, JSON)))
@settings(max_examples=150)
async def test_round_trip_of_json(db: DB, value: Any) -> None:
    expected = value.value if isinstance(value, Json) else value
    assert await db.query_value("SELECT $1", (value,)) == expected


@given(rows=st.lists(st.tuples(TEXT, INTEGER, st.floats(allow_nan=False), TIMESTAMP, st.booleans()), max_size=30))
@settings(max_examples=50)
async def test_round_trip_through_a_table(db: DB, rows: list[tuple[Any, ...]]) -> None:
    await db.execute_script(
        "DROP TABLE IF EXISTS t;"
        "CREATE TABLE t (n INTEGER PRIMARY KEY, a TEXT, b INTEGER, c FLOAT, d TIMESTAMP, e BOOLEAN)"
    )
    await db.execute_many("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?)", [(n, *row) for n, row in enumerate(rows)])
    assert await db.query("SELECT a, b, c, d, e FROM t ORDER BY n", into=tuple) == rows


async def test_not_a_number(db: DB) -> None:
    assert math.isnan(await db.query_value("SELECT $1", (math.nan,)))


async def test_large_text(folder: Path) -> None:
    """64 MiB of UTF-8, which also come back after the database was opened again."""
    text = "\N{SNOWMAN}" * ((64 << 20) // 3)
    async with aiostoolap.connect(folder) as db:
        assert await db.query_value("SELECT $1", (text,)) == text
        await db.execute("CREATE TABLE t (a TEXT)")
        await db.execute("INSERT INTO t VALUES ($1)", (text,))
    async with aiostoolap.connect(folder) as db:
        assert await db.query_value("SELECT a FROM t") == text


class Colour(enum.Enum):
    RED = "red"
    WHEN = date(2020, 1, 1)


class Number(enum.IntEnum):
    ONE = 1


class Name(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (date(2024, 2, 29), datetime(2024, 2, 29, tzinfo=UTC)),
        (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (Colour.RED, "red"),
        (Colour.WHEN, datetime(2020, 1, 1, tzinfo=UTC)),
        (Number.ONE, 1),
        (Name("x"), "x"),
        (Decimal("0.5"), 0.5),
        (Json("text"), "text"),
        (Json(None), None),
        (Json([1]), [1]),
        ([1, "a"], '[1,"a"]'),
        ({"when": datetime(2020, 1, 1, tzinfo=UTC)}, {"when": "2020-01-01T00:00:00Z"}),
    ],
)
async def test_converted(db: DB, value: Any, expected: object) -> None:
    assert await db.query_value("SELECT $1", (value,)) == expected
    assert await db.query_value("SELECT :v", {"v": value}) == expected
    assert await db.query_value("SELECT :v", {":v": value}) == expected


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (2**63, "64 bits"),
        (-(2**63) - 1, "64 bits"),
        (2**64, "an integer does not fit in 64 bits with a sign"),
        (-(10**9999), "64 bits"),
        ("\ud800", "surrogate"),
        (datetime(2024, 1, 1), "time zone"),  # what the test is about
        (datetime(2024, 1, 1, tzinfo=Nowhere()), "time zone"),
        (datetime(1600, 1, 1, tzinfo=UTC), "1677"),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=1))), "1677"),
        (datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))), "2262"),
        (date(3000, 1, 1), "2262"),
        (b"x", "bytes"),
        (bytearray(b"x"), "bytes"),
        (Decimal("0.1"), "not exact"),
        (Decimal("NaN"), "not exact"),
        (Decimal("Infinity"), "not exact"),
        (Decimal("sNaN"), "not exact"),
        (timedelta(1), "timedelta"),
        (time(1), "time cannot"),
        (object(), "object cannot"),
        (np.True_, "numpy.bool_? cannot"),
        (ENDLESS, "JSON"),
        ({1, 2}, "set cannot"),
        (Json(object()), "JSON"),
        ({"a": object()}, "JSON"),
        (Vector(range(70_000)), "65535"),
        (array.array("d", [1e39]), "beyond the 32-bit floats"),
        (np.array([1.0, -1e39]), "beyond the 32-bit floats"),
        (Json("\ud800"), "surrogate"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_refused(db: DB, value: Any, reason: str) -> None:
    for parameters in ((1, value), {"a": 1, "b": value}):
        sql = "SELECT ?, ?" if isinstance(parameters, tuple) else "SELECT :a, :b"
        with pytest.raises(aiostoolap.DataError, match=reason) as caught:
            await db.query(sql, parameters)
        place = "2" if isinstance(parameters, tuple) else "b"
        assert f"parameter {place}" in str(caught.value)
    assert await db.query_value("SELECT 1") == 1


async def test_vectors_of_large_numbers(db: DB) -> None:
    for large in (1e39, -1e39, 10**39, 3.4028236e38):
        with pytest.raises(OverflowError):
            Vector([0, large])
    await db.execute("CREATE TABLE t (a VECTOR(4))")
    kept = [math.inf, -math.inf, 3.4028234663852886e38, 1e-300]  # The largest one, and one that is 0 there.
    for number, floats in enumerate((Vector(kept), array.array("d", kept), np.array(kept))):
        await db.execute("INSERT INTO t VALUES (?)", (floats,))
        assert (await db.query("SELECT a FROM t", into=tuple))[number] == (Vector([*kept[:3], 0]),)


@pytest.mark.parametrize("parameters", ["text", b"bytes", 7, {1, 2}, {1: 2}])
def test_parameters_are_a_sequence_or_a_mapping(parameters: Any) -> None:
    with pytest.raises(aiostoolap.DataError, match=r"write \(value,\)|names of parameters"):
        adapt(parameters)


class Celsius:
    def __init__(self, degrees: float) -> None:
        self.degrees = degrees


class Warm(Celsius):
    """One of a subclass."""


class Broken:
    """Its codec fails."""


@dataclasses.dataclass
class Reading:
    place: str
    value: Celsius | None


def fail(value: object) -> Any:
    raise ValueError(f"cannot be: {value}")


async def test_codecs(db: DB) -> None:
    with pytest.raises(aiostoolap.DataError, match="Celsius cannot be"):
        await db.query("SELECT $1", (Celsius(1),))
    aiostoolap.register_codec(Celsius, lambda item: item.degrees, lambda value: Celsius(value / 1))
    await db.execute("CREATE TABLE t (place TEXT, value FLOAT)")
    rows = [("a", Celsius(1.5)), ("b", Warm(30.0)), ("c", None)]
    assert await db.execute_many("INSERT INTO t VALUES (?, ?)", rows) == 3
    assert await db.query("SELECT value FROM t ORDER BY place") == [(1.5,), (30.0,), (None,)]
    found = await db.query("SELECT * FROM t WHERE value <= :most", {"most": Celsius(30)}, into=Reading)
    assert [(item.place, item.value and item.value.degrees) for item in found] == [("a", 1.5), ("b", 30.0)]
    (none,) = await db.query("SELECT * FROM t WHERE value IS NULL", into=Reading)
    assert none == Reading("c", None)
    (only,) = await db.query("SELECT value FROM t WHERE place = 'a'", into=Celsius)
    assert type(only) is Celsius


async def test_codecs_that_fail(db: DB) -> None:
    aiostoolap.register_codec(Broken, fail, fail)
    with pytest.raises(ValueError, match="cannot be"):
        await db.query("SELECT $1", (Broken(),))
    with pytest.raises(aiostoolap.DataError, match="row 0, column a: cannot be: 5"):
        await db.query("SELECT 5 AS a", into=Broken)
    assert await db.query_value("SELECT 1") == 1


async def test_adversarial_values() -> None:
    assert await adversarial.run(20_000, seed=1) >= 20_000

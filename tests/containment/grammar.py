"""Random SQL: mostly valid, over the tables of SCHEMA, with values from the edges; and mutations of any SQL."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

SCHEMA = (
    "CREATE TABLE a (id INTEGER PRIMARY KEY, n INTEGER, x FLOAT, s TEXT, b BOOLEAN, w TIMESTAMP, j JSON)",
    "CREATE TABLE c (id INTEGER PRIMARY KEY, n INTEGER UNIQUE, a INTEGER REFERENCES a(id) ON DELETE CASCADE, s TEXT)",
    "CREATE TABLE v (id INTEGER PRIMARY KEY, p VECTOR(3))",
    "CREATE INDEX a_n ON a(n)",
    "CREATE INDEX a_s ON a(s)",
    "CREATE INDEX a_n_x ON a(n, x)",
    "CREATE INDEX a_w ON a(w)",
    "CREATE INDEX v_p ON v(p) USING HNSW",
    "CREATE VIEW some AS SELECT id, n, s FROM a WHERE n > 2",
    "INSERT INTO a VALUES (1, 1, 0.5, 'one', true, '2024-02-29 12:00:00', '{\"k\": [1, 2]}'),"
    " (2, NULL, NULL, NULL, NULL, NULL, NULL), (3, -9223372036854775807, -1e308, '', false, '1700-01-01', '[]'),"
    " (4, 9223372036854775807, 1e308, 'ä%_\\\\', true, '2262-01-01', 'null'),"
    " (5, 7, 7.0, '7', false, '1970-01-01', '7')",
    "INSERT INTO a SELECT id + 10, id % 4, id / 3, 's' || id, b, w, j FROM a",
    "INSERT INTO c SELECT id, id * 2, id, s FROM a",
    "INSERT INTO v VALUES (1, '[1, 2, 3]'), (2, '[0, 0, 0]'), (3, '[-1, 1e30, 0.5]'), (4, NULL)",
)


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_COLUMNS = {
    "a": ("id", "n", "x", "s", "b", "w", "j"),
    "c": ("id", "n", "a", "s"),
    "v": ("id", "p"),
    "some": ("id", "n", "s"),
}
_TYPES = ("INTEGER", "FLOAT", "TEXT", "BOOLEAN", "TIMESTAMP", "JSON", "DATE", "BIGINT")
_SCALARS = {
    0: _split("PI RANDOM NOW VERSION CURRENT_DATE"),
    1: _split(
        "UPPER LOWER LENGTH TRIM LTRIM RTRIM REVERSE CHAR CHAR_LENGTH ABS ROUND FLOOR CEILING CEIL SQRT LOG LOG10 LOG2"
        " LN EXP SIGN TRUNC SIN COS TAN MD5 SHA256 CRC32 YEAR MONTH DAY HOUR MINUTE SECOND JSON_ARRAY_LENGTH JSON_ARRAY"
        " JSON_TYPE JSON_VALID JSON_KEYS TYPEOF VEC_DIMS VEC_NORM VEC_TO_TEXT EMBED SLEEP CONCAT COALESCE GREATEST"
    ),
    2: _split(
        "CONCAT SUBSTRING LEFT RIGHT REPEAT POSITION INSTR LOCATE STRPOS STARTS_WITH ENDS_WITH CONTAINS COLLATE ROUND"
        " MOD POWER LOG TRUNCATE DATE_TRUNC TIME_TRUNC DATEDIFF TO_CHAR COALESCE NULLIF IFNULL GREATEST LEAST"
        " JSON_EXTRACT JSON_OBJECT VEC_DISTANCE_L2 VEC_DISTANCE_COSINE VEC_DISTANCE_IP LPAD RPAD DATE_ADD DATE_SUB"
    ),
    3: _split("SUBSTRING REPLACE SPLIT_PART LPAD RPAD CONCAT_WS DATE_ADD DATE_SUB DATE_DIFF IIF COALESCE LEAST INSTR"),
}
_AGGREGATES = _split(
    "COUNT SUM AVG MIN MAX FIRST LAST STRING_AGG GROUP_CONCAT ARRAY_AGG STDDEV STDDEV_POP VARIANCE VAR_SAMP MEDIAN"
)
_WINDOWS = _split(
    "ROW_NUMBER RANK DENSE_RANK PERCENT_RANK CUME_DIST LEAD LAG NTILE FIRST_VALUE LAST_VALUE NTH_VALUE SUM COUNT"
    " MIN AVG"
)
_BINARY = (
    *_split("+ - * / % || = <> < <= > >= AND OR XOR & | ^ << >> LIKE ILIKE GLOB REGEXP -> ->> <=>"),
    *("NOT LIKE", "IS DISTINCT FROM", "IS NOT DISTINCT FROM", "NOT REGEXP"),
)
_INTEGERS = (
    "0", "1", "-1", "2", "3", "7", "10", "63", "64", "255", "300", "1000", "65536", "2147483647", "2147483648",
    "4294967295", "4294967296", "9223372036854775807", "(-9223372036854775807 - 1)", "9223372036854775808",
)  # fmt: skip
_FLOATS = ("0.0", "-0.0", "0.5", "1e308", "1e309", "-1e308", "1e-320", "3.14159", "9.3e18", "CAST('nan' AS FLOAT)")
_TEXTS = (
    "", "a", "7", "one", "%", "_%_", "%%%%a%%%b", "ä%_", "\\\\", "''", "(", "[a-z]*", "(a+)+$", "*?[", "x\\ny", "🦊",
    "2024-02-29", "2024-02-30", "1677-09-21 00:12:43", "2262-04-11 23:47:16.9", "9999-12-31", "0001-01-01", "12:00",
    "[1, 2, 3]", "[1]", "[]", "{\"k\": 1}", "$.k[0]", "$", "day", "month", "1 day", "-1 month", "999999999 years",
    "YYYY-MM-DD", "NOCASE", "true", "nan", "inf", "-9223372036854775808",
)  # fmt: skip
_WORDS = _split(
    "SELECT FROM WHERE GROUP BY ORDER HAVING LIMIT OFFSET NULL NOT IN IS BETWEEN AND OR CASE WHEN END DISTINCT UNION"
    " ALL EXCEPT INTERSECT JOIN LEFT ON AS WITH RECURSIVE OVER PARTITION ROWS RANGE SET ( ) , ; * ? $1 :n -- /* ' \""
    " ` 0 -1 9223372036854775808 1e999 '' a.id AS OF TIMESTAMP INTERVAL EXISTS CAST ESCAPE RETURNING EXPLAIN ANALYZE"
)


class Grammar:
    """Makes statements.

    Args:
        rng: decides.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self._scope: tuple[str, ...] = ("a",)
        """The tables whose columns the statement can name."""

    def statement(self) -> str:
        """One statement, of any kind."""
        kinds: tuple[tuple[int, Callable[[], str]], ...] = (
            (60, self.query),
            (10, self.insert),
            (8, self.update),
            (5, self.delete),
            (6, self.definition),
            (2, self.control),
            (2, lambda: f"EXPLAIN {'ANALYZE ' if self._chance(0.5) else ''}{self.query()}"),
            (2, lambda: f"WITH q AS ({self.query()}) {self.rng.choice((self.query, self.update, self.delete))()}"),
        )
        return self.rng.choices([make for _, make in kinds], [weight for weight, _ in kinds])[0]()

    def query(self, depth: int = 2, width: int | None = None) -> str:
        """A query; one with a width is a part of something larger."""
        rng = self.rng
        if width is None and self._chance(0.1):
            return self._recursive()
        if depth and self._chance(0.12):
            operator = rng.choice(("UNION", "UNION ALL", "INTERSECT", "EXCEPT"))
            width = width or rng.choice((1, 2, 3))
            return f"{self.query(depth - 1, width)} {operator} {self.query(depth - 1, width)}"
        outer = self._scope
        source = f" FROM {self._source(depth)}" if self._chance(0.95) else ""
        columns = ", ".join(self._column(depth) for _ in range(width or rng.choice((1, 1, 2, 3))))
        sql = f"SELECT {rng.choice(('', '', '', 'DISTINCT '))}{columns}{source}"
        if self._chance(0.5):
            sql += f" WHERE {self.expression(depth)}"
        if self._chance(0.2):
            sql += f" GROUP BY {self._list(depth)}"
            if self._chance(0.4):
                sql += f" HAVING {self.expression(depth)}"
        if width is None and self._chance(0.3):
            sql += f" ORDER BY {self.expression(depth)}{rng.choice(('', ' DESC', ' NULLS FIRST', ' NULLS LAST'))}"
        if width is None and self._chance(0.2):
            sql += f" LIMIT {rng.choice(_INTEGERS)}"
            if self._chance(0.4):
                sql += f" OFFSET {rng.choice(_INTEGERS)}"
        self._scope = outer
        return sql

    def _recursive(self) -> str:
        step = self.rng.choice(("1", "i", self.rng.choice(_INTEGERS)))
        until = self.rng.choice(("i < 50", "i < 50", "i < 9223372036854775807", f"i < {self.rng.choice(_FLOATS)}"))
        return f"WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + {step} FROM r WHERE {until}) SELECT * FROM r"

    def _column(self, depth: int) -> str:
        kind = self.rng.random()
        if kind < 0.1:
            return "*"
        if kind < 0.25:
            return f"{self.rng.choice(_AGGREGATES)}({self.rng.choice(('', 'DISTINCT '))}{self.expression(depth)})"
        if kind < 0.4:
            return self._window(depth)
        return self.expression(depth) + self.rng.choice(("", " AS k", " AS n"))

    def _window(self, depth: int) -> str:
        bounds = ("UNBOUNDED PRECEDING", "CURRENT ROW", "1 PRECEDING", "2 FOLLOWING", "9223372036854775807 FOLLOWING")
        over = f"PARTITION BY {self.expression(depth)} " if self._chance(0.5) else ""
        over += f"ORDER BY {self.expression(depth)} " if self._chance(0.7) else ""
        if self._chance(0.4):
            over += (
                f"{self.rng.choice(('ROWS', 'RANGE'))} BETWEEN {self.rng.choice(bounds)} AND {self.rng.choice(bounds)}"
            )
        return f"{self.rng.choice(_WINDOWS)}({self._list(depth) if self._chance(0.7) else ''}) OVER ({over})"

    def _source(self, depth: int) -> str:
        """What stands behind FROM, whose columns can be named from now on."""
        rng = self.rng
        kind = rng.random()
        if depth and kind < 0.15:
            inner = self.query(depth - 1) if self._chance(0.5) else "SELECT * FROM c WHERE id % 2 = 1"
            self._scope = ("c",)
            return f"({inner}) AS c"
        if kind < 0.2:
            return (
                f"GENERATE_SERIES({rng.choice(_INTEGERS)}, {rng.choice(('5', '300', '-5'))}, {rng.choice(_INTEGERS)})"
            )
        if depth and kind < 0.4:
            join = rng.choice(("JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "CROSS JOIN", "NATURAL JOIN", ","))
            first, second = rng.sample(tuple(_COLUMNS), 2)
            self._scope = (first, second)
            on = "" if join in ("CROSS JOIN", "NATURAL JOIN", ",") else f" ON {self.expression(depth - 1)}"
            return f"{first} {join} {second}{on}"
        self._scope = (rng.choice(("a", "a", "a", "c", "v", "some")),)
        return self._scope[0]

    def expression(self, depth: int = 2) -> str:
        """An expression of any type."""
        rng = self.rng
        if depth <= 0 or self._chance(0.3):
            return self._leaf()
        inner = depth - 1
        kind = rng.random()
        if kind < 0.4:
            left, right = self.expression(inner), self.expression(inner)
            return f"({left} {rng.choice(_BINARY)} {right})"
        if kind < 0.6:
            count = rng.choice((0, 1, 1, 1, 2, 2, 3))
            return f"{rng.choice(_SCALARS[count])}({', '.join(self.expression(inner) for _ in range(count))})"
        if kind < 0.65:
            return f"{rng.choice(('NOT ', '-', '~', '+'))}{self.expression(inner)}"
        if kind < 0.7:
            return f"{self.expression(inner)} {rng.choice(('IS NULL', 'IS NOT NULL', 'IS TRUE', 'IS NOT FALSE'))}"
        if kind < 0.77:
            low, high = self.expression(inner), self.expression(inner)
            return f"{self._name()} {rng.choice(('', 'NOT '))}BETWEEN {low} AND {high}"
        if kind < 0.84:
            values = f"SELECT n FROM a WHERE {self.expression(inner)}" if self._chance(0.4) else self._list(inner)
            return f"{self._name()} {rng.choice(('', 'NOT '))}IN ({values})"
        if kind < 0.88:
            return f"CASE WHEN {self.expression(inner)} THEN {self.expression(inner)} ELSE {self.expression(inner)} END"
        if kind < 0.93:
            return f"CAST({self.expression(inner)} AS {rng.choice(_TYPES)})"
        if kind < 0.95:
            return f"{self.expression(inner)} {rng.choice('+-')} INTERVAL '{rng.choice(_TEXTS)}'"
        if kind < 0.97:
            return f"{rng.choice(('EXISTS', 'NOT EXISTS', '', self._name() + ' = ANY'))} ({self.query(inner, 1)})"
        return f"EXTRACT({rng.choice(('YEAR', 'DOW', 'EPOCH', 'WEEK'))} FROM {self.expression(inner)})"

    def _leaf(self) -> str:
        rng = self.rng
        kind = rng.random()
        if kind < 0.45:
            return self._name()
        if kind < 0.65:
            return rng.choice(_INTEGERS)
        if kind < 0.75:
            return rng.choice(_FLOATS)
        if kind < 0.92:
            text = rng.choice(_TEXTS)
            return f"'{text}'" if text == "''" else "'" + text.replace("'", "''") + "'"
        return rng.choice(("NULL", "TRUE", "FALSE", "TIMESTAMP '2024-02-29 12:00:00'", "CURRENT_TIMESTAMP"))

    def _name(self) -> str:
        table = self.rng.choice(tuple(_COLUMNS) if self._chance(0.03) else self._scope)
        column = self.rng.choice(_COLUMNS[table])
        return f"{table}.{column}" if self._chance(0.3) or len(self._scope) > 1 else column

    def _list(self, depth: int) -> str:
        return ", ".join(self.expression(depth) for _ in range(self.rng.choice((1, 1, 2, 2, 3))))

    def insert(self) -> str:
        rng = self.rng
        table = self._table()
        columns = rng.sample(_COLUMNS[table], rng.randint(1, len(_COLUMNS[table])))
        rows = ", ".join("(" + ", ".join(self.expression(1) for _ in columns) + ")" for _ in range(rng.choice((1, 3))))
        values = f"VALUES {rows}" if self._chance(0.8) else self.query(1)
        change = f"{columns[0]} = {self.expression(1)}"
        conflict = rng.choice(
            (
                *("", "", ""),
                " ON CONFLICT DO NOTHING",
                f" ON CONFLICT (id) DO UPDATE SET {change}",
                f" ON DUPLICATE KEY UPDATE {change}",
            )
        )
        return f"INSERT INTO {table} ({', '.join(columns)}) {values}{conflict}{self._returning()}"

    def update(self) -> str:
        table = self._table()
        column = self.rng.choice(_COLUMNS[table][1:])
        where = f" WHERE {self.expression(2)}" if self._chance(0.8) else ""
        return f"UPDATE {table} SET {column} = {self.expression(2)}{where}{self._returning()}"

    def delete(self) -> str:
        return f"DELETE FROM {self._table()} WHERE {self.expression(2)}{self._returning()}"

    def _table(self) -> str:
        """The table that is to change."""
        self._scope = (self.rng.choice("acv"),)
        return self._scope[0]

    def _returning(self) -> str:
        return f" RETURNING {self.rng.choice(('*', 'id', self.expression(1)))}" if self._chance(0.2) else ""

    def definition(self) -> str:
        rng = self.rng
        table = self._table()
        column = rng.choice(_COLUMNS[table])
        kind = rng.choice(_TYPES)
        i = rng.randrange(3)
        index = rng.choice(("", " USING HASH", " USING BITMAP", " USING BTREE", " USING HNSW"))
        return rng.choice(
            (
                f"CREATE TABLE IF NOT EXISTS t{i} (id {kind} PRIMARY KEY, n {kind} DEFAULT {self.expression(1)})",
                f"CREATE TABLE t{i} (n {kind} CHECK ({self.expression(1)}))",
                f"CREATE TABLE t{i} AS {self.query(1)}",
                f"DROP TABLE IF EXISTS t{i}",
                f"CREATE {rng.choice(('', 'UNIQUE '))}INDEX i{i} ON {table}({column}){index}",
                f"DROP INDEX IF EXISTS i{i} ON {table}",
                f"ALTER TABLE {table} ADD COLUMN k{i} {kind} DEFAULT {self._leaf()}",
                f"ALTER TABLE {table} DROP COLUMN k{i}",
                f"ALTER TABLE {table} RENAME COLUMN k0 TO k1",
                f"CREATE VIEW w{i} AS {self.query(1)}",
                f"DROP VIEW IF EXISTS w{i}",
                f"ANALYZE {table}",
                f"VACUUM {table}",
                f"SHOW {rng.choice(('TABLES', 'VIEWS', 'INDEXES FROM a', 'CREATE TABLE a', 'CREATE VIEW some'))}",
                f"DESCRIBE {table}",
                f"PRAGMA {rng.choice(('checkpoint', 'volume_stats', 'sync_mode', 'target_volume_rows = 1'))}",
            )
        )

    def control(self) -> str:
        return self.rng.choice(
            ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT p", "ROLLBACK TO SAVEPOINT p", "RELEASE SAVEPOINT p",
             "BEGIN TRANSACTION ISOLATION LEVEL SNAPSHOT")
        )  # fmt: skip

    def _chance(self, of: float) -> bool:
        return self.rng.random() < of


_TOKEN = re.compile(r"'(?:[^']|'')*'|\w+|\s+|.", re.DOTALL)


def tokens(sql: str) -> list[str]:
    """The words, literals and signs of a text; blanks too."""
    return _TOKEN.findall(sql)


def mutated(rng: random.Random, sql: str, other: str) -> str:
    """A statement with some of its words changed, by others, by those of another statement, or by nothing."""
    words = tokens(sql)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(words) + 1)
        kind = rng.random()
        if kind < 0.25:
            del words[place : place + rng.randint(1, 4)]
        elif kind < 0.5:
            words.insert(place, f" {rng.choice(_WORDS)} ")
        elif kind < 0.6:
            words[place:place] = words[place : place + 5] * rng.choice((1, 2, 30))
        elif kind < 0.75:
            words[place : place + 1] = [f" {rng.choice((*_INTEGERS, *_FLOATS))} "]
        elif kind < 0.9:
            donor = tokens(other)
            start = rng.randrange(len(donor) + 1)
            words[place : place + rng.randrange(4)] = donor[start : start + rng.randint(1, 12)]
        else:
            words.insert(place, chr(rng.choice((0, 7, 34, 39, 92, 0xE4, 0x202E, 0x1F98A, 0x10FFFF))))
    return "".join(words)

"""What the grammar puts together: templates of expressions by type, and values."""

from __future__ import annotations

from datetime import UTC, datetime

TYPES = {"i": "INTEGER", "t": "TEXT", "f": "FLOAT", "b": "BOOLEAN", "d": "TIMESTAMP", "j": "JSON"}
COMMON = "itfbd"
"""The types that sqlite3 has as well."""

# Templates by what they make; holes are expressions of the types that the letters stand for. In windows, {p} is the
# partition, and {k} the columns that order the rows wholly.
_COMMON = {
    "i": """{i} + {i}; {i} - {i}; {i} * 2; {i} % 7; LENGTH({t}); ABS({i}); COALESCE({i}, {i}); NULLIF({i}, {i}); -({i});
        CASE WHEN {b} THEN {i} ELSE {i} END; CASE {i} WHEN {i} THEN {i} END""",
    "t": """{t} || {t}; UPPER({t}); LOWER({t}); TRIM({t}); COALESCE({t}, {t}); CASE WHEN {b} THEN {t} END;
        REPLACE({t}, 'a', 'bb'); SUBSTR({t}, 2, 3)""",
    "f": """{f} + {f}; {f} - {i}; {f} * 0.5; COALESCE({f}, {f}); ABS({f}); CASE WHEN {b} THEN {f} ELSE {f} END""",
    "b": """{i} = {i}; {i} < {i}; {i} >= {i}; {i} <> {i}; {t} = {t}; {t} < {t}; {t} > {t}; {f} < {f}; {f} >= {i};
        {i} IS NULL; {t} IS NOT NULL; {i} BETWEEN {i} AND {i}; {i} NOT BETWEEN {i} AND {i}; {i} IN ({i}, {i}, {i});
        {i} NOT IN ({i}, {i}); {t} IN ({t}, {t}); {t} LIKE 'a%'; {t} LIKE '%b_'; {t} NOT LIKE '%a%'; {b} AND {b};
        {b} AND {b}; {b} OR {b}; {b} OR {b}; NOT {b}; {i} > 3 AND {i} < 50; {i} = 5 OR {t} = 'b'""",
    "i aggregate": """COUNT(*); COUNT({i}); COUNT(DISTINCT {t}); SUM({i}); MIN({i}); MAX({i});
        SUM(CASE WHEN {b} THEN 1 ELSE 0 END)""",
    "f aggregate": "AVG({i}); SUM({f}); MIN({f}); MAX({f})",
    "t aggregate": "MIN({t}); MAX({t})",
    "b aggregate": "COUNT(*) > 2",
    "window": """ROW_NUMBER() OVER ({p} ORDER BY {k}); SUM({i}) OVER ({p} ORDER BY {k}); COUNT(*) OVER ({p});
        MAX({i}) OVER ({p}); LAG({i}) OVER ({p} ORDER BY {k}); LEAD({i}, 2) OVER ({p} ORDER BY {k});
        NTILE(3) OVER ({p} ORDER BY {k});
        FIRST_VALUE({i}) OVER ({p} ORDER BY {k});
        SUM({i}) OVER ({p} ORDER BY {k} ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING)""",
}
_MORE = {
    "i": """{i} * {i}; {i} / {i}; {i} % {i}; CAST({f} AS INTEGER); CAST({t} AS INTEGER); EXTRACT(YEAR FROM {d});
        {i} & {i}; SIGN({i}); GREATEST({i}, {i}); LEAST({i}, {i}); POSITION({t} IN {t}); {i} << 3;
        JSON_ARRAY_LENGTH({j})""",
    "t": """LEFT({t}, 2); REVERSE({t}); CONCAT({t}, {i}, {t}); CAST({i} AS TEXT); CAST({d} AS TEXT); LPAD({t}, 5, '*');
        CAST({f} AS TEXT); JSON_EXTRACT({j}, '$.a'); TYPEOF({j}); CONCAT_WS('-', {t}, {t}); REPEAT({t}, 2);
        CAST({b} AS TEXT)""",
    "f": """{f} * {f}; {f} / {f}; ROUND({f}, 2); SQRT({f}); FLOOR({f}); CEIL({f}); CAST({t} AS FLOAT);
        CAST({i} AS FLOAT); {i} * 1.5; POWER({f}, 2); EXP({f}); LN({f}); SIN({f})""",
    "b": """{d} < {d}; {d} = {d}; {d} BETWEEN {d} AND {d}; {b} = {b}; {b} IS TRUE; {b} IS NOT FALSE; {t} ILIKE 'A%';
        {t} REGEXP '^[ab]'; ({i}, {t}) IN (({i}, {t}), ({i}, {t})); {d} IS NULL; {i} = {f}; {i} IS DISTINCT FROM {i};
        {j} IS NOT NULL""",
    "d": """COALESCE({d}, {d}); DATE_TRUNC('day', {d}); {d} + INTERVAL '1 day'; {d} - INTERVAL '90 minutes';
        TIME_TRUNC('1h', {d}); CASE WHEN {b} THEN {d} END; CAST({t} AS TIMESTAMP)""",
    "j": "COALESCE({j}, {j}); CASE WHEN {b} THEN {j} END",
    "i aggregate": "SUM(DISTINCT {i}); COUNT({d}); COUNT(*) FILTER (WHERE {b}); MAX({i})",
    "f aggregate": "AVG({f}); STDDEV({f}); MEDIAN({i}); VAR_POP({f})",
    "t aggregate": "STRING_AGG({t}, ',' ORDER BY {t}); GROUP_CONCAT({t} ORDER BY {t})",
    "d aggregate": "MIN({d}); MAX({d})",
    "b aggregate": "MIN({b}); MAX({b})",
    "j aggregate": "MIN('x')",
    "window": """RANK() OVER ({p} ORDER BY {i}); DENSE_RANK() OVER ({p} ORDER BY {t}); MIN({i}) OVER ({p} ORDER BY {i});
        AVG({i}) OVER ({p} ORDER BY {i}); COUNT({t}) OVER ({p} ORDER BY {k} ROWS UNBOUNDED PRECEDING)""",
}

# What sqlite3 alone is asked; it reads what stands in comments, and D is a text that says a moment.
_JUDGED = {
    "i": """{i} / 3; {i} / {i}; {i} % {i}; INSTR({t}, {t}); CAST({f} AS INTEGER); LENGTH({t} || {t});
        CASE WHEN {b} THEN {i} WHEN {b} THEN {i} END; COALESCE({i}, {i}, 0)""",
    "t": "{t} || {i}; CAST({i} AS TEXT); NULLIF({t}, {t}); CASE {i} WHEN {i} THEN {t} WHEN {i} THEN {t} ELSE {t} END",
    "f": "{f} * {f}; {i} * 1.5; {f} / 2; NULLIF({f}, {f}); -({f})",
    "b": """{b} = {b}; {b} <> {b}; {b} < {b}; {b} IS TRUE; {b} IS NOT FALSE; {b} IS NOT TRUE; {b} IS NULL;
        {b} IN (TRUE, {b}); {i} IS DISTINCT FROM {i}; {t} IS NOT DISTINCT FROM {t}; {b} IS DISTINCT FROM {b};
        CASE WHEN {b} THEN {b} ELSE {b} END; COALESCE({b}, {b}); {d} < {d}; {d} >= {d}; {d} = {d}; {d} <> {d};
        {d} BETWEEN {d} AND {d}; {d} NOT BETWEEN {d} AND {d}; {d} IN ({d}, {d}); {d} NOT IN ({d}, {d}); {d} IS NULL;
        {d} = {D}; {d} > {D}; {d} <> {D}; {d} IS DISTINCT FROM {d}; {f} = {f}; {f} <> {f}; {f} IN ({f}, {f}); {i} = {f};
        {f} BETWEEN {f} AND {f}; {t} LIKE '_'; {t} LIKE 'a_'; {t} LIKE '%€'; {t} LIKE '_€'; {t} LIKE '%_%_';
        {t} LIKE {t}; {t} NOT LIKE '__%'; {t} BETWEEN {t} AND {t}; {t} NOT IN ({t}, {t}); NOT ({i} = {i} OR {t} > {t});
        ({i}, {t}) IN (/*VALUES*/ ({i}, {t}), ({i}, {t})); ({i}, {i}) NOT IN (/*VALUES*/ ({i}, {i}), ({i}, {i}));
        ({i}, {t}) < ({i}, {t}); ({d}, {i}) >= ({d}, {i}); ({i}, {f}) = ({i}, {f}); ({t}, {b}) <> ({t}, {b});
        ({i}, {t}, {f}) > ({i}, {t}, {f}); ({i}, {d}) <= ({i}, {d}); NOT {i} NOT IN ({i}, {i});
        NOT {i} NOT BETWEEN {i} AND {i}; NOT {t} NOT LIKE 'a%'; {d} IN ({D}, {D}); {d} NOT IN ({D}, {d});
        {d} BETWEEN {D} AND {d}; {d} NOT BETWEEN {d} AND {D}""",
    "d": "COALESCE({d}, {d}); CASE WHEN {b} THEN {d} ELSE {d} END; NULLIF({d}, {d})",
    "i aggregate": """SUM(DISTINCT {i}); COUNT(DISTINCT {i}); COUNT(DISTINCT {d}); COUNT(DISTINCT {b});
        COUNT(DISTINCT {f}); COUNT(*) FILTER (WHERE {b}); SUM({i}) FILTER (WHERE {b}); MAX({i}) - MIN({i});
        COUNT({d}); COUNT({b}); COALESCE(SUM({i}), 0); COUNT(*) + 1; MAX({i}) FILTER (WHERE {b})""",
    "f aggregate": "AVG(DISTINCT {i}); SUM(DISTINCT {f}); MAX({f}) FILTER (WHERE {b}); AVG({f}); MIN({f}) - 1",
    "t aggregate": "MIN({t}) FILTER (WHERE {b}); UPPER(MAX({t}))",
    "d aggregate": "MIN({d}); MAX({d}); MAX({d}) FILTER (WHERE {b})",
    "b aggregate": """MIN({b}); MAX({b}); MAX({i}) > 5; MIN({t}) LIKE 'a%'; SUM({i}) BETWEEN 1 AND 50;
        MAX({i}) IN (5, 7, 100); COUNT({i}) = COUNT(*); MIN({d}) < '2024-01-01 00:00:00'; MIN({f}) < 1.5""",
    "i group": "{i} % 3; {i} + 1; COALESCE({i}, 0); LENGTH({t}); CASE WHEN {i} > 5 THEN 1 ELSE 0 END",
    "t group": "UPPER({t}); {t} || 'x'; COALESCE({t}, 'n'); SUBSTR({t}, 1, 1)",
    "f group": "{f} * 2; ABS({f})",
    "b group": "{i} IS NULL; {i} > 5; {t} LIKE 'a%'; {b} IS TRUE; NOT {b}",
    "d group": "COALESCE({d}, {d})",
    "window": """RANK() OVER ({p} ORDER BY {i}/* NULLS LAST*/);
        DENSE_RANK() OVER ({p} ORDER BY {t} DESC/* NULLS FIRST*/); SUM({i}) OVER ({p} ORDER BY {i}/* NULLS LAST*/);
        LAG({i}, 1, 0) OVER ({p} ORDER BY {k} DESC);
        COUNT(*) OVER ({p} ORDER BY {d}/* NULLS LAST*/);
        COUNT({b}) OVER ({p} ORDER BY {k} DESC ROWS UNBOUNDED PRECEDING);
        LAST_VALUE({i}) OVER ({p} ORDER BY {k} ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING);
        MIN({i}) OVER ({p} ORDER BY {k} ROWS BETWEEN 2 PRECEDING AND 1 PRECEDING);
        NTH_VALUE({i}, 2) OVER ({p} ORDER BY {k})""",
    "column": """= {}; = {}; < {}; >= {}; > {}; <> {}; IN ({}, {}); NOT IN ({}, {}); BETWEEN {} AND {};
        NOT BETWEEN {} AND {}; IS NULL; IS NOT NULL""",
}


def choices(*, common: bool) -> dict[str, list[str]]:
    """The templates by what they make: those that sqlite3 answers in the same way, or all."""
    more = _JUDGED if common else _MORE
    texts = {key: [_COMMON.get(key, ""), more.get(key, "")] for key in {**_COMMON, **more}}
    return {
        key: [part.strip() for text in both for part in text.split(";") if part.strip()] for key, both in texts.items()
    }


WORDS = ("a", "b", "ab", "abc", "", "A", "it's", "z z", "10", " b ", "x'y''z", "true", "2024-05-06", "%", "a_b", "ä€")
SMALL = (0, 1, 2, 3, 4, 5, 6, 7, 10, 20, 42, 50, 100, -1, -7)
KEYS = (-1, -2, -5, -40, 2**32 + 5, 2**40, 2**40 + 1, 2**40 + 7)
BIG = (2**31 - 1, 2**31, 2**32, 2**32 + 5, 2**53 + 1, -(2**53) - 1, 2**62, 2**63 - 1, -(2**63) + 1)
FLOATS = (0.0, 0.5, 1.0, 2.25, 3.75, 100.125, -1.5)
ODD_FLOATS = (0.1, 1e15, -1e-7, 1e300, 123456789.123)
MOMENTS = tuple(
    datetime(year, month, day, hour, 30, 15, tzinfo=UTC)
    for year, month, day, hour in (
        (2024, 5, 6, 7),
        (2024, 5, 6, 8),
        (1999, 12, 31, 23),
        (1969, 1, 1, 0),
        (2200, 2, 28, 1),
    )
)
DOCUMENTS = ('{"a": 1}', '{"a": "x", "b": [1, 2]}', "[1, 2, 3]", "[]", "null", '"s"', '{"a": {"b": null}}')

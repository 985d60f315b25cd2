"""What two outcomes have in common, and the differences that are meant: one table, by rule, with the reason."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.truth.case import Outcome, Step, outermost

CLOSE = 1e-12
"""Floats may differ by this share: sums run in the order of hashes, and the two have other mathematical libraries."""

NOW = timedelta(minutes=5)
"""A moment so near is the time of the statement."""


@dataclass(frozen=True)
class Rule:
    """Differences that are meant.

    Attributes:
        name: what it is called in reports.
        reason: why.
        matches: whether it is about this statement and these outcomes, which differ.
    """

    name: str
    reason: str
    matches: Callable[[Step, Outcome, Outcome], bool]


@dataclass(frozen=True)
class Guard:
    """What our layer refuses on purpose; the native engine is not asked then.

    Attributes:
        name: what it is called in reports.
        reason: why.
        code: of our error.
        message: a pattern for its sentence.
    """

    name: str
    reason: str
    code: str
    message: str = ""


GUARDS = (
    Guard(
        "words after the end",
        "the engine would run what it understands and drop the rest (patch 002)",
        "syntax_error",
        "after the end of the statement",
    ),
    Guard(
        "not a statement",
        "the engine would evaluate it as an expression",
        "syntax_error",
        "begins with no known keyword",
    ),
    Guard("NUL", "the engine would take it for the end", "syntax_error", "contains a NUL"),
    Guard("nothing to run", "the engine would say nothing", "no_statement"),
    Guard(
        "number of parameters", "the engine would take missing ones for NULL and pass over others", "parameter_count"
    ),
    Guard("kinds of parameters", "the engine would mix them up", "syntax_error", "use one kind of parameters"),
    Guard(
        "definitions in transactions",
        "the engine neither logs nor undoes them there",
        "not_supported",
        "cannot run inside a transaction",
    ),
    Guard("COPY", "it would read files of the sandbox", "not_supported", "COPY is refused"),
    Guard("MODIFY COLUMN", "the engine would not convert rows", "not_supported", "MODIFY COLUMN is refused"),
    Guard("SET", "it would change the isolation of the whole engine", "not_supported", "SET is refused"),
    Guard(
        "fractions", "the engine would cut them (patch 041)", "type_conversion", "it is not a whole number of 64 bits"
    ),
    Guard("overflows", "the engine would take them for NULL in some places (patch 146)", "type_conversion", "overflow"),
    Guard(
        "casts", "the engine would take the nearest integer (patch 152)", "type_conversion", "not a number of 64 bits"
    ),
    Guard("differences", "the engine would take them for texts", "not_supported", "difference of timestamps"),
    Guard("kinds of columns", "the engine would find no two of them equal", "not_supported", "compares TEXT with"),
    Guard("texts for times", "the engine would find neither = nor <>", "type_conversion", "is no TIMESTAMP like"),
    Guard("wide subqueries", "the engine would take the first column", "column_count", "where one value is needed"),
    Guard("intervals", "the engine would take them for texts (patch 149)", "not_supported", "an INTERVAL cannot be"),
    Guard("alterations", "the engine would lose a constraint or an index (patch 045)", "not_supported", "is refused"),
    Guard("primary keys", "the engine would drop it (patch 045)", "primary_key_drop"),
    Guard("defaults", "the engine would take it for NULL (patch 046)", "type_conversion", "for column 'DEFAULT'"),
    Guard(
        "subqueries",
        "the engine would take what it does not evaluate for false, or NULL (patch 069)",
        "not_supported",
        "a subquery in this place",
    ),
    Guard("stray COMMIT", "the engine would say nothing", "no_transaction"),
    Guard("BEGIN within a transaction", "the engine would say nothing", "transaction_active"),
)


def guard(outcome: Outcome) -> Guard | None:
    """The guard that refused the statement."""
    found = (each for each in GUARDS if outcome.code == each.code and each.message in outcome.message)
    return next(found, None)


def _is_any_order(step: Step, ours: Outcome, native: Outcome) -> bool:
    """Whether the rows are the same but for the order of those that the ORDER BY leaves equal."""
    if not step.ordered or not same_rows(ours.rows, native.rows, ordered=False):
        return False
    places = _order(step.sql, ours.columns)
    keys = [tuple(tuple(row[place] for place in places) for row in rows) for rows in (ours.rows, native.rows)]
    return same_rows(keys[0], keys[1], ordered=True)


def _order(sql: str, columns: tuple[str, ...]) -> list[int]:
    """The places of the columns that the rows are ordered by, as far as they are columns of the result."""
    names = [column.lower() for column in columns]
    text = re.split(r"\bORDER\s+BY\b", outermost(sql), flags=re.I)[-1]
    text = re.split(r"\b(?:LIMIT|OFFSET|FETCH)\b", text, flags=re.I)[0]
    places = []
    for term in text.split(","):
        word = term.split()[0].lower() if term.split() else ""
        if word.isdigit() and int(word) <= len(names):
            places.append(int(word) - 1)
        elif word.split(".")[-1] in names:
            places.append(names.index(word.split(".")[-1]))
    return places


def _is_any_rows(step: Step, ours: Outcome, native: Outcome) -> bool:
    """Whether a LIMIT takes some of rows that have no order, or not a whole one."""
    is_whole = step.ordered and set(_order(step.sql, ours.columns)) == set(range(len(ours.columns)))
    is_limited = bool(re.search(r"\b(LIMIT|OFFSET|FETCH)\b", step.sql, re.I))
    return is_limited and not is_whole and len(ours.rows) == len(native.rows) > 0


STALE = "stale"
"""In a new process, the native engine answers as ours: its caches of subqueries know neither databases nor commits."""
COMPOSITE_INDEX = "composite index"
"""Without its composite indexes, the native engine answers as ours: a correlated subquery looks its column up in any
index that has it, also in a later place, whichever comes first in the order of hashes."""
WRITTEN = "wrong writes"
"""Without the writes that the native engine gets wrong by `WRITES`, nothing differs."""
PARAMETERS = "parameters"
"""With parameters, the native engine answers as ours, and with literals in another way."""


def _answered(pattern: re.Pattern[str]) -> Callable[[Step, Outcome, Outcome], bool]:
    """Whether both have an answer to a statement in which there is such a pattern."""
    return lambda step, ours, native: not (ours.code or native.code) and bool(pattern.search(step.sql))


RULES = (
    Rule(
        "any order", "rows of one place in the ORDER BY come in the order of hashes, 32 or 64 bits wide", _is_any_order
    ),
    Rule("any rows", "a LIMIT without a whole order takes the first ones in the order of hashes", _is_any_rows),
    Rule(
        "any error",
        "the groups that an INSERT takes come in the order of hashes, so another one can be the first that fails",
        lambda step, ours, native: (
            bool(ours.code and native.code) and bool(re.match(r"INSERT .*\bSELECT\b.*\bGROUP BY\b", step.sql, re.S))
        ),
    ),
    Rule("SLEEP", "the module cannot sleep", lambda step, ours, native: bool(re.search(r"\bSLEEP\b", step.sql, re.I))),
    Rule(
        "sizes",
        "what is in memory takes less room with 32 bits",
        lambda step, ours, native: step.sql.upper().endswith("_STATS") and ours.columns == native.columns,
    ),
    Rule(
        "volatile",
        "the clock, chance and the build answer differently each time",
        _answered(re.compile(r"\b(NOW|RANDOM|RAND|UUID|VERSION|CURRENT_\w+|AS OF|EXPLAIN\s+ANALYZE)\b", re.I)),
    ),
)


AGGREGATES = "COUNT|SUM|AVG|MIN|MAX|BOOL_AND|BOOL_OR|GROUP_CONCAT|STRING_AGG|MEDIAN|STDDEV|VARIANCE"
UNKNOWN = re.compile(
    r"\bWHERE\b.*(\b(UPPER|LOWER|TRIM|LENGTH|ABS|COALESCE|NULLIF|SUBSTR|POSITION|REPLACE|LEAST|GREATEST|ROUND|SIGN|CONCAT\w*|LEFT|REVERSE|EXTRACT|LN|DATE_TRUNC|TIME_TRUNC|JSON_\w+)\("
    r"|\b(NOT|OR)\b.*\b(LIKE|ILIKE|IN)\b)",
    re.S,
)
THREE_VALUES = re.compile(r"\bBETWEEN\b|\bNOT( IN)? ?\(")
EXACT = re.compile(r"[<>=] ?\(SELECT (SUM|MIN|MAX|COUNT|AVG)\(")
ANY_CHARACTER = re.compile(r"LIKE '%\w*_")
EVALUATED = re.compile(r"SELECT .*\b(EXISTS|ALL|ANY) ?\(SELECT .* FROM", re.S)
REPEATED = re.compile(r" IN \((?:[^()]*, )?([^(),]+)(?:, [^()]*)?, \1[,)]")
CORRELATED = re.compile(r"\bIN \(SELECT .* WHERE", re.S)
ORDERED = re.compile(r"(\bCASE WHEN\b|\|\|).*\bORDER BY\b", re.S)
SET_BY_QUERY = re.compile(r"^UPDATE .*\(SELECT", re.S)
OWN_ROWS = re.compile(r"\b(IN|EXISTS) \(SELECT|^INSERT .*\bSELECT\b", re.S)
WRITES = (THREE_VALUES, EXACT, ANY_CHARACTER, EVALUATED, CORRELATED, SET_BY_QUERY)
"""Statements of the rules below whose writes the native engine makes of other rows, or with other values."""


def _same_but_signs(ours: Outcome, native: Outcome) -> bool:
    """Whether the rows differ by the signs of floats alone, also of those that have become texts."""

    def unsigned(value: Any) -> Any:
        if isinstance(value, float):
            return abs(value)
        return value.removeprefix("-") if isinstance(value, str) else value

    rows = [tuple(tuple(map(unsigned, row)) for row in outcome.rows) for outcome in (ours, native)]
    if native.code or ours.columns != native.columns or same_rows(ours.rows, native.rows, ordered=False):
        return False
    return same_rows(rows[0], rows[1], ordered=False)


def _same_numbers(ours: Outcome, native: Outcome, *, ordered: bool) -> bool:
    """Whether the rows differ by the types of their numbers alone."""
    rows = [
        tuple(tuple(float(item) if isinstance(item, int) else item for item in row) for row in outcome.rows)
        for outcome in (ours, native)
    ]
    return ours.columns == native.columns and same_rows(rows[0], rows[1], ordered=ordered)


def _same_plan(ours: Outcome, native: Outcome) -> bool:
    """Whether two plans differ by the tables before the names of columns alone."""
    plans = [[re.sub(r"\b\w+\.(?=\w)", "", str(row)) for row in outcome.rows] for outcome in (ours, native)]
    return plans[0] == plans[1]


def _same_texts(ours: Outcome, native: Outcome) -> bool:
    """Whether the rows differ by the types of their values alone."""
    texts = [Counter(tuple(map(str, row)) for row in outcome.rows) for outcome in (ours, native)]
    return ours.columns == native.columns and texts[0] == texts[1]


IN_ON = re.compile(r"\bON .*\(SELECT", re.S)

# Where our engine is right, and the native one is not.
BETTER = (
    Rule(
        "DO NOTHING",
        "the engine's own commit drops the whole statement, in silence, where another constraint is violated",
        lambda step, ours, native: ours.code == "unique_violation" and not native.code and "DO NOTHING" in step.sql,
    ),
    Rule(
        "own unique values",
        "patch 085: a write sees what its transaction has written, also for ON CONFLICT; natively the commit fails",
        lambda step, ours, native: (
            bool(re.match(r"INSERT|UPDATE|WITH .* INSERT", step.sql, re.S))
            and (
                ours.code == "unique_violation"
                or (not native.code and bool(re.search(r"ON (CONFLICT|DUPLICATE)", step.sql)))
            )
        ),
    ),
    Rule(
        "subqueries in ON",
        "patch 080: those that know the joined tables are evaluated",
        lambda step, ours, native: (
            not ours.code and ("IN over something that is not a list" in native.message or bool(IN_ON.search(step.sql)))
        ),
    ),
    Rule(
        "empty range",
        "patch 007: a range that ends before it begins is empty, and no panic",
        lambda step, ours, native: not ours.code and native.code == "panic" and "range start" in native.message,
    ),
    Rule(
        "memory",
        "the native engine has no limit, and its process ends",
        lambda step, ours, native: (ours.code, native.code) == ("memory_limit", "died"),
    ),
    Rule(
        "more syntax",
        "patch 009: lengths of VARCHAR, DESC in indexes, COUNT(ALL x)",
        lambda step, ours, native: (
            bool(re.search(r"CHAR\s*\(|\bASC\b|\bDESC\b|\(ALL ", step.sql, re.I)) and "parse error" in native.message
        ),
    ),
    Rule(
        "three values",
        "patch 011: NOT, and BETWEEN with NULL, in three-valued logic",
        lambda step, ours, native: not (ours.code and native.code) and bool(THREE_VALUES.search(step.sql)),
    ),
    Rule(
        "joins of a CTE",
        "patch 014: a subquery in the WHERE of a join with a CTE is evaluated",
        lambda step, ours, native: not ours.code and bool(re.search(r"^WITH .* JOIN .*\(SELECT", step.sql)),
    ),
    Rule(
        "row counts",
        "patch 012: LIMIT and OFFSET of more than 32 bits",
        lambda step, ours, native: bool(re.search(r"\b(LIMIT|OFFSET) \d{10}", step.sql, re.I)),
    ),
    Rule(
        "quotes",
        "patch 016: quotes are kept in views, defaults and checks",
        lambda step, ours, native: "parse view query" in native.message or step.sql.startswith(("DESC", "SHOW CREATE")),
    ),
    Rule(
        "NOT NULL",
        "patch 025: UPDATE does not put NULL where none may be",
        lambda step, ours, native: (
            ours.code == "not_null_violation" and (not native.code or "uncommitted changes" in native.message)
        ),
    ),
    Rule(
        "unknown conditions",
        "patch 043: functions, LIKE and IN of a NULL hold for no row; native takes more rows, or has no more to change",
        _answered(UNKNOWN),
    ),
    Rule(
        "windows over joins",
        "patch 128: no LIMIT is pushed into such a join, which native then refuses",
        lambda step, ours, native: not ours.code and "Window functions require special" in native.message,
    ),
    Rule(
        "functions that are not there",
        "comparisons.rs: they are errors also where nothing is evaluated",
        lambda step, ours, native: ours.code == "function_not_found" and not native.code,
    ),
    Rule(
        "keys below 0",
        "patch 135: an index on a BOOLEAN takes them",
        lambda step, ours, native: "bitmap index: row_id must be non-negative" in native.message,
    ),
    Rule(
        "LIKE",
        "patch 053: patterns with _ after %, and texts of several lines",
        lambda step, ours, native: not native.code and bool(ANY_CHARACTER.search(step.sql)),
    ),
    Rule(
        "NOT EXISTS",
        "patch 050: it sees its transaction, and keeps its conditions",
        lambda step, ours, native: not (ours.code or native.code) and "NOT EXISTS (SELECT" in step.sql,
    ),
    Rule(
        "subqueries over derived tables",
        "patch 054: those in the WHERE of a query on a view, a derived table or a CTE are evaluated",
        lambda step, ours, native: not ours.code and bool(re.search(r"(^WITH|FROM \(|FROM v\d).*\(SELECT", step.sql)),
    ),
    Rule(
        "own updates",
        "patch 051: an UPDATE sees what its transaction has changed",
        lambda step, ours, native: (
            not (ours.code or native.code)
            and step.sql.startswith("UPDATE")
            and (len(ours.rows), ours.affected or 0) > (len(native.rows), native.affected or 0)
        ),
    ),
    Rule(
        "partitions",
        "patch 052: by an index, windows leave out no row, and DISTINCT no NULL",
        lambda step, ours, native: (
            not (ours.code or native.code)
            and bool(re.search(r"PARTITION BY|DISTINCT", step.sql))
            and len(ours.rows) >= len(native.rows)
        ),
    ),
    Rule(
        "values that cannot be computed",
        "patch 042: upserts, and UPDATEs with a correlated subquery, do not leave the column out",
        lambda step, ours, native: (
            ours.code == "type_conversion" and not native.code and bool(re.search(r"^UPDATE|DO UPDATE", step.sql))
        ),
    ),
    Rule(
        "CREATE TABLE AS",
        "patch 044: the types of its columns are those of all rows, and not of the first alone",
        lambda step, ours, native: (
            bool(re.match(r"CREATE TABLE \w+ AS", step.sql))
            if native.code
            else bool(re.match(r"SELECT \* FROM \w+$", step.sql)) and _same_texts(ours, native)
        ),
    ),
    Rule(
        "NOT NULL of new columns",
        "patch 045: the rows that are there would hold NULL",
        lambda step, ours, native: ours.code == "not_null_violation" and step.sql.startswith("ALTER"),
    ),
    Rule(
        "negative floats",
        "patch 026: negative FLOATs keep their sign in views, defaults and checks",
        lambda step, ours, native: (
            not ours.code and (bool(re.search(r"-\d+\.\d", step.sql)) or _same_but_signs(ours, native))
        ),
    ),
    Rule(
        "aggregates told apart",
        "patch 064: aggregates that differ by anything have values of their own",
        _answered(re.compile(r"\b(\w+)\(.*\b\1\(", re.I | re.S)),
    ),
    Rule(
        "rows in lists",
        "patch 066: IN over rows in three-valued logic",
        _answered(re.compile(r"IN \(\(")),
    ),
    Rule(
        "rows in lists, computed",
        "patch 081: IN over rows of columns and calculations is computed; native has an error where it comes to that",
        lambda step, ours, native: "Dynamic multi-column IN" in native.message,
    ),
    Rule(
        "grouped sums",
        "patch 067: sums of integers are integers also with GROUP BY, and exact",
        lambda step, ours, native: (
            bool(re.search(r"\bSUM\(", step.sql, re.I))
            and ("Integer overflow" in ours.message or _same_numbers(ours, native, ordered=step.ordered))
        ),
    ),
    Rule(
        "whole statements",
        "patch 068: the DISTINCT of a part of UNION ALL, joins of a CTE with itself, aggregates over no rows",
        _answered(re.compile(r"DISTINCT .* UNION ALL|^WITH .* JOIN", re.S)),
    ),
    Rule(
        "aggregates over no rows",
        "patch 068: a join whose WHERE holds for no row, whatever is in it, has aggregates nevertheless; so have views",
        lambda step, ours, native: (
            not (ours.code or native.code)
            and len(ours.rows) > len(native.rows)
            and bool(re.search(rf"\b({AGGREGATES})\(.*\bJOIN\b.*\bWHERE\b|\b(FROM|JOIN) v\d", step.sql, re.S))
        ),
    ),
    Rule(
        "repeated values",
        "patch 048: IN with a value twice finds its row once",
        lambda step, ours, native: (
            not (ours.code or native.code)
            and (
                bool(REPEATED.search(step.sql))
                or (
                    bool(re.search(r"^(UPDATE|DELETE) .* IN \(", step.sql, re.S))
                    and (len(ours.rows), ours.affected or 0) < (len(native.rows), native.affected or 0)
                )
            )
        ),
    ),
    Rule(
        "NULL and 1",
        "patch 088: in the results of a correlated IN they are not alike, and NOT IN beside it holds for no NULL",
        _answered(CORRELATED),
    ),
    Rule(
        "ordered results",
        "patch 088: CASE and || are computed as they are without ORDER BY",
        _answered(ORDERED),
    ),
    Rule(
        "tables without a key",
        "patch 089: an UPDATE by a correlated subquery sets each row to its own result",
        _answered(SET_BY_QUERY),
    ),
    Rule(
        "own rows",
        "patch 091: an index does not answer for the rows of the transaction that asks",
        _answered(OWN_ROWS),
    ),
    Rule(
        "limited groups",
        "patch 092: a join of which some groups are wanted keeps all conditions of ON",
        _answered(re.compile(r"\bON\b.*\bAND\b.*\bGROUP BY\b.*\bLIMIT\b", re.S)),
    ),
    Rule(
        "repeated aggregates",
        "patch 093: an aggregate that is asked for twice has two columns",
        lambda step, ours, native: (
            not ours.code
            and (len(ours.columns) > len(native.columns) or "not found" in native.message)
            and bool(re.search(rf"\b({AGGREGATES})\(.*\b\1\(", step.sql, re.S))
        ),
    ),
    Rule(
        "exact aggregates",
        "patch 047: aggregates of large integers are compared as what they are",
        _answered(EXACT),
    ),
    Rule(
        "EXISTS in columns",
        "patch 069: EXISTS, ALL and ANY in columns of a result are evaluated",
        lambda step, ours, native: (
            ours.code in ("", "type_conversion") and not native.code and bool(EVALUATED.search(step.sql))
        ),
    ),
    Rule(
        "complete names",
        "names in conditions have their tables before them, and are found",
        lambda step, ours, native: (
            not ours.code and bool(re.search("Column '.*' not found", native.message))
            if native.code
            else step.sql.startswith("EXPLAIN") and _same_plan(ours, native)
        ),
    ),
    Rule(
        "names",
        "two columns of one name have values of their own",
        lambda step, ours, native: len(set(ours.columns)) < len(ours.columns),
    ),
    Rule(
        "unknown columns",
        "they are errors wherever they stand",
        lambda step, ours, native: (
            ours.code == "column_not_found" and (not native.code or "column" in native.message.lower())
        ),
    ),
    Rule(
        "columns in use",
        "a definition is refused that open transactions would not see",
        lambda step, ours, native: ours.code == "table_in_use" and step.sql.startswith("ALTER"),
    ),
)


def rule(step: Step, ours: Outcome, native: Outcome) -> Rule | None:
    """The rule that excuses the difference."""
    return next((each for each in (*RULES, *BETTER) if each.matches(step, ours, native)), None)


def same(step: Step, ours: Outcome, native: Outcome) -> bool:
    """Whether two outcomes are the same answer."""
    if ours.code or native.code:
        return bool(ours.code) == bool(native.code) and same_error(ours, native)
    if ours.script:
        return True
    if (ours.affected, ours.columns) != (native.affected, native.columns):
        return False
    return same_rows(ours.rows, native.rows, ordered=step.ordered)


def same_error(ours: Outcome, native: Outcome) -> bool:
    """Whether two errors are of one kind."""
    if (ours.code == "engine_panic") != (native.code == "panic"):
        return False
    return native.code == "panic" or ours.script or ours.kind == native.kind


def same_rows(ours: tuple[tuple[Any, ...], ...], native: tuple[tuple[Any, ...], ...], *, ordered: bool) -> bool:
    """Whether the rows are the same, in order or as a bag."""
    if len(ours) != len(native):
        return False
    if not ordered:
        if Counter(map(repr, ours)) == Counter(map(repr, native)):
            return True
        ours, native = (tuple(sorted(rows, key=_rough)) for rows in (ours, native))
    return all(len(a) == len(b) and all(map(same_value, a, b)) for a, b in zip(ours, native, strict=True))


def _rough(row: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(f"{value:.6g}" if isinstance(value, float) else repr(value) for value in row)


def same_value(ours: Any, native: Any) -> bool:
    """Whether two values are of one type and equal."""
    if isinstance(ours, float) and isinstance(native, float):
        return math.isclose(ours, native, rel_tol=CLOSE, abs_tol=1e-300) or (math.isnan(ours) and math.isnan(native))
    if isinstance(ours, datetime) and isinstance(native, datetime):
        return ours == native or all(abs(datetime.now(UTC) - moment) < NOW for moment in (ours, native))
    if isinstance(native, list):  # A vector.
        return list(ours) == native
    return type(ours) is type(native) and bool(ours == native)

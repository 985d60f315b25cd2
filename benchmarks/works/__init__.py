"""What is measured, one work per file: each makes a section of the report from a plan."""

from collections.abc import Callable

from benchmarks.plan import Plan
from benchmarks.report import Section
from benchmarks.works import (
    clients,
    commits,
    cpu,
    engines,
    fetch,
    flights,
    gather,
    group,
    insert,
    lag,
    point,
    rows,
    start,
    stream,
    tpch,
    web,
)

WORKS: dict[str, Callable[[Plan], Section]] = {
    "point": point.run,
    "gather": gather.run,
    "fetch": fetch.run,
    "insert": insert.run,
    "group": group.run,
    "lag": lag.run,
    "commits": commits.run,
    "web": web.run,
    "start": start.run,
    "cpu": cpu.run,
    "flights": flights.run,
    "tpch": tpch.run,
    "rows": rows.run,
    "clients": clients.run,
    "engines": engines.run,
    "stream": stream.run,
}
"""By their names on the command line."""

GROUPS = {"scaling": ("rows", "clients", "engines", "stream")}
"""Names for several of them."""

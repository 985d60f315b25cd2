"""TPC-H, whose 22 queries are in benchmarks/tpch.

The native engine takes `FROM a, b` as a product, and looks for no unqualified column in an outer query. So most
queries are asked once more with `JOIN` and qualified names.
"""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.analysis import Table, analyse
from benchmarks.plan import Plan
from benchmarks.report import Section

QUERIES = Path(__file__).parent.parent / "tpch"
TABLES = {
    "region": "r_regionkey INTEGER PRIMARY KEY, r_name TEXT, r_comment TEXT",
    "nation": "n_nationkey INTEGER PRIMARY KEY, n_name TEXT, n_regionkey INTEGER, n_comment TEXT",
    "part": "p_partkey INTEGER PRIMARY KEY, p_name TEXT, p_mfgr TEXT, p_brand TEXT, p_type TEXT, p_size INTEGER, "
    "p_container TEXT, p_retailprice FLOAT, p_comment TEXT",
    "supplier": "s_suppkey INTEGER PRIMARY KEY, s_name TEXT, s_address TEXT, s_nationkey INTEGER, s_phone TEXT, "
    "s_acctbal FLOAT, s_comment TEXT",
    "partsupp": "ps_partkey INTEGER, ps_suppkey INTEGER, ps_availqty INTEGER, ps_supplycost FLOAT, ps_comment TEXT",
    "customer": "c_custkey INTEGER PRIMARY KEY, c_name TEXT, c_address TEXT, c_nationkey INTEGER, c_phone TEXT, "
    "c_acctbal FLOAT, c_mktsegment TEXT, c_comment TEXT",
    "orders": "o_orderkey INTEGER PRIMARY KEY, o_custkey INTEGER, o_orderstatus TEXT, o_totalprice FLOAT, "
    "o_orderdate TIMESTAMP, o_orderpriority TEXT, o_clerk TEXT, o_shippriority INTEGER, o_comment TEXT",
    "lineitem": "l_orderkey INTEGER, l_partkey INTEGER, l_suppkey INTEGER, l_linenumber INTEGER, l_quantity FLOAT, "
    "l_extendedprice FLOAT, l_discount FLOAT, l_tax FLOAT, l_returnflag TEXT, l_linestatus TEXT, "
    "l_shipdate TIMESTAMP, l_commitdate TIMESTAMP, l_receiptdate TIMESTAMP, l_shipinstruct TEXT, l_shipmode TEXT, "
    "l_comment TEXT",
}
INDEXES = {"partsupp": ("ps_partkey",), "orders": ("o_custkey",), "lineitem": ("l_orderkey", "l_partkey")}
CONVERTERS: Mapping[str, Callable[[str], Any]] = {
    "INTEGER": int,
    "FLOAT": float,
    "TEXT": str,
    "TIMESTAMP": lambda text: datetime.fromisoformat(text).replace(tzinfo=UTC),
}


ENDLESS = {"Q2 with JOIN": "it was ended after 75 s, at scale factor 0.1"}
"""What the native engine is not asked, and why."""


def generate(scale: str) -> Path:
    """The directory with the data of that scale factor, made if they are missing."""
    folder = Path(tempfile.gettempdir(), f"aiostoolap-tpch-{scale}")
    if not folder.exists():
        # Beside the interpreter, or wherever else it was installed to.
        command = shutil.which("tpchgen-cli", path=str(Path(sys.executable).parent)) or shutil.which("tpchgen-cli")
        if command is None:
            raise FileNotFoundError("tpchgen-cli is not installed")
        with tempfile.TemporaryDirectory(dir=folder.parent) as unfinished:
            output = Path(unfinished, "data")
            subprocess.run([command, "csv", "-s", scale, f"--output-dir={output}"], check=True, capture_output=True)
            output.rename(folder)
    return folder


def rows(file: Path, columns: str) -> Iterator[tuple[Any, ...]]:
    """Reads a table's file."""
    converters = [CONVERTERS[column.split()[1]] for column in columns.split(", ")]
    with file.open(encoding="utf-8", newline="") as stream:
        lines = csv.reader(stream)
        next(lines)
        for line in lines:
            yield tuple(convert(text) for convert, text in zip(converters, line, strict=True))


def queries() -> dict[str, str]:
    """The queries, each in the standard's form and in that with joins, if it has one."""
    found = {}
    for file in sorted(QUERIES.glob("standard/*.sql")):
        found[f"Q{int(file.stem)}"] = file.read_text(encoding="utf-8")
        joins = QUERIES / "joins" / file.name
        if joins.exists():
            found[f"Q{int(file.stem)} with JOIN"] = joins.read_text(encoding="utf-8")
    return found


def run(plan: Plan) -> Section:
    """Makes the section."""
    scale, limit = ("0.01", 3.0) if plan.quick else ("0.1", 15.0)
    section = Section(
        "tpch",
        f"TPC-H at scale factor {scale}",
        "The 22 queries of TPC-H over tables in memory: money as FLOAT, dates as TIMESTAMP, indexes on the keys. "
        "`with JOIN` says the same query with `JOIN ... ON` and qualified names: the native engine is asked only "
        "that, since it takes the standard's `FROM a, b` as a product, and looks for no unqualified column in an outer "
        "query. "
        f"What takes longer than {limit:.0f} s is stopped, and an answer that is not DuckDB's counts as none.",
    )
    try:
        folder = generate(scale)
    except (OSError, subprocess.CalledProcessError) as error:
        section.remarks.append(f"Left out: {error}.")
        return section
    tables = [
        Table(name, columns, list(rows(folder / f"{name}.csv", columns)), INDEXES.get(name, ()))
        for name, columns in TABLES.items()
    ]
    asked = queries()
    unasked = {name: "it would make all pairs of rows first" for name in asked if f"{name} with JOIN" in asked}
    return analyse(plan, section, tables, asked, limit, unasked | ENDLESS)

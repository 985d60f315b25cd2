"""The drivers that take part, one per file."""

from benchmarks.peer import Kind
from benchmarks.peers import aiosqlite, aiostoolap, apsw, duckdb, native, stoolap_python

AIOSTOOLAP = aiostoolap.KIND
NATIVE = native.KIND
DUCKDB = duckdb.KIND
PEERS: tuple[Kind, ...] = (AIOSTOOLAP, aiosqlite.KIND, apsw.KIND, stoolap_python.KIND, DUCKDB, NATIVE)
"""The first is what the others are compared with."""

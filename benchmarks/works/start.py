"""A new process: the import, the first row, the memory."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping

from benchmarks.peers import PEERS
from benchmarks.plan import Plan
from benchmarks.probe import PROGRAMS
from benchmarks.race import race
from benchmarks.report import Line, Section, Unit

UNITS = {
    "import": Unit.SECONDS,
    "open, first row": Unit.SECONDS,
    "both": Unit.SECONDS,
    "memory of an open database": Unit.BYTES,
    "memory of the process": Unit.BYTES,
}


async def probe(name: str, bytecode: str) -> Mapping[str, float]:
    """Starts a process, see `benchmarks.probe`.

    Args:
        name: the driver's.
        bytecode: the directory where Python keeps what it has compiled, as it does where a package is installed.
    """
    command = [sys.executable, "-m", "benchmarks.probe", name]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = bytecode
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    output, errors = await process.communicate()
    if process.returncode:
        raise RuntimeError(errors.decode().strip().splitlines()[-1])
    found = json.loads(output)
    begun, imported, opened = found["moments"]
    _, before, after = found["sizes"]
    return dict(zip(UNITS, (imported - begun, opened - imported, opened - begun, after - before, after), strict=True))


async def measure(plan: Plan) -> list[Line]:
    """All lines."""
    kinds = [kind for kind in PEERS if kind.name in PROGRAMS]
    out = {kind.name: "not installed" for kind in kinds if kind.version is None}
    with tempfile.TemporaryDirectory() as bytecode:
        turns = {kind.name: functools.partial(probe, kind.name, bytecode) for kind in kinds if kind.name not in out}
        return await race(turns, plan.size(2, 1) * plan.rounds, UNITS, notes=out)


def run(plan: Plan) -> Section:
    """Makes the section."""
    return Section(
        "start",
        "The start of a process",
        "In a new process that has imported asyncio: the time to import the driver, and from there to the first row of "
        "a database in memory. Python's bytecode was compiled before (pip does it), and aiostoolap's module; its "
        "import leaves wasmtime to the first `connect()`. Memory is what is resident with the database open: what it "
        "adds to the process with the import, and all of the process.",
        plan.on("asyncio", functools.partial(measure, plan)),
    )

"""The native engine, in a process of its own: it may panic, hang or take all memory, and is begun anew then."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import pickle
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.truth.case import MEMORY, Case, Outcome, Step

VERSION = "0.4.2"
PATIENCE = 60.0
"""Seconds for the statements of one case."""
ROOM = 6 << 30
"""Bytes that the process may take; some joins would take all there are."""
CASES = 100
"""For one process. Databases in memory are left open until it ends, for to close one takes a tenth of a second."""
ROOT = Path(__file__).parent.parent.parent


def missing() -> str:
    """Why there is no native engine to compare with; empty if there is one."""
    if importlib.util.find_spec("stoolap") is None:
        return "stoolap-python is not installed: ./dev oracle builds it, with cargo"
    found = importlib.metadata.version("stoolap-python")
    return "" if found == VERSION else f"stoolap-python is {found}, not {VERSION}"


class Native:
    """The process, begun when it is needed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._cases = 0

    def run(self, case: Case) -> list[Outcome]:
        """Runs the statements; fewer outcomes than statements, the last one `died`, if the process ended before."""
        if self._cases == CASES:
            self.close()
        process = self._process or self._begin()
        self._cases += 1
        assert process.stdin is not None
        assert process.stdout is not None
        timer = threading.Timer(PATIENCE, process.kill)
        timer.start()
        outcomes: list[Outcome] = []
        try:
            pickle.dump(case, process.stdin)
            process.stdin.flush()
            for _ in case.steps:
                outcomes.append(pickle.load(process.stdout))  # noqa: PERF401  # those before a failure count
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            self.close()
            outcomes.append(Outcome(code="died", message="the native engine's process ended"))
        finally:
            timer.cancel()
        return outcomes

    def _begin(self) -> subprocess.Popen[bytes]:
        self._cases = 0
        self._folder = tempfile.TemporaryDirectory(dir=MEMORY)
        command = [sys.executable, "-m", "tests.truth.native", self._folder.name]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT
        )
        return self._process

    def close(self) -> None:
        """Ends the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()
        if self._folder is not None:
            self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def outcomes(db: Any, case: Case) -> Iterator[Outcome]:
    """Runs the statements, in the process."""
    transactions: dict[str, Any] = {}
    for step in case.steps:
        yield attempt(db, transactions, step)
    transactions.clear()  # Those that are open are rolled back.
    if case.file:
        db.close()


def attempt(db: Any, transactions: dict[str, Any], step: Step) -> Outcome:
    try:
        if step.verb == "begin":
            transactions[step.on] = db.begin()
            return Outcome()
        target = transactions[step.on] if step.on else db
        if step.verb in ("commit", "rollback"):
            getattr(transactions.pop(step.on), step.verb)()
            return Outcome()
        sql, parameters = (step.literal, []) if step.literal else (step.sql, list(step.parameters))
        if not step.answers:
            return Outcome(affected=target.execute(sql, parameters))
        found = target.query_raw(sql, parameters)
        return Outcome(tuple(found["columns"]), tuple(map(tuple, found["rows"])))
    except KeyError:
        return Outcome(code="error", message="transaction has ended")
    except Exception as error:
        return Outcome(code="error", message=str(error))
    except BaseException as error:  # A panic, which leaves the database's lock poisoned.
        return Outcome(code="panic", message=str(error))


def main() -> None:
    """Serves cases until it is killed."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (ROOM, ROOM))
    open_database = importlib.import_module("stoolap").Database.open
    databases: list[Any] = []
    requests, replies = sys.stdin.buffer, sys.stdout.buffer
    while True:
        case = pickle.load(requests)
        databases.append(
            open_database(f"{'file://' + sys.argv[1] + '/' if case.file else 'memory://'}{len(databases)}")
        )
        for outcome in outcomes(databases[-1], case):
            pickle.dump(outcome, replies)
            replies.flush()


if __name__ == "__main__":
    main()

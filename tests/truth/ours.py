"""Our engine: cases run through the driver's public interface."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from aiostoolap import DB, Engine, Error, Tx
from aiostoolap.session import Session
from tests.truth.case import MEMORY, Case, Outcome, Step

TIMEOUT = 30.0
"""Seconds for a statement."""


LIMITS = ("timeout", "memory_limit")
"""Codes of errors that say nothing of the answer, and end a transaction."""


class Ours:
    """An engine that has a new database for each case."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._number = 0

    async def run(self, case: Case) -> list[Outcome]:
        """Runs the statements, one after another, up to one that meets a limit; others have none."""
        self._number += 1
        target = f"file:///data/{self._number}?checkpoint_on_close=off" if case.file else "memory://"
        run = _Run(self._engine, target, await self._engine.open(target))
        answers: list[Outcome] = []
        try:
            for step in case.steps:
                answer = await run.attempt(step)
                if answer.code in LIMITS:
                    break
                answers.append(answer)
        finally:
            await run.end()
        return answers


@asynccontextmanager
async def opened() -> AsyncIterator[Ours]:
    """An engine, with a folder for the databases of files."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        async with Engine(Path(folder), json="text", checkpoint_every=None) as engine:
            yield Ours(engine)


class _Run:
    def __init__(self, engine: Engine, target: str, db: DB) -> None:
        self._engine = engine
        self._target = target
        self._db = db
        self._transactions: dict[str, Tx] = {}

    async def attempt(self, step: Step) -> Outcome:
        try:
            return await self._run(step)
        except KeyError:
            return Outcome(code="transaction_ended", message="transaction has ended")
        except TimeoutError:
            return Outcome(code="timeout", message="the statement took too long")
        except Error as error:
            return Outcome(code=error.code or type(error).__name__, message=str(error))

    async def _run(self, step: Step) -> Outcome:
        if step.verb == "reopen":
            await self.end()
            self._db = await self._engine.open(self._target)
            return Outcome()
        if step.verb == "begin":
            await self._end(step.on)
            self._transactions[step.on] = await self._db.begin()
            return Outcome()
        if step.verb in ("commit", "rollback"):
            transaction = self._transactions.pop(step.on)
            await (transaction.commit() if step.verb == "commit" else transaction.rollback())
            return Outcome()
        target = self._transactions[step.on] if step.on else self._db
        try:
            return await _statement(target, step)
        except Error as error:
            if error.code != "several_statements":
                raise
            await target.execute_script(step.sql, timeout=TIMEOUT)
            return Outcome(script=True)

    async def _end(self, name: str) -> None:
        transaction = self._transactions.pop(name, None)
        if transaction is not None:
            with suppress(Error):
                await transaction.rollback()

    async def end(self) -> None:
        """Rolls back what is still open, and closes the database."""
        for name in list(self._transactions):
            await self._end(name)
        await self._db.close()


async def _statement(target: Session, step: Step) -> Outcome:
    if not step.answers:
        return Outcome(affected=await target.execute(step.sql, step.parameters, timeout=TIMEOUT))
    found = await target.query(step.sql, step.parameters, into=tuple, timeout=TIMEOUT)
    return Outcome(found.columns, tuple(found))

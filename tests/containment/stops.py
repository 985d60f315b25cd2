"""Writes that are stopped at random moments, and what is there afterwards, beside the model."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import shutil
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import aiostoolap
from aiostoolap import DB, Isolation, TransactionAbortedError, Tx
from aiostoolap.core.call import Call
from aiostoolap.core.exchange import Exchange
from aiostoolap.core.lanes import Lane
from aiostoolap.core.loops import Loop
from aiostoolap.core.protocol import Request
from tests.containment.model import GROUPS, SCHEMA, Model, Rows, Write, first_rows, place, random_write, vector

Kind = Literal["memory", "file"]
Ended = Literal["returned", "cancelled", "timed out"]

STALL = 600.0
"""Seconds after which a call counts as hanging."""
ROUND = 250
"""Steps on one database; then comes a new one."""
_ISOLATIONS: tuple[Isolation | None, ...] = (None, "read committed", "snapshot")
_INDEXED: tuple[tuple[str, str, Callable[[tuple[Any, ...]], Any], str], ...] = (
    ("item", "g = {}", lambda row: row[0], "by_g"),
    ("item", "u = {}", lambda row: row[1], "unique_item_u"),
    ("item", "name = '{}'", lambda row: row[2], "by_name"),
    ("child", "item = {}", lambda row: row[0], "fk_child_item"),
)


class MismatchError(AssertionError):
    """The database is not what the model says."""


class Tally(Counter[str]):
    """How the attempts to stop something ended."""

    @property
    def hits(self) -> int:
        """Stops of a statement that was running, which it undid."""
        return self["stopped"] + self["stopped in a transaction"]


class Ear:
    """Listens to the exchange: when a call begins, and whether one was withdrawn before that."""

    def __init__(self) -> None:
        self.withdrawn = 0
        """So many calls never ran."""
        self._last: tuple[Exchange, Call] | None = None

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        place, withdraw = Exchange.place, Exchange.withdraw

        def placed(exchange: Exchange, request: Request, lane: Lane, loop: Loop | None) -> Call:
            call = place(exchange, request, lane, loop)
            self._last = exchange, call
            return call

        def withdrawn(exchange: Exchange, call: Call) -> bool:
            never_ran = withdraw(exchange, call)
            self.withdrawn += never_ran
            return never_ran

        with patch.object(Exchange, "place", placed), patch.object(Exchange, "withdraw", withdrawn):
            yield

    def has_begun(self) -> bool:
        """Whether the engine has begun with what was placed last."""
        if self._last is None:
            return False
        exchange, call = self._last
        ring, slot = exchange.ring, call.slot
        return ring is None or slot is None or ring.has_begun(slot, call.number)


async def read(session: DB | Tx, name: str) -> Rows:
    """The rows of a table."""
    rows = await session.query(f"SELECT * FROM {name}", into=tuple)
    table: Rows = {row[0]: row[1:] for row in rows}
    if name == "point":
        table = {key: (g, tuple(place)) for key, (g, place) in table.items()}
    if len(table) != len(rows):
        raise MismatchError(f"{name} has a key twice")
    return table


def difference(found: Rows, wanted: Rows) -> str:
    """The first rows that differ."""
    keys = [key for key in {**wanted, **found} if wanted.get(key) != found.get(key)]
    return f"{len(keys)} rows, " + "; ".join(f"{key}: {found.get(key)} for {wanted.get(key)}" for key in keys[:3])


class Round:
    """One database, and what is done to it.

    Args:
        kind: where the database is.
        folder: where its files are, and copies of them.
        seed: of all that is random, but for the moments at which the machine is quick or slow.
        tally: where to count.
        spans: how long each kind of call runs, about, as far as that is known: a stop comes at any moment of it.
        wasm: another build of the engine.
    """

    def __init__(
        self, kind: Kind, folder: Path, seed: str, tally: Tally, spans: dict[str, float], wasm: Path | None = None
    ) -> None:
        self.kind = kind
        self.folder = folder
        self.wasm = wasm
        self.spans = spans
        self.rng = random.Random(seed)
        self.tally = tally
        self.steps: deque[str] = deque(maxlen=12)
        """What was done last."""
        self._ear = Ear()
        self._images = 0
        self._model = first_rows(self.rng)
        self._engine: aiostoolap.Engine
        self._db: DB

    async def run(self, stops: int) -> None:
        """Takes steps until so many stops have hit, or the round is over.

        Raises:
            MismatchError: something was done by half, or does not work any more.
        """
        until = self.tally.hits + stops
        await self._open(self.folder / "db")
        try:
            await self._fill()
            with self._ear.listening():
                for _ in range(ROUND):
                    if self.tally.hits >= until:
                        break
                    async with asyncio.timeout(STALL):
                        await self._step()
            await self._check(self._model, self._model)
        finally:
            await self._close()

    async def _open(self, folder: Path) -> None:
        if self.kind == "file":
            folder.mkdir(parents=True, exist_ok=True)
            self._engine = await aiostoolap.Engine(folder, wasm=self.wasm, checkpoint_every=None, latency="low")
            self._db = await self._engine.open("file:///data/db")
        else:
            self._engine = await aiostoolap.Engine(wasm=self.wasm, latency="low")
            self._db = await self._engine.open_memory()

    async def _close(self) -> None:
        await self._db.close()
        await self._engine.close()

    async def _fill(self) -> None:
        for sql in SCHEMA:
            await self._db.execute(sql)
        for name, rows in self._model.tables().items():
            columns = ", ".join(["?"] * (1 + len(next(iter(rows.values())))))
            given = [
                (key, *(vector(value) if isinstance(value, tuple) else value for value in row))
                for key, row in rows.items()
            ]
            await self._db.execute_many(f"INSERT INTO {name} VALUES ({columns})", given)
        for table, condition, _, index in _INDEXED:
            plan = await self._db.query(f"EXPLAIN SELECT id FROM {table} WHERE {condition.format(1)}", into=str)
            if not any(index in line for line in plan):
                raise MismatchError(f"{condition} does not use the index {index}: {plan}")

    # Steps.

    async def _step(self) -> None:
        if self.kind == "file" and self.rng.random() < 0.2:
            await self.rng.choice((self._checkpoint, self._checkpoint_stopped, self._reopen, self._crash))()
        step = self._write_in_transaction if self.rng.random() < 0.3 else self._write
        await step()
        stats = await self._engine.stats()
        if (stats.transactions, stats.statements, stats.cursors, stats.queued, stats.connections) != (0, 0, 0, 0, 1):
            raise MismatchError(f"something is left open: {stats}")

    async def _write(self) -> None:
        before = self._model
        name, write = random_write(self.rng, before)
        if self.kind == "file" and self.rng.random() < 0.1:
            name = "behind a checkpoint"
            checkpoint = asyncio.create_task(self._db.checkpoint())
            await asyncio.sleep(0)
            ended, ran = await self._stop(name, self._call(self._db, write), queued=True)
            await checkpoint
        else:
            ended, ran = await self._stop(name, self._call(self._db, write))
        self._model = await self._settle(self._db, ended, before, write.after)
        self._count(name, self._outcome(ended, ran, self._model is write.after))
        if self._model is before and self.rng.random() < 0.3:
            self._note(f"once more: {write.sql}")
            await self._call(self._db, write)(None)
            self._model = await self._settle(self._db, "returned", before, write.after)

    async def _write_in_transaction(self) -> None:
        isolation = self.rng.choice(_ISOLATIONS)
        self._note(f"begin {isolation}")
        tx = await self._db.begin(isolation)
        before = await self._prelude(tx)
        name, write = random_write(self.rng, before, definitions=False)
        ended, ran = await self._stop(name, self._call(tx, write))
        try:
            within = await self._settle(tx, ended, before, write.after)
        except TransactionAbortedError:
            await self._only_rollback(tx, write)
            self._count(name, "stopped in a transaction")
        else:
            self._count(name, self._outcome(ended, ran, within is write.after))
            await self._end(tx, within)
        await self._check(self._model, write.after)

    async def _prelude(self, tx: Tx) -> Model:
        """Some writes that are not stopped, some of them taken back; what the transaction sees then."""
        model = self._model
        for _ in range(self.rng.randrange(3)):
            _, write = random_write(self.rng, model, definitions=False)
            savepoint = self.rng.random() < 0.5
            self._note(f"within{' a savepoint' if savepoint else ''}: {write.sql}")
            if savepoint:
                await tx.execute("SAVEPOINT here")
            await self._call(tx, write)(None)
            if savepoint and self.rng.random() < 0.5:
                self._note("rollback to it")
                await tx.execute("ROLLBACK TO SAVEPOINT here")
            else:
                model = write.after
        if self.kind == "file" and self.rng.random() < 0.2:
            self._note("checkpoint beside it")
            await self._db.checkpoint()
        return model

    async def _only_rollback(self, tx: Tx, write: Write) -> None:
        uses: tuple[Callable[[], Coroutine[Any, Any, Any]], ...] = (
            lambda: tx.execute("SELECT 1"),
            lambda: self._call(tx, write)(None),
            tx.commit,
        )
        for use in uses:
            try:
                await use()
            except TransactionAbortedError:
                continue
            raise MismatchError("an aborted transaction goes on")
        self._note("rollback")
        await tx.rollback()

    async def _end(self, tx: Tx, within: Model) -> None:
        """Commits, stops that, or rolls back."""
        before = self._model
        kind = self.rng.choice(("commit", "commit stopped", "rollback"))
        if kind == "commit stopped":
            ended, ran = await self._stop("commit", lambda _: tx.commit(), cancel=True)
            self._model = await self._settle(self._db, ended, before, within)
            self._count("commit", self._outcome(ended, ran, self._model is within))
            if tx.is_open:
                with contextlib.suppress(aiostoolap.ClosedError):  # It is committed, and nobody has told.
                    await tx.rollback()
            return
        self._note(kind)
        if kind == "commit":
            await tx.commit()
            self._model = within
        else:
            await tx.rollback()

    async def _checkpoint(self) -> None:
        self._note("checkpoint")
        await self._db.checkpoint()

    async def _checkpoint_stopped(self) -> None:
        ended, ran = await self._stop("checkpoint", lambda _: self._db.checkpoint(), cancel=True)
        self._count("checkpoint", self._outcome(ended, ran, ran))
        await self._check(self._model, self._model)

    async def _reopen(self) -> None:
        self._note("reopen")
        await self._close()
        await self._open(self.folder / "db")
        await self._check(self._model, self._model)

    async def _crash(self) -> None:
        """Opens a copy of the files as they are: what a killed process would leave."""
        self._note("a copy of the files")
        self._images += 1
        image = self.folder / f"image{self._images}"
        shutil.copytree(self.folder / "db", image)
        engine, db = self._engine, self._db
        try:
            await self._open(image)
            try:
                await self._check(self._model, self._model)
            finally:
                await self._close()
        finally:
            self._engine, self._db = engine, db
            shutil.rmtree(image)

    # Stops.

    def _call(self, session: DB | Tx, write: Write) -> Callable[[float | None], Coroutine[Any, Any, Any]]:
        if write.rows is not None:
            rows = write.rows
            return lambda timeout: session.execute_many(write.sql, rows, timeout=timeout)
        if write.returns:

            async def fetch(timeout: float | None) -> list[Any]:
                return await session.query(write.sql, write.parameters, timeout=timeout)

            return fetch
        return lambda timeout: session.execute(write.sql, write.parameters, timeout=timeout)

    async def _stop(
        self,
        name: str,
        call: Callable[[float | None], Coroutine[Any, Any, Any]],
        *,
        cancel: bool = False,
        queued: bool = False,
    ) -> tuple[Ended, bool]:
        """Stops a call at a random moment, in one of two ways; how it ended, and whether all of it has begun."""
        cancel = cancel or self.rng.random() < 0.6
        delay = self.rng.random() * self.spans[name] if name in self.spans else math.inf
        withdrawn = self._ear.withdrawn
        self._note(f"{name}, {'cancelled' if cancel else 'timeout'} after {delay * 1e3:.3f} ms")
        if not queued:
            await self._db.query_value("SELECT 1")  # The thread is awake then, so that the call begins at once.
        begun = time.perf_counter()
        ended: Ended = "returned"
        try:
            if cancel and delay < math.inf:
                await self._cancelled(call(None), delay, queued)
            else:
                await call(min(delay, STALL) or 1e-9)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # It hangs, or the whole test is to end.
            ended = "cancelled"
        except TimeoutError:
            if delay == math.inf:
                raise
            ended = "timed out"
        self.spans.setdefault(name, time.perf_counter() - begun)
        self._note(ended)
        return ended, self._ear.withdrawn == withdrawn

    async def _cancelled(self, call: Coroutine[Any, Any, Any], delay: float, queued: bool) -> None:
        task = asyncio.create_task(call)
        await asyncio.sleep(0)
        while not (queued or task.done() or self._ear.has_begun()):
            await asyncio.sleep(0)
        moment = time.perf_counter() + delay
        while not task.done() and time.perf_counter() < moment:
            # The loop's own clock is too coarse for the last steps.
            await asyncio.sleep(max(0.0, moment - time.perf_counter() - 0.002))
        task.cancel()
        await task

    def _outcome(self, ended: Ended, ran: bool, changed: bool) -> str:
        if ended == "returned":
            return "finished"
        if changed:
            return "whole"
        return "stopped" if ran else "not begun"

    def _count(self, name: str, outcome: str) -> None:
        self.tally[outcome] += 1
        self.tally[f"{name}: {outcome}"] += 1
        self.spans[name] *= 0.85 if outcome in ("finished", "whole") else 1.1

    # Checks.

    async def _settle(self, session: DB | Tx, ended: Ended, before: Model, after: Model) -> Model:
        """Which of the two models it is now: with each way to end, some of them are allowed."""
        changed = [name for name, rows in before.tables().items() if rows != after.tables()[name]]
        found = {name: await read(session, name) for name in changed}
        allowed = {"returned": (after,), "cancelled": (before, after), "timed out": (before,)}[ended]
        now = before.defined()
        if before.defined() != after.defined():
            indexes = await session.query("SHOW INDEXES FROM copy")
            columns = await session.query("DESCRIBE copy")
            now = (len(columns) == 4, len(indexes) == 1)
        for model in allowed:
            if model.defined() == now and all(model.tables()[name] == rows for name, rows in found.items()):
                await self._check(model, after if model is before else before, session)
                return model
        wrong = [f"{name}: {difference(rows, allowed[0].tables()[name])}" for name, rows in found.items()]
        raise MismatchError(f"{ended}, but there is {now}, {', '.join(wrong)}")

    async def _check(self, model: Model, other: Model, session: DB | Tx | None = None) -> None:
        """Some tables beside the model, and their indexes, by values that either model has."""
        session = session or self._db
        same = model is other
        for name, rows in model.tables().items():
            changed = same or rows != other.tables()[name]
            if same or (not changed and self.rng.random() < 0.1):
                found = await read(session, name)
                if found != rows:
                    raise MismatchError(f"{name}: {difference(found, rows)}")
            elif not changed:
                continue
            await self._check_indexes(session, name, model, other)

    async def _check_indexes(self, session: DB | Tx, name: str, model: Model, other: Model) -> None:
        rows, others = model.tables()[name], other.tables()[name]
        count = await session.query_value(f"SELECT COUNT(*) FROM {name}")
        if count != len(rows):
            raise MismatchError(f"COUNT(*) of {name} is {count}, not {len(rows)}")
        for key in self._some([*rows, *others], 4):
            found = await session.query_value(f"SELECT COUNT(*) FROM {name} WHERE id = $1", (key,))
            if found != (key in rows):
                raise MismatchError(f"{name} by the key {key}: {found}")
        conditions = [(condition, value) for table, condition, value, _ in _INDEXED if table == name]
        if name == "copy" and model.indexed:
            conditions.append(("g = {}", lambda row: row[0]))
        for condition, value in conditions:
            for row in self._some([*rows.values(), *others.values()], 4):
                wanted = value(row)
                ids = sorted(key for key, row in rows.items() if value(row) == wanted)
                if wanted is not None:
                    await self._expect(session, f"SELECT id FROM {name} WHERE {condition.format(wanted)}", ids)
        if name == "item":
            g = self.rng.randrange(GROUPS)
            ids = sorted(key for key, row in rows.items() if row[0] >= g)
            await self._expect(session, f"SELECT id FROM item WHERE g >= {g}", ids)
            ids = sorted(key for key, row in rows.items() if row[0] == g and row[3] > 9)
            await self._expect(session, f"SELECT id FROM item WHERE g = {g} AND x > 9.0", ids)
        if name == "point":
            await self._check_nearest(session, model)

    async def _expect(self, session: DB | Tx, sql: str, ids: list[int]) -> None:
        found = sorted(await session.query(sql, into=int))
        if found != ids:
            raise MismatchError(f"{sql}: {found[:9]} of {len(found)} for {ids[:9]} of {len(ids)}")

    async def _check_nearest(self, session: DB | Tx, model: Model) -> None:
        """By the HNSW index, which may miss neighbours, but never shows a row that is not there."""
        where = place(self.rng)
        sql = "SELECT id, VEC_DISTANCE_L2(place, $1) AS d FROM point ORDER BY d LIMIT 10"
        found = await session.query(sql, (vector(where),), into=tuple)
        distances = {key: math.dist(row[1], where) for key, row in model.point.items()}
        if len({key for key, _ in found}) != len(found) or not all(
            math.isclose(distances.get(key, -1), distance, abs_tol=1e-4) for key, distance in found
        ):
            raise MismatchError(f"neighbours of {where}: {found}")
        exact = sorted(distances.values())[:10]
        self.tally["neighbours"] += len(exact)
        limit = exact[-1] + 1e-4 if exact else 0
        self.tally["neighbours found"] += sum(distance <= limit for _, distance in found)

    def _some(self, values: list[Any], count: int) -> list[Any]:
        return self.rng.sample(values, min(count, len(values)))

    def _note(self, step: str) -> None:
        self.steps.append(step if len(step) < 300 else step[:300] + " ...")


async def run(stops: int, seed: int, folder: Path, *, only: int | None = None, wasm: Path | None = None) -> Tally:
    """Rounds on new databases, in memory and in files by turns, until so many stops have hit.

    Args:
        stops: how many.
        seed: of all rounds.
        folder: for files.
        only: this round alone.
        wasm: another build of the engine.

    Raises:
        MismatchError: with the last steps, and how to run that round again.
    """
    tally = Tally()
    spans: dict[str, dict[str, float]] = {"memory": {}, "file": {}}
    number = only or 0
    while tally.hits < stops:
        kind: Kind = "file" if number % 2 else "memory"
        place = folder / f"round{number}"
        this = Round(kind, place, f"{seed}/{number}", tally, spans[kind], wasm)
        try:
            await this.run(stops - tally.hits)
        except Exception as error:
            again = f"python -m tests.containment --seed {seed} --round {number}"
            steps = "\n  ".join(this.steps)
            raise MismatchError(f"{error!r}\nafter:\n  {steps}\nagain: {again} ({kind})") from error
        shutil.rmtree(place, ignore_errors=True)
        if only is not None:
            break
        number += 1
    return tally

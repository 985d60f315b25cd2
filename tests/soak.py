"""Bank transfers by thousands of tasks, cancelled at random, and opens and closes: `./dev python -m tests.soak`.

Whatever is cancelled, times out or conflicts, no money is made or lost, and nothing is left: no handle, descriptor,
thread, mapping or memory. `tests/test_soak.py` runs a short one.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from array import array
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import anyio

import aiostoolap
from aiostoolap import DB, Engine, Statement, TransactionConflictError, Tx
from tests.footprint import Footprint, footprint

STALL = 600.0
"""Seconds after which a call counts as lost: more than a machine, or its tests, are made to stand still."""
BALANCE = 1_000
MOVE = "UPDATE accounts SET balance = balance + $1 WHERE id = $2"
LAGS = {"median": 0.5, "99 %": 0.99, "most": 1.0}
LOOK_EVERY = 0.01
"""Seconds between two looks at the clock, to see how late the loop is."""


@dataclass
class Findings:
    """What a run came to."""

    outcomes: Counter[str] = field(default_factory=Counter)
    """By kind of operation, and by the error that ended it."""
    lags: array[float] = field(default_factory=lambda: array("d"))
    """How late the loop was, at each look, in seconds."""
    live_bytes: list[int] = field(default_factory=list)
    """What the engine had allocated, after each quarter."""
    seconds: float = 0.0
    before: Footprint = field(default_factory=footprint)
    quarters: list[Footprint] = field(default_factory=list)
    """After each quarter."""

    def lag(self, part: float) -> float:
        """The lag, in seconds, that so large a part of the looks stayed below."""
        return sorted(self.lags)[min(len(self.lags) - 1, int(len(self.lags) * part))]


@dataclass
class Bank:
    """Accounts, and what can be done with them.

    Attributes:
        db: the database.
        accounts: how many there are.
        move: the prepared statement that changes one of them.
    """

    db: DB
    accounts: int
    move: Statement
    findings: Findings

    @classmethod
    async def open(cls, db: DB, accounts: int, findings: Findings) -> Bank:
        """Makes the accounts."""
        await db.execute("CREATE TABLE accounts (id INTEGER PRIMARY KEY, branch INTEGER, balance INTEGER)")
        await db.execute("CREATE INDEX accounts_branch ON accounts(branch)")
        rows = ((n, n % 100, BALANCE) for n in range(accounts))
        await db.execute_many("INSERT INTO accounts VALUES (?, ?, ?)", rows)
        move = await db.prepare(MOVE)
        return cls(db, accounts, move, findings)

    async def check(self) -> None:
        """All money is there, by the table and by its index."""
        assert await self.db.query_value("SELECT SUM(balance) FROM accounts") == BALANCE * self.accounts
        branches = "SELECT SUM(b) FROM (SELECT branch, SUM(balance) AS b FROM accounts GROUP BY branch) AS x"
        assert await self.db.query_value(branches) == BALANCE * self.accounts
        assert await self.db.query_value("SELECT COUNT(*) FROM accounts") == self.accounts

    async def operate(self, rng: random.Random) -> None:
        """One operation, which may be cancelled, time out or meet a conflict."""
        (way,) = rng.choices(
            (self._transaction, self._snapshot, self._many, self._stream, self._look), (40, 20, 20, 10, 10)
        )
        ending = rng.random()
        # Some are cancelled at once, some in the middle, most never.
        limit = rng.random() ** 3 * 0.5 if ending < 0.25 else STALL
        try:
            with anyio.move_on_after(limit) as scope:
                await way(rng)
            if scope.cancelled_caught:
                assert limit < STALL, "a call has stalled"
                self.findings.outcomes["cancelled"] += 1
            else:
                self.findings.outcomes[way.__name__.strip("_")] += 1
        except TransactionConflictError:
            self.findings.outcomes["conflict"] += 1
        except TimeoutError:
            self.findings.outcomes["timeout"] += 1

    async def _transaction(self, rng: random.Random) -> None:
        giver, taker, amount = self._transfer(rng)
        timeout = rng.random() * 0.1 if rng.random() < 0.05 else None
        async with self.db.transaction() as tx:
            await tx.execute(MOVE, (-amount, giver), timeout=timeout)
            if rng.random() < 0.05:
                raise TransactionConflictError  # All of it is undone.
            await tx.execute(MOVE, (amount, taker), timeout=timeout)

    async def _snapshot(self, rng: random.Random) -> None:
        giver, taker, amount = self._transfer(rng)

        async def transfer(tx: Tx) -> None:
            for account, change in ((giver, -amount), (taker, amount)):
                balance = await tx.query_value("SELECT balance FROM accounts WHERE id = $1", (account,))
                await tx.execute("UPDATE accounts SET balance = $1 WHERE id = $2", (balance + change, account))

        await self.db.run_transaction(transfer, attempts=3)

    async def _many(self, rng: random.Random) -> None:
        giver, taker, amount = self._transfer(rng)
        assert await self.move.execute_many([(-amount, giver), (amount, taker)]) == 2

    async def _stream(self, rng: random.Random) -> None:
        wanted = rng.randrange(2_000)
        async with self.db.query("SELECT id, balance FROM accounts") as rows:
            async for _ in rows:
                wanted -= 1
                if not wanted:
                    break

    async def _look(self, rng: random.Random) -> None:
        branch = rng.randrange(100)
        count = await self.db.query_value("SELECT COUNT(*) FROM accounts WHERE branch = $1", (branch,))
        assert count == self.accounts // 100
        if rng.random() < 0.05:
            assert await self.db.query_value("SELECT SUM(balance) FROM accounts") == BALANCE * self.accounts

    def _transfer(self, rng: random.Random) -> tuple[int, int, int]:
        giver, taker = rng.sample(range(self.accounts), 2)
        return giver, taker, rng.randrange(100)


async def _watch(findings: Findings) -> None:
    while True:
        begun = time.perf_counter()
        await anyio.sleep(LOOK_EVERY)
        findings.lags.append(time.perf_counter() - begun - LOOK_EVERY)


async def transfers(engine: Engine, db: DB, *, tasks: int, operations: int, accounts: int, seed: int) -> Findings:
    """Runs so many operations, by so many tasks at a time, and checks what is there at the end.

    Raises:
        AssertionError: money, or something else, was made or lost.
        TimeoutError: a call stalled.
    """
    findings = Findings()
    async with await engine.open("file:///data/first") as first:
        await first.execute(
            "CREATE TABLE IF NOT EXISTS t (a INTEGER)"
        )  # wasmtime has descriptors of its own from now on.
    before = await engine.stats()
    findings.before = footprint()
    bank = await Bank.open(db, accounts, findings)
    begun = time.perf_counter()
    for quarter in range(4):

        async def task(number: int, share: int) -> None:
            rng = random.Random(f"{seed} {quarter} {number}")  # noqa: B023  # it ends before the next quarter begins
            for _ in range(share):
                await bank.operate(rng)

        async with anyio.create_task_group() as watching:
            watching.start_soon(_watch, findings)
            async with anyio.create_task_group() as group:
                for number in range(tasks):
                    group.start_soon(task, number, max(1, operations // 4 // tasks))
            watching.cancel_scope.cancel()
        await bank.check()
        await db.vacuum()
        findings.live_bytes.append((await engine.stats()).live_bytes)
        findings.quarters.append(footprint())
    findings.seconds = time.perf_counter() - begun
    early, late = findings.quarters[0], findings.quarters[-1]
    assert late.descriptors <= findings.before.descriptors, (findings.before, late)
    assert late.threads <= findings.before.threads, (findings.before, late)
    # The tasks of the first quarter have filled the pools of the allocators.
    assert late.blocks - early.blocks < 1_000, (early, late)
    assert late.memory - early.memory < (32 << 20), (early, late)
    await bank.move.close()
    after = await engine.stats()
    for name in ("queued", "databases", "connections", "transactions", "statements", "cursors", "lost_instances"):
        assert getattr(after, name) == getattr(before, name), (name, before, after)
    return findings


async def opens(folder: Path, count: int) -> tuple[Footprint, Footprint]:
    """Opens and closes so many engines and databases: what the process had before and after.

    Raises:
        AssertionError: something was left.
    """
    async with Engine(folder) as engine:

        async def once(number: int) -> None:
            match number % 4:
                case 0:
                    async with aiostoolap.connect() as db:
                        assert await db.query_value("SELECT 1") == 1
                case 1:
                    async with aiostoolap.connect(folder / "file") as db:
                        assert await db.query_value("SELECT 1") == 1
                case 2:
                    async with await engine.open("memory://shared") as db:
                        await db.query_value("SELECT 1")
                case 3:
                    async with await engine.open("file:///data/other") as db, await db.clone() as other:
                        await other.query_value("SELECT 1")

        for number in range(100):
            await once(number)
        live = (await engine.stats()).live_bytes
        before = footprint()
        for number in range(count):
            await once(number)
        after = footprint()
        assert (await engine.stats()).live_bytes - live < 1 << 20
    assert after.descriptors <= before.descriptors, (before, after)
    assert after.threads <= before.threads, (before, after)
    # Pools of the allocator and of Python may grow, by a little and not with each engine.
    assert after.mappings - before.mappings < 64, (before, after)
    assert after.addresses - before.addresses < 1 << 30, (before, after)
    assert after.blocks - before.blocks < 1_000, (before, after)
    assert after.memory - before.memory < (32 << 20), (before, after)
    assert after.linear - before.linear < (32 << 20), (before, after)
    return before, after


def _run(work: Callable[[], Awaitable[None]], loop: str) -> None:
    options = {"use_uvloop": True} if loop == "uvloop" else {}
    anyio.run(work, backend="trio" if loop == "trio" else "asyncio", backend_options=options)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--operations", type=int, default=1_000_000, help="for each kind of database")
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--accounts", type=int, default=20_000)
    parser.add_argument("--opens", type=int, default=100_000)
    parser.add_argument("--loop", choices=("asyncio", "uvloop", "trio"), default="asyncio")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()

    async def soak() -> None:
        with tempfile.TemporaryDirectory() as folder:
            for name in ("memory://", "file:///data/bank") if given.operations else ():
                async with Engine(folder) as engine, await engine.open(name) as db:
                    findings = await transfers(
                        engine,
                        db,
                        tasks=given.tasks,
                        operations=given.operations,
                        accounts=given.accounts,
                        seed=given.seed,
                    )
                outcomes = ", ".join(f"{count} {name}" for name, count in findings.outcomes.most_common())
                print(f"{name}: {findings.outcomes.total()} operations in {findings.seconds:.0f} s: {outcomes}")
                lags = ", ".join(f"{name} {findings.lag(part) * 1e3:.1f} ms" for name, part in LAGS.items())
                print(f"  lag of the loop: {lags}")
                print(f"  before: {findings.before}")
                for live, quarter in zip(findings.live_bytes, findings.quarters, strict=True):
                    print(f"  after a quarter: {quarter}; {live / 2**20:.0f} MiB allocated by the engine", flush=True)
            if given.opens:
                begun = time.perf_counter()
                first, last = await opens(Path(folder), given.opens)
                print(f"{given.opens} opens and closes in {time.perf_counter() - begun:.0f} s")
                print(f"  before: {first}\n  after:  {last}")

    _run(soak, given.loop)


if __name__ == "__main__":
    main()

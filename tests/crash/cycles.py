"""Kills the process again and again, on one directory, and compares what it finds with what was acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import random
import shutil
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import aiostoolap
from tests.crash import child, tables
from tests.crash.child import KEEPER, MOMENTS, Message, Orders
from tests.crash.tables import TASKS, BrokenError, Part

_STALL = 600.0
"""Seconds after which a process that tells nothing counts as hanging."""
_LONGEST_LIFE = 0.4
"""Seconds of work, if no moment has come before."""


class Account:
    """What the process has told, and so what may be there when it is killed."""

    def __init__(self) -> None:
        self.steps: deque[str] = deque(maxlen=100)
        """What it told last, for whoever looks for the reason of a failure."""
        self._parts: list[list[Part]] = [[Part()] for _ in range(TASKS)]
        """What each task had, one after another; the last one is acknowledged."""
        self._begun: dict[int, Part] = {}
        """What a task has if the operation is done that it has begun."""
        self._restored: Sequence[Part] = ()
        """What all tasks have if the restore is done that has begun."""
        self._backup: list[int] | None = None
        """Which of its parts each task had when the backup was begun."""

    def hear(self, message: Message) -> None:
        """Notes what the process tells of an operation."""
        if message.task != KEEPER:
            if message.event == "begun":
                assert message.after is not None
                self._begun[message.task] = message.after
            else:
                self._parts[message.task].append(self._begun.pop(message.task))
        elif message.name == "backup" and message.event == "begun":
            self._backup = self._now()
        elif message.name == "restore":
            self._restored, restored = message.found, self._restored
            for parts, part in zip(self._parts, restored, strict=False):
                parts.append(part)

    def find(self, found: Sequence[Part]) -> None:
        """Compares what is there after an opening, by task, with what may be there.

        Raises:
            BrokenError: it is something else.
        """
        if list(found) != self._restored:
            self._compare(found, self._now())
        self._begun.clear()
        self._restored = ()
        for parts, part in zip(self._parts, found, strict=True):
            parts.append(part)

    def find_backup(self, found: Sequence[Part]) -> None:
        """Compares a backup, by task, with what there was while it was made.

        Raises:
            BrokenError: it is something else.
        """
        if self._backup is None:
            raise BrokenError("there is a backup that was not begun")
        self._compare(found, self._backup)

    def forget_backup(self) -> None:
        """There is none any more."""
        self._backup = None
        self._parts = [parts[-1:] for parts in self._parts]

    def _now(self) -> list[int]:
        return [len(parts) - 1 for parts in self._parts]

    def _compare(self, found: Sequence[Part], since: Sequence[int]) -> None:
        for task, part in enumerate(found):
            allowed = self._parts[task][since[task] :]
            if task in self._begun:
                after, before = self._begun[task], self._parts[task][-1]
                allowed.append(after)
                if after.extra is not None and before.extra is None:
                    # CREATE TABLE AS defines the table first, and then commits its rows.
                    allowed.append(replace(after, extra=replace(after.extra, rows={})))
            if part not in allowed:
                raise BrokenError(f"task {task}: {difference(part, allowed)}")


def difference(found: Part, allowed: Sequence[Part]) -> str:
    """What is wrong, in a few words: beside the last of what it might be, which are acknowledged and begun."""
    lines = []
    for part in allowed[-2:]:
        items = [
            f"item {key}: {_short(found.items.get(key))} for {_short(part.items.get(key))}"
            for key in sorted(found.items.keys() | part.items.keys())
            if found.items.get(key) != part.items.get(key)
        ]
        rest = [
            f"{name}: {_short(getattr(found, name))} for {_short(getattr(part, name))}"
            for name in ("writes", "amount", "extra")
            if getattr(found, name) != getattr(part, name)
        ]
        lines.append("; ".join([*rest, *items[:5]]))
    return f"{len(allowed)} states may be there; beside the last ones: " + " / ".join(lines)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 200 else text[:200] + "..."


class Cycle:
    """One life of the process.

    Args:
        orders: what it is to do.
        account: of what it tells.
        tally: of what has happened.
        rng: when to kill it.
    """

    def __init__(self, orders: Orders, account: Account, tally: Counter[str], rng: random.Random) -> None:
        self._orders = orders
        self._account = account
        self._tally = tally
        self._delay = rng.random() * rng.choice((0.001, 0.01, 0.1))
        # A restore comes late, and surely.
        self._life = _STALL if orders.favourite == "restore" else rng.random() * _LONGEST_LIFE
        self._kill_at = time.monotonic() + _STALL
        self._keeps = "opening"
        """What it does beside its writes."""
        self._opened = False
        """It has opened the database; it may close it and open it again."""

    def run(self) -> None:
        """Starts the process, kills it, and looks at the backup that it may have made.

        Raises:
            BrokenError: the database is not what it may be.
        """
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([child.__name__])
        reader, writer = context.Pipe(duplex=False)
        process = context.Process(target=child.main, args=(self._orders, writer), daemon=True)
        process.start()
        writer.close()
        try:
            self._listen(reader)
            process.kill()
            with contextlib.suppress(EOFError, OSError):  # The last message may be there in part.
                while True:
                    self._hear(reader.recv())
        finally:
            process.kill()
            process.join()
            reader.close()
        if process.exitcode != -signal.SIGKILL:
            raise BrokenError(f"the process ended by itself: {process.exitcode}")
        process.close()
        self._tally["kills"] += 1
        self._tally[f"killed while {self._keeps}"] += 1
        self._look_at_backup()

    def _listen(self, reader: Connection) -> None:
        while (left := self._kill_at - time.monotonic()) > 0:
            if reader.poll(left):
                self._hear(reader.recv())
        if not self._opened and self._orders.favourite != "opening":
            raise BrokenError(f"the process has not opened the database in {_STALL} s")

    def _hear(self, message: Message) -> None:
        event, now = message.event, time.monotonic()
        self._account.steps.append(f"{event} {message.name} {'' if message.task == KEEPER else message.task}".strip())
        if event == "failed":
            raise BrokenError(f"the process failed: {message.name}")
        if event == "opening":
            self._keeps = "opening"
            if self._orders.favourite == "opening":
                self._kill_at = now + self._delay
        elif event == "found":
            self._found(message)
            self._keeps, self._opened = "writing", True
            self._kill_at = now + self._life
        else:
            self._account.hear(message)
            if message.task == KEEPER:
                self._keeps = message.name if event == "begun" else "writing"
                if event == "begun" and message.name == self._orders.favourite:
                    self._kill_at = now + self._delay
            elif event == "done":
                self._tally["commits"] += 1

    def _found(self, message: Message) -> None:
        self._account.find(message.found)
        self._tally["openings"] += 1
        for text in message.warned:
            self._tally[f"warned: {text.split(':')[0]}"] += 1

    def _look_at_backup(self) -> None:
        place = self._orders.folder / "backup"
        if place.exists():
            self._account.find_backup(asyncio.run(_read(place)))
            shutil.rmtree(place)
            self._tally["backups"] += 1
        shutil.rmtree(place.with_name(".backup.partial"), ignore_errors=True)
        self._account.forget_backup()


async def _read(place: Path) -> list[Part]:
    async with aiostoolap.connect(place) as db:
        return await tables.read(db)


def run(
    cycles: int,
    seed: int,
    folder: Path,
    modes: Sequence[str] = ("full",),
    progress: Callable[[int], object] = lambda kills: None,
) -> Counter[str]:
    """Kills the process so many times, each time with one of the sync modes, and reads the database at the end.

    Args:
        cycles: how many times.
        seed: of all that is chosen; the moments of the kills differ each time nevertheless.
        folder: where the database is made, in `db`; `before` is a copy of what the last kill left.
        modes: the sync modes, of those that lose nothing by a kill.
        progress: called after each kill, with how many there were.

    Raises:
        BrokenError: something acknowledged is lost, or something is there in part.
    """
    account, tally = Account(), Counter[str]()
    number = 0
    try:
        for number in range(cycles):
            rng = random.Random(f"{seed}/{number}")
            favourite = rng.choice((*MOMENTS, *[""] * len(MOMENTS)))
            orders = Orders(folder, f"{seed}/{number}/child", rng.choice(modes), favourite)
            _keep(folder)
            account.steps.append(f"kill {number}: {orders.sync_mode}")
            Cycle(orders, account, tally, rng).run()
            progress(number + 1)
        number = cycles
        _keep(folder)
        account.find(asyncio.run(_read(folder / "db")))
    except Exception as error:
        steps = ", ".join(account.steps)
        raise BrokenError(f"seed {seed}, kill {number}, in {folder}: {error}\nafter: {steps}") from error
    return tally


def _keep(folder: Path) -> None:
    """Copies what a kill has left, before anything repairs it."""
    shutil.rmtree(folder / "before", ignore_errors=True)
    if (folder / "db").exists():
        shutil.copytree(folder / "db", folder / "before")

"""Rounds in which all take their turn, and `Field`, the peers that take part in them."""

from __future__ import annotations

import asyncio
import functools
import gc
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.peer import Kind, Peer
from benchmarks.report import Line, Unit

Turn = Callable[[], Awaitable[Mapping[str, float]]]
"""Does the work once, and returns its figures by the names of their lines."""


async def race(
    turns: Mapping[str, Turn],
    rounds: int,
    unit: Unit | Mapping[str, Unit],
    loop: str = "asyncio",
    notes: Mapping[str, str] | None = None,
    *,
    warm: bool = True,
    at: float | None = None,
) -> list[Line]:
    """Lets all take their turn in each round; who fails is out.

    Args:
        turns: what each does in a turn.
        rounds: how many of them count.
        unit: what the figures count, or what those of each line do.
        loop: the event loop.
        notes: who is out already, and why.
        warm: whether there is a round before, which does not count.
        at: the number that the lines are about.
    """
    figures: dict[str, dict[str, list[float]]] = {}
    out = dict(notes or {})
    running = [who for who in turns if who not in out]
    for number in range(-warm, rounds):
        for who in running[number % len(running) :] + running[: number % len(running)]:
            gc.collect()
            with excused(who, out):
                found = await turns[who]()
                for name, value in found.items() if number >= 0 else ():
                    figures.setdefault(name, {}).setdefault(who, []).append(float(value))
        running = [who for who in running if who not in out]
        if not running:
            break
    if not figures:
        return [Line("nothing was measured", Unit.SECONDS, loop, {}, out, at)]
    units = {name: unit if isinstance(unit, Unit) else unit[name] for name in figures}
    return [
        Line(name, units[name], loop, {who: found[who] for who in turns if who in found and who not in out}, out, at)
        for name, found in figures.items()
    ]


@contextmanager
def excused(who: str, out: dict[str, str]) -> Iterator[None]:
    """Notes an error as the reason why somebody is out."""
    try:
        yield
    except (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # A panic of Rust is no Exception.
        out[who] = reason(error)


def reason(error: BaseException) -> str:
    """What went wrong, in a line."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__


class Field:
    """The peers that are open, and why the others are not."""

    def __init__(self) -> None:
        self.peers: dict[str, Peer] = {}
        self.out: dict[str, str] = {}

    async def each(self, step: Callable[[Peer], Awaitable[object]]) -> None:
        """Has each do something once; who fails is out."""
        for who, peer in self.peers.items():
            with excused(who, self.out):
                await step(peer)
        self._part()

    async def agree(self, ask: Callable[[Peer], Awaitable[Sequence[Sequence[Any]]]]) -> None:
        """Has each answer, and sends those away whose answer is not that of the first."""
        answers: dict[str, Sequence[Sequence[Any]]] = {}
        for who, peer in self.peers.items():
            with excused(who, self.out):
                answers[who] = await ask(peer)
        first = next(iter(answers.values()), ())
        for who, found in answers.items():
            if difference := differ(first, found):
                self.out[who] = f"its answer differs: {difference}"
        self._part()

    def _part(self) -> None:
        """Keeps those who are not out."""
        self.peers = {who: peer for who, peer in self.peers.items() if who not in self.out}

    async def race(
        self,
        turn: Callable[[Any], Awaitable[Mapping[str, float]]],
        rounds: int,
        unit: Unit,
        loop: str = "asyncio",
        at: float | None = None,
        beside: Mapping[str, object] | None = None,
    ) -> list[Line]:
        """Lets the peers race, and whoever stands beside them; see `race`."""
        turns = {who: functools.partial(turn, peer) for who, peer in {**self.peers, **(beside or {})}.items()}
        return await race(turns, rounds, unit, loop, self.out, at=at)


@asynccontextmanager
async def field(kinds: Sequence[Kind], folder: Path | None = None) -> AsyncIterator[Field]:
    """Opens the peers that are installed: in memory, or in directories of their own below that one."""
    found = Field()
    async with AsyncExitStack() as stack:
        for number, kind in enumerate(kinds):
            if kind.version is None:
                found.out[kind.name] = "not installed"
                continue
            place = None
            if folder is not None:
                place = folder / str(number)
                place.mkdir()
            with excused(kind.name, found.out):
                found.peers[kind.name] = await stack.enter_async_context(kind.open(place))
        yield found


def differ(wanted: Sequence[Sequence[Any]], found: Sequence[Sequence[Any]]) -> str | None:
    """The first difference of two answers, but for the last digits of numbers; None if there is none."""
    if len(wanted) != len(found):
        return f"{len(found)} rows, not {len(wanted)}"
    for number, (left, right) in enumerate(zip(wanted, found, strict=True)):
        if len(left) != len(right) or not all(map(_same, left, right)):
            return f"row {number} is {tuple(right)}, not {tuple(left)}"
    return None


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, int | float) and isinstance(right, int | float):
        return math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-9)
    if isinstance(left, datetime) and isinstance(right, datetime):
        return left.replace(tzinfo=None) == right.replace(tzinfo=None)  # All are in UTC.
    return bool(left == right)

"""A seeded workload on a database, beside a model of what it should hold."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence
from typing import TypeAlias

from aiostoolap.core import protocol
from aiostoolap.core.protocol import Request
from tests.faults.database import Database, EngineError
from tests.faults.disk import Disk
from tests.faults.model import EXTRA, MismatchError, Row, State, Table, difference, read
from tests.faults.wasi import Observer

Change: TypeAlias = Callable[[Table], Table]
"""What a statement does to a table."""

OPTIONS = "wal_max_size=6000&keep_snapshots=2&compact_threshold=2"
_NO_TABLE = Table((), {}, {})
_NOTE = 1500
"""The longest text of a row."""


class Workload:
    """Makes tables, and then changes them at random.

    Args:
        disk: where the files are.
        seed: of all that is random.
        observer: sees the calls of the engine.
        mode: `sync_mode`.

    Attributes:
        done: what was acknowledged.
        underway: the states that the database may have as well, while a request runs.
        past: all that was acknowledged at some time.
        saved: what the newest snapshot holds.
    """

    def __init__(self, disk: Disk, seed: int, observer: Observer, mode: str = "full") -> None:
        self.disk = disk
        self._observer = observer
        self._seed = seed
        self.mode = mode
        self._options = f"sync_mode={mode}&{OPTIONS}"
        self.rng = random.Random(seed)
        self.done: State = {}
        self.underway: Sequence[State] = ()
        self.past: list[State] = [{}]
        self.saved: State | None = None
        self._keys = 0
        self._db: Database | None = None
        self.step: str = ""

    @property
    def possible(self) -> list[State]:
        """What the database may hold if all ends now."""
        return [self.done, *self.underway]

    @property
    def db(self) -> Database:
        """The database; opened when it is not."""
        if self._db is None:
            self._db = Database(self.disk, self._observer, self._seed, self._options)
        return self._db

    def discard(self) -> None:
        """Drops the instance, as the driver does after an error of the log."""
        if self._db is not None:
            db, self._db = self._db, None
            db.discard()

    def settle(self, found: State) -> None:
        """Says what the database holds, now that nothing is underway."""
        self.done, self.underway = found, ()
        self.past.append(found)

    def prepare(self) -> None:
        """Makes the first tables."""
        self.step = "prepare"
        for name, columns, indexes in (
            ("account", "owner TEXT, balance INTEGER, tag TEXT", {"by_owner": "owner", "by_tag": "tag"}),
            ("ledger", "account INTEGER, amount INTEGER, note TEXT", {"by_account": "account"}),
        ):
            if name not in self.done:
                self._define(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, {columns})")
            for index, column in indexes.items():
                unique = "UNIQUE " if column == "tag" else ""
                if index not in self.done[name].indexes:
                    self._define(f"CREATE {unique}INDEX {index} ON {name} ({column})")

    def run(self, steps: int) -> None:
        """Takes so many steps.

        Raises:
            EngineError: one failed.
        """
        if len(self.done.get("ledger", _NO_TABLE).indexes) < 1:
            self.prepare()
        for _ in range(steps):
            self.take(self.choose())

    def choose(self) -> Callable[[], None]:
        """The next step."""
        kinds: dict[Callable[[], None], int] = {
            self.write: 30,
            self.transaction: 20,
            self.many: 8,
            self.together: 8,
            self.definition: 8,
            self.checkpoint: 7,
            self.vacuum: 3,
            self.snapshot: 3,
            self.reopen: 4,
        }
        return self.rng.choices(list(kinds), list(kinds.values()))[0]

    def take(self, step: Callable[[], None]) -> None:
        self.step = step.__name__
        step()

    # Steps.

    def write(self) -> None:
        """One statement that commits by itself."""
        request, change = self._write(self.done, self.db.handle)
        self._commit(request, change(self.done))

    def transaction(self) -> None:
        """Some statements on two tables."""
        handle = protocol.handle(self.db.ask(protocol.begin(self.db.handle, self.rng.choice([None, "SNAPSHOT"]))))
        state = self.done
        for _ in range(self.rng.randint(2, 6)):
            request, change = self._write(state, handle)
            self.db.ask(request)
            state = change(state)
        if self.rng.random() < 0.8:
            self._commit(protocol.commit(handle), state)
        else:
            self.db.ask(protocol.rollback(handle))

    def many(self) -> None:
        """Many rows, all or none."""
        rows = [self._account() for _ in range(self.rng.randint(2, 70))]
        request = protocol.execute_many(self.db.handle, "INSERT INTO account VALUES ($1, $2, $3, $4)", rows)
        self._commit(request, {**self.done, "account": self.done["account"].having(rows)})

    def together(self) -> None:
        """Requests of several tasks, which share an fsync: durable in their order, and each may fail alone."""
        state, requests, changes, states = self.done, [], [], []
        for _ in range(self.rng.randint(2, 8)):
            request, change = self._write(state, self.db.handle)
            state = change(state)
            requests.append(request)
            changes.append(change)
            states.append(state)
        self.underway = states
        replies = self.db.ask_together(requests)
        if errors := [reply for reply in replies if isinstance(reply, EngineError)]:
            without = self.done
            for reply, change in zip(replies, changes, strict=True):
                without = without if isinstance(reply, EngineError) else change(without)
            self.underway = [*states, without]
            raise errors[0]
        self.past += states
        self.settle(state)

    def definition(self) -> None:
        """CREATE, DROP or ALTER."""
        extra = sorted(name for name in self.done if name.startswith("extra"))
        ledger = self.done["ledger"]
        kind = self.rng.randrange(7)
        unused = sorted(EXTRA - set(extra))
        if (kind < 2 and unused) or not extra:
            self._define(f"CREATE TABLE {unused[0]} (id INTEGER PRIMARY KEY, n INTEGER, note TEXT)")
        elif kind == 6:
            self._define(f"TRUNCATE TABLE {self.rng.choice(extra)}")
        elif kind == 2:
            self._define(f"DROP TABLE {self.rng.choice(extra)}")
        elif kind == 3:
            name = self.rng.choice(extra)
            self._define(f"ALTER TABLE {name} ADD COLUMN c{self._key()} INTEGER")
        elif "by_amount" in ledger.indexes:
            self._define("DROP INDEX by_amount ON ledger")
        else:
            self._define("CREATE INDEX by_amount ON ledger (amount)")

    def checkpoint(self) -> None:
        self.db.maintain("checkpoint")

    def vacuum(self) -> None:
        self.db.maintain("vacuum")
        self.db.maintain("cleanup")

    def snapshot(self) -> None:
        self.db.maintain("checkpoint")
        self.saved = None
        self.db.maintain("snapshot")
        self.saved = self.done

    def restore(self) -> None:
        """Goes back to the newest snapshot. Not chosen at random: one that is interrupted is neither done nor not."""
        assert self.saved is not None
        self._commit(protocol.maintain(self.db.handle, "restore"), self.saved)

    def reopen(self) -> None:
        """Closes the database, which makes a checkpoint, or drops the instance; and opens it again."""
        if self.rng.random() < 0.5 and self._db is not None:
            db, self._db = self._db, None
            db.close()
        else:
            self.discard()
            if self.mode == "none":  # What was in the log's buffer is lost.
                found = read(self.db)
                if found not in self.past:
                    raise MismatchError(f"after a kill: {difference(self.done, found)}")
                self.settle(found)
        assert self.db is not None

    # Parts of steps.

    def _commit(self, request: Request, after: State) -> None:
        self.underway = [after]
        self.db.ask(request)
        self.settle(after)

    def _define(self, sql: str) -> None:
        self._commit(protocol.execute(self.db.handle, sql, None), _defined(self.done, sql))

    def _key(self) -> int:
        self._keys += 1
        return self._keys

    def _account(self) -> Row:
        key = self._key()
        return (key, f"owner {self.rng.randrange(9)}", self.rng.randrange(1000), f"tag {key}")

    def _write(self, state: State, connection: int) -> tuple[Request, Callable[[State], State]]:
        """A statement, and what it does to a state."""
        name = self.rng.choice(list(state))
        table = state[name]
        kind = self.rng.random()
        if kind < 0.5 or not table.rows:
            sql, parameters, change = self._insert(name, table)
        elif kind < 0.8:
            sql, parameters, change = self._update(name, table)
        else:
            sql, parameters, change = self._delete(name, table)
        return protocol.execute(connection, sql, parameters), lambda state: {**state, name: change(state[name])}

    def _insert(self, name: str, table: Table) -> tuple[str, Row, Change]:
        row: Row
        match name:
            case "account":
                row = self._account()
            case "ledger":
                row = (self._key(), self.rng.randrange(1, 40), self.rng.randrange(-99, 99), self._text())
            case _:
                row = (self._key(), self.rng.randrange(9), self._text(), *(None for _ in table.columns[3:]))
        marks = ", ".join(f"${n}" for n in range(1, len(row) + 1))
        return f"INSERT INTO {name} VALUES ({marks})", row, lambda table: table.having([row])

    def _update(self, name: str, table: Table) -> tuple[str, Row, Change]:
        column, target = {"account": ("owner", "balance"), "ledger": ("account", "amount")}.get(name, ("id", "n"))
        place, at = table.columns.index(column), table.columns.index(target)
        value = self.rng.choice(list(table.rows.values()))[place]
        by = self.rng.randrange(1, 50)

        def change(table: Table) -> Table:
            changed = [row for row in table.rows.values() if row[place] == value]
            return table.having([(*row[:at], row[at] + by, *row[at + 1 :]) for row in changed])

        return f"UPDATE {name} SET {target} = {target} + $1 WHERE {column} = $2", (by, value), change

    def _delete(self, name: str, table: Table) -> tuple[str, Row, Change]:
        keys = self.rng.sample(sorted(table.rows), min(len(table.rows), self.rng.randint(1, 3)))
        marks = ", ".join(f"${n}" for n in range(1, len(keys) + 1))
        return f"DELETE FROM {name} WHERE id IN ({marks})", tuple(keys), lambda table: table.having([], keys)

    def _text(self) -> str:
        return self.rng.choice("abcdefgh") * self.rng.choice([1, 20, _NOTE]) + str(self.rng.random())


def _defined(state: State, sql: str) -> State:
    """The state after a definition of this workload."""
    match sql.replace("(", " ").replace(")", " ").replace(",", " ").split():
        case ["CREATE", "TABLE", name, "id", "INTEGER", "PRIMARY", "KEY", *columns]:
            return {**state, name: Table(("id", *columns[::2]), {}, {})}
        case ["TRUNCATE", "TABLE", name]:
            return {**state, name: dataclasses.replace(state[name], rows={})}
        case ["DROP", "TABLE", name]:
            return {other: table for other, table in state.items() if other != name}
        case ["ALTER", "TABLE", name, "ADD", "COLUMN", column, _]:
            table = state[name]
            rows = {key: (*row, None) for key, row in table.rows.items()}
            return {**state, name: Table((*table.columns, column), table.indexes, rows)}
        case ["CREATE", *_, "INDEX", index, "ON", name, column]:
            table = state[name]
            return {**state, name: dataclasses.replace(table, indexes={**table.indexes, index: column})}
        case ["DROP", "INDEX", index, "ON", name]:
            table = state[name]
            left = {other: column for other, column in table.indexes.items() if other != index}
            return {**state, name: dataclasses.replace(table, indexes=left)}
    raise AssertionError(sql)

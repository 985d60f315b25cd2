"""Losses of power with `sync_mode=normal` and `none`, which sync a commit later, or not at all."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.faults import crashes
from tests.faults.database import Database
from tests.faults.disk import Disk

pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("mode", ["normal", "none"])
def test_a_loss_of_power_leaves_an_earlier_moment(mode: str) -> None:
    tally = Counter[str]()
    assert sum(crashes.round_of(78, number, tally, mode=mode) for number in range(3)) >= 100
    assert tally["found another state that may be"]


def test_what_a_killed_process_has_written_is_synced_before_it_is_built_upon() -> None:
    disk, options = Disk(), "sync_mode=normal"
    db = Database(disk, options=options)
    db.execute("CREATE TABLE old (id INTEGER PRIMARY KEY)")
    db.execute("INSERT INTO old VALUES (1)")
    db.execute("CREATE TABLE new (id INTEGER PRIMARY KEY)")  # Which is synced.
    for sql in ("BEGIN", "INSERT INTO new SELECT id FROM old", "DELETE FROM old", "COMMIT"):
        db.execute(sql)
    db.discard()
    Database(disk, options=options).discard()  # Makes volumes of the rows, and ends.
    db = Database(disk.crash(random.Random(1), "none"))
    assert (db.query("SELECT id FROM old"), db.query("SELECT id FROM new")) == ([], [(1,)])
    db.discard()

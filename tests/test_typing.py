"""What type checkers see."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import aiostoolap
import msgspec


class User(msgspec.Struct):
    id: int


async def main(db: aiostoolap.DB, tx: aiostoolap.Tx, statement: aiostoolap.Statement) -> None:
    reveal_type(await db.query("SELECT 1"))
    reveal_type(await db.query("SELECT 1", into=User))
    reveal_type(await tx.query_one("SELECT 1", into=User))
    reveal_type([row async for row in statement.query(into=User)])
    async with db.query("SELECT 1", into=int) as rows:
        reveal_type(await rows.fetchmany())
    reveal_type(await db.execute("SELECT 1"))
    async with aiostoolap.connect() as other:
        reveal_type(other)
    reveal_type(await aiostoolap.connect())
    async with db.transaction() as inner:
        reveal_type(inner)
"""

REVEALED = [
    "Result[Row]",
    "Result[User]",
    "User | None",
    "list[User]",
    "list[int]",
    "int",
    "DB",
    "DB",
    "Tx",
]


def test_revealed_types(tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent.parent)
    assert done.returncode == 0, done.stdout
    found = re.findall(r'Revealed type is "(.*)"', done.stdout)
    assert [re.sub(r"\b(\w+\.)+", "", text) for text in found] == REVEALED

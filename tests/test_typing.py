"""What type checkers see."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

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


@pytest.mark.parametrize(
    ("checker", "revealed"),
    [
        (["mypy", "--strict", "--cache-dir=.mypy_cache"], r'Revealed type is "(.*)"'),
        (["pyright", "--warnings", "--pythonpath", sys.executable], r'Type of ".*" is "(.*)"'),
    ],
    ids=["mypy", "pyright"],
)
def test_revealed_types(tmp_path: Path, checker: list[str], revealed: str) -> None:
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    # The package that these tests are about, also where another one is installed.
    paths = {"MYPYPATH": str(ROOT), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", *checker, str(file)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=os.environ | paths,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.findall(revealed, done.stdout)
    assert [re.sub(r"\b(\w+\.)+", "", text) for text in found] == REVEALED

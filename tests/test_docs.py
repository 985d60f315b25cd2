"""The programs in the documentation run, and warn of nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import program as documented

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
FENCE = re.compile(r"^([ >]*)(`{3,}|~{3,})(.*)$", re.MULTILINE)

# What is not run: commands, files of other tools, drawings, and what Sphinx reads.
OTHER_BLOCKS = {"sh", "text", "dockerfile", "toml", "{toctree}", "{eval-rst}"}


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def programs() -> Iterator[object]:
    """Each program, named by its file and line."""
    for page in PAGES:
        for program in documented.programs(page.read_text(encoding="utf-8")):
            yield pytest.param(page, program, id=f"{name(page)}:{program[0].line}")


@pytest.mark.parametrize(("page", "program"), list(programs()))
def test_program(page: Path, program: list[documented.Block], tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error"]
    text = "".join(block.text for block in program)
    if "\ndef test_" in text or "\nasync def test_" in text:
        (tmp_path / "test_page.py").write_text(text, encoding="utf-8")
        command += ["-m", "pytest", "-p", "no:asyncio", "-p", "no:cacheprovider", "test_page.py"]
    else:
        command += [documented.__file__, str(page), str(program[0].line)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    # What is raised in a finalizer is printed, and changes no exit code.
    assert "Exception ignored" not in ran.stderr


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_no_block_is_passed_over(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    opened = False
    for indent, fence, language in FENCE.findall(text):
        assert (indent, fence) == ("", "```"), "a block that is not found"
        opened = not opened
        assert not opened or language in {"python", *OTHER_BLOCKS}, f"a block of {language!r}"
    assert not opened
    assert len(documented.FENCE.findall(text)) == text.count("\n```python\n")

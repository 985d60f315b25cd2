"""The programs in the documentation run, and warn of nothing; the reference is complete."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import aiostoolap
from tests import program as documented

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
FENCE = re.compile(r"^([ >]*)(`{3,}|~{3,})(.*)$", re.MULTILINE)

# What is not run: commands, files of other tools, drawings, and what Sphinx reads.
OTHER_BLOCKS = {"sh", "text", "dockerfile", "{toctree}", "{eval-rst}"}

# Pages about what older interpreters cannot even parse.
NEWER_PYTHON = {"docs/guides/template-strings.md": (3, 14)}

RAISE_NOTHING = {"Row.keys", "Rows.close", "Rows.rows_affected", "Statement.close", "Tx.is_open"}
# Other modules of the package call these; the reference leaves them out.
INTERNAL = {"Engine.open_dsn", "Rows.has_more", "Rows.release", "Rows.start", "Vector.from_little_endian"}


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
    needed = NEWER_PYTHON.get(name(page), (3, 11))
    if sys.version_info < needed:
        pytest.skip(f"the page is about Python {'.'.join(map(str, needed))}")
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


def test_the_reference_has_all_that_is_public() -> None:
    reference = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "reference").glob("*.md"))
    described = re.findall(r"^\.\. auto(?!module)\w+:: (?:[\w.]+\.)?(\w+)", reference, re.MULTILINE)
    assert sorted(described) == sorted({*aiostoolap.__all__, "OPTIONS"})


def test_what_is_public_says_what_it_raises() -> None:
    silent = set()
    for name in aiostoolap.__all__:
        item = getattr(aiostoolap, name)
        if not inspect.isclass(item) or issubclass(item, BaseException | str):
            continue
        for attribute in (attribute for attribute in dir(item) if not attribute.startswith("_")):
            member = inspect.getattr_static(item, attribute)
            function = getattr(member, "fget", getattr(member, "__func__", member))
            if getattr(function, "__module__", "").startswith("aiostoolap") and "Raises:" not in function.__doc__:
                silent.add(f"{name}.{attribute}")
    assert "Raises:" in (aiostoolap.connect.__doc__ or "")
    assert silent == RAISE_NOTHING | INTERNAL

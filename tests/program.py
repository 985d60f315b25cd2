"""Runs a program of the documentation: `python tests/program.py page.md LINE`, the line at which it begins.

A block of Python that begins with an import begins a program, and the blocks without one after it go on with it. As in
`python -m asyncio`, `await` may stand outside of functions.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A block of Python, and the line of its page where its text begins."""

    line: int
    text: str


def programs(page: str) -> Iterator[list[Block]]:
    """The programs of a page, each as its blocks."""
    program: list[Block] = []
    for found in FENCE.finditer(page):
        if program and found[1].startswith(("import ", "from ")):
            yield program
            program = []
        program.append(Block(page.count("\n", 0, found.start(1)) + 1, found[1]))
    if program:
        yield program


def run(program: list[Block], file: str) -> None:
    """Runs the blocks of a program in order."""
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    with asyncio.Runner() as runner:
        for line, text in program:
            # Errors name the line of the page.
            source = "\n" * (line - 1) + text
            code = compile(source, file, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
            main = types.FunctionType(code, vars(module))
            if code.co_flags & inspect.CO_COROUTINE:
                runner.run(main())
            else:
                main()


if __name__ == "__main__":
    page = Path(sys.argv[1]).read_text(encoding="utf-8")
    run(next(program for program in programs(page) if program[0].line == int(sys.argv[2])), sys.argv[1])

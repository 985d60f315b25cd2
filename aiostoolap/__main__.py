"""`python -m aiostoolap precompile`: fills the cache of compiled engines, for container images."""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path

from aiostoolap import __version__
from aiostoolap.core import cache, modules
from aiostoolap.errors import InterfaceError


class _Failure(logging.Handler):
    """What is a warning elsewhere, that the engine cannot be cached, is a failure here."""

    def emit(self, record: logging.LogRecord) -> None:
        raise SystemExit(record.getMessage())


def main() -> None:
    logging.getLogger("aiostoolap").addHandler(_Failure(logging.WARNING))
    parser = argparse.ArgumentParser(prog="python -m aiostoolap")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    precompile = commands.add_parser(
        "precompile", help="compile the engine into the cache, so that the first start is fast"
    )
    precompile.add_argument("--wasm", type=Path, default=modules.BUNDLED, help="another build of the engine")
    arguments = parser.parse_args()
    begun = time.perf_counter()
    modules.load(arguments.wasm)
    print(f"the engine is in {cache.directory()} ({time.perf_counter() - begun:.1f} s)")


if __name__ == "__main__":
    try:
        main()
    except InterfaceError as error:
        raise SystemExit(str(error)) from None

"""Names that try to lead elsewhere."""

from __future__ import annotations

import random
from pathlib import Path
from urllib.parse import quote

PARTS = (
    *("..", "..", "..", ".", "", " ", ".. ", "...", "~", "$HOME", "*", "C:", "\\", "..\\", "..\\..\\outside", "\u2025"),
    *(
        "\uff0e\uff0e",
        "%2e%2e",
        "%2e%2e%2f",
        "..%2f",
        "%252e%252e",
        "%c0%ae%c0%ae",
        "%00",
        "\0",
        "\n",
        "\r",
        "\t",
        "'",
        '"',
    ),
    *("\udc80", "\udcff", "\U0001f980", "x" * 300, "x" * 5000, "?", "#", "&", ";", "|", "%", "%zz"),
    *("db", "link", "absolute", "chain", "loop", "dangling", "inner", "outside", "root", "imports", "data", "import"),
    *("wal", "volumes", "snapshots", "db.lock", "aiostoolap.json", "file", "pipe.csv", "good.csv", "canary.csv"),
    *("link.csv", "absolute.csv", "same.csv", "etc", "passwd", "proc", "self", "fd", "3", "environ", "dev", "stdin"),
)


def hostile(source: random.Random, folder: Path) -> str:
    """A name, of one part to eight.

    Args:
        source: chooses.
        folder: where the directories of the ground are.
    """
    name = source.choice(("/", "/", "//")).join(source.choice(PARTS) for _ in range(source.randint(1, 8)))
    name = source.choice(("", "", "", "/", "//", "./", "../", "/data/", "/import/", "/data/../", "/import/../")) + name
    name = source.choice(("", "", "", f"{folder}/outside/", f"{folder}/")) + name
    name += source.choice(("", "", "", "/", "/.", "/..", "//", "\0", "\0.csv", "%00.csv"))
    return source.choice((str, str, str, encoded))(name)


def encoded(name: str) -> str:
    """The name as URLs have it."""
    return quote(name, safe="", errors="replace")

"""A directory for an engine, with what tempts it to leave, and one outside of it that nothing may touch."""

from __future__ import annotations

import os
from pathlib import Path

SECRET = "what only the canary says"


class Ground:
    """Makes the directories.

    Args:
        folder: where.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "root"
        self.imports = folder / "imports"
        self.outside = folder / "outside"
        for made in (self.root / "inner", self.imports / "inner", self.outside / "inner", self.outside / "wal"):
            made.mkdir(parents=True)
        for canary in ("canary.csv", "inner/canary.csv", "wal/wal-20260101-000000-lsn-0.log", "db.lock"):
            (self.outside / canary).write_text(f"7,{SECRET}\n")
        (self.root / "file").write_text("a plain file")
        (self.imports / "good.csv").write_text("1,good\n2,good\n")
        (self.imports / "inner" / "good.csv").write_text("3,good\n")
        os.mkfifo(self.imports / "pipe.csv")
        for base in (self.root, self.imports):
            links = {
                "link": "../outside",
                "absolute": str(self.outside),
                "chain": "link",
                "loop": "loop",
                "dangling": "../outside/new",
                "inner/link": "../../outside",
                "link.csv": "../outside/canary.csv",
                "absolute.csv": str(self.outside / "canary.csv"),
                "same.csv": "inner/good.csv",
            }
            for name, target in links.items():
                (base / name).symlink_to(target)
        self._before = self._look()

    def _look(self) -> list[tuple[str, int, bytes]]:
        found = []
        for path in sorted(self.outside.rglob("*")):
            content = path.read_bytes() if path.is_file() else b""
            found.append((str(path), path.lstat().st_mtime_ns, content))
        return found

    def check(self) -> None:
        """Asserts that nothing outside was changed."""
        assert self._look() == self._before
        assert sorted(path.name for path in self.folder.iterdir()) == ["imports", "outside", "root"]

"""The structure: imports point one way, each foreign library has one home, all that is public is exported."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import types
from pathlib import Path

import aiostoolap

PACKAGE = Path(aiostoolap.__file__).parent

# Each module may import those that stand before it.
ORDER = [
    "errors",
    "seconds",
    "directory",
    "core.protocol",
    "core.extensions",
    "core.inheritance",
    "core.ring",
    "core.cache",
    "core.function",
    "core.alarm",
    "core.modules",
    "core.runtime",
    "core.loops",
    "core.processors",
    "core.pace",
    "core.lifetime",
    "core.lanes",
    "core.bell",
    "core.call",
    "core.placement",
    "core.exchange",
    "core.instances",
    "core.watch",
    "core.server",
    "core.executor",
    "core.caller",
    "values",
    "sql",
    "dsn",
    "stamp",
    "locks",
    "logs",
    "backup",
    "maintenance",
    "stats",
    "observe",
    "row",
    "rows",
    "shapes",
    "verbs",
    "session",
    "transaction",
    "lease",
    "db",
    "engine",
    "connect",
    "__init__",
    "__main__",
]
HOMES = {
    "wasmtime": {"core.modules", "core.function", "core.alarm", "core.runtime"},
    "ctypes": {"core.modules", "core.function", "core.runtime"},
    "msgspec": {"core.protocol", "core.extensions", "core.call", "shapes"},
    "trio": {"core.loops"},
    "asyncio": {"core.loops"},
    "pydantic": {"shapes"},
    "fcntl": {"locks"},
}


def modules() -> dict[str, ast.Module]:
    files = {
        file.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", "."): file for file in PACKAGE.rglob("*.py")
    }
    return {name: ast.parse(file.read_text()) for name, file in files.items() if name != "core.__init__"}


def imports(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_every_module_has_its_place() -> None:
    assert sorted(modules()) == sorted(ORDER)


def test_imports_point_one_way() -> None:
    for name, tree in modules().items():
        for imported in imports(tree):
            inner = imported.removeprefix("aiostoolap.")
            if imported.startswith("aiostoolap.") and inner in ORDER:
                assert ORDER.index(inner) < ORDER.index(name), f"{name} imports {inner}"


def test_each_foreign_library_has_one_home() -> None:
    for name, tree in modules().items():
        for imported in imports(tree):
            home = HOMES.get(imported.split(".")[0])
            assert home is None or name in home, f"{name} imports {imported}"


def test_modules_are_short() -> None:
    for file in PACKAGE.rglob("*.py"):
        assert len(file.read_text().splitlines()) <= 400, file.name


def test_all_is_complete_and_sorted() -> None:
    exported = aiostoolap.__all__
    assert len(exported) == len(set(exported))  # That it is sorted, ruff sees to.
    public = {
        name
        for name, item in vars(aiostoolap).items()
        if not name.startswith("_") and not isinstance(item, types.ModuleType)
    }
    assert public == set(exported)


def test_all_that_is_public_is_documented() -> None:
    for name in aiostoolap.__all__:
        item = getattr(aiostoolap, name)
        if not inspect.isclass(item) and not inspect.isfunction(item):
            continue
        assert item.__doc__, name
        for method, function in vars(item).items() if inspect.isclass(item) else ():
            if not method.startswith("_") and inspect.isfunction(function):
                assert function.__doc__, f"{name}.{method}"


def test_importing_it_imports_neither_wasmtime_nor_an_extra() -> None:
    program = "import sys, aiostoolap; print(*sorted({'wasmtime', 'trio', 'pydantic', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_every_patch_is_described() -> None:
    engine = PACKAGE.parent / "engine"
    described = re.findall(r"^\| `(\S+\.patch)` \| \S.* \|$", (engine / "README.md").read_text(encoding="utf-8"), re.M)
    assert described == sorted(path.name for path in (engine / "patches").iterdir())

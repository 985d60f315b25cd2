"""The compiled module's cache, and modules that are not ours."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest
import wasmtime

import aiostoolap
from aiostoolap.core import cache, modules


@pytest.fixture
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("AIOSTOOLAP_CACHE", str(folder))
    monkeypatch.setattr(modules, "_modules", {})
    return folder


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A module that compiles at once."""
    file = tmp_path / "tiny.wasm"
    file.write_bytes(wasmtime.wat2wasm('(module (func (export "nothing")))'))
    return file


def test_a_compiled_module_is_kept(cache_folder: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = modules.load(tiny)
    assert modules.load(tiny) is first
    kept = sorted(cache_folder.iterdir())
    assert len(kept) == 2  # The alarm's, too.
    assert cache_folder.stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr(modules, "_modules", {})
    monkeypatch.setattr(wasmtime.Module, "from_file", lambda *_: pytest.fail("it was compiled again"))
    monkeypatch.setattr(wasmtime, "wat2wasm", lambda *_: pytest.fail("the alarm was compiled again"))
    modules.load(tiny)
    assert sorted(cache_folder.iterdir()) == kept


def test_a_damaged_cache_is_replaced(cache_folder: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modules.load(tiny)
    for kept in cache_folder.iterdir():
        kept.write_bytes(b"nonsense")
    monkeypatch.setattr(modules, "_modules", {})
    modules.load(tiny)
    assert all(kept.stat().st_size > 100 for kept in cache_folder.iterdir())


def test_a_cache_that_others_can_write_is_not_trusted(
    cache_folder: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    modules.load(tiny)
    for kept in cache_folder.iterdir():
        kept.chmod(0o666)
    monkeypatch.setattr(modules, "_modules", {})
    monkeypatch.setattr(wasmtime.Module, "deserialize_file", lambda *_: pytest.fail("it was loaded"))
    modules.load(tiny)
    cache_folder.chmod(0o777)
    monkeypatch.setattr(modules, "_modules", {})
    modules.load(tiny)
    assert "not this user's alone" in caplog.text


def test_a_cache_behind_a_link_is_not_trusted(cache_folder: Path, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    cache_folder.symlink_to(tmp_path / "elsewhere")
    modules.load(tiny)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_no_place_for_a_cache(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AIOSTOOLAP_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(modules, "_modules", {})
    modules.load(tiny)
    assert caplog.text.count("no directory") == 1


def test_a_full_disk(
    cache_folder: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "aiostoolap")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    modules.load(tiny)
    assert caplog.text.count("could not be cached") == 1


def test_directories_for_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AIOSTOOLAP_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    for platform in ("linux", "win32", "darwin"):
        monkeypatch.setattr(sys, "platform", platform)
        assert cache.directory().name == "aiostoolap"


async def test_modules_that_are_not_ours(cache_folder: Path, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "text.wasm").write_text("not WebAssembly")
    (tmp_path / "old.wasm").write_bytes(
        wasmtime.wat2wasm(
            '(module (memory (export "memory") 1) (func (export "abi_version") (result i32) i32.const 0))'
        )
    )
    for name, reason in (
        ("missing.wasm", "cannot be read"),
        ("nul\0.wasm", "cannot be read"),
        ("text.wasm", "not a WebAssembly module"),
        ("tiny.wasm", "is missing"),
        ("old.wasm", "version 0 of the protocol"),
    ):
        with pytest.raises(aiostoolap.InterfaceError, match=reason):
            await aiostoolap.connect(wasm=tmp_path / name)


def test_precompile(cache_folder: Path, tiny: Path) -> None:
    command = [sys.executable, "-m", "aiostoolap", "precompile", "--wasm", str(tiny)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert str(cache_folder) in done.stdout
    assert len(list(cache_folder.iterdir())) == 2


def test_precompile_fails_if_nothing_is_cached(cache_folder: Path, tiny: Path) -> None:
    """An image that is built so would compile the engine at each start."""
    command = [sys.executable, "-m", "aiostoolap", "precompile", "--wasm"]
    missing = subprocess.run([*command, tiny.with_name("no.wasm")], capture_output=True, text=True, check=False)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr.startswith("the engine's module cannot be read")
    cache_folder.write_text("no directory")
    refused = subprocess.run([*command, tiny], capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("no directory for the compiled engine")


def test_the_committed_binary_belongs_to_its_inputs() -> None:
    manifest = Path(__file__).parent.parent / "engine" / "manifest.py"
    subprocess.run([sys.executable, manifest], check=True)

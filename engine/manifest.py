"""What stoolap.wasm was built from: writes and checks aiostoolap/stoolap.wasm.json.

python3 engine/manifest.py             the committed binary belongs to the committed inputs
python3 engine/manifest.py --check     and so does the binary just built (engine/build.sh --check)
python3 engine/manifest.py --write     takes the binary just built (engine/build.sh)
"""

import hashlib
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

ENGINE = Path(__file__).parent
BUILT = ENGINE / "target" / "stoolap.wasm"
VERSIONS = ENGINE / "target" / "versions"
COMMITTED = ENGINE.parent / "aiostoolap" / "stoolap.wasm"
MANIFEST = COMMITTED.with_suffix(".wasm.json")
INPUTS = ("Cargo.toml", "Cargo.lock", "*.rs", "build.sh", "src/*.rs", "patches/*.patch")


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def inputs() -> dict[str, str]:
    files = sorted(file for pattern in INPUTS for file in ENGINE.glob(pattern))
    return {file.relative_to(ENGINE).as_posix(): sha256(file) for file in files}


def crate_version() -> str:
    found = re.search(r'^stoolap = \{ version = "=([^"]+)"', (ENGINE / "Cargo.toml").read_text(), re.MULTILINE)
    if found is None:
        sys.exit("engine/Cargo.toml does not pin the crate stoolap")
    return found[1]


def write() -> None:
    rustc, linker = VERSIONS.read_text().splitlines()
    shutil.copyfile(BUILT, COMMITTED)
    manifest = {
        "output": {"sha256": sha256(COMMITTED), "bytes": COMMITTED.stat().st_size},
        "stoolap": crate_version(),
        "rustc": rustc,
        "linker": linker,
        "inputs": inputs(),
    }
    MANIFEST.write_text(json.dumps(manifest, indent=2) + "\n")
    print(f"{COMMITTED.name}: {manifest['output']}")


def problems(manifest: dict[str, Any]) -> list[str]:
    found = []
    if sha256(COMMITTED) != manifest["output"]["sha256"]:
        found.append("aiostoolap/stoolap.wasm is not the binary that stoolap.wasm.json describes")
    if crate_version() != manifest["stoolap"]:
        found.append("engine/Cargo.toml pins another version of the crate")
    now, noted = inputs(), manifest["inputs"]
    changed = sorted(name for name in now.keys() | noted.keys() if now.get(name) != noted.get(name))
    if changed:
        found.append(f"changed since the binary was built: {', '.join(changed)}; run engine/build.sh")
    return found


def check_build(manifest: dict[str, Any]) -> list[str]:
    if sha256(BUILT) == manifest["output"]["sha256"]:
        return []
    rustc, linker = VERSIONS.read_text().splitlines()
    return [
        f"the build differs from the committed binary; built now with {rustc} and {linker}, "
        f"then with {manifest['rustc']} and {manifest['linker']}"
    ]


def main() -> None:
    if "--write" in sys.argv:
        write()
    manifest = json.loads(MANIFEST.read_text())
    found = problems(manifest) + (check_build(manifest) if "--check" in sys.argv else [])
    if found:
        sys.exit("\n".join(found))
    print("stoolap.wasm belongs to engine/ as it is")


if __name__ == "__main__":
    main()

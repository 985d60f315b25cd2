#!/bin/sh
# Builds aiostoolap/stoolap.wasm from this folder, and writes beside it what it was built from.
#
#   engine/build.sh            build and replace the committed binary
#   engine/build.sh --check    build, and compare with the committed binary
#   engine/build.sh --lint     rustfmt and clippy, warnings as errors
#
# Uses the toolchain that AIOSTOOLAP_RUST names: "debian" (the default, see engine/toolchain), or "here", for a cargo of
# this machine with the target wasm32-wasip1, rust-src, wasm-ld and llvm-ar on the PATH.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mode=${1-}

if [ "${AIOSTOOLAP_INSIDE-}" = "" ] && [ "${AIOSTOOLAP_RUST:-debian}" = debian ]; then
    mkdir -p "$here/target"
    case "$mode" in --lint) ;; *) rm -f "$here/target/stoolap.wasm" ;; esac
    "$here/toolchain" run env AIOSTOOLAP_INSIDE=1 RUSTC_BOOTSTRAP=1 CARGO_HOME=/engine/target/cargo ./build.sh "$mode"
elif [ "${AIOSTOOLAP_INSIDE-}" = "" ]; then
    AIOSTOOLAP_INSIDE=1 RUSTC_BOOTSTRAP=1 CARGO_HOME="$here/target/cargo" "$here/build.sh" "$mode"
else
    cd "$here"
    export CARGO_HOME
    version=$(sed -n 's/^stoolap = { version = "=\([^"]*\)".*/\1/p' Cargo.toml)

    # The crate as the registry has it, with our patches.
    cargo fetch --locked --quiet
    registry=$(ls -d "$CARGO_HOME"/registry/src/*/)
    patched=target/stoolap-$version
    patches=$(cat patches/*.patch | sha256sum)
    if [ "$(cat "$patched/.patches" 2>/dev/null)" != "$patches" ]; then
        rm -rf "$patched"
        cp -r "${registry}stoolap-$version" "$patched"
        for patch in patches/*.patch; do
            patch --directory="$patched" --strip=1 --forward --silent < "$patch"
        done
        # Only the library: linking the crate's own shared object doubles the build.
        sed -i '/^crate-type = \[/,/^\]/c crate-type = ["rlib"]' "$patched/Cargo.toml"
        # The crate's build script asks to be run again whenever these are missing.
        mkdir -p "$patched/.git/refs/heads"
        touch "$patched/.git/HEAD"
        echo "$patches" > "$patched/.patches"
    fi

    # The same input gives the same bytes: no time, no commit, no path of this machine.
    export STOOLAP_BUILD_TIME=unknown STOOLAP_GIT_COMMIT=unknown
    sysroot=$(rustc --print sysroot)
    flags="-Cpanic=unwind -Zunstable-options -Cllvm-args=-wasm-use-legacy-eh=false"
    flags="$flags -Ctarget-feature=+exception-handling,+simd128,+bulk-memory,+nontrapping-fptoint,+sign-ext,+mutable-globals"
    # Of prefixes that match, the last one counts.
    flags="$flags --remap-path-prefix=$sysroot=/rust --remap-path-prefix=/usr/src=/rust/src"
    flags="$flags --remap-path-prefix=$here=/engine --remap-path-prefix=$registry=/crates/"
    export RUSTFLAGS="-L $here/target/objects $flags"
    export CARGO_TARGET_WASM32_WASIP1_LINKER=wasm-ld

    # What is compiled apart: the linker looks for one as a library, and the other has a feature that the rest has not.
    mkdir -p target/objects
    object="rustc --edition 2024 --target wasm32-wasip1 --crate-type lib --emit=obj -O $flags"
    $object unwind.rs -o target/objects/unwind.o
    $object -Ctarget-feature=+atomics atomics.rs -o target/objects/atomics.o
    $object memcmp.rs -o target/objects/memcmp.o
    rm -f target/objects/libunwind.a
    llvm-ar crsD target/objects/libunwind.a target/objects/unwind.o

    set -- --release --target wasm32-wasip1 -Zbuild-std=std,panic_unwind \
        --config "patch.crates-io.stoolap.path=\"$here/$patched\""
    # cargo would note in the lock file that the crate is patched.
    cp Cargo.lock target/Cargo.lock.committed
    trap 'cp target/Cargo.lock.committed Cargo.lock' EXIT
    if [ "$mode" = --lint ]; then
        rustfmt --edition 2024 --check build.rs unwind.rs atomics.rs memcmp.rs src/*.rs
        cargo clippy "$@" -- --deny warnings
    else
        cargo build "$@"
        cp target/wasm32-wasip1/release/aiostoolap_engine.wasm target/stoolap.wasm
        {
            rustc --version
            wasm-ld --version
        } > target/versions
    fi
    exit
fi

case "$mode" in
--lint) ;;
--check) python3 "$here/manifest.py" --check ;;
*) python3 "$here/manifest.py" --write ;;
esac

//! Link arguments: our own fsync and memcmp around the C library's, a stack for deeply nested SQL, and what is compiled apart.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=--wrap=fsync");
    println!("cargo:rustc-cdylib-link-arg=-zstack-size=33554432");
    println!("cargo:rustc-cdylib-link-arg=target/objects/atomics.o");
    println!("cargo:rustc-cdylib-link-arg=target/objects/memcmp.o");
    println!("cargo:rustc-cdylib-link-arg=--wrap=memcmp");
}

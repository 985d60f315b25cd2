//! Link arguments: our own fsync around the C library's, and a stack for deeply nested SQL.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=--wrap=fsync");
    println!("cargo:rustc-cdylib-link-arg=-zstack-size=33554432");
}

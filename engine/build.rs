//! Link arguments: our own fsync around the C library's, a stack for deeply nested SQL, and the object of atomics.rs.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=--wrap=fsync");
    println!("cargo:rustc-cdylib-link-arg=-zstack-size=33554432");
    println!("cargo:rustc-cdylib-link-arg=target/objects/atomics.o");
}

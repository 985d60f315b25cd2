//! The Stoolap engine behind one call: `serve` takes MessagePack requests from a ring in linear memory and leaves replies.
//!
//! The host's side of it is described in docs/protocol.md. The files: `ring` (requests come and replies go), `guard`
//! (stops, the memory limit and panics become errors), `wire` (MessagePack), `sql` (what a statement is before it runs),
//! `names` (whether its columns are there), `joins` (conditions of joins), `references` (foreign keys between transactions), `database`, `connection`
//! (transactions), `session` (handles), `requests` (what each request does), `restore` (of snapshots), `errors` (stable
//! codes), `files` (fsync).
#![feature(alloc_error_hook, core_intrinsics, internal_output_capture, link_llvm_intrinsics, thread_local)]
#![allow(internal_features)] // Catching our own exception has no stable name.

mod aliases;
mod comparisons;
mod connection;
mod database;
mod differences;
mod errors;
mod files;
mod groups;
mod guard;
mod joins;
mod kinds;
mod names;
mod references;
mod requests;
mod restore;
mod ring;
mod session;
mod sql;
mod wire;

use std::cell::RefCell;

use requests::Engine;
use ring::Ring;

/// The version of the interface: the host refuses a module with another one.
const ABI_VERSION: u32 = 4;

#[derive(Default)]
struct Instance {
    engine: Engine,
    ring: Ring,
    input: Vec<u8>,
}

thread_local! {
    static INSTANCE: RefCell<Instance> = RefCell::default();
}

fn with_instance<R>(call: impl FnOnce(&mut Instance) -> R) -> R {
    INSTANCE.with(|instance| call(&mut instance.borrow_mut()))
}

#[unsafe(no_mangle)]
pub extern "C" fn abi_version() -> u32 {
    ABI_VERSION
}

/// Where the ring lies; its layout is that of `ring::Shared`.
#[unsafe(no_mangle)]
pub extern "C" fn ring() -> *const u8 {
    guard::install();
    ring::address()
}

/// No memory limit is to keep a database from being closed.
const ALWAYS_FITS: usize = 1 << 16;

/// Makes room for a body of up to `capacity` bytes and returns its address, which holds until the next such call; null if
/// the memory limit leaves no room for one of more than 64 KiB.
#[unsafe(no_mangle)]
pub extern "C" fn input(capacity: usize) -> *mut u8 {
    with_instance(|instance| {
        instance.input = Vec::new();
        guard::make_room();
        let fits =
            capacity <= ALWAYS_FITS || guard::live_bytes().saturating_add(capacity) <= guard::memory_limit();
        if !fits || instance.input.try_reserve_exact(capacity).is_err() {
            return std::ptr::null_mut();
        }
        instance.input.resize(capacity, 0);
        instance.input.as_mut_ptr()
    })
}

/// Serves the requests of the ring until the host is needed; the result says for what, see `ring::Left`.
#[unsafe(no_mangle)]
pub extern "C" fn serve() -> u64 {
    with_instance(|instance| instance.ring.serve(&mut instance.engine).into())
}

/// Runs the request of a slot whose body, of `length` bytes, is in the input buffer. The host publishes the reply.
#[unsafe(no_mangle)]
pub extern "C" fn run(slot: usize, length: usize) {
    with_instance(|Instance { engine, ring, input }| {
        ring.run_attended(engine, slot, &input[..length.min(input.len())])
    });
}

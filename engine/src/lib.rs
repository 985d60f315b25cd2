//! The Stoolap engine behind one call: `run` takes a batch of MessagePack requests and leaves a batch of replies.
//!
//! The host's side of it is described in docs/protocol.md. The files: `guard` (stops, the memory limit and panics become
//! errors), `wire` (MessagePack), `sql` (what a statement is before it runs), `session` (handles, connections,
//! transactions), `requests` (what each request does), `errors` (stable codes), `files` (fsync of directories).
#![feature(alloc_error_hook, core_intrinsics, internal_output_capture, link_llvm_intrinsics, thread_local)]
#![allow(internal_features)] // Catching our own exception has no stable name.

mod errors;
mod files;
mod guard;
mod requests;
mod session;
mod sql;
mod wire;

use std::cell::RefCell;
use std::time::{Duration, Instant};

use requests::Engine;
use wire::{Reader, Writer};

/// The version of the interface: the host refuses a module with another one.
const ABI_VERSION: u32 = 1;

/// A batch is given back unfinished after this time, so that its replies do not wait for each other.
const BATCH_TIME: Duration = Duration::from_millis(1);

/// A larger buffer of replies is given back when the next batch begins.
const KEPT_BUFFER: usize = 1 << 22;

struct Instance {
    engine: Engine,
    input: Vec<u8>,
    output: Vec<u8>,
}

thread_local! {
    static INSTANCE: RefCell<Instance> = RefCell::new(Instance {
        engine: Engine::default(),
        input: Vec::new(),
        output: Vec::new(),
    });
}

fn with_instance<R>(call: impl FnOnce(&mut Instance) -> R) -> R {
    INSTANCE.with(|instance| call(&mut instance.borrow_mut()))
}

#[unsafe(no_mangle)]
pub extern "C" fn abi_version() -> u32 {
    ABI_VERSION
}

/// Where the host writes the number of a request that is to stop: a word for each place in a batch.
#[unsafe(no_mangle)]
pub extern "C" fn stop_slots() -> *const u8 {
    guard::stop_slots()
}

/// Makes room for batches of up to `capacity` bytes and returns its address, which holds until the next such call; null
/// if the memory limit leaves no room.
#[unsafe(no_mangle)]
pub extern "C" fn input(capacity: usize) -> *mut u8 {
    with_instance(|instance| {
        instance.input = Vec::new();
        let fits = guard::live_bytes().saturating_add(capacity) <= guard::memory_limit();
        if !fits || instance.input.try_reserve_exact(capacity).is_err() {
            return std::ptr::null_mut();
        }
        instance.input.resize(capacity, 0);
        instance.input.as_mut_ptr()
    })
}

/// Runs the batch of `length` bytes in the input buffer and returns where the replies are: the address in the upper 32
/// bits, the length in the lower ones. They hold until the next call.
///
/// A batch is an array of `[number, request]`; its replies are an array of `[number, ok, body, warnings]`, in order. The
/// replies may be fewer than the requests: the rest did not run, and is to be sent again.
#[unsafe(no_mangle)]
pub extern "C" fn run(length: usize) -> u64 {
    guard::install();
    with_instance(|instance| {
        let Instance { engine, input, output } = instance;
        output.clear();
        output.shrink_to(KEPT_BUFFER);
        let mut writer = Writer::new(output);
        let replies = writer.open_array();
        let mut reader = Reader::new(&input[..length.min(input.len())]);
        let begun = Instant::now();
        let requests = reader.array().unwrap_or(0);
        let mut done = 0;
        while done < requests {
            if !matches!(reader.array(), Ok(2)) {
                break;
            }
            let Ok(number) = reader.number() else { break };
            engine.reply(done as usize, number, &mut reader, &mut writer);
            done += 1;
            if begun.elapsed() > BATCH_TIME {
                break;
            }
        }
        writer.close_array(replies, done);
        ((output.as_ptr() as u64) << 32) | output.len() as u64
    })
}

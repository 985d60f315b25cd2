//! The two accesses to words that the host's threads use at the same time, as real atomic instructions: the rest of the
//! module is compiled without them, for it has one thread. Built to an object of its own by `build.sh`.
#![no_std]

use core::sync::atomic::{AtomicU32, Ordering::SeqCst};

/// # Safety
/// `word` is the address of an aligned word.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atomic_load(word: *const u32) -> u32 {
    unsafe { (*word.cast::<AtomicU32>()).load(SeqCst) }
}

/// # Safety
/// `word` is the address of an aligned word.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atomic_store(word: *mut u32, value: u32) {
    unsafe { (*word.cast::<AtomicU32>()).store(value, SeqCst) }
}

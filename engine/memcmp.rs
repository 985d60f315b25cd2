//! `memcmp` by words: the C library's goes byte by byte, and texts are compared by it. The linker puts this one in its
//! place (`--wrap`). Built to an object of its own by `build.sh`.
#![no_std]
#![no_builtins]

/// # Safety
/// Both are the addresses of `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __wrap_memcmp(left: *const u8, right: *const u8, length: usize) -> i32 {
    macro_rules! compare {
        ($word:ty, $at:expr) => {{
            let at = $at;
            let (a, b) = unsafe {
                (
                    left.add(at).cast::<$word>().read_unaligned(),
                    right.add(at).cast::<$word>().read_unaligned(),
                )
            };
            if a != b {
                return if a.swap_bytes() < b.swap_bytes() { -1 } else { 1 };
            }
        }};
    }
    // The last word may overlap with the one before, whose bytes are equal.
    match length {
        0 => {}
        1..4 => {
            compare!(u8, 0);
            compare!(u8, length / 2);
            compare!(u8, length - 1);
        }
        4..8 => {
            compare!(u32, 0);
            compare!(u32, length - 4);
        }
        _ => {
            let mut at = 0;
            while at < length - 8 {
                compare!(u64, at);
                at += 8;
            }
            compare!(u64, length - 8);
        }
    }
    0
}

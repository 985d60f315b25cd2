//! What the linker wants as libunwind: the tag of the exceptions, and the two calls that the standard library's panic
//! runtime makes. Built to an object of its own by `build.sh`.
#![no_std]
#![feature(link_llvm_intrinsics, asm_experimental_arch)]
#![allow(internal_features)] // The throwing instruction has no stable name.
#![allow(non_snake_case)] // The names are fixed by the C++ exception interface.

core::arch::global_asm!(".globl __cpp_exception", ".tagtype __cpp_exception i32", "__cpp_exception:");

unsafe extern "C-unwind" {
    #[link_name = "llvm.wasm.throw"]
    fn wasm_throw(tag: i32, exception: *mut u8) -> !;
}

#[repr(C)]
pub struct Exception {
    class: u64,
    cleanup: Option<extern "C" fn(reason: i32, exception: *mut Exception)>,
    private: [*const u8; 2],
}

/// # Safety
/// `exception` is what the panic runtime allocated.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _Unwind_RaiseException(exception: *mut u8) -> i32 {
    unsafe { wasm_throw(0, exception) }
}

/// # Safety
/// `exception` is one that was raised by `_Unwind_RaiseException` and caught.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _Unwind_DeleteException(exception: *mut Exception) {
    unsafe {
        if let Some(cleanup) = (*exception).cleanup {
            cleanup(1, exception);
        }
    }
}

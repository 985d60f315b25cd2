//! fsync of directories: the WASI host has none, so ours is asked.

const EBADF: i32 = 8;

unsafe extern "C" {
    fn __real_fsync(descriptor: i32) -> i32;
}

#[link(wasm_import_module = "aiostoolap")]
unsafe extern "C" {
    /// Makes the entries of all directories durable; 0, or an errno of WASI.
    fn sync_directories() -> i32;
}

/// # Safety
/// Called by the C library's users in place of its `fsync`, with any number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __wrap_fsync(descriptor: i32) -> i32 {
    let result = unsafe { __real_fsync(descriptor) };
    if result == 0 || std::io::Error::last_os_error().raw_os_error() != Some(EBADF) {
        return result;
    }
    match sync_all_directories() {
        Ok(()) => 0,
        Err(errno) => {
            unsafe { set_errno(errno) };
            -1
        }
    }
}

/// Makes the entries of all directories durable: the engine itself does not after it has made the first log file.
pub fn sync_all_directories() -> Result<(), i32> {
    match unsafe { sync_directories() } {
        0 => Ok(()),
        errno => Err(errno),
    }
}

unsafe fn set_errno(value: i32) {
    unsafe extern "C" {
        #[thread_local]
        static mut errno: i32;
    }
    unsafe { errno = value }
}

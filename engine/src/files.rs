//! What is in directories, and their fsync: the WASI host has none, so ours is asked. And the files that COPY may read.
use std::fs::{self, DirEntry};
use std::io::{self, ErrorKind};
use std::path::{Component, Path};

use crate::errors::Failure;

/// Where the host mounts the directory whose files COPY may read, if there is one.
const IMPORTS: &str = "/import";

/// The file that a COPY names, which is to lie below that directory.
pub fn import_path(name: &str) -> Result<String, Failure> {
    if fs::metadata(IMPORTS).is_err() {
        let message = "COPY is refused: no directory was allowed for it; use copy_from=, or execute_many()";
        return Err(Failure::new("not_supported", message));
    }
    let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    if name.is_empty() || name.contains('\0') || !Path::new(name).components().all(inside) {
        let message = format!(
            "COPY reads files below the directory allowed for it, by names without .. and / before: {name:?}"
        );
        return Err(Failure::new("invalid_argument", message));
    }
    Ok(format!("{IMPORTS}/{name}"))
}

/// Whether it is a file: opening a pipe would wait for ever.
pub fn check_import(path: &str) -> Result<(), Failure> {
    let name = path.strip_prefix(IMPORTS).unwrap_or(path).trim_start_matches('/');
    match fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(()),
        Ok(_) => Err(Failure::new("io_error", format!("COPY reads files, which {name:?} is not"))),
        Err(error) => Err(Failure::new("io_error", format!("COPY cannot read {name:?}: {error}"))),
    }
}

/// What is in a directory; nothing if it is not there.
pub fn entries(folder: &Path) -> io::Result<Vec<DirEntry>> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        found => found?.collect(),
    }
}

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
    match unsafe { sync_directories() } {
        0 => 0,
        errno => {
            unsafe { set_errno(errno) };
            -1
        }
    }
}

/// Makes the entries of all directories durable: the engine itself does not after it has made the first log file, or the
/// last one of a snapshot.
pub fn sync_all_directories() -> io::Result<()> {
    match unsafe { sync_directories() } {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

unsafe fn set_errno(value: i32) {
    unsafe extern "C" {
        #[thread_local]
        static mut errno: i32;
    }
    unsafe { errno = value }
}

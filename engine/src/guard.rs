//! What stands between a statement and the instance: a request to stop, the memory limit and a panic end the statement
//! with a `Fault`, and everything that it had allocated is dropped on the way.
//!
//! The allocator is where a running statement can be reached: while it is armed, it refuses memory once the host has asked
//! the running request to stop, or once the limit would be passed. The hook for refused memory throws an exception of our
//! own, which unwinds like a panic but is none: `std::thread::panicking()` stays false, so no lock is poisoned.
use std::alloc::{GlobalAlloc, Layout, System};
use std::any::Any;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicUsize, Ordering::Relaxed};

static NEVER: AtomicU32 = AtomicU32::new(0);
/// Where the host writes the number of the running request, if that is to stop.
static STOP: AtomicPtr<u32> = AtomicPtr::new(NEVER.as_ptr());
static NUMBER: AtomicU32 = AtomicU32::new(1);
static ARMED: AtomicBool = AtomicBool::new(false);
static LIVE: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);
static REFUSED: AtomicU8 = AtomicU8::new(0);
static COMMIT_STOPS: AtomicBool = AtomicBool::new(false);
/// The size of the last allocation, and how many before it are parts of one growth of a B-tree.
static LAST_SIZE: AtomicUsize = AtomicUsize::new(0);
static LEVELS: AtomicU32 = AtomicU32::new(0);

const STOPPED: u8 = 1;
const OVER_LIMIT: u8 = 2;

/// Why a statement ended without a result or an error of the engine.
pub enum Fault {
    Stopped,
    MemoryLimit,
    Panic(String),
}

/// The object that is thrown; only its address is looked at. The panic runtime reads a class from its own, hence the room.
static mut REFUSAL: [u64; 8] = [0; 8];

fn refusal() -> *mut u8 {
    (&raw mut REFUSAL).cast()
}

unsafe extern "C-unwind" {
    #[link_name = "llvm.wasm.throw"]
    fn wasm_throw(tag: i32, exception: *mut u8) -> !;
}

struct Allocator;

#[inline(always)]
fn refuses(more: usize) -> bool {
    // A panic tells what it has to before its hook disarms.
    (stop_asked() || LIVE.load(Relaxed).saturating_add(more) > LIMIT.load(Relaxed))
        && !std::thread::panicking()
}

/// So many bytes are the edges of a node in the standard library's B-trees, and so many levels has none of them.
const EDGES: usize = 12 * size_of::<*const ()>();
const MOST_LEVELS: u32 = 16;
/// Their nodes are not larger.
const LARGEST_NODE: usize = 1 << 12;

/// Whether an allocation may be an upper node of a B-tree that has begun to grow, which never is refused: without it, the
/// tree would be broken, and abort at once or when it is dropped. It grows from a leaf upwards, without any allocation
/// between, and the nodes above the leaves are leaves with edges.
#[inline(always)]
fn grows_a_tree(size: usize) -> bool {
    let last = LAST_SIZE.load(Relaxed);
    let before = LEVELS.load(Relaxed);
    let levels = match size {
        _ if size == last + EDGES => 1,
        _ if size == last && (1..MOST_LEVELS).contains(&before) => before + 1,
        _ => 0,
    };
    LAST_SIZE.store(size, Relaxed);
    LEVELS.store(levels, Relaxed);
    levels > 0 && size <= LARGEST_NODE
}

// SAFETY: every call is the system allocator's, or null, which the contract allows.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if ARMED.load(Relaxed) && !grows_a_tree(layout.size()) && refuses(layout.size()) {
            return std::ptr::null_mut();
        }
        let address = unsafe { System.alloc(layout) };
        if !address.is_null() {
            LIVE.fetch_add(layout.size(), Relaxed);
        }
        address
    }

    unsafe fn dealloc(&self, address: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(address, layout) }
    }

    unsafe fn realloc(&self, address: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size > layout.size() && ARMED.load(Relaxed) && refuses(size - layout.size()) {
            return std::ptr::null_mut();
        }
        let moved = unsafe { System.realloc(address, layout, size) };
        if !moved.is_null() {
            LIVE.fetch_add(size, Relaxed);
            LIVE.fetch_sub(layout.size(), Relaxed);
        }
        moved
    }
}

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn throw_refusal(_: Layout) {
    if !ARMED.swap(false, Relaxed) {
        return; // The memory is really at its end: the standard library aborts.
    }
    REFUSED.store(if stop_asked() { STOPPED } else { OVER_LIMIT }, Relaxed);
    unsafe { wasm_throw(0, refusal()) }
}

thread_local! {
    static PRINTED: Arc<Mutex<Vec<u8>>> = Arc::default();
}

/// Sets the process's hooks.
pub fn install() {
    std::alloc::set_alloc_error_hook(throw_refusal);
    std::panic::set_hook(Box::new(|_| ARMED.store(false, Relaxed)));
}

/// Begins a request, which `stop` and faults are for from now on, and collects what the engine prints.
pub fn begin_request(stop: *mut u32, number: u32) {
    STOP.store(stop, Relaxed);
    NUMBER.store(number, Relaxed);
    // Each time: a refusal inside of a print loses the capture.
    PRINTED.with(|printed| std::io::set_output_capture(Some(printed.clone())));
}

/// Ends it, and returns what was printed and not yet taken.
pub fn end_request() -> String {
    std::io::set_output_capture(None);
    printed()
}

/// Takes what was printed, and returns it if the engine has gone on where something failed. That it locks no files is no
/// failure: the host does.
pub fn printed_failure() -> Option<String> {
    let printed = printed();
    let tells = |line: &str| line.contains("Warning:") || line.contains("Critical:");
    let told = printed.lines().any(|line| tells(line) && !line.contains("File locking not supported"));
    told.then(|| printed.trim_end().to_owned())
}

/// Takes what the engine has printed since the last call.
pub fn printed() -> String {
    let bytes = PRINTED.with(|printed| match printed.lock() {
        Ok(mut bytes) => std::mem::take(&mut *bytes),
        Err(poisoned) => std::mem::take(&mut *poisoned.into_inner()),
    });
    match bytes.is_empty() {
        true => String::new(),
        false => String::from_utf8_lossy(&bytes).into_owned(),
    }
}

/// Whether the host has asked the running request to stop.
#[inline(always)]
pub fn stop_asked() -> bool {
    // SAFETY: the address of a word that lives as long as the module.
    unsafe { STOP.load(Relaxed).read_volatile() == NUMBER.load(Relaxed) }
}

/// What runs is to come to its end: no stop, and no limit, ends it any more.
pub fn disarm() {
    ARMED.store(false, Relaxed);
}

/// Whether the commit that runs is to stop, as long as it has changed nothing.
pub fn commit_stops() -> bool {
    COMMIT_STOPS.load(Relaxed) && stop_asked()
}

/// Runs a commit that may be stopped.
pub fn stoppable_commit<R>(commit: impl FnOnce() -> R) -> R {
    COMMIT_STOPS.store(true, Relaxed);
    let result = commit();
    COMMIT_STOPS.store(false, Relaxed);
    result
}

/// So many of the values that stopped statements have left are dropped at a time when there is nothing else to do: most
/// are rows, and take less than a millisecond. An index is one value, and takes as long as it has entries.
pub const PIECE: usize = 1_000;
/// And so many with each request, or they might pile up.
pub const MORSEL: usize = 20;

/// Drops at most so many of them; false if there was none. One that panics is no more.
pub fn drop_remains(count: usize) -> bool {
    caught_panic(|| stoolap::common::drop_remains(count)).unwrap_or(true)
}

/// Drops all of it, where the memory may be wanted.
pub fn make_room() {
    while live_bytes() > memory_limit() / 2 && drop_remains(usize::MAX) {}
}

pub fn set_memory_limit(bytes: usize) {
    LIMIT.store(bytes, Relaxed);
}

pub fn memory_limit() -> usize {
    LIMIT.load(Relaxed)
}

pub fn live_bytes() -> usize {
    LIVE.load(Relaxed)
}

/// Runs `call` so that a stop, the memory limit or a panic ends it.
pub fn interruptible<R>(call: impl FnOnce() -> R) -> Result<R, Fault> {
    if stop_asked() {
        return Err(Fault::Stopped);
    }
    make_room();
    caught_panic(|| {
        ARMED.store(true, Relaxed);
        let result = catch_refusal(call);
        ARMED.store(false, Relaxed);
        result
    })?
    .ok_or_else(|| match REFUSED.swap(0, Relaxed) {
        STOPPED => Fault::Stopped,
        _ => Fault::MemoryLimit,
    })
}

/// Runs `call` to its end; only a panic becomes a fault.
pub fn uninterruptible<R>(call: impl FnOnce() -> R) -> Result<R, Fault> {
    caught_panic(call)
}

fn caught_panic<R>(call: impl FnOnce() -> R) -> Result<R, Fault> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|payload| {
        ARMED.store(false, Relaxed);
        Fault::Panic(message(&*payload))
    })
}

fn message(payload: &(dyn Any + Send)) -> String {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => "panic without a message".to_owned(),
    }
}

/// None if a refusal ended `call`; any other exception goes on.
fn catch_refusal<F: FnOnce() -> R, R>(call: F) -> Option<R> {
    union Data<F, R> {
        call: ManuallyDrop<F>,
        result: ManuallyDrop<R>,
    }
    fn attempt<F: FnOnce() -> R, R>(data: *mut u8) {
        unsafe {
            let data = &mut *data.cast::<Data<F, R>>();
            let call = ManuallyDrop::take(&mut data.call);
            data.result = ManuallyDrop::new(call());
        }
    }
    fn caught(_data: *mut u8, exception: *mut u8) {
        ARMED.store(false, Relaxed);
        if exception != refusal() {
            unsafe { wasm_throw(0, exception) }
        }
    }
    let mut data = Data { call: ManuallyDrop::new(call) };
    unsafe {
        let threw = std::intrinsics::catch_unwind(attempt::<F, R>, (&raw mut data).cast(), caught);
        if threw as i32 == 0 { Some(ManuallyDrop::into_inner(data.result)) } else { None }
    }
}

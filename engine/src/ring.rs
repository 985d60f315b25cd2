//! The ring: slots for requests and their replies in linear memory, which the host's threads use while this one serves.
//!
//! The host places requests, under a lock of its own, and looks for replies; this thread serves them in order, and leaves
//! only when there is something that the host has to do. Every word has one writer at a time. The layout is part of the
//! protocol, docs/protocol.md.
use std::cell::{RefCell, UnsafeCell};
use std::time::{Duration, Instant};

use crate::guard;
use crate::requests::{self, Engine};
use crate::session::Debtor;
use crate::wire::Handle;

const SLOTS: usize = 4096;
const BODY_SIZE: usize = 2048;
const LARGE_BODIES: usize = 64;
const LARGE_BODY_SIZE: usize = 1 << 16;

/// What the host asks of `serve`.
#[repr(C, align(64))]
struct Orders {
    /// How many requests were placed, ever.
    tail: u32,
    /// Not 0: leave soon.
    leave: u32,
    /// 0: serve no more than `limit` of them, and do not wait.
    follow: u32,
    limit: u32,
    /// Microseconds to look for the next request without a pause.
    patience: u32,
    /// Microseconds after which to leave.
    time: u32,
    /// Microseconds to sleep until it comes, after that.
    doze: u32,
}

#[repr(C, align(64))]
struct Progress {
    /// How many requests were taken, ever.
    head: u32,
    /// How many entries of `Shared::awaited` are new; the host sets it to 0.
    awaited: u32,
    /// Not 0: `serve` runs.
    serving: u32,
    /// Where the handles of connections are in which SQL has begun a transaction, and how many.
    transactions: u32,
    transaction_count: u32,
    /// Odd while this thread sleeps, or is about to: who places a request then wakes it.
    naps: u32,
    /// For how many milliseconds it has slept, ever.
    slept: u32,
}

/// Written by the host.
#[repr(C, align(64))]
struct Request {
    number: u32,
    length: u32,
    /// Not 0: the host calls `run` for it, with the body in the input buffer.
    attended: u32,
    /// The request's number: it is to stop.
    stop: u32,
    /// The request's number: somebody sleeps until it is done.
    awaited: u32,
    /// Not 0: the body is in this one of the large bodies, from 1.
    large: u32,
}

/// Written by this thread.
#[repr(C, align(64))]
struct Reply {
    /// The request's number: the reply is here.
    done: u32,
    /// The request's number: it is too late to withdraw it.
    begun: u32,
    failed: u32,
    address: u32,
    length: u32,
    /// So many bytes behind the reply are what the engine printed.
    printed: u32,
}

#[repr(C)]
struct Slot {
    request: Request,
    reply: Reply,
}

#[repr(C)]
struct Shared {
    orders: Orders,
    progress: Progress,
    /// The slots of the requests placed, in order.
    queue: [u32; SLOTS],
    /// The slots of the requests done for which somebody sleeps.
    awaited: [u32; SLOTS],
    slots: [Slot; SLOTS],
    bodies: [[u8; BODY_SIZE]; SLOTS],
    large_bodies: [[u8; LARGE_BODY_SIZE]; LARGE_BODIES],
}

#[repr(transparent)]
struct Memory(UnsafeCell<Shared>);

// SAFETY: all access is by `load`, `store`, `read` and `write` below.
unsafe impl Sync for Memory {}

// SAFETY: integers may be zero.
static MEMORY: Memory = Memory(UnsafeCell::new(unsafe { std::mem::zeroed() }));

unsafe extern "C" {
    // From atomics.rs: in order with all others, also for threads of the host.
    fn atomic_load(word: *const u32) -> u32;
    fn atomic_store(word: *mut u32, value: u32);
}

#[link(wasm_import_module = "aiostoolap")]
unsafe extern "C" {
    /// Sleeps until the host wakes this thread; not at all if that has happened more than `woken` times, ever. Returns how
    /// often it has by now.
    safe fn sleep(woken: u32, nanoseconds: i64) -> u32;
}

fn shared() -> *mut Shared {
    MEMORY.0.get()
}

/// The address of a word of `Shared`.
macro_rules! word {
    ($($place:tt)+) => {
        // SAFETY: the address of a field; slots are less than SLOTS.
        unsafe { &raw mut (*shared()).$($place)+ }
    };
}

fn load(word: *mut u32) -> u32 {
    // SAFETY: a word of `Shared`.
    unsafe { atomic_load(word) }
}

fn store(word: *mut u32, value: u32) {
    // SAFETY: a word of `Shared`.
    unsafe { atomic_store(word, value) }
}

/// For words that nobody else writes now.
fn read(word: *mut u32) -> u32 {
    // SAFETY: a word of `Shared`.
    unsafe { word.read_volatile() }
}

fn write(word: *mut u32, value: u32) {
    // SAFETY: a word of `Shared`.
    unsafe { word.write_volatile(value) }
}

pub fn address() -> *const u8 {
    shared().cast()
}

/// Why `serve` has left: the host looks at its orders, and at what is awaited, each time.
pub enum Left {
    /// There are no requests.
    Idle,
    /// There may be more requests.
    Busy,
    /// The host is to call `run` for this slot.
    Attend(usize),
    /// Another thread wanted the processor while this one waited for requests awake.
    Disturbed,
}

impl From<Left> for u64 {
    fn from(left: Left) -> u64 {
        match left {
            Left::Idle => 0,
            Left::Busy => 1,
            Left::Attend(slot) => 2 | (slot as u64) << 32,
            Left::Disturbed => 3,
        }
    }
}

/// A buffer beyond this size is given back when its reply was taken.
const KEPT_BUFFER: usize = 1 << 13;
/// The last one is kept up to this size.
const LAST_BUFFER: usize = 1 << 22;
/// After so many requests the clock is looked at.
const CLOCK_EVERY: u32 = 16;
/// So many looks for a request take about as long as one at the clock.
const LOOKS: usize = 32;
/// LOOKS take this long only if the processor did something else meanwhile.
const DISTURBED: Duration = Duration::from_micros(100);
/// Where one request came so soon, the next one is waited for awake.
const SOON: Duration = Duration::from_millis(1);
/// At most so many replies wait until their commits are durable.
const MOST_UNSETTLED: usize = 256;

pub struct Ring {
    outputs: Vec<Vec<u8>>,
    /// The slots whose buffers are large.
    large: Vec<usize>,
    /// The slots whose replies wait until their commits are durable, and in which database those are.
    unsettled: Vec<(usize, Debtor)>,
    /// The last request that was waited for came soon.
    brisk: bool,
    /// How often the host has woken this thread.
    woken: u32,
    slept: Duration,
}

impl Default for Ring {
    fn default() -> Self {
        Self {
            outputs: vec![Vec::new(); SLOTS],
            large: Vec::new(),
            unsettled: Vec::new(),
            brisk: false,
            woken: 0,
            slept: Duration::ZERO,
        }
    }
}

impl Ring {
    /// Runs requests until the host is needed.
    pub fn serve(&mut self, engine: &mut Engine) -> Left {
        store(word!(progress.serving), 1);
        let left = self.serve_requests(engine);
        store(word!(progress.serving), 0);
        left
    }

    fn serve_requests(&mut self, engine: &mut Engine) -> Left {
        let deadline = deadline(read(word!(orders.time)));
        let mut served = 0u32;
        loop {
            let Some(slot) = next() else {
                self.settle(engine);
                if read(word!(progress.awaited)) > 0 {
                    return match waits() || guard::drop_remains(guard::MORSEL) {
                        true => Left::Busy,
                        false => Left::Idle,
                    };
                }
                let follows = read(word!(orders.follow)) != 0;
                if load(word!(orders.leave)) == 0 && guard::drop_remains(guard::PIECE) {
                    match follows && deadline.is_none_or(|at| Instant::now() <= at) {
                        true => continue,
                        false => return Left::Busy,
                    }
                }
                if !follows {
                    return Left::Idle;
                }
                match self.wait_for_request(deadline) {
                    Some(left) => return left,
                    None => continue,
                }
            };
            // What the host wanted before it placed this request comes before it.
            if load(word!(orders.leave)) != 0 {
                self.settle(engine);
                return Left::Busy;
            }
            let attended = read(word!(slots[slot].request.attended)) != 0;
            if attended || !requests::commits(body(slot)) {
                self.settle(engine);
                if read(word!(progress.awaited)) > 0 {
                    return Left::Busy;
                }
            }
            take();
            if attended {
                return Left::Attend(slot);
            }
            self.run(engine, slot, body(slot));
            guard::drop_remains(guard::MORSEL);
            match engine.debtor() {
                Some(debtor) => {
                    self.unsettled.push((slot, debtor));
                    if self.unsettled.len() >= MOST_UNSETTLED {
                        self.settle(engine);
                    }
                }
                None => publish(slot),
            }
            served += 1;
            let late = served.is_multiple_of(CLOCK_EVERY) && deadline.is_some_and(|at| Instant::now() > at);
            if late || (read(word!(progress.awaited)) > 0 && next().is_some()) {
                self.settle(engine);
                return Left::Busy;
            }
        }
    }

    /// Runs the request of a slot with a body from elsewhere; the host publishes the reply.
    pub fn run_attended(&mut self, engine: &mut Engine, slot: usize, body: &[u8]) {
        let slot = slot % SLOTS;
        self.run(engine, slot, body);
        if let Some(debtor) = engine.debtor() {
            self.unsettled.push((slot, debtor));
            self.settled(engine);
        }
    }

    /// Runs the request of a slot and leaves its reply there, not yet published.
    fn run(&mut self, engine: &mut Engine, slot: usize, body: &[u8]) {
        let number = read(word!(slots[slot].request.number));
        store(word!(slots[slot].reply.begun), number);
        guard::begin_request(word!(slots[slot].request.stop), number);
        let output = &mut self.outputs[slot];
        output.clear();
        output.shrink_to(LAST_BUFFER);
        let failed = engine.reply(body, output);
        let length = output.len();
        output.extend_from_slice(guard::end_request().as_bytes());
        let reply = [
            (word!(slots[slot].reply.failed), u32::from(failed)),
            (word!(slots[slot].reply.address), output.as_ptr() as u32),
            (word!(slots[slot].reply.length), length as u32),
            (word!(slots[slot].reply.printed), (output.len() - length) as u32),
        ];
        reply.into_iter().for_each(|(word, value)| write(word, value));
        if output.capacity() > KEPT_BUFFER {
            self.keep_one_large_buffer(slot);
        }
    }

    /// Gives the large buffers back whose slots are free, but that of `newest`.
    fn keep_one_large_buffer(&mut self, newest: usize) {
        self.large.retain(|&slot| {
            let keeps = slot != newest && load(word!(slots[slot].request.number)) != 0;
            if !keeps && slot != newest {
                self.outputs[slot] = Vec::new();
            }
            keeps
        });
        self.large.push(newest);
    }

    /// Waits for a request: awake for a while, if the one before came soon, then asleep. None when one is there; else why
    /// to leave.
    fn wait_for_request(&mut self, deadline: Option<Instant>) -> Option<Left> {
        let begun = Instant::now();
        let patience =
            Duration::from_micros(if self.brisk { read(word!(orders.patience)) } else { 0 }.into());
        let left = match look_for_request(begun, begun + patience) {
            Some(Left::Idle) => {
                let end = begun + patience + Duration::from_micros(read(word!(orders.doze)).into());
                self.sleep(deadline.map_or(end, |deadline| deadline.min(end)))
            }
            left => left,
        };
        self.brisk = left.is_none() && begun.elapsed() < SOON;
        left
    }

    fn sleep(&mut self, end: Instant) -> Option<Left> {
        let mut now = Instant::now();
        let begun = now;
        if now >= end {
            return Some(Left::Idle);
        }
        let naps = read(word!(progress.naps));
        store(word!(progress.naps), naps.wrapping_add(1));
        let left = loop {
            // What the host stores from here on makes it wake this thread.
            if came() {
                break None;
            }
            if now >= end || leaves() {
                break Some(Left::Idle);
            }
            self.woken = sleep(self.woken, (end - now).as_nanos() as i64);
            now = Instant::now();
        };
        store(word!(progress.naps), naps.wrapping_add(2));
        self.slept += now - begun;
        write(word!(progress.slept), self.slept.as_millis() as u32);
        left
    }

    /// Makes the commits of the requests that wait for it durable, and publishes their replies.
    fn settle(&mut self, engine: &Engine) {
        if !self.unsettled.is_empty() {
            self.settled(engine).into_iter().for_each(publish);
        }
    }

    /// Makes commits durable, and returns the slots of those that waited; those of a database that fails have failed.
    fn settled(&mut self, engine: &Engine) -> Vec<usize> {
        let failures = engine.settle();
        let unsettled = std::mem::take(&mut self.unsettled);
        for (slot, debtor) in &unsettled {
            if let Some((_, failure)) = failures.iter().find(|(failed, _)| failed == debtor) {
                let output = &mut self.outputs[*slot];
                output.clear();
                requests::write_failure(output, failure);
                write(word!(slots[*slot].reply.failed), 1);
                write(word!(slots[*slot].reply.address), output.as_ptr() as u32);
                write(word!(slots[*slot].reply.length), output.len() as u32);
                write(word!(slots[*slot].reply.printed), 0);
            }
        }
        unsettled.into_iter().map(|(slot, _)| slot).collect()
    }
}

/// The slot of the next request.
fn next() -> Option<usize> {
    let tail = match read(word!(orders.follow)) {
        0 => read(word!(orders.limit)),
        _ => load(word!(orders.tail)),
    };
    let head = read(word!(progress.head));
    // A host that writes nonsense must not have us read beyond the slots.
    (head != tail).then(|| read(word!(queue[head as usize % SLOTS])) as usize % SLOTS)
}

fn came() -> bool {
    load(word!(orders.tail)) != read(word!(progress.head))
}

/// Whether this thread waits for requests here; else there is nothing to come back for.
fn waits() -> bool {
    read(word!(orders.patience)) > 0 || read(word!(orders.doze)) > 0
}

fn leaves() -> bool {
    load(word!(orders.leave)) != 0
}

/// Looks for a request until then, without a pause. None when one is there; else why not.
fn look_for_request(begun: Instant, end: Instant) -> Option<Left> {
    let mut now = begun;
    while now < end && !leaves() {
        for _ in 0..LOOKS {
            if came() {
                return None;
            }
        }
        let before = std::mem::replace(&mut now, Instant::now());
        if now - before > DISTURBED {
            return Some(Left::Disturbed);
        }
    }
    Some(Left::Idle)
}

fn take() {
    write(word!(progress.head), read(word!(progress.head)).wrapping_add(1));
}

fn body(slot: usize) -> &'static [u8] {
    let length = read(word!(slots[slot].request.length)) as usize;
    let (start, size): (*const u8, usize) = match read(word!(slots[slot].request.large)) as usize {
        // SAFETY: addresses of fields.
        0 => (unsafe { (&raw const (*shared()).bodies[slot]).cast() }, BODY_SIZE),
        large => {
            let index = (large - 1) % LARGE_BODIES;
            (unsafe { (&raw const (*shared()).large_bodies[index]).cast() }, LARGE_BODY_SIZE)
        }
    };
    // SAFETY: the host leaves the body alone until the reply was taken.
    unsafe { std::slice::from_raw_parts(start, length.min(size)) }
}

fn publish(slot: usize) {
    let number = read(word!(slots[slot].request.number));
    store(word!(slots[slot].reply.done), number);
    if load(word!(slots[slot].request.awaited)) == number {
        let count = read(word!(progress.awaited)) as usize;
        write(word!(awaited[count % SLOTS]), slot as u32);
        write(word!(progress.awaited), count as u32 + 1);
    }
}

thread_local! {
    static TRANSACTIONS: RefCell<Vec<Handle>> = const { RefCell::new(Vec::new()) };
}

/// Notes that SQL has begun a transaction on a connection, or that it is over: the host looks after a trap.
pub fn note_transaction(handle: Handle, open: bool) {
    TRANSACTIONS.with_borrow_mut(|handles| {
        let place = handles.iter().position(|&noted| noted == handle);
        match (open, place) {
            (true, None) => handles.push(handle),
            (false, Some(place)) => drop(handles.swap_remove(place)),
            _ => return,
        }
        write(word!(progress.transactions), handles.as_ptr() as u32);
        write(word!(progress.transaction_count), handles.len() as u32);
    });
}

fn deadline(microseconds: u32) -> Option<Instant> {
    (microseconds != u32::MAX).then(|| Instant::now() + Duration::from_micros(microseconds.into()))
}

//! Counts what this process allocates, if it is asked to: a count is exact where a time is not.

use std::alloc::{GlobalAlloc, Layout, System};
use std::env;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The environment variable that makes a program and its workers count.
pub(crate) const COUNT: &str = "PARBENCH_COUNT_ALLOCATIONS";

/// The system's allocator, which can count how often it is called and for how much.
///
/// A bench program that has it lets `cargo parbench compare` see a new allocation in a task, exactly:
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: parbench::CountingAllocator = parbench::CountingAllocator;
/// # drop(Box::new(1));
/// ```
///
/// It counts only where a comparison asks for it; otherwise a call costs one more load and branch.
#[derive(Clone, Copy, Debug, Default)]
pub struct CountingAllocator;

static COUNTS: AtomicBool = AtomicBool::new(false);

/// A part of the counts, on a cache line of its own: threads that allocate at once must not slow each other.
#[repr(align(128))]
struct Shard {
    calls: AtomicU64,
    bytes: AtomicU64,
}

static SHARDS: [Shard; 16] = [const { Shard { calls: AtomicU64::new(0), bytes: AtomicU64::new(0) } }; 16];

thread_local! {
    /// Its address tells threads apart. It has no destructor, so an allocation may read it at any time.
    static HERE: u8 = const { 0 };
}

fn count(bytes: usize) {
    if COUNTS.load(Ordering::Relaxed) {
        let shard = HERE.with(|here| &SHARDS[(std::ptr::from_ref(here).addr() >> 12) % SHARDS.len()]);
        shard.calls.fetch_add(1, Ordering::Relaxed);
        shard.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

// SAFETY: every call is passed on to the system's allocator as it is; counting allocates nothing.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promises are those that the system's allocator asks for; so below.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: see above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: see above.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: see above.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Counts from now on, if the environment says so. To be called before anything else, by every process of the program.
pub(crate) fn count_if_asked() {
    COUNTS.store(env::var_os(COUNT).is_some(), Ordering::Relaxed);
}

/// Calls and bytes so far; `None` if they are not counted, or another allocator is in place.
pub(super) fn counted() -> Option<(u64, u64)> {
    let sum = |field: fn(&Shard) -> &AtomicU64| SHARDS.iter().map(|s| field(s).load(Ordering::Relaxed)).sum();
    let calls: u64 = sum(|shard| &shard.calls);
    (COUNTS.load(Ordering::Relaxed) && calls > 0).then(|| (calls, sum(|shard| &shard.bytes)))
}

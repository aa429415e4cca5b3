//! The segments that this process has made, kept for reuse: clearing new pages costs more than most work on them.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};

use super::segment::{PAGE_BYTES, Segment};

/// The most segments of one process, in use and kept: each costs a descriptor and a mapping.
const MAX_SEGMENTS: usize = 4_096;
/// From this size on a new segment is made only if there is memory for it: asking reads four files.
const ASK_BYTES: usize = 16 << 20;
/// The most bytes of unused segments that a process keeps, unless told otherwise: 4 GiB.
const KEEP_BYTES: u64 = 4 << 30;

/// A segment in use; dropping it returns it to the arena.
pub(crate) struct Lease(Option<Segment>);

impl Lease {
    /// Shared memory of `length` bytes, which holds what was in it before, or zeroes.
    ///
    /// # Errors
    /// If the system supports none, a limit is reached, or there is not enough memory.
    pub(crate) fn take(length: usize) -> Result<Lease> {
        let capacity = length.max(1).next_multiple_of(PAGE_BYTES);
        let mut arena = arena();
        if let Some(segment) = arena.find(capacity) {
            return Ok(Lease(Some(segment)));
        }
        let made = arena.make(capacity).or_else(|_| {
            // What is kept may be just what is missing.
            arena.keep_at_most(0);
            arena.make(capacity)
        });
        let segment = made.with_context(|| format!("cannot make a shared array of {length} bytes"))?;
        Ok(Lease(Some(segment)))
    }

    pub(crate) fn segment(&self) -> &Segment {
        self.0.as_ref().expect("it is there until the lease is dropped")
    }

    /// The memory, to be filled before it is shared: afterwards others read it.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.as_mut().expect("it is there until the lease is dropped").bytes_mut()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(segment) = self.0.take() {
            arena().give_back(segment);
        }
    }
}

/// The unused segments of this process.
struct Arena {
    unused: Vec<Segment>,
    unused_bytes: u64,
    keep_bytes: u64,
    /// The number of segments, used and unused.
    segments: usize,
}

static ARENA: Mutex<Arena> =
    Mutex::new(Arena { unused: Vec::new(), unused_bytes: 0, keep_bytes: KEEP_BYTES, segments: 0 });

/// How many segments of this process have been given up. A link that has lent segments looks whether it was one of them.
static GIVEN_UP: AtomicU64 = AtomicU64::new(0);

fn arena() -> MutexGuard<'static, Arena> {
    // No panic leaves it half changed.
    ARENA.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Arena {
    /// The smallest unused segment that is large enough and at most twice as large.
    fn find(&mut self, capacity: usize) -> Option<Segment> {
        let fits = |segment: &Segment| (capacity..=2 * capacity).contains(&segment.capacity());
        let candidates = self.unused.iter().enumerate().filter(|(_, segment)| fits(segment));
        // Of equals the last one used: its pages are the likeliest to be in a cache.
        let (index, _) = candidates.rev().min_by_key(|(_, segment)| segment.capacity())?;
        let segment = self.unused.remove(index);
        self.unused_bytes -= segment.capacity() as u64;
        Some(segment)
    }

    fn make(&mut self, capacity: usize) -> Result<Segment> {
        ensure!(
            self.segments < MAX_SEGMENTS,
            "this process has {MAX_SEGMENTS} of them; drop some arrays, or put more numbers into each"
        );
        if capacity >= ASK_BYTES
            && let Some(free) = free_bytes()
        {
            ensure!((capacity as u64) <= free, "only {free} bytes of memory are left for this process");
        }
        let segment = Segment::new(capacity)?;
        self.segments += 1;
        Ok(segment)
    }

    fn give_back(&mut self, segment: Segment) {
        self.unused_bytes += segment.capacity() as u64;
        self.unused.push(segment);
        self.keep_at_most(self.keep_bytes);
    }

    /// Gives up the oldest unused segments.
    fn keep_at_most(&mut self, bytes: u64) {
        let mut surplus = 0;
        while self.unused_bytes > bytes {
            self.unused_bytes -= self.unused[surplus].capacity() as u64;
            surplus += 1;
        }
        self.unused.drain(..surplus);
        self.segments -= surplus;
        GIVEN_UP.fetch_add(surplus as u64, Ordering::Relaxed);
    }
}

/// How many segments of this process have been given up so far.
pub(crate) fn given_up() -> u64 {
    GIVEN_UP.load(Ordering::Relaxed)
}

/// See [`crate::data::keep_unused`].
pub(crate) fn keep_unused(bytes: u64) {
    let mut arena = arena();
    arena.keep_bytes = bytes;
    arena.keep_at_most(bytes);
}

/// Gives up all unused segments.
pub(crate) fn trim() {
    arena().keep_at_most(0);
}

/// The segments of this process: in use, and kept for reuse.
pub(crate) fn count() -> (usize, usize) {
    let arena = arena();
    (arena.segments - arena.unused.len(), arena.unused.len())
}

/// The memory that is left, of the machine and of the control group of this process.
pub(crate) fn free_bytes() -> Option<u64> {
    let machine = || {
        let text = fs::read_to_string("/proc/meminfo").ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1_024)
    };
    let group = || {
        let text = fs::read_to_string("/proc/self/cgroup").ok()?;
        let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let number = |file| {
            let text = fs::read_to_string(format!("/sys/fs/cgroup/{path}/{file}")).ok()?;
            text.trim().parse::<u64>().ok()
        };
        // A group's own page cache can be had back, so it is not counted as used.
        let stat = fs::read_to_string(format!("/sys/fs/cgroup/{path}/memory.stat")).ok()?;
        let cache = stat.lines().find_map(|line| line.strip_prefix("inactive_file "))?.parse::<u64>().ok()?;
        let most = number("memory.max")?;
        Some((most + cache).saturating_sub(number("memory.current")?))
    };
    [machine(), group()].into_iter().flatten().min()
}

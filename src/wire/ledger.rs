//! A page that a pool and one of its workers share: which turn the worker has begun, and which it must not begin.
//!
//! Without a ledger, a pool knows only which tasks were answered. With it, the pool also knows which task a dead worker had
//! begun, and can take back tasks that were sent ahead and not begun, without the worker's help.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use memmap2::MmapMut;

use crate::data::segment;

/// One 64-bit word: its upper half is the last turn begun, its lower half the last turn taken back.
pub(crate) struct Ledger(MmapMut);

impl Ledger {
    /// A new ledger, and the descriptor for the worker.
    pub(crate) fn make() -> Result<(Ledger, OwnedFd)> {
        let (descriptor, page) = segment::writable_page()?;
        Ok((Ledger(page), descriptor))
    }

    /// Maps the ledger that came from the pool.
    pub(crate) fn open(descriptor: OwnedFd) -> Result<Ledger> {
        segment::map_page(descriptor).map(Ledger)
    }

    fn word(&self) -> &AtomicU64 {
        // SAFETY: the page is aligned and lives as long as `self`, and both processes access it only through this.
        unsafe { AtomicU64::from_ptr(self.0.as_ptr().cast_mut().cast()) }
    }

    /// For the worker: begins a turn, unless it was taken back; returns whether it has begun.
    pub(crate) fn begin(&self, turn: u32) -> bool {
        let begin = |word: u64| (turn > word as u32).then(|| u64::from(turn) << 32 | word & 0xffff_ffff);
        self.word().fetch_update(Ordering::AcqRel, Ordering::Acquire, begin).is_ok()
    }

    /// For the pool: the last turn begun.
    pub(crate) fn begun(&self) -> u32 {
        (self.word().load(Ordering::Acquire) >> 32) as u32
    }

    /// For the pool: takes back every turn up to `last` that has not been begun; returns the last one that has.
    pub(crate) fn take_back(&self, last: u32) -> u32 {
        let take = |word: u64| Some(word & !0xffff_ffff | u64::from(last));
        let before = self.word().fetch_update(Ordering::AcqRel, Ordering::Acquire, take);
        (before.unwrap_or_else(|word| word) >> 32) as u32
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_back_cannot_be_begun_and_what_was_begun_cannot_be_taken_back() {
        let (pool, descriptor) = Ledger::make().unwrap();
        let worker = Ledger::open(descriptor).unwrap();
        assert!(worker.begin(1) && worker.begin(2));
        assert_eq!(pool.begun(), 2);
        assert_eq!(pool.take_back(5), 2);
        assert!(!worker.begin(3) && !worker.begin(5));
        assert!(worker.begin(6));
        assert_eq!(pool.begun(), 6);
    }
}

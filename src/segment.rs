//! Memory that processes share: sealed segments without a name, and the arena that keeps them for reuse.
//!
//! A segment is an anonymous file (memfd). Whoever made it may write into it, between two uses; whoever gets
//! its descriptor may only read, and nobody can change its length, so a reader's mapping always holds. It has
//! no name: when the last process that has it ends, however it ends, it is gone.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use anyhow::{Context, Result, ensure};
use memmap2::{Mmap, MmapMut};

/// Most segments of one process, used and kept: each costs a descriptor and a mapping.
const MOST_SEGMENTS: usize = 4_096;
/// From here on a new segment is only made where there is memory for it: asking reads four files.
const ASK_BYTES: usize = 16 << 20;
/// Most bytes of unused segments that a process keeps, unless it says otherwise: 4 GiB.
const KEEP_BYTES: u64 = 4 << 30;

/// A piece of shared memory in the hands of the process that made it.
pub(crate) struct Segment {
    id: u64,
    file: OwnedFd,
    map: MmapMut,
    life: Arc<()>,
}

impl Segment {
    /// Never 0, and never given twice in this process.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Tells whether it still exists.
    pub(crate) fn life(&self) -> Weak<()> {
        Arc::downgrade(&self.life)
    }

    pub(crate) fn capacity(&self) -> usize {
        self.map.len()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map
    }

    fn new(capacity: usize) -> Result<Segment> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let (file, map) = system::make(capacity, system::Later::ReadOnly)?;
        Ok(Segment { id: LAST.fetch_add(1, Ordering::Relaxed) + 1, file, map, life: Arc::new(()) })
    }
}

impl AsFd for Segment {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A segment in use; dropping it returns it to the arena.
pub(crate) struct Lease(Option<Segment>);

impl Lease {
    /// Shared memory of `length` bytes, with whatever was in it before, or zeroes.
    ///
    /// # Errors
    /// Where the system has none, a limit is reached, or there is not enough memory.
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
        &mut self.0.as_mut().expect("it is there until the lease is dropped").map
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(segment) = self.0.take() {
            arena().give_back(segment);
        }
    }
}

const PAGE_BYTES: usize = 4_096;

/// The segments of this process that nobody uses.
struct Arena {
    unused: Vec<Segment>,
    unused_bytes: u64,
    keep_bytes: u64,
    /// Used and unused ones.
    segments: usize,
}

static ARENA: Mutex<Arena> =
    Mutex::new(Arena { unused: Vec::new(), unused_bytes: 0, keep_bytes: KEEP_BYTES, segments: 0 });

/// How often a segment of this process was given up: whoever has told others of one asks whether it was that.
static GIVEN_UP: AtomicU64 = AtomicU64::new(0);

fn arena() -> MutexGuard<'static, Arena> {
    // Nothing in here leaves it half changed.
    ARENA.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Arena {
    /// The smallest unused segment that is large enough and not more than twice too large.
    fn find(&mut self, capacity: usize) -> Option<Segment> {
        let fits = |segment: &Segment| (capacity..=2 * capacity).contains(&segment.capacity());
        let candidates = self.unused.iter().enumerate().filter(|(_, segment)| fits(segment));
        // Among equals the last one used: its pages are the likeliest in a cache.
        let (place, _) = candidates.rev().min_by_key(|(_, segment)| segment.capacity())?;
        let segment = self.unused.remove(place);
        self.unused_bytes -= segment.capacity() as u64;
        Some(segment)
    }

    fn make(&mut self, capacity: usize) -> Result<Segment> {
        ensure!(
            self.segments < MOST_SEGMENTS,
            "this process has {MOST_SEGMENTS} of them; drop some arrays, or put more numbers into each"
        );
        if capacity >= ASK_BYTES
            && let Some(free) = system::free_bytes()
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

/// See [`crate::array::keep_unused`].
pub(crate) fn keep_unused(bytes: u64) {
    let mut arena = arena();
    arena.keep_bytes = bytes;
    arena.keep_at_most(bytes);
}

/// Gives up everything unused.
pub(crate) fn trim() {
    arena().keep_at_most(0);
}

/// Segments of this process: in use, and kept for reuse.
pub(crate) fn count() -> (usize, usize) {
    let arena = arena();
    (arena.segments - arena.unused.len(), arena.unused.len())
}

/// A segment that another process made, mapped to read.
pub(crate) struct Mapping(Mmap);

impl Mapping {
    /// Maps a segment that came as a descriptor.
    ///
    /// # Errors
    /// Where it is no segment, shorter than promised, or not sealed: its maker could take away the memory that
    /// a slice points to, or give it a second writer.
    pub(crate) fn new(file: OwnedFd, capacity: u64) -> Result<Arc<Mapping>> {
        let file = File::from(file);
        system::check_seals(&file)?;
        let length = file.metadata()?.len();
        ensure!(length == capacity, "a segment of {length} bytes came in place of one of {capacity}");
        // SAFETY: it is sealed, so it cannot shrink, and nobody can map it for writing any more. Its maker, who
        // still can write, does so only after every reader has released it.
        let map = unsafe { Mmap::map(&file) }.context("cannot map a shared array")?;
        Ok(Arc::new(Mapping(map)))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A page that two processes write, whose memory cannot be taken away.
pub(crate) fn writable_page() -> Result<(OwnedFd, MmapMut)> {
    system::make(PAGE_BYTES, system::Later::Writable)
}

/// Maps a page that came as a descriptor.
pub(crate) fn map_page(file: OwnedFd) -> Result<MmapMut> {
    let file = File::from(file);
    system::check_length_seals(&file)?;
    ensure!(file.metadata()?.len() == PAGE_BYTES as u64, "it is no page");
    // SAFETY: it cannot shrink, and both sides touch it through atomics only.
    Ok(unsafe { MmapMut::map_mut(&file) }?)
}

/// Set where this process must do without, whatever the system has.
static FORGONE: AtomicBool = AtomicBool::new(false);

/// From now on this process shares nothing: its arrays are copied.
pub(crate) fn forgo() {
    FORGONE.store(true, Ordering::Relaxed);
}

/// Whether segments can be made here and their descriptors be passed; where not, the first who asks is told why
/// on stderr, and arrays are copied.
pub(crate) fn supported() -> bool {
    let probe = || {
        let error = system::probe().err().filter(|error| !is_for_now(error));
        if let Some(error) = &error {
            eprintln!("parbench: no memory is shared here, arrays are copied: {error:#}");
        }
        error.is_none()
    };
    !FORGONE.load(Ordering::Relaxed) && *SUPPORTED.get_or_init(probe)
}

static SUPPORTED: OnceLock<bool> = OnceLock::new();

/// Takes it as supported: whoever started this process has tried.
pub(crate) fn trust() {
    let _ = SUPPORTED.set(true);
}

/// Whether the system can, but not now.
fn is_for_now(error: &anyhow::Error) -> bool {
    let code = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
    matches!(code, Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM))
}

#[cfg(target_os = "linux")]
mod system {
    //! Linux: memfd, seals, and what is left of the memory.

    use std::fs;
    use std::io;
    use std::os::unix::net::UnixStream;

    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, ftruncate, memfd_create};

    use super::*;
    use crate::socket::Socket;

    const LENGTH: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW);
    const READ_ONLY: SealFlags = LENGTH.union(SealFlags::FUTURE_WRITE);

    /// What others may do with it.
    #[derive(PartialEq)]
    pub(super) enum Later {
        ReadOnly,
        Writable,
    }

    pub(super) fn make(capacity: usize, later: Later) -> Result<(OwnedFd, MmapMut)> {
        let file = memfd_create("parbench", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
            .map_err(|error| why(error.into(), "memfd_create"))?;
        ftruncate(&file, capacity as u64).map_err(|error| why(error.into(), "ftruncate"))?;
        // SAFETY: we are the only one who has it, and the next line sees to it that it keeps its length.
        let map = unsafe { MmapMut::map_mut(&file) }.map_err(|error| why(error, "mmap"))?;
        let seals = if later == Later::ReadOnly { READ_ONLY } else { LENGTH };
        fcntl_add_seals(&file, seals | SealFlags::SEAL).map_err(|error| why(error.into(), "F_ADD_SEALS"))?;
        Ok((file, map))
    }

    fn why(error: io::Error, call: &str) -> anyhow::Error {
        let advice = match error.raw_os_error() {
            Some(libc::EMFILE) => "; drop some arrays, or raise the limit of open files (ulimit -n)",
            Some(libc::ENOMEM) => "; drop some arrays, or raise the limit of mappings (vm.max_map_count)",
            _ => "",
        };
        anyhow::Error::new(error).context(format!("{call} failed{advice}"))
    }

    pub(super) fn check_seals(file: &File) -> Result<()> {
        let seals = fcntl_get_seals(file).context("what came is no shared memory")?;
        ensure!(seals.contains(READ_ONLY), "a segment came that is not sealed ({seals:?})");
        Ok(())
    }

    pub(super) fn check_length_seals(file: &File) -> Result<()> {
        let seals = fcntl_get_seals(file).context("what came is no shared memory")?;
        ensure!(seals.contains(LENGTH), "a page came that is not sealed ({seals:?})");
        Ok(())
    }

    /// Makes a segment and passes it to ourselves.
    pub(super) fn probe() -> Result<()> {
        let segment = Segment::new(PAGE_BYTES)?;
        let (ours, theirs) = UnixStream::pair()?;
        Socket::new(ours).send(b"?", Some(segment.as_fd())).context("cannot pass a descriptor")?;
        let mut theirs = Socket::new(theirs);
        io::Read::read(&mut theirs, &mut [0]).context("cannot pass a descriptor")?;
        Mapping::new(theirs.descriptor().context("a descriptor got lost")?, PAGE_BYTES as u64)?;
        Ok(())
    }

    /// What is left: of the machine's memory, and of that of the control group that this process is in.
    pub(super) fn free_bytes() -> Option<u64> {
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
            let cache =
                stat.lines().find_map(|line| line.strip_prefix("inactive_file "))?.parse::<u64>().ok()?;
            let most = number("memory.max")?;
            Some((most + cache).saturating_sub(number("memory.current")?))
        };
        [machine(), group()].into_iter().flatten().min()
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    //! Other systems share nothing: every array is copied.

    use anyhow::bail;

    use super::*;

    pub(super) enum Later {
        ReadOnly,
        Writable,
    }

    const NONE: &str = "this system has no sealed memory without a name";

    pub(super) fn make(_: usize, _: Later) -> Result<(OwnedFd, MmapMut)> {
        bail!(NONE)
    }

    pub(super) fn check_seals(_: &File) -> Result<()> {
        bail!(NONE)
    }

    pub(super) fn check_length_seals(_: &File) -> Result<()> {
        bail!(NONE)
    }

    pub(super) fn probe() -> Result<()> {
        bail!(NONE)
    }

    pub(super) fn free_bytes() -> Option<u64> {
        None
    }
}

//! Memory that processes share: sealed segments without a name.
//!
//! A segment is an anonymous file (memfd). The process that made it may write to it between two uses; a process that
//! receives its descriptor may only read it, and nobody can change its length, so a reader's mapping stays valid. It
//! has no name: it is gone when the last process that has it ends, however that ends.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use anyhow::{Context, Result, ensure};
use memmap2::{Mmap, MmapMut};

/// The unit in which memory is shared.
pub(super) const PAGE_BYTES: usize = 4_096;

/// A segment in the process that made it.
pub(crate) struct Segment {
    id: u64,
    file: OwnedFd,
    map: MmapMut,
    life: Arc<()>,
}

impl Segment {
    /// Unique in this process, and never 0.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Alive as long as the segment exists.
    pub(crate) fn life(&self) -> Weak<()> {
        Arc::downgrade(&self.life)
    }

    pub(crate) fn capacity(&self) -> usize {
        self.map.len()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// To be written before its descriptor is sent, and once all readers have released it.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.map
    }

    pub(super) fn new(capacity: usize) -> Result<Segment> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let (file, map) = system::make(capacity, system::Access::ReadOnly)?;
        Ok(Segment { id: LAST.fetch_add(1, Ordering::Relaxed) + 1, file, map, life: Arc::new(()) })
    }
}

impl AsFd for Segment {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A segment that another process made, mapped to read.
pub(crate) struct Mapping(Mmap);

impl Mapping {
    /// Maps a segment that came as a descriptor.
    ///
    /// # Errors
    /// If it is not a segment, has another length than promised, or is not sealed: its maker could take away the memory
    /// that a slice points to, or give it a second writer.
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
    system::make(PAGE_BYTES, system::Access::Writable)
}

/// Maps a page that came as a descriptor.
pub(crate) fn map_page(file: OwnedFd) -> Result<MmapMut> {
    let file = File::from(file);
    system::check_length_seals(&file)?;
    ensure!(file.metadata()?.len() == PAGE_BYTES as u64, "it is not a page");
    // SAFETY: it cannot shrink, and both sides touch it through atomics only.
    Ok(unsafe { MmapMut::map_mut(&file) }?)
}

/// Set if this process must do without, whatever the system supports.
static DISABLED: AtomicBool = AtomicBool::new(false);
static SUPPORTED: OnceLock<bool> = OnceLock::new();

/// From now on this process shares nothing: its arrays are copied.
pub(crate) fn disable() {
    DISABLED.store(true, Ordering::Relaxed);
}

/// Skips the test in [`supported`]: the process that started this one has made it.
pub(crate) fn assume_supported() {
    let _ = SUPPORTED.set(true);
}

/// Whether segments can be made here. If not, the first call says why on stderr, and arrays are copied.
pub(crate) fn supported() -> bool {
    let test = || Segment::new(PAGE_BYTES).map(drop);
    !DISABLED.load(Ordering::Relaxed) && *SUPPORTED.get_or_init(|| works(test))
}

/// Runs a test of what sharing memory needs, and says on stderr why it fails. A shortage of descriptors or memory does
/// not count: it may pass.
pub(crate) fn works(test: impl FnOnce() -> Result<()>) -> bool {
    let error = test().err().filter(|error| !is_shortage(error));
    if let Some(error) = &error {
        crate::program::say(&format!("parbench: memory cannot be shared here, arrays are copied: {error:#}"));
    }
    error.is_none()
}

/// Whether there is no segment because it would be larger than a file may be.
pub(super) fn is_too_large(error: &anyhow::Error) -> bool {
    let code = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
    code == Some(libc::EFBIG)
}

fn is_shortage(error: &anyhow::Error) -> bool {
    let code = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
    matches!(code, Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM))
}

#[cfg(target_os = "linux")]
mod system {
    //! Linux: memfd and seals.

    use std::io;

    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, ftruncate, memfd_create};

    use super::*;

    const LENGTH: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW);
    const READ_ONLY: SealFlags = LENGTH.union(SealFlags::FUTURE_WRITE);

    /// What processes may do with it that receive its descriptor.
    #[derive(PartialEq)]
    pub(super) enum Access {
        ReadOnly,
        Writable,
    }

    pub(super) fn make(capacity: usize, later: Access) -> Result<(OwnedFd, MmapMut)> {
        let file = memfd_create("parbench", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
            .map_err(|error| explain(error.into(), "memfd_create"))?;
        ftruncate(&file, capacity as u64).map_err(|error| explain(error.into(), "ftruncate"))?;
        // SAFETY: we are the only one who has it, and the next line sees to it that it keeps its length.
        let map = unsafe { MmapMut::map_mut(&file) }.map_err(|error| explain(error, "mmap"))?;
        let seals = if later == Access::ReadOnly { READ_ONLY } else { LENGTH };
        fcntl_add_seals(&file, seals | SealFlags::SEAL)
            .map_err(|error| explain(error.into(), "F_ADD_SEALS"))?;
        Ok((file, map))
    }

    fn explain(error: io::Error, call: &str) -> anyhow::Error {
        let advice = match error.raw_os_error() {
            Some(libc::EMFILE) => "; drop some arrays, or raise the limit of open files (ulimit -n)",
            Some(libc::ENOMEM) if has_address_limit() => "; raise the limit of address space (ulimit -v)",
            Some(libc::ENOMEM) => "; drop some arrays, or raise the limit of mappings (vm.max_map_count)",
            Some(libc::EFBIG) => {
                "; raise the limit of file sizes (ulimit -f), which holds for shared memory too"
            }
            _ => "",
        };
        anyhow::Error::new(error).context(format!("{call} failed{advice}"))
    }

    fn has_address_limit() -> bool {
        rustix::process::getrlimit(rustix::process::Resource::As).current.is_some()
    }

    pub(super) fn check_seals(file: &File) -> Result<()> {
        let seals = fcntl_get_seals(file).context("what came is not shared memory")?;
        ensure!(seals.contains(READ_ONLY), "a segment came that is not sealed ({seals:?})");
        Ok(())
    }

    pub(super) fn check_length_seals(file: &File) -> Result<()> {
        let seals = fcntl_get_seals(file).context("what came is not shared memory")?;
        ensure!(seals.contains(LENGTH), "a page came that is not sealed ({seals:?})");
        Ok(())
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    //! Other systems share nothing: every array is copied.

    use anyhow::bail;

    use super::*;

    pub(super) enum Access {
        ReadOnly,
        Writable,
    }

    const NONE: &str = "this system has no sealed memory without a name";

    pub(super) fn make(_: usize, _: Access) -> Result<(OwnedFd, MmapMut)> {
        bail!(NONE)
    }

    pub(super) fn check_seals(_: &File) -> Result<()> {
        bail!(NONE)
    }

    pub(super) fn check_length_seals(_: &File) -> Result<()> {
        bail!(NONE)
    }
}

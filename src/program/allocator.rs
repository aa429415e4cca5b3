//! One allocator policy for every process of a program: what `free` returns to the system must not depend on whether a
//! process is a main program, a cell or a worker.

use std::sync::OnceLock;

static POLICY: OnceLock<Option<&'static str>> = OnceLock::new();

/// The policy of this process in words; `None` if the allocator is left as it is.
pub(crate) fn policy() -> Option<&'static str> {
    POLICY.get().copied().flatten()
}

/// Sets the policy. To be called before anything else, by every process of the program.
pub(crate) fn set_policy() {
    POLICY.get_or_init(set);
}

/// Sets glibc's thresholds and returns the policy in words.
///
/// By default, glibc's threshold above which a block is mapped by itself, and unmapped by `free`, starts at 128 KiB and
/// rises as blocks are freed: a process that has run for a while keeps what a new one returns. `matrix_inverse` had 23,000
/// page faults a batch on threads and none in worker processes, which took 0.71 of the time for that reason alone.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn set() -> Option<&'static str> {
    /// The largest threshold that glibc accepts: half of a thread's heap.
    const MMAP_THRESHOLD: libc::c_int = 32 << 20;
    /// More than any heap ever has free at its top.
    const TRIM_THRESHOLD: libc::c_int = libc::c_int::MAX;
    // SAFETY: `mallopt` may be called at any time. It locks the main heap, and setting either value also stops the
    // threshold from rising.
    let set = unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD) == 1
            && libc::mallopt(libc::M_TRIM_THRESHOLD, TRIM_THRESHOLD) == 1
    };
    set.then_some("glibc: blocks below 32 MiB are kept")
}

/// Leaves the system's allocator as it is.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn set() -> Option<&'static str> {
    None
}

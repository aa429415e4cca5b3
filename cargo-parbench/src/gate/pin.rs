//! Which CPU the processes that are started next run on.
//!
//! Two processes that take turns stay each on the CPU where they were: on a machine that is shared, one CPU may be slower than
//! another for seconds, and the ratio of two serial programs then varied by 6 % and more from block to block.

/// While it lives, what this thread starts runs on one CPU.
pub(super) struct Pinned(#[allow(dead_code, reason = "restored when it is dropped")] Option<Before>);

#[cfg(target_os = "linux")]
type Before = rustix::thread::CpuSet;
#[cfg(not(target_os = "linux"))]
type Before = ();

#[cfg(target_os = "linux")]
impl Pinned {
    /// On one of the CPUs that are allowed, another one for each `turn`. If the system refuses, nothing is pinned.
    pub(super) fn to(turn: usize) -> Pinned {
        use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

        let Ok(allowed) = sched_getaffinity(None) else { return Pinned(None) };
        let cpus: Vec<_> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
        let mut one = CpuSet::new();
        one.set(cpus[turn % cpus.len().max(1)]);
        Pinned(sched_setaffinity(None, &one).is_ok().then_some(allowed))
    }
}

#[cfg(not(target_os = "linux"))]
impl Pinned {
    /// Other systems do not let a program choose.
    pub(super) fn to(_: usize) -> Pinned {
        Pinned(None)
    }
}

#[cfg(target_os = "linux")]
impl Drop for Pinned {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = rustix::thread::sched_setaffinity(None, before);
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_pinned_and_then_as_it_was() {
        let cpus = || rustix::thread::sched_getaffinity(None).unwrap().count();
        let before = cpus();
        let pinned = Pinned::to(3);
        assert_eq!(cpus(), 1);
        drop(pinned);
        assert_eq!(cpus(), before);
    }
}

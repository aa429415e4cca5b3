//! What a batch cost: CPU time, waiting for a CPU, memory, context switches, page faults, and moving data.

pub(crate) mod allocations;

use std::fs;
use std::mem::MaybeUninit;
use std::ops::{Add, Sub};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// What one or more processes have used. `None` if the system does not report it: unknown is never 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Usage {
    /// CPU time in user mode, ns.
    pub user_ns: Option<u64>,
    /// CPU time in the kernel, ns.
    pub system_ns: Option<u64>,
    /// Time that runnable threads waited for a CPU, ns: large if the machine was busy with other work. Without the calling
    /// thread's, unless it runs tasks itself: it only waits for its own workers.
    pub run_queue_wait_ns: Option<u64>,
    /// Peak of resident memory since the last [`Usage::take`], bytes. For several processes it is the sum of their peaks, so
    /// shared pages count once for each process.
    pub peak_bytes: Option<u64>,
    /// Context switches because a thread waited.
    pub voluntary_switches: Option<u64>,
    /// Context switches because a thread lost its CPU to another one.
    pub involuntary_switches: Option<u64>,
    /// Page faults served without the disk.
    pub minor_faults: Option<u64>,
    /// Page faults that read from the disk.
    pub major_faults: Option<u64>,
    /// Bytes that were moved to or from other processes; arrays that both share do not move.
    pub moved_bytes: Option<u64>,
    /// Time spent packing, unpacking and copying inputs and outputs for another process, summed over all threads, ns.
    pub packing_ns: Option<u64>,
    /// Calls that asked the allocator for memory; `None` unless a comparison has them counted.
    pub allocations: Option<u64>,
    /// What they asked for, bytes.
    pub allocated_bytes: Option<u64>,
}

/// Whether the calling thread's wait for a CPU counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallerWait {
    /// The caller runs tasks.
    Counts,
    /// The caller waits for its workers.
    Ignored,
}

impl Usage {
    /// Nothing.
    pub const ZERO: Usage = Usage {
        user_ns: Some(0),
        system_ns: Some(0),
        run_queue_wait_ns: Some(0),
        peak_bytes: Some(0),
        voluntary_switches: Some(0),
        involuntary_switches: Some(0),
        minor_faults: Some(0),
        major_faults: Some(0),
        moved_bytes: Some(0),
        packing_ns: Some(0),
        allocations: Some(0),
        allocated_bytes: Some(0),
    };

    /// What this process has used so far, with all its living threads.
    pub fn now() -> Usage {
        Usage::of_this_process(CallerWait::Counts)
    }

    pub(crate) fn of_this_process(caller: CallerWait) -> Usage {
        let mut usage = MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: the kernel writes one `rusage` to the pointer; zeroes are a valid one if it fails.
        let usage = unsafe {
            libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
            usage.assume_init()
        };
        let (allocations, allocated_bytes) = allocations::counted().unzip();
        Usage {
            allocations,
            allocated_bytes,
            run_queue_wait_ns: run_queue_wait_ns(caller),
            peak_bytes: peak_bytes(),
            moved_bytes: Some(0),
            packing_ns: Some(0),
            ..Usage::from_rusage(&usage)
        }
    }

    /// The fields that an `rusage` has.
    pub(crate) fn from_rusage(usage: &libc::rusage) -> Usage {
        let ns = |time: libc::timeval| Some(time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1_000);
        Usage {
            user_ns: ns(usage.ru_utime),
            system_ns: ns(usage.ru_stime),
            voluntary_switches: Some(usage.ru_nvcsw as u64),
            involuntary_switches: Some(usage.ru_nivcsw as u64),
            minor_faults: Some(usage.ru_minflt as u64),
            major_faults: Some(usage.ru_majflt as u64),
            ..Usage::default()
        }
    }

    /// [`Usage::now`], which also starts a new peak of memory: the peak never falls by itself.
    pub fn take() -> Usage {
        let usage = Usage::now();
        start_new_peak();
        usage
    }

    fn combine(self, other: Usage, with: fn(u64, u64) -> u64) -> Usage {
        let both = |a: Option<u64>, b: Option<u64>| Some(with(a?, b?));
        Usage {
            user_ns: both(self.user_ns, other.user_ns),
            system_ns: both(self.system_ns, other.system_ns),
            run_queue_wait_ns: both(self.run_queue_wait_ns, other.run_queue_wait_ns),
            peak_bytes: both(self.peak_bytes, other.peak_bytes),
            voluntary_switches: both(self.voluntary_switches, other.voluntary_switches),
            involuntary_switches: both(self.involuntary_switches, other.involuntary_switches),
            minor_faults: both(self.minor_faults, other.minor_faults),
            major_faults: both(self.major_faults, other.major_faults),
            moved_bytes: both(self.moved_bytes, other.moved_bytes),
            packing_ns: both(self.packing_ns, other.packing_ns),
            allocations: both(self.allocations, other.allocations),
            allocated_bytes: both(self.allocated_bytes, other.allocated_bytes),
        }
    }

    /// CPU time in both modes, ns.
    pub fn cpu_ns(&self) -> Option<u64> {
        Some(self.user_ns? + self.system_ns?)
    }
}

impl Add for Usage {
    type Output = Usage;

    /// The sum, also of peaks. A field that one side lacks is `None`.
    fn add(self, other: Usage) -> Usage {
        self.combine(other, u64::saturating_add)
    }
}

impl Sub for Usage {
    type Output = Usage;

    /// What was used since `earlier`; the peak is the later one's. A field that one side lacks is `None`.
    fn sub(self, earlier: Usage) -> Usage {
        Usage { peak_bytes: self.peak_bytes, ..self.combine(earlier, u64::saturating_sub) }
    }
}

/// Starts a new peak of this process's memory. If the system does not allow that, the peak is that of the whole run.
pub(crate) fn start_new_peak() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// What child processes of this one had used when they were reaped.
static REAPED: Mutex<Usage> = Mutex::new(Usage::ZERO);

/// Adds the whole usage of a child that was reaped.
pub(crate) fn add_reaped(usage: Usage) {
    let mut reaped = REAPED.lock().unwrap_or_else(PoisonError::into_inner);
    *reaped = *reaped + usage;
}

/// What all worker processes that this process has reaped so far had used.
pub(crate) fn reaped() -> Usage {
    *REAPED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The run-queue wait of the threads of this process: the process's own file covers its first thread only.
#[cfg(target_os = "linux")]
fn run_queue_wait_ns(caller: CallerWait) -> Option<u64> {
    let own = format!("{}", rustix::thread::gettid().as_raw_nonzero());
    let mut sum = 0;
    for thread in fs::read_dir("/proc/self/task").ok()?.flatten() {
        if caller == CallerWait::Counts || thread.file_name() != *own {
            // A thread that has just ended has no file.
            sum += schedstat_wait_ns(&thread.path().join("schedstat")).unwrap_or(0);
        }
    }
    // Without any such file, the system does not tell.
    fs::exists("/proc/self/schedstat").ok()?.then_some(sum)
}

/// Other systems do not tell.
#[cfg(not(target_os = "linux"))]
fn run_queue_wait_ns(_: CallerWait) -> Option<u64> {
    None
}

/// The time that a thread has waited for a CPU: the second number of its file.
pub(crate) fn schedstat_wait_ns(file: &std::path::Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.split_whitespace().nth(1)?.parse().ok()
}

/// The CPU time that another process has used so far, with all its threads, ns; `None` if it has gone.
#[cfg(target_os = "linux")]
pub(crate) fn cpu_time_of(process: u32) -> Option<u64> {
    let (mut clock, mut time) = (0, libc::timespec { tv_sec: 0, tv_nsec: 0 });
    // SAFETY: both calls write to the pointer that they are given, and check the process id and the clock.
    let read = unsafe {
        libc::clock_getcpuclockid(libc::pid_t::try_from(process).ok()?, &mut clock) == 0
            && libc::clock_gettime(clock, &mut time) == 0
    };
    read.then_some(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// Other systems do not tell.
#[cfg(not(target_os = "linux"))]
pub(crate) fn cpu_time_of(_: u32) -> Option<u64> {
    None
}

fn peak_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_shows_as_cpu_time_and_memory() {
        let before = Usage::now();
        let numbers: Vec<u64> = (0..8_000_000).collect();
        assert_eq!(std::hint::black_box(&numbers).len(), 8_000_000);
        let used = Usage::now() - before;
        assert!(used.cpu_ns() > Some(0), "{used:?}");
        assert!(used.minor_faults > Some(0), "{used:?}");
        if cfg!(target_os = "linux") {
            assert!(used.peak_bytes > Some(64_000_000), "{used:?}");
        }
    }

    #[test]
    fn a_sum_adds_peaks_and_a_difference_keeps_the_later_one() {
        let of = |user_ns, peak_bytes| Usage {
            user_ns: Some(user_ns),
            peak_bytes: Some(peak_bytes),
            ..Usage::ZERO
        };
        assert_eq!(of(5, 7) + of(3, 4), of(8, 11));
        assert_eq!(of(5, 7) - of(3, 4), of(2, 7));
        assert_eq!(of(5, 7) + Usage::ZERO, of(5, 7));
    }

    #[test]
    fn what_one_side_does_not_know_is_not_known_of_both() {
        let unknown = Usage { minor_faults: None, ..Usage::ZERO };
        for usage in
            [unknown + Usage::ZERO, Usage::ZERO + unknown, unknown - Usage::ZERO, Usage::ZERO - unknown]
        {
            assert_eq!(usage, unknown);
        }
    }

    #[test]
    fn the_wait_of_the_calling_thread_is_left_out() {
        if cfg!(target_os = "linux") {
            let all = Usage::of_this_process(CallerWait::Counts).run_queue_wait_ns;
            let others = Usage::of_this_process(CallerWait::Ignored).run_queue_wait_ns;
            assert_eq!(all.is_some(), others.is_some());
        }
    }
}

//! What a batch cost: CPU time, waiting for a CPU, memory, context switches and page faults.

use std::fs;
use std::mem::MaybeUninit;
use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

/// What one or more processes have used.
///
/// Fields that the system does not report are 0: run-queue wait and peak memory come from `/proc`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Usage {
    /// CPU time in user mode, ns.
    pub user_ns: u64,
    /// CPU time in the kernel, ns.
    pub system_ns: u64,
    /// Time that runnable threads waited for a CPU, ns: large if the machine was busy with other work.
    pub run_queue_wait_ns: u64,
    /// Peak of resident memory since the last [`Usage::take`], bytes. For several processes it is the sum of their peaks, so
    /// shared pages count once for each process.
    pub peak_bytes: u64,
    /// Context switches because a thread waited.
    pub voluntary_switches: u64,
    /// Context switches because a thread lost its CPU to another one.
    pub involuntary_switches: u64,
    /// Page faults served without the disk.
    pub minor_faults: u64,
    /// Page faults that read from the disk.
    pub major_faults: u64,
}

impl Usage {
    /// What this process has used so far, all its living threads included.
    pub fn now() -> Usage {
        let mut usage = MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: the kernel writes one `rusage` to the pointer; zeroes are a valid one should it fail.
        let usage = unsafe {
            libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
            usage.assume_init()
        };
        let ns = |time: libc::timeval| time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1_000;
        Usage {
            user_ns: ns(usage.ru_utime),
            system_ns: ns(usage.ru_stime),
            run_queue_wait_ns: run_queue_wait_ns(),
            peak_bytes: peak_bytes(),
            voluntary_switches: usage.ru_nvcsw as u64,
            involuntary_switches: usage.ru_nivcsw as u64,
            minor_faults: usage.ru_minflt as u64,
            major_faults: usage.ru_majflt as u64,
        }
    }

    /// The same, and starts a new peak of memory, which never falls by itself.
    pub fn take() -> Usage {
        let usage = Usage::now();
        // If the system does not allow this, the peak is that of the whole run.
        let _ = fs::write("/proc/self/clear_refs", "5");
        usage
    }
}

impl Add for Usage {
    type Output = Usage;

    fn add(self, other: Usage) -> Usage {
        let peak_bytes = self.peak_bytes.saturating_add(other.peak_bytes);
        Usage { peak_bytes, ..self.combine(other, u64::saturating_add) }
    }
}

impl Sub for Usage {
    type Output = Usage;

    /// What was used since `earlier`; the peak is the later one's.
    fn sub(self, earlier: Usage) -> Usage {
        Usage { peak_bytes: self.peak_bytes, ..self.combine(earlier, u64::saturating_sub) }
    }
}

impl Usage {
    fn combine(self, other: Usage, with: fn(u64, u64) -> u64) -> Usage {
        Usage {
            user_ns: with(self.user_ns, other.user_ns),
            system_ns: with(self.system_ns, other.system_ns),
            run_queue_wait_ns: with(self.run_queue_wait_ns, other.run_queue_wait_ns),
            peak_bytes: 0,
            voluntary_switches: with(self.voluntary_switches, other.voluntary_switches),
            involuntary_switches: with(self.involuntary_switches, other.involuntary_switches),
            minor_faults: with(self.minor_faults, other.minor_faults),
            major_faults: with(self.major_faults, other.major_faults),
        }
    }
}

/// The run-queue wait of all threads of this process: the process's own file covers its first thread only.
fn run_queue_wait_ns() -> u64 {
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return 0 };
    let wait = |text: String| text.split_whitespace().nth(1)?.parse::<u64>().ok();
    threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok().and_then(wait))
        .sum()
}

fn peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
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
        assert!(used.user_ns + used.system_ns > 0, "{used:?}");
        assert!(used.minor_faults > 0, "{used:?}");
        if cfg!(target_os = "linux") {
            assert!(used.peak_bytes > 64_000_000, "{used:?}");
        }
    }

    #[test]
    fn a_sum_adds_peaks_and_a_difference_keeps_the_later_one() {
        let a = Usage { user_ns: 5, peak_bytes: 7, ..Usage::default() };
        let b = Usage { user_ns: 3, peak_bytes: 4, ..Usage::default() };
        assert_eq!(a + b, Usage { user_ns: 8, peak_bytes: 11, ..Usage::default() });
        assert_eq!(a - b, Usage { user_ns: 2, peak_bytes: 7, ..Usage::default() });
    }
}

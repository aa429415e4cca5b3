//! The machine: how many CPUs this process may use, what else keeps them busy, and what a report says about them.

use std::fs;
use std::path::Path;
use std::thread;

use serde::{Deserialize, Serialize};

use crate::program::cgroup::groups;

/// What a report says about the machine that a run was made on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Machine {
    /// The processor's name.
    pub cpu: Option<String>,
    /// CPUs that this process may use: those of its affinity, no more than its control group's quota.
    pub cpus_allowed: usize,
    /// Physical cores of the machine.
    pub physical_cores: usize,
    /// The quota of the control group, CPUs; `None` if there is none.
    pub cpu_quota: Option<f64>,
    /// Memory of the machine, bytes.
    pub memory_bytes: Option<u64>,
    /// The operating system and its version.
    pub system: Option<String>,
}

impl Machine {
    /// This machine, as this process sees it.
    pub fn this() -> Machine {
        let read = |path| fs::read_to_string(path).ok();
        let after_colon = |line: &str| Some(line.split_once(':')?.1.trim().to_string());
        let field = |text: &str, name| text.lines().find(|line| line.starts_with(name)).and_then(after_colon);
        let memory = read("/proc/meminfo").and_then(|text| field(&text, "MemTotal"));
        let kib = |size: String| size.split_whitespace().next()?.parse::<u64>().ok();
        let uname = rustix::system::uname();
        let system = format!("{} {}", uname.sysname().to_string_lossy(), uname.release().to_string_lossy());
        Machine {
            cpu: read("/proc/cpuinfo").and_then(|text| field(&text, "model name")),
            cpus_allowed: cpus_allowed(),
            physical_cores: num_cpus::get_physical(),
            cpu_quota: cpu_quota(Path::new("/")),
            memory_bytes: memory.and_then(kib).map(|kib| kib * 1024),
            system: Some(system),
        }
    }
}

/// CPUs that this process may use: affinity and the quota of its control group count.
pub(crate) fn cpus_allowed() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// The number of workers that this machine suggests: a CPU each, but not two on one core.
pub(crate) fn useful_workers() -> usize {
    cpus_allowed().min(num_cpus::get_physical()).max(1)
}

/// The CPUs that the control groups of this process, below `root`, may use on average; `None` if there is no limit.
fn cpu_quota(root: &Path) -> Option<f64> {
    let read = |path: &Path| fs::read_to_string(path).ok();
    let groups = groups(root, "cpu")?;
    // The quota of every group above counts as well.
    let quotas = groups.ancestors.iter().filter_map(|folder| {
        if groups.unified {
            let text = read(&folder.join("cpu.max"))?;
            let (quota, period) = text.trim().split_once(' ')?;
            return Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?);
        }
        let number = |file| read(&folder.join(file))?.trim().parse::<f64>().ok();
        let quota = number("cpu.cfs_quota_us").filter(|quota| *quota > 0.0)?;
        Some(quota / number("cpu.cfs_period_us")?)
    });
    quotas.min_by(f64::total_cmp)
}

/// How long the control group of this process has been kept from running by its quota so far, ns.
pub(crate) fn throttled_ns() -> Option<u64> {
    let groups = groups(Path::new("/"), "cpu")?;
    let text = fs::read_to_string(groups.ancestors.first()?.join("cpu.stat")).ok()?;
    let value = |name| text.lines().find_map(|line| line.strip_prefix(name))?.trim().parse::<u64>().ok();
    value("throttled_usec ").map(|us| us * 1_000).or_else(|| value("throttled_time "))
}

/// What all CPUs together have done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CpuTimes {
    /// Time in which a CPU ran anything, ns.
    pub(crate) busy_ns: u64,
    /// Time in which the host ran something else on a virtual CPU that had work, ns.
    pub(crate) steal_ns: u64,
}

/// Reads what all CPUs together have done so far; `None` if the system does not tell.
pub(crate) fn cpu_times() -> Option<CpuTimes> {
    parse_cpu_times(&fs::read_to_string("/proc/stat").ok()?)
}

fn parse_cpu_times(stat: &str) -> Option<CpuTimes> {
    // Ticks of 10 ms, on every system that Linux runs on.
    let ns = |ticks: &str| Some(ticks.parse::<u64>().ok()? * 10_000_000);
    let times: Option<Vec<_>> =
        stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().map(ns).collect();
    let [user, nice, system, _idle, _io_wait, irq, soft_irq, steal, ..] = times?[..] else { return None };
    Some(CpuTimes { busy_ns: user + nice + system + irq + soft_irq, steal_ns: steal })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::cgroup::tree;

    fn quota(files: &[(&str, &str)]) -> Option<f64> {
        cpu_quota(tree(files).path())
    }

    #[test]
    fn a_quota_of_version_2_is_found_in_the_group_or_above() {
        let group = ("proc/self/cgroup", "0::/a/b\n");
        let outer = ("sys/fs/cgroup/a/cpu.max", "150000 100000\n");
        assert_eq!(quota(&[group, ("sys/fs/cgroup/a/b/cpu.max", "max 100000\n"), outer]), Some(1.5));
        assert_eq!(quota(&[group, ("sys/fs/cgroup/a/b/cpu.max", "50000 100000\n"), outer]), Some(0.5));
        assert_eq!(quota(&[group, ("sys/fs/cgroup/a/b/cpu.max", "max 100000\n")]), None);
    }

    #[test]
    fn a_quota_of_version_1_is_found_in_its_own_hierarchy() {
        let group = ("proc/self/cgroup", "3:cpu,cpuacct:/a\n1:name=systemd:/a\n0::/elsewhere\n");
        let period = ("sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n");
        assert_eq!(quota(&[group, period, ("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "200000\n")]), Some(2.0));
        assert_eq!(quota(&[group, period, ("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "-1\n")]), None);
        // In a container the path is that of the host, and the mount shows the container's own group.
        let mount = [
            ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n"),
        ];
        assert_eq!(quota(&[group, mount[0], mount[1]]), Some(0.5));
    }

    #[test]
    fn without_control_groups_there_is_no_quota() {
        assert_eq!(quota(&[]), None);
        assert_eq!(quota(&[("proc/self/cgroup", "nonsense\n")]), None);
    }

    #[test]
    fn busy_time_leaves_out_idling_and_what_the_host_took() {
        let times = parse_cpu_times("cpu  1 2 3 400 50 6 7 8 9 9\ncpu0 1 2 3 4 5 6 7 8 0 0\n").unwrap();
        assert_eq!(times, CpuTimes { busy_ns: 190_000_000, steal_ns: 80_000_000 });
        assert_eq!(parse_cpu_times("intr 1 2 3"), None);
    }

    #[test]
    fn this_machine_has_a_cpu_for_us() {
        let machine = Machine::this();
        assert!(machine.cpus_allowed >= 1 && machine.physical_cores >= 1, "{machine:?}");
        assert!((1..=machine.physical_cores).contains(&useful_workers()), "{machine:?}");
    }
}

//! What this process has, as the system sees it: children, descriptors, threads and memory.

use std::fmt;
use std::fs;
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// A process as the system lists it.
pub(crate) struct Stat {
    pub(crate) name: String,
    pub(crate) state: char,
    pub(crate) parent: u32,
    pub(crate) threads: u32,
}

/// `None` if there is no such process.
pub(crate) fn stat(process: u32) -> Option<Stat> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name is in parentheses and may hold anything.
    let (name, rest) = stat.rsplit_once(')')?;
    let fields: Vec<_> = rest.split_whitespace().collect();
    Some(Stat {
        name: name.split_once('(')?.1.into(),
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        threads: fields.get(17)?.parse().ok()?,
    })
}

/// All children of this process.
pub(crate) fn children() -> Vec<u32> {
    let own = process::id();
    let entries = |folder: &str| fs::read_dir(folder).into_iter().flatten().flatten();
    if fs::exists(format!("/proc/self/task/{own}/children")).unwrap_or(false) {
        // Each thread has its own.
        let lists = entries("/proc/self/task").filter_map(|thread| {
            // One that has ended since has none.
            fs::read_to_string(thread.path().join("children")).ok()
        });
        return lists.flat_map(|list| numbers(&list)).collect();
    }
    let processes = entries("/proc").filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    processes.filter(|process| stat(*process).is_some_and(|stat| stat.parent == own)).collect()
}

fn numbers(list: &str) -> Vec<u32> {
    list.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

/// What this process has.
#[derive(Debug, Default)]
pub(crate) struct Resources {
    /// But for the fork server.
    pub(crate) children: usize,
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
    /// Pieces of shared memory that are mapped.
    pub(crate) mappings: usize,
    /// In use, and kept for reuse.
    pub(crate) segments: (usize, usize),
    pub(crate) resident_kib: u64,
}

impl Resources {
    /// What is there, once memory that is kept for reuse has been given up.
    pub(crate) fn now(server: u32) -> Result<Resources> {
        parbench::data::keep_unused(0);
        parbench::data::keep_unused(4 << 30);
        let count = |folder| Ok::<_, anyhow::Error>(fs::read_dir(folder)?.count());
        let status = fs::read_to_string("/proc/self/status")?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|line| line.split_whitespace().next()?.parse().ok());
        let maps = fs::read_to_string("/proc/self/maps")?;
        Ok(Resources {
            children: children().iter().filter(|child| **child != server).count(),
            descriptors: count("/proc/self/fd")?,
            threads: count("/proc/self/task")?,
            mappings: maps.lines().filter(|line| line.contains("/memfd:")).count(),
            segments: parbench::data::segments(),
            resident_kib: resident.context("the system does not say how much memory is resident")?,
        })
    }

    /// What is more here than there, but for memory.
    pub(crate) fn more_than(&self, other: &Resources) -> Vec<String> {
        let counts = |resources: &Resources| {
            [
                ("children", resources.children),
                ("descriptors", resources.descriptors),
                ("threads", resources.threads),
                ("mappings of shared memory", resources.mappings),
                ("segments in use", resources.segments.0),
                ("segments kept", resources.segments.1),
            ]
        };
        let pairs = counts(self).into_iter().zip(counts(other));
        let more = pairs.filter(|((_, now), (_, before))| now > before);
        more.map(|((what, now), (_, before))| format!("{now} {what} are left, {before} were there")).collect()
    }

    /// What is there once it is no more than at another time, or 20 s later: a thread that was joined, or a process
    /// that was killed, is listed for a moment longer.
    pub(crate) fn settled(server: u32, other: &Resources) -> Result<Resources> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let resources = Resources::now(server)?;
            if resources.more_than(other).is_empty() || Instant::now() > deadline {
                return Ok(resources);
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Resources { children, descriptors, threads, mappings, segments: (used, kept), resident_kib } =
            self;
        write!(
            f,
            "{children} workers, {descriptors} descriptors, {threads} threads, {mappings} mappings of shared memory, \
             {used} segments in use and {kept} kept, {:.1} MiB resident",
            *resident_kib as f64 / 1024.0
        )
    }
}

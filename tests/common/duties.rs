//! Workloads that show what a pool's options do, and what large and shared data it carries.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use parbench::{Array, Inputs, Scenario, Size, Workload};
use rustix::process::{Resource, Rlimit, Signal, getpid, getrlimit, kill_process, setrlimit};
use serde::{Deserialize, Serialize};

/// What a task is to do; a path is a file that tasks of a batch leave signs in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Duty {
    Nothing,
    /// Waits for its end.
    Hang,
    /// Stops its own process, as Ctrl-Z does.
    Stop,
    /// Calls itself until the stack is full.
    Overflow,
    /// Fills so many bytes of private memory.
    Fill(usize),
    Print(String),
    Variable(String),
    Cpus,
    /// Adds a sign.
    Sign(String),
    /// Aborts as long as there are not so many signs, of which it leaves one each time.
    Abort(String, u64),
    /// Waits until there are so many signs.
    Await(String, u64),
    /// So many bytes, in the message, in a private array, or in shared memory; sent back in the same way.
    Carry(Cargo),
    /// Makes a shared array and does its worst to it.
    Shrink,
    /// May open no more descriptors than are open.
    Close,
}

/// Bytes on their way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Cargo {
    Encoded(Blob),
    Private(Array<u8>),
    Shared(Array<u8>),
}

/// Bytes that are encoded as one piece: a `Vec<u8>` goes byte by byte.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Blob(pub(crate) Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl serde::de::Visitor<'_> for Bytes {
            type Value = Blob;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// What a task did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) process: u32,
    pub(crate) words: String,
    pub(crate) cargo: Option<Cargo>,
}

/// The tasks are whatever the test put there: this process prepares, workers run.
pub(crate) struct Duties;

thread_local! {
    pub(crate) static TASKS: std::cell::RefCell<Vec<Duty>> = const { std::cell::RefCell::new(Vec::new()) };
}

impl Workload for Duties {
    const NAME: &'static str = "duties";
    type Input = Duty;
    type Output = Report;
    type Worker = ();

    fn prepare(_: Size) -> Result<Inputs<Duty>> {
        Ok(Inputs::new(TASKS.take()))
    }

    fn run(_: &mut (), duty: &Duty) -> Result<Report> {
        let (words, cargo) = match duty {
            Duty::Carry(cargo) => (String::new(), Some(carry(cargo)?)),
            Duty::Shrink => shrink()?,
            _ => (perform(duty)?, None),
        };
        Ok(Report { process: process::id(), words, cargo })
    }

    fn check(_: &[Duty], _: &[Report]) -> Result<()> {
        Ok(())
    }
}

pub(crate) static DUTIES: &[Scenario] = &[Scenario::of::<Duties>()];

fn perform(duty: &Duty) -> Result<String> {
    match duty {
        Duty::Nothing | Duty::Carry(_) | Duty::Shrink => {}
        Duty::Hang => loop {
            thread::sleep(Duration::from_secs(60));
        },
        Duty::Stop => kill_process(getpid(), Signal::STOP)?,
        Duty::Overflow => return Ok(overflow(1).to_string()),
        Duty::Fill(bytes) => {
            let memory = std::hint::black_box(vec![1u8; *bytes]);
            return Ok(memory.len().to_string());
        }
        Duty::Print(words) => {
            println!("{words}");
            eprintln!("{words}");
        }
        Duty::Variable(name) => return Ok(std::env::var(name).unwrap_or_default()),
        #[cfg(target_os = "linux")]
        Duty::Cpus => {
            let set = rustix::thread::sched_getaffinity(None)?;
            let cpus: Vec<_> = (0..1024).filter(|cpu| set.is_set(*cpu)).map(|cpu| cpu.to_string()).collect();
            return Ok(cpus.join(","));
        }
        #[cfg(not(target_os = "linux"))]
        Duty::Cpus => anyhow::bail!("this system does not say"),
        Duty::Sign(path) => sign(path)?,
        Duty::Abort(path, times) => {
            if signs(path) < *times {
                sign(path)?;
                process::abort();
            }
        }
        Duty::Await(path, number) => {
            let patience = Instant::now() + Duration::from_secs(20);
            while signs(path) < *number {
                ensure!(Instant::now() < patience, "only {} of {number} signs came", signs(path));
                thread::sleep(Duration::from_millis(1));
            }
        }
        Duty::Close => {
            let open = fs::read_dir("/proc/self/fd")?.count() as u64 - 1;
            setrlimit(Resource::Nofile, Rlimit { current: Some(open), ..getrlimit(Resource::Nofile) })?;
            // There may be gaps among the numbers.
            while let Ok(gap) = fs::File::open("/dev/null") {
                std::mem::forget(gap);
            }
        }
    }
    Ok(String::new())
}

fn overflow(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 1_000]);
    if depth == u64::MAX { 0 } else { frame[7] + overflow(depth + 1) + frame[999] }
}

fn sign(path: &str) -> Result<()> {
    Ok(OpenOptions::new().append(true).create(true).open(path)?.write_all(b"x")?)
}

pub(crate) fn signs(path: &str) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

fn carry(cargo: &Cargo) -> Result<Cargo> {
    Ok(match cargo {
        Cargo::Encoded(blob) => Cargo::Encoded(blob.clone()),
        Cargo::Private(bytes) => Cargo::Private(bytes.to_vec().into()),
        Cargo::Shared(bytes) => {
            Cargo::Shared(Array::shared(bytes.len(), |copy| copy.copy_from_slice(bytes))?)
        }
    })
}

/// Tries to take away and to change the memory of a shared array through every descriptor that leads to one.
fn shrink() -> Result<(String, Option<Cargo>)> {
    let array = Array::shared(100_000, |bytes| bytes.fill(7))?;
    let mut tried = 0;
    for entry in fs::read_dir("/proc/self/fd")?.flatten() {
        let is_segment = fs::read_link(entry.path())
            .is_ok_and(|target| target.to_string_lossy().starts_with("/memfd:parbench"));
        if is_segment {
            let file = OpenOptions::new().write(true).open(entry.path()).context("it cannot be opened")?;
            for length in [0, 1 << 20] {
                ensure!(file.set_len(length).is_err(), "its length could be changed to {length}");
            }
            ensure!((&file).write(b"changed").is_err(), "it could be written to");
            tried += 1;
        }
    }
    ensure!(tried > 0, "no segment was found");
    Ok((tried.to_string(), Some(Cargo::Shared(array))))
}

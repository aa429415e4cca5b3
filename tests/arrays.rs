//! Arrays on their way to worker processes and back: every size and kind, and every limit they can meet.

mod common;
#[path = "common/duties.rs"]
mod duties;
#[path = "common/ways.rs"]
mod ways;

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use common::{WAYS, Way};
use duties::{Blob, Cargo, DUTIES, Duty};
use libtest_mimic::Arguments;
use parbench::executors::{Kind, Means};
use parbench::{Array, Cause};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use ways::{failed, pool, run};

fn main() -> ExitCode {
    parbench::bench::enter(DUTIES);
    let mut trials = Vec::new();
    for way in WAYS {
        let mut add = |what, test: fn(&Way) -> Result<()>| {
            trials.push(pool(format!("{what} ({})", way.name), move || test(way)));
        };
        add("nothing, a byte, a megabyte and 300 megabytes come back", payloads);
        add("arrays are numbered by batch after batch", reused);
        add("an array may go on from worker to worker", forwarded);
    }
    #[cfg(target_os = "linux")]
    trials.extend([
        pool("a shared array cannot be taken away", shrinks),
        pool("a worker without descriptors refuses arrays and lives", no_descriptor_there),
        pool("without descriptors here arrays are refused and nothing is lost", no_descriptor_here),
        pool("too many or too large shared arrays are refused", too_many),
    ]);
    let mut arguments = Arguments::from_args();
    // They look for children and descriptors of this process: one at a time.
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn payloads(way: &Way) -> Result<()> {
    let bytes = |length: usize| (0..length).map(|i| ((i * i) >> 7) as u8).collect::<Vec<_>>();
    let mut pool = way.start(&way.means(2))?;
    for length in [0, 1, 1 << 20, 300_000_000] {
        let bytes = bytes(length);
        let shared = Array::shared(length, |array| array.copy_from_slice(&bytes))?;
        for cargo in
            [Cargo::Encoded(Blob(bytes.clone())), Cargo::Private(bytes.into()), Cargo::Shared(shared)]
        {
            let mut tasks = vec![Duty::Nothing; 4];
            tasks[1] = Duty::Carry(cargo.clone());
            let back = run(&mut *pool, tasks)?.swap_remove(1);
            let back = back.map_err(|cause| anyhow::anyhow!("{length} bytes: {cause}"))?.cargo;
            ensure!(back.as_ref() == Some(&cargo), "{length} bytes came back changed");
        }
    }
    Ok(())
}

/// The same memory is used again and again, and never while somebody still reads it.
fn reused(way: &Way) -> Result<()> {
    let mut pool = way.start(&way.means(2))?;
    let mut kept = Vec::new();
    for batch in 0..20u8 {
        let cargo = |task: u8| {
            let bytes = vec![batch.wrapping_mul(11).wrapping_add(task); 200_000 + usize::from(task)];
            let shared = Array::shared(bytes.len(), |array| array.copy_from_slice(&bytes))?;
            Ok(if task.is_multiple_of(2) { Cargo::Shared(shared) } else { Cargo::Private(bytes.into()) })
        };
        let sent = (0..6).map(cargo).collect::<Result<Vec<_>>>()?;
        let reports = run(&mut *pool, sent.iter().cloned().map(Duty::Carry).collect())?;
        let back: Vec<_> = reports.into_iter().flatten().filter_map(|report| report.cargo).collect();
        ensure!(back == sent, "batch {batch} came back changed");
        // Every third batch is kept and looked at again later.
        if batch % 3 == 0 {
            kept.push((sent, back));
        }
    }
    ensure!(kept.iter().all(|(sent, back)| sent == back), "an array changed while it was read");
    Ok(())
}

/// What one worker made is another's input, after the first has ended too.
fn forwarded(way: &Way) -> Result<()> {
    let bytes: Vec<u8> = (0..500_000u32).map(|i| (i >> 3) as u8).collect();
    let mut cargo = Cargo::Shared(Array::shared(bytes.len(), |array| array.copy_from_slice(&bytes))?);
    for _ in 0..3 {
        let report = way.run(&way.means(1), vec![Duty::Carry(cargo)])?.swap_remove(0);
        cargo = report.ok().and_then(|report| report.cargo).context("it did not come back")?;
    }
    ensure!(cargo == Cargo::Shared(bytes.into()), "it came back changed");
    Ok(())
}

#[cfg(target_os = "linux")]
fn shrinks() -> Result<()> {
    for way in WAYS.iter().filter(|way| way.name != "bare") {
        let report = way.run(&way.means(1), vec![Duty::Shrink])?.swap_remove(0);
        let report = report.map_err(|cause| anyhow::anyhow!("{cause}"))?;
        let Some(Cargo::Shared(array)) = report.cargo else { anyhow::bail!("no array came back") };
        ensure!(array.len() == 100_000 && array.iter().all(|byte| *byte == 7), "the array was changed");
    }
    Ok(())
}

fn shared(length: usize) -> Result<Duty> {
    Ok(Duty::Carry(Cargo::Shared(Array::shared(length, |array: &mut [u8]| array.fill(1))?)))
}

#[cfg(target_os = "linux")]
fn no_descriptor_there() -> Result<()> {
    let mut pool = Kind::find("processes")?.start(&Means::workers(1))?;
    let failed = failed(run(&mut *pool, vec![Duty::Close, shared(1_000)?, Duty::Nothing, shared(1_000)?])?);
    ensure!(failed.keys().eq(&[1, 3]), "{failed:?}");
    for cause in failed.values() {
        let said = cause.to_string();
        ensure!(said.contains("no descriptor was left for a shared array"), "{said}");
    }
    Ok(())
}

/// This program may open no more descriptors than are open, as long as this lives.
#[cfg(target_os = "linux")]
struct Closed(Rlimit);

#[cfg(target_os = "linux")]
impl Closed {
    fn new() -> Result<Closed> {
        let before = getrlimit(Resource::Nofile);
        let highest = fs::read_dir("/proc/self/fd")?.flatten();
        let highest = highest.filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok()).max();
        // Below the highest there may be gaps: they are filled first.
        let limit = highest.context("no descriptor is open")? + 1;
        setrlimit(Resource::Nofile, Rlimit { current: Some(limit), ..before })?;
        Ok(Closed(before))
    }
}

#[cfg(target_os = "linux")]
impl Drop for Closed {
    fn drop(&mut self) {
        setrlimit(Resource::Nofile, self.0).expect("it was so before");
    }
}

#[cfg(target_os = "linux")]
fn no_descriptor_here() -> Result<()> {
    let mut pool = Kind::find("processes")?.start(&Means::workers(1))?;
    let task = || shared(1_000);
    run(&mut *pool, vec![Duty::Nothing])?;
    let tasks = vec![task()?, Duty::Nothing];
    {
        let mut gaps = Vec::new();
        let _closed = Closed::new()?;
        while let Ok(gap) = fs::File::open("/dev/null") {
            gaps.push(gap);
        }
        let error = format!("{:#}", task().err().context("it was made")?);
        ensure!(error.contains("shared array of 1000 bytes") && error.contains("ulimit -n"), "{error}");
        let error =
            format!("{:#}", Kind::find("processes")?.start(&Means::workers(1)).err().context("it started")?);
        ensure!(error.contains("cannot start processes/1"), "{error}");
        // The worker's answer is a shared array that cannot be received here.
        let failed = failed(run(&mut *pool, tasks.clone())?);
        let said = failed.get(&0).map(Cause::to_string).unwrap_or_default();
        ensure!(
            failed.len() == 1 && said.contains("no descriptor was left for a shared array"),
            "{failed:?}"
        );
    }
    let failed = failed(run(&mut *pool, tasks)?);
    ensure!(failed.is_empty(), "{failed:?}");
    Ok(())
}

#[cfg(target_os = "linux")]
fn too_many() -> Result<()> {
    let mut arrays = Vec::new();
    let error = loop {
        match Array::<u8>::shared(100, |_| {}) {
            Ok(array) => arrays.push(array),
            Err(error) => break format!("{error:#}"),
        }
        ensure!(arrays.len() < 100_000, "there is no limit");
    };
    ensure!(
        error.contains("cannot make a shared array of 100 bytes") && error.contains("drop some arrays"),
        "{error}"
    );
    drop(arrays);
    let _again = Array::<u8>::shared(100, |_| {})?;
    let error = format!("{:#}", Array::<u64>::shared(1 << 50, |_| {}).err().context("it was made")?);
    ensure!(error.contains("bytes of memory are left"), "{error}");
    let error = format!("{:#}", Array::<u64>::shared(usize::MAX / 2, |_| {}).err().context("it was made")?);
    ensure!(error.contains("more than memory can hold"), "{error}");
    Ok(())
}

//! Arrays on their way to worker processes and back: every size and kind, and every limit they can meet.

#[path = "common/action/mod.rs"]
mod action;
mod common;
#[path = "common/pools.rs"]
mod pools;

use std::fs;
use std::process::ExitCode;

use action::{Act, Action, Payload, Report};
use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Arguments;
use parbench::executors::{ExecutorKind, PoolOptions};
use parbench::{Array, Cause, Executor, Pool, Scenario};
use pools::{FLAVORS, PoolFlavor, failed, pool_trial, run};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

static SCENARIOS: &[Scenario] = &[Scenario::of::<Act>()];

fn main() -> ExitCode {
    parbench::bench::enter(SCENARIOS);
    let mut trials = Vec::new();
    for flavor in FLAVORS {
        let mut add = |what, test: fn(&PoolFlavor) -> Result<()>| {
            trials.push(pool_trial(format!("{what} ({})", flavor.name), move || test(flavor)));
        };
        add("nothing, a byte, a megabyte and 300 megabytes come back", payloads);
        add("arrays are numbered by batch after batch", reused);
        add("an array may go on from worker to worker", forwarded);
    }
    #[cfg(target_os = "linux")]
    trials.extend([
        pool_trial("a shared array cannot be taken away", tampered_with),
        pool_trial("a worker without descriptors refuses arrays and lives", no_descriptor_there),
        pool_trial("without descriptors here arrays are refused and nothing is lost", no_descriptor_here),
        pool_trial("too many or too large shared arrays are refused", too_many),
    ]);
    let mut arguments = Arguments::from_args();
    // They look for children and descriptors of this process: one at a time.
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The payloads that a task has sent back.
fn sent_back(report: Report) -> Result<Vec<Payload<u8>>> {
    match report {
        Report::SentBack(payloads) => Ok(payloads),
        report => bail!("it reports {report:?}"),
    }
}

fn payloads(flavor: &PoolFlavor) -> Result<()> {
    let bytes = |length: usize| (0..length).map(|i| ((i * i) >> 7) as u8).collect::<Vec<_>>();
    let mut pool = flavor.start(&flavor.options(2))?;
    for length in [0, 1, 1 << 20, 300_000_000] {
        let bytes = bytes(length);
        let shared = Payload::shared(&bytes)?;
        for payload in [Payload::encoded(bytes.clone()), Payload::private(bytes), shared] {
            let mut actions = vec![Action::Nothing; 4];
            actions[1] = Action::SendBack(vec![payload.clone()]);
            let report = run(&mut *pool, actions)?.swap_remove(1);
            let back = sent_back(report.with_context(|| format!("{length} bytes"))?)?;
            ensure!(back == [payload], "{length} bytes came back changed");
        }
    }
    Ok(())
}

/// The same memory is used again and again, and never while somebody still reads it.
fn reused(flavor: &PoolFlavor) -> Result<()> {
    let mut pool = Pool::<Act>::start(flavor.executor, &flavor.options(2))?;
    let mut kept = Vec::new();
    for batch in 0..20u8 {
        let payload = |task: u8| {
            let bytes = vec![batch.wrapping_mul(11).wrapping_add(task); 200_000 + usize::from(task)];
            if task.is_multiple_of(2) { Payload::shared(&bytes) } else { Ok(Payload::private(bytes)) }
        };
        let sent = (0..6).map(payload).collect::<Result<Vec<_>>>()?;
        let reports =
            pool.run(sent.iter().map(|payload| Action::SendBack(vec![payload.clone()])).collect())?;
        let back = reports.into_iter().map(|report| sent_back(report?)).collect::<Result<Vec<_>>>()?;
        let back = back.concat();
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
fn forwarded(flavor: &PoolFlavor) -> Result<()> {
    let bytes: Vec<u8> = (0..500_000u32).map(|i| (i >> 3) as u8).collect();
    let mut payloads = vec![Payload::shared(&bytes)?];
    for _ in 0..3 {
        let report = flavor.run(&flavor.options(1), vec![Action::SendBack(payloads)])?.swap_remove(0);
        payloads = sent_back(report?)?;
    }
    ensure!(payloads == [Payload::Shared(bytes.into())], "it came back changed");
    Ok(())
}

#[cfg(target_os = "linux")]
fn tampered_with() -> Result<()> {
    for flavor in FLAVORS.iter().filter(|flavor| flavor.shares_memory) {
        let report = flavor.run(&flavor.options(1), vec![Action::TamperWithSharedArray])?.swap_remove(0);
        let back = sent_back(report?)?;
        let [Payload::Shared(array)] = &back[..] else { bail!("no array came back") };
        ensure!(array.len() == 100_000 && array.iter().all(|byte| *byte == 7), "the array was changed");
    }
    Ok(())
}

/// Sends a shared array back.
#[cfg(target_os = "linux")]
fn send_shared(length: usize) -> Result<Action> {
    Ok(Action::SendBack(vec![Payload::shared(&vec![1; length])?]))
}

#[cfg(target_os = "linux")]
fn start_one() -> Result<Box<dyn Executor>> {
    ExecutorKind::find("processes")?.start(&PoolOptions::new(1))
}

#[cfg(target_os = "linux")]
fn no_descriptor_there() -> Result<()> {
    let actions = vec![Action::UseUpDescriptors, send_shared(1_000)?, Action::Nothing, send_shared(1_000)?];
    let failed = failed(run(&mut *start_one()?, actions)?);
    ensure!(failed.keys().eq(&[1, 3]), "{failed:?}");
    for cause in failed.values() {
        let sentence = cause.to_string();
        ensure!(sentence.contains("no descriptor was left for a shared array"), "{sentence}");
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
    let mut pool = start_one()?;
    run(&mut *pool, vec![Action::Nothing])?;
    let actions = vec![send_shared(1_000)?, Action::Nothing];
    {
        let mut gaps = Vec::new();
        let _closed = Closed::new()?;
        while let Ok(gap) = fs::File::open("/dev/null") {
            gaps.push(gap);
        }
        let error = format!("{:#}", send_shared(1_000).err().context("it was made")?);
        ensure!(error.contains("shared array of 1000 bytes") && error.contains("ulimit -n"), "{error}");
        let error = format!("{:#}", start_one().err().context("it started")?);
        ensure!(error.contains("cannot start processes/1"), "{error}");
        // The worker's answer is a shared array that cannot be received here.
        let failed = failed(run(&mut *pool, actions.clone())?);
        let sentence = failed.get(&0).map(Cause::to_string).unwrap_or_default();
        ensure!(
            failed.len() == 1 && sentence.contains("no descriptor was left for a shared array"),
            "{failed:?}"
        );
    }
    let failed = failed(run(&mut *pool, actions)?);
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

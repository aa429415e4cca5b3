//! The pitfalls of concurrent programs, each as its example shows it: there without the cure, gone with it.

mod common;
#[path = "common/pitfalls.rs"]
mod pitfalls;

use anyhow::{Result, ensure};
use pitfalls::{RUNS, check_refusal, number, numbers, run, text};

#[test]
fn lost_updates_without_lock() -> Result<()> {
    for round in 0..RUNS {
        let record = run("pitfall_race")?;
        ensure!(text(&record, "outcome")? == "lost_updates", "{record}");
        let [updates, counted, lost] =
            ["updates", "counted", "lost"].map(|field| number(&record, field).unwrap());
        // Every update of one thread overwrites one of the other.
        ensure!(lost == updates / 2 && counted + lost == updates, "{record}");
        ensure!(number(&record, "mutex_counted")? == updates, "{record}");
        ensure!(number(&record, "fetch_add_counted")? == updates, "{record}");
        ensure!(number(&record, "chance_lost")? < number(&record, "chance_updates")?, "{record}");
        if round == 0 {
            check_refusal(&record)?;
        }
    }
    Ok(())
}

#[test]
fn starvation_unfair_lock() -> Result<()> {
    for _ in 0..RUNS {
        let record = run("pitfall_starvation")?;
        ensure!(text(&record, "outcome")? == "starved", "{record}");
        let (unfair, fair) = (numbers(&record, "unfair")?, numbers(&record, "fair")?);
        let (acquisitions, workers) = (number(&record, "acquisitions")?, number(&record, "threads")?);
        let even = acquisitions / workers;
        for shares in [&unfair, &fair] {
            ensure!(shares.len() as u64 == workers && shares.iter().sum::<u64>() == acquisitions, "{record}");
        }
        ensure!(unfair.iter().any(|share| share * 10 < even), "{record}");
        ensure!(fair.iter().all(|share| share.abs_diff(even) <= 1), "{record}");
    }
    Ok(())
}

#[test]
fn deadlock_detected_by_watchdog() -> Result<()> {
    for _ in 0..RUNS {
        let record = run("pitfall_deadlock")?;
        ensure!(text(&record, "outcome")? == "deadlock", "{record}");
        ensure!(number(&record, "done")? < number(&record, "transfers")?, "{record}");
        ensure!(number(&record, "pulses")? > 0, "{record}");
        ensure!(!cfg!(target_os = "linux") || number(&record, "awake")? == 0, "{record}");
        // The same watchdog, and it let this one finish.
        ensure!(number(&record, "cured_done")? == number(&record, "transfers")?, "{record}");
    }
    Ok(())
}

#[test]
fn livelock_makes_no_progress() -> Result<()> {
    for _ in 0..RUNS {
        let record = run("pitfall_livelock")?;
        ensure!(text(&record, "outcome")? == "livelock", "{record}");
        ensure!(number(&record, "done")? == 0, "{record}");
        ensure!(numbers(&record, "done_by_then")? == [0; 4], "{record}");
        // What stands still in a deadlock grows in a livelock.
        let cpu_ns = numbers(&record, "cpu_ns")?;
        ensure!(cpu_ns.len() == 4 && cpu_ns.is_sorted_by(|before, after| before < after), "{record}");
        ensure!(number(&record, "cured_done")? > 0, "{record}");
    }
    Ok(())
}

#[test]
fn full_pipes_deadlock_between_processes() -> Result<()> {
    for _ in 0..RUNS {
        let record = run("pitfall_pipes")?;
        ensure!(text(&record, "outcome")? == "full_pipes" && number(&record, "processes")? == 2, "{record}");
        let bytes = number(&record, "bytes")?;
        ensure!((1..bytes).contains(&number(&record, "written")?), "{record}");
        ensure!(number(&record, "read")? == 0 && number(&record, "looks")? > 0, "{record}");
        ensure!(number(&record, "cured_written")? == bytes, "{record}");
        ensure!(number(&record, "cured_read")? == bytes, "{record}");
    }
    Ok(())
}

/// Who is whose child, only Linux says.
#[cfg(target_os = "linux")]
#[test]
fn a_killed_program_leaves_no_process() -> Result<()> {
    for _ in 0..RUNS {
        pitfalls::kill_in_the_middle("pitfall_deadlock")?;
        pitfalls::kill_in_the_middle("pitfall_pipes")?;
    }
    Ok(())
}

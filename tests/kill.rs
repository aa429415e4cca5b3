//! What can be ended from outside: a process at any time, a thread never.

mod common;
#[path = "common/pitfalls.rs"]
mod pitfalls;

use anyhow::{Result, ensure};
use pitfalls::{RUNS, check_refusal, number, run, text};

#[test]
fn process_killed_thread_not() -> Result<()> {
    for round in 0..RUNS {
        let record = run("pitfall_kill")?;
        ensure!(text(&record, "outcome")? == "process_killed_thread_not", "{record}");
        ensure!(number(&record, "ended_by_kill")? == number(&record, "killed")?, "{record}");
        ensure!(number(&record, "kill_median_ns")? <= number(&record, "kill_max_ns")?, "{record}");
        // The parent went on, and the next process did its task.
        ensure!(number(&record, "answer")? == (1..=1_000_000).sum::<u64>(), "{record}");
        let tried = record["tried"].as_array().map(|tried| tried.len() as u64);
        ensure!(tried == Some(number(&record, "survived")?) && tried > Some(1), "{record}");
        // That it printed this and ended is the last part: a thread that nothing ends, ends with its process.
        ensure!(number(&record, "flag_ns")? > 0, "{record}");
        if round == 0 {
            check_refusal(&record)?;
        }
    }
    Ok(())
}

/// Who is whose child, only Linux says.
#[cfg(target_os = "linux")]
#[test]
fn a_killed_program_leaves_no_process() -> Result<()> {
    (0..RUNS).try_for_each(|_| pitfalls::kill_in_the_middle("pitfall_kill"))
}

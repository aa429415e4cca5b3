//! The output of the pitfall programs, for people and for programs.
//!
//! Each program prints five lines of text and one line of JSON. Its exit status is 0 if the pitfall occurred as
//! described and its cure worked. Otherwise it is 1, with a sentence on stderr. Every line of JSON has these fields:
//!
//! | field | meaning |
//! |---|---|
//! | `pitfall` | `race`, `starvation`, `deadlock`, `livelock`, `pipes` or `kill`: the program's name after `pitfall_` |
//! | `outcome` | the effect of the pitfall, such as `lost_updates`; `not_seen` if it did not occur |
//! | `cured` | whether the cure worked |
//! | `cure` | the cure, in a few words |
//! | `threads`, `processes` | how many take part in the pitfall, without a watchdog |
//! | `elapsed_ns` | the run time of the program |
//!
//! Each pitfall has further fields, measured without the cure unless stated otherwise:
//!
//! | pitfall (outcome) | fields |
//! |---|---|
//! | `race` (`lost_updates`) | `updates` made, `counted` and `lost`; `mutex_counted` and `fetch_add_counted` with the cures; `chance_updates` made and `chance_lost` if the timing is left to chance |
//! | `starvation` (`starved`) | `unfair`, `fair` and `std_mutex`: how many times each worker acquired that lock; `acquisitions`: the total for each of the first two |
//! | `deadlock` (`deadlock`) | `transfers` to make; `done` before the deadlock; `pulses` without progress that the watchdog received; threads `awake` during the deadlock, null if the system does not tell; `tries`: how many times the child was run to get a deadlock; `cured_done` with the cure |
//! | `livelock` (`livelock`) | `attempts` per thread; successful attempts, `done` without and `cured_done` with the cure; `cpu_ns` and `done_by_then` at each quarter of the attempts |
//! | `pipes` (`full_pipes`) | `bytes` to write and to read back; `written` and `read` before the deadlock; `looks` of the watchdog without progress; `cured_written` and `cured_read` with the cure |
//! | `kill` (`process_killed_thread_not`) | processes `killed` and `ended_by_kill`; `kill_median_ns` and `kill_max_ns` from the kill until the process is reaped; `answer` of the process after them; `tried`: the attempts to end a thread; `survived`: how many of them it survived; `flag_ns` from setting the flag until the thread is joined |
//!
//! `race` and `kill` also have a program that the compiler rejects: `refused` is the code of the error, `refused_code`
//! the program without the cure, and `accepted_code` the program with the cure.

#![allow(dead_code, reason = "each program uses its part")]

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use serde::Serialize;
use serde_json::Value;

/// A pitfall, and whether its cure worked.
#[derive(Serialize)]
pub(crate) struct Pitfall {
    pub(crate) pitfall: &'static str,
    pub(crate) outcome: &'static str,
    pub(crate) cured: bool,
    pub(crate) cure: &'static str,
    pub(crate) threads: usize,
    pub(crate) processes: usize,
}

impl Pitfall {
    /// Prints the lines and the JSON. If the pitfall was not `seen`, the outcome is `not_seen`.
    pub(crate) fn report(
        mut self,
        began: Instant,
        seen: bool,
        lines: [String; 5],
        numbers: Value,
    ) -> Result<ExitCode> {
        #[derive(Serialize)]
        struct Record<'a> {
            #[serde(flatten)]
            pitfall: &'a Pitfall,
            elapsed_ns: u64,
            #[serde(flatten)]
            numbers: Value,
        }
        let expected = self.outcome;
        if !seen {
            self.outcome = "not_seen";
        }
        let record = Record { pitfall: &self, elapsed_ns: elapsed_ns(began), numbers };
        println!("{}\n{}", lines.join("\n"), serde_json::to_string(&record)?);
        if !seen {
            eprintln!("The pitfall `{}` did not occur: expected `{expected}`.", self.pitfall);
        } else if !self.cured {
            eprintln!("The pitfall `{}` occurred despite its cure: {}.", self.pitfall, self.cure);
        }
        Ok(if seen && self.cured { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// The time elapsed since an instant, in ns.
pub(crate) fn elapsed_ns(since: Instant) -> u64 {
    since.elapsed().as_nanos() as u64
}

/// The number of threads of a process that are not asleep, among those whose names start with `prefix`, if the system
/// tells. A thread that is ready to run but has no CPU is awake: it is slow, not stuck.
pub(crate) fn awake(process: u32, prefix: &str) -> Option<usize> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).ok()?.flatten();
    let stats = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok());
    Some(stats.filter(|stat| stat.contains(&format!("({prefix}")) && !stat.contains(") S ")).count())
}

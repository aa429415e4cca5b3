//! What the pitfall programs share: how they tell what they saw, in lines for a person and in one for a program.
//!
//! Each prints five lines and then one line of JSON. Its exit status is 0 if the pitfall was seen as described and
//! its cure worked, otherwise 1 with a sentence on stderr. The fields that every line of JSON has:
//!
//! | field | is |
//! |---|---|
//! | `pitfall` | `race`, `starvation`, `deadlock`, `livelock`, `pipes` or `kill`: the program's name |
//! | `outcome` | what it is known for, such as `lost_updates`; `not_seen` if it did not happen |
//! | `cured` | whether it stayed away with the cure |
//! | `cure` | the cure, in a few words |
//! | `threads`, `processes` | how many take part in the pitfall; who watches is not counted |
//! | `elapsed_ns` | the whole program |
//!
//! And those that one has, without its cure where nothing else is said:
//!
//! | pitfall (outcome) | fields |
//! |---|---|
//! | `race` (`lost_updates`) | `updates` made, the `counted` ones and the `lost`; `mutex_counted`, `fetch_add_counted` with the cures; `chance_updates`, `chance_lost` where nothing was arranged |
//! | `starvation` (`starved`) | `acquisitions` in all; `unfair`, `fair`, `std_mutex`: those of each worker, by lock |
//! | `deadlock` (`deadlock`) | `transfers` to make, those `done` at the stand-still, `pulses` that the watchdog heard without progress; threads still `awake` then, null where the system does not tell; `tries` it took; `cured_done` |
//! | `livelock` (`livelock`) | `attempts` of each thread, those `done` and `cured_done`; `cpu_ns` and `done_by_then` at each quarter of the attempts |
//! | `pipes` (`full_pipes`) | `bytes` to write and to read back; `written`, `read` at the stand-still; `looks` of the watchdog without progress; `cured_written`, `cured_read` |
//! | `kill` (`process_killed_thread_not`) | processes `killed` and `ended_by_kill`; `kill_median_ns`, `kill_max_ns` from the kill until reaped; `answer` of the process after them; what was `tried` on a thread and how often it `survived`; `flag_ns` from the flag until joined |
//!
//! `race` and `kill` also have a program that the compiler refuses: `refused`, its error; `refused_code` and
//! `accepted_code`, the whole programs, without and with the cure.

#![allow(dead_code, reason = "each program uses its part")]

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use serde::Serialize;
use serde_json::Value;

/// A pitfall as a program looked for it, and what came of that.
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
    /// Prints the lines and the JSON. `seen` says whether the outcome was the one in `self`.
    pub(crate) fn tell(
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
        let sought = self.outcome;
        if !seen {
            self.outcome = "not_seen";
        }
        let record = Record { pitfall: &self, elapsed_ns: nanoseconds(began), numbers };
        println!("{}\n{}", lines.join("\n"), serde_json::to_string(&record)?);
        if !seen {
            eprintln!("The pitfall `{}` did not show: there was no `{sought}`.", self.pitfall);
        } else if !self.cured {
            eprintln!("The pitfall `{}` was there in spite of its cure, {}.", self.pitfall, self.cure);
        }
        Ok(if seen && self.cured { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// The time since then.
pub(crate) fn nanoseconds(since: Instant) -> u64 {
    since.elapsed().as_nanos() as u64
}

/// How many threads of a process, of those whose names begin so, are not asleep, if the system tells. One that could
/// run but has no CPU is awake: it is slow, not stuck.
pub(crate) fn awake(process: u32, names: &str) -> Option<usize> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).ok()?.flatten();
    let stats = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok());
    Some(stats.filter(|stat| stat.contains(&format!("({names}")) && !stat.contains(") S ")).count())
}

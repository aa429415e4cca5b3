//! What became of the tasks of a storm, and whether that is as it should be.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use parbench::{Cause, Job, Outcome, Packet};

use super::batches::Settings;
use super::counted::CountedJob;
use super::killer::Kills;
use super::resources::Resources;
use crate::action::{Action, Report};

/// How much more memory than before may be resident afterwards: what the allocator keeps of large arrays.
const MAX_GROWTH_KIB: u64 = 32 << 10;
/// Most errors that are listed.
const MAX_LISTED: usize = 20;

/// What was seen of a batch besides.
pub(super) struct Seen {
    pub(super) settings: Settings,
    /// How often each long task ran.
    pub(super) runs: HashMap<u64, u32>,
    /// How many workers may have ended in it.
    pub(super) kills: u64,
}

/// What became of it.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(super) killed: Kills,
    pub(super) kills: u64,
    pub(super) took: Duration,
    pub(super) pools: u64,
    batches: u64,
    /// Batches that could not begin, since a worker ended before the clock.
    unbegun: u64,
    /// Why the last of them could not.
    why: String,
    tasks: u64,
    died: u64,
    /// Deaths that the failures took.
    deaths: u64,
    input_refused: u64,
    nobody_left: u64,
    /// Tasks that were sent again: after a death, or taken back from a worker that was busy.
    again: u64,
    /// And what it was.
    pub(super) longest_batch: (Duration, String),
    pub(super) longest_end: Duration,
    pub(super) before: Resources,
    pub(super) after: Resources,
    /// After each quarter.
    pub(super) resident_kib: Vec<u64>,
    pub(super) errors: Vec<String>,
}

impl Summary {
    /// What was not as it should be.
    pub(crate) fn errors(&self) -> &[String] {
        &self.errors
    }

    pub(super) fn is_flawless(&self) -> bool {
        self.errors.is_empty() && self.failures() == 0
    }

    pub(super) fn failures(&self) -> u64 {
        self.unbegun + self.died + self.input_refused + self.nobody_left
    }

    /// Why the last batch that could not begin could not.
    pub(super) fn last_error(&self) -> String {
        self.why.clone()
    }

    pub(super) fn add_error(&mut self, what: String) {
        if self.errors.len() < MAX_LISTED {
            self.errors.push(what);
        }
    }

    /// A batch that could not begin.
    pub(super) fn add_unbegun(&mut self, error: &str) {
        self.unbegun += 1;
        self.why = error.into();
        if !(error.contains("a worker process cannot open `") && error.contains("signal: 9 (SIGKILL)")) {
            self.add_error(format!("a batch could not begin: {error}"));
        }
    }

    /// A batch that ran.
    pub(super) fn add(&mut self, job: &CountedJob, outcome: &Outcome, actions: &[Action], seen: &Seen) {
        let settings = &seen.settings;
        self.batches += 1;
        self.tasks += actions.len() as u64;
        if outcome.tasks.len() != actions.len() {
            self.add_error(format!("{} entries of {} tasks", outcome.tasks.len(), actions.len()));
        }
        for (task, (entry, action)) in outcome.tasks.iter().zip(actions).enumerate() {
            let (packed, accepted) = job.counts(task);
            self.again += u64::from(packed.saturating_sub(1));
            let report = job.answer(task).and_then(Packet::unpack::<Report>);
            let sound = match (entry, report) {
                (Ok(span), Ok(report)) => {
                    span.task as usize == task && accepted == 1 && action.has_report(&report)
                }
                (Err(failure), Err(_)) => {
                    let known = self.add_failure(&failure.cause, packed, seen);
                    failure.task == task && failure.scenario == job.scenario() && accepted == 0 && known
                }
                _ => false,
            };
            let ran = action.mark().map(|mark| seen.runs.get(&mark).copied().unwrap_or(0));
            let sound =
                sound && ran.is_none_or(|ran| ran <= settings.retries + 1 && (ran > 0 || entry.is_err()));
            if !sound {
                let what = format!("task {task} of {} with {settings:?}: {entry:?}", actions.len());
                self.add_error(format!("{what}, sent {packed} and answered {accepted} times, ran: {ran:?}"));
            }
        }
    }

    /// Whether a task may fail like that when workers are killed.
    fn add_failure(&mut self, cause: &Cause, packed: u32, seen: &Seen) -> bool {
        let Settings { retries, workers, .. } = seen.settings;
        match cause {
            Cause::Died { status } if status == "signal: 9 (SIGKILL)" => {
                self.died += 1;
                self.deaths += u64::from(retries) + 1;
                packed > retries && seen.kills > u64::from(retries)
            }
            Cause::Refused { why } if why.contains("workers ended while its input was on the way") => {
                self.input_refused += 1;
                why.contains("SIGKILL") && packed >= 5 && seen.kills >= 5
            }
            Cause::Refused { why } if why == "no worker was left" => {
                self.nobody_left += 1;
                // Ten in each slot that ended before they were ready.
                seen.kills >= 10 * workers as u64
            }
            _ => false,
        }
    }

    /// Checks what must hold at the end.
    pub(super) fn check_end(&mut self, kills: u64) {
        if self.kills < kills {
            self.add_error(format!("only {} of {kills} workers were killed", self.kills));
        }
        if self.deaths > self.kills {
            self.add_error(format!("{} deaths by {} kills", self.deaths, self.kills));
        }
        self.after.more_than(&self.before).into_iter().for_each(|what| self.add_error(what));
        let growth = self.after.resident_kib.saturating_sub(self.before.resident_kib);
        if growth > MAX_GROWTH_KIB {
            self.add_error(format!("{growth} KiB more are resident than before"));
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { kills, pools, batches, unbegun, tasks, died, input_refused, nobody_left, .. } = self;
        let seconds = self.took.as_secs_f64();
        writeln!(f, "{kills} kills in {seconds:.1} s, {:.0} a second", *kills as f64 / seconds)?;
        writeln!(f, "{pools} pools, {batches} batches, {tasks} tasks; {} tasks sent again", self.again)?;
        writeln!(
            f,
            "failed: {died} tasks whose worker died, {input_refused} whose input five workers did not survive,"
        )?;
        writeln!(f, "  {nobody_left} that no worker was left for; {unbegun} batches could not begin")?;
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        writeln!(
            f,
            "longest batch {:.0} ms, longest end of a pool {:.0} ms",
            ms(self.longest_batch.0),
            ms(self.longest_end)
        )?;
        writeln!(f, "  ({})", self.longest_batch.1)?;
        writeln!(f, "{}", self.killed)?;
        writeln!(f, "before: {}\nafter:  {}", self.before, self.after)?;
        let resident: Vec<_> =
            self.resident_kib.iter().map(|kib| format!("{:.1}", *kib as f64 / 1024.0)).collect();
        writeln!(f, "MiB resident after each quarter: {}", resident.join(", "))?;
        self.errors.iter().try_for_each(|what| writeln!(f, "WRONG: {what}"))
    }
}

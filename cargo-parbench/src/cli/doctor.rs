//! `cargo parbench doctor`: what on this machine will spoil a run, and what to do about it.

use std::fs;
use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use parbench::measure::Machine;

use super::print;

#[derive(Args)]
pub(crate) struct Doctor {}

/// What was found out about the machine; `None` if the system does not tell.
#[derive(Debug, Default)]
struct Facts {
    machine: Machine,
    load: Option<f64>,
    governor: Option<String>,
    /// Whether the CPUs may run faster than they can for long.
    turbo: Option<bool>,
    /// How often a busy loop took more than twice its median time.
    interrupted: f64,
    /// What as many busy loops as CPUs reach together, in times of one alone.
    together: f64,
    free_bytes: Option<u64>,
}

/// A sentence about the machine, and what to do if it is bad news.
#[derive(Debug, PartialEq)]
struct Finding {
    says: String,
    advice: Option<&'static str>,
}

impl Doctor {
    pub(crate) fn run(&self) -> Result<()> {
        let findings = examine(&Facts::of_this_machine());
        let mut text = String::new();
        for Finding { says, advice } in &findings {
            let mark = if advice.is_some() { "!!" } else { "ok" };
            text += &format!("{mark}  {says}\n");
            advice.iter().for_each(|advice| text += &format!("      {advice}\n"));
        }
        text += match findings.iter().filter(|finding| finding.advice.is_some()).count() {
            0 => "Nothing here will spoil a run.\n",
            _ => {
                "A run works all the same: it says how far identical variants differed, and what is too close to call.\n"
            }
        };
        print(&text)
    }
}

impl Facts {
    fn of_this_machine() -> Facts {
        let read = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_string());
        // Intel's driver says that there is none, the others that there is.
        let no_turbo = read("/sys/devices/system/cpu/intel_pstate/no_turbo").map(|value| value == "0");
        let boost = || read("/sys/devices/system/cpu/cpufreq/boost").map(|value| value == "1");
        let machine = Machine::this();
        let memory = read("/proc/meminfo");
        let available = memory.iter().flat_map(|text| text.lines()).find_map(|line| {
            let kib = line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB")?;
            Some(kib.parse::<u64>().ok()? << 10)
        });
        let (together, interrupted) = busy_loops(machine.cpus_allowed.max(1));
        Facts {
            load: read("/proc/loadavg").and_then(|text| text.split_whitespace().next()?.parse().ok()),
            governor: read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            turbo: no_turbo.or_else(boost),
            interrupted,
            together,
            free_bytes: available,
            machine,
        }
    }
}

/// Judges what was found out.
fn examine(facts: &Facts) -> Vec<Finding> {
    let machine = &facts.machine;
    let mut findings = Vec::new();
    let mut say = |says: String, advice: Option<&'static str>| findings.push(Finding { says, advice });

    let cpu = machine.cpu.as_deref().unwrap_or("an unknown processor");
    let (allowed, cores) = (machine.cpus_allowed, machine.physical_cores);
    let few = (allowed == 1).then_some(
        "With one CPU nothing that computes can be faster than serial. Is it `taskset`, or a container?",
    );
    say(format!("{allowed} CPUs may be used, {cores} physical cores: {cpu}"), few);
    if let Some(quota) = machine.cpu_quota {
        let advice = "Batches that use it up are stopped for the rest of a period of 100 ms. Raise the quota (docker --cpus, cpu.max).";
        say(format!("a control group allows {quota:.1} CPUs on average"), Some(advice));
    }
    if let Some(load) = facts.load {
        let busy = load > 0.25 * allowed as f64;
        let advice = "Other programs compute too: close them, or wait. (The load just after a build is the build's: wait a minute.)";
        say(format!("load {load:.1} over the last minute"), busy.then_some(advice));
    }
    let ideal = allowed.min(cores.max(1)) as f64;
    let shared = facts.together < 0.85 * ideal;
    let advice = "The CPUs share cores, or a host has given them away: no executor can do better, and verdicts are against this.";
    say(
        format!("{allowed} busy loops together do the work of {:.2} alone", facts.together),
        shared.then_some(advice),
    );
    let advice = "Something takes the CPUs away for moments: other programs, or the host of a virtual machine. Use more rounds.";
    let noisy = facts.interrupted > 0.02;
    say(
        format!("{:.1} % of short loops took more than twice as long as usual", 100.0 * facts.interrupted),
        noisy.then_some(advice),
    );
    if let Some(governor) = &facts.governor {
        let slow = governor != "performance";
        let advice =
            "Its CPUs take time to speed up: `cpupower frequency-set -g performance` while measuring.";
        say(format!("frequency governor {governor}"), slow.then_some(advice));
    }
    if facts.turbo == Some(true) {
        let advice = "One busy CPU runs faster than all together, so serial looks better than it is: switch it off for a comparison.";
        say("turbo is on".into(), Some(advice));
    }
    if let Some(free) = facts.free_bytes {
        let advice = "Scenarios with large arrays will be measured in groups, or not at all.";
        say(
            format!("{:.1} GiB of memory are free", free as f64 / f64::from(1 << 30)),
            (free < 2 << 30).then_some(advice),
        );
    }
    findings
}

/// How long each measurement of busy loops lasts.
const LOOPS: Duration = Duration::from_millis(200);
/// Steps of a short loop: some tens of microseconds.
const STEPS: u64 = 20_000;

/// Runs a busy loop alone, and one on each CPU: what they reach together in times of the one, and how many of the short loops
/// that they are made of were interrupted.
fn busy_loops(cpus: usize) -> (f64, f64) {
    let (alone, _) = run_loops(1);
    let (all, interrupted) = run_loops(cpus);
    (all / alone.max(1e-9), interrupted)
}

/// Short loops a second on so many threads, and the share of those that took more than twice their median time.
fn run_loops(threads: usize) -> (f64, f64) {
    let barrier = Barrier::new(threads);
    let count = || {
        barrier.wait();
        let (began, mut times) = (Instant::now(), Vec::new());
        while began.elapsed() < LOOPS {
            let start = Instant::now();
            (0..STEPS).for_each(|step| {
                black_box(step);
            });
            times.push(start.elapsed());
        }
        (times.len() as f64 / began.elapsed().as_secs_f64(), times)
    };
    let results: Vec<_> = thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(count)).collect();
        handles.into_iter().filter_map(|handle| handle.join().ok()).collect()
    });
    let rate = results.iter().map(|(rate, _)| rate).sum();
    let mut times: Vec<_> = results.into_iter().flat_map(|(_, times)| times).collect();
    times.sort_unstable();
    let usual = times.get(times.len() / 2).copied().unwrap_or_default();
    let late = times.iter().filter(|time| **time > 2 * usual).count();
    (rate, late as f64 / times.len().max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet() -> Facts {
        let mut machine = Machine::default();
        (machine.cpus_allowed, machine.physical_cores) = (4, 4);
        Facts { machine, load: Some(0.1), together: 3.9, ..Facts::default() }
    }

    fn advised(facts: &Facts) -> Vec<String> {
        examine(facts)
            .into_iter()
            .filter(|finding| finding.advice.is_some())
            .map(|finding| finding.says)
            .collect()
    }

    #[test]
    fn a_quiet_machine_needs_no_advice() {
        assert_eq!(advised(&quiet()), Vec::<String>::new());
    }

    #[test]
    fn each_thing_that_spoils_a_run_is_advised_about() {
        let mut facts = quiet();
        facts.machine.cpu_quota = Some(1.5);
        facts.load = Some(3.0);
        facts.together = 2.1;
        facts.interrupted = 0.1;
        facts.governor = Some("powersave".into());
        facts.turbo = Some(true);
        facts.free_bytes = Some(1 << 30);
        let expected = [
            "a control group allows 1.5 CPUs on average",
            "load 3.0 over the last minute",
            "4 busy loops together do the work of 2.10 alone",
            "10.0 % of short loops took more than twice as long as usual",
            "frequency governor powersave",
            "turbo is on",
            "1.0 GiB of memory are free",
        ];
        assert_eq!(advised(&facts), expected);
        let mut one = quiet();
        one.machine.cpus_allowed = 1;
        one.together = 1.0;
        assert_eq!(advised(&one), ["1 CPUs may be used, 4 physical cores: an unknown processor"]);
    }

    #[test]
    fn busy_loops_give_a_rate_and_a_share() {
        let (together, interrupted) = busy_loops(2);
        assert!(together > 0.0 && (0.0..=1.0).contains(&interrupted), "{together} {interrupted}");
    }
}

//! What is to be measured: sizes, executors and worker counts, from the environment or from arguments.

use std::env;
use std::fmt;

use anyhow::{Context, Result, ensure};

use crate::executors::{self, Kind, MOST_WORKERS};
use crate::scenario::Scenario;
use crate::workload::{Scaling, Size};

/// The size, where it is not the default.
const SIZE: &str = "PARBENCH_SIZE";
/// The worker counts, where they are not the scenario's own.
const WORKERS: &str = "PARBENCH_WORKERS";

/// What a run measures of each scenario.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) size: Size,
    /// In place of the scenario's own.
    pub(crate) workers: Option<Vec<usize>>,
    pub(crate) executors: Vec<&'static Kind>,
    /// Whether somebody has named them.
    pub(crate) named: bool,
}

/// An executor with a number of workers: what is compared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variant {
    pub(crate) kind: &'static Kind,
    pub(crate) workers: usize,
    /// With weak scaling the number of tasks, which the serial executor has to do with one worker.
    pub(crate) load: usize,
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.name, self.load)
    }
}

impl Options {
    /// What the environment says; every executor.
    pub(crate) fn from_env() -> Result<Options> {
        let read = |name| match env::var(name) {
            Err(env::VarError::NotPresent) => Ok(None),
            value => value.map(Some).with_context(|| format!("{name} is not UTF-8")),
        };
        let size = read(SIZE)?.map_or(Ok(Size::Default), |size| size.parse()).context(SIZE)?;
        let workers = read(WORKERS)?.as_deref().map(parse_workers).transpose().context(WORKERS)?;
        Ok(Options { size, workers, executors: executors::ALL.to_vec(), named: false })
    }

    /// The variants of a scenario, executor by executor, fewest workers first.
    ///
    /// Its own worker counts are joined by one, the physical cores and twice as many: a machine with more
    /// cores than the article's author had is to be used.
    pub(crate) fn variants(&self, scenario: &Scenario) -> Vec<Variant> {
        let cores = num_cpus::get_physical();
        let own = || scenario.workers.iter().copied().chain([1, cores, 2 * cores]).collect();
        let mut counts: Vec<usize> = self.workers.clone().unwrap_or_else(own);
        counts.retain(|workers| (1..=MOST_WORKERS).contains(workers));
        counts.sort_unstable();
        counts.dedup();
        let kinds = self.executors.iter().filter(|kind| kind.nests || !scenario.nested);
        let kinds = kinds.filter(|kind| scenario.cold || !kind.cold || self.named);
        kinds
            .flat_map(|&kind| {
                let once = kind.single && scenario.scaling == Scaling::Strong;
                let counts = if once { vec![1] } else { counts.clone() };
                let workers = move |load| if kind.single { 1 } else { load };
                counts.into_iter().map(move |load| Variant { kind, workers: workers(load), load })
            })
            .collect()
    }
}

/// Worker counts such as `1,2,4`.
pub(crate) fn parse_workers(list: &str) -> Result<Vec<usize>> {
    let counts = list.split(',').map(|count| {
        let workers = count.trim().parse().ok().filter(|workers| (1..=MOST_WORKERS).contains(workers));
        workers.with_context(|| {
            format!("`{count}` is no number of workers from 1 to {MOST_WORKERS}; write them like 1,2,4")
        })
    });
    counts.collect()
}

/// Executors such as `serial,threads`.
pub(crate) fn parse_executors(list: &str) -> Result<Vec<&'static Kind>> {
    let kinds = list.split(',').map(|name| Kind::find(name.trim())).collect::<Result<Vec<_>>>()?;
    ensure!(!kinds.is_empty(), "no executor is named");
    Ok(kinds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worker_counts_are_a_list_of_numbers_in_range() {
        assert_eq!(parse_workers("1, 2,4").unwrap(), [1, 2, 4]);
        for list in ["", "0", "1,,2", "two", "-1", "1025", "99999999999999999999"] {
            let error = parse_workers(list).unwrap_err().to_string();
            assert!(error.contains("from 1 to 1024"), "{list}: {error}");
        }
    }

    #[test]
    fn an_unknown_executor_is_refused_with_the_known_ones() {
        assert_eq!(parse_executors("serial, rayon").unwrap().len(), 2);
        let error = parse_executors("serial,fibers").unwrap_err().to_string();
        assert!(error.contains("`fibers`") && error.contains("threads"), "{error}");
    }

    /// A workload with these flags.
    struct Flagged<const NESTED: bool, const WEAK_AND_COLD: bool>;

    impl<const NESTED: bool, const WEAK_AND_COLD: bool> crate::Workload for Flagged<NESTED, WEAK_AND_COLD> {
        const NAME: &'static str = "flagged";
        const NESTED: bool = NESTED;
        const SCALING: Scaling = if WEAK_AND_COLD { Scaling::Weak } else { Scaling::Strong };
        const COLD: bool = WEAK_AND_COLD;
        type Input = ();
        type Output = ();
        type Worker = ();
        fn prepare(_: Size) -> Result<crate::Inputs<()>> {
            Ok(crate::Inputs::new(vec![()]))
        }
        fn run(_: &mut (), _: &()) -> Result<()> {
            Ok(())
        }
        fn check(_: &[()], _: &[()]) -> Result<()> {
            Ok(())
        }
    }

    fn names<const NESTED: bool, const WEAK_AND_COLD: bool>(named: &str) -> Vec<String> {
        let executors =
            if named.is_empty() { executors::ALL.to_vec() } else { parse_executors(named).unwrap() };
        let workers = Some(vec![4, 1, 4]);
        let options = Options { size: Size::Smoke, workers, executors, named: !named.is_empty() };
        let variants = options.variants(&Scenario::of::<Flagged<NESTED, WEAK_AND_COLD>>());
        variants.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn variants_have_every_executor_once_for_each_count_that_it_can_have() {
        let expected = ["serial/1", "threads/1", "threads/4", "processes/1", "processes/4"];
        assert_eq!(names::<true, false>("serial,threads,rayon,processes"), expected);
    }

    #[test]
    fn the_fork_server_is_measured_where_starting_is_the_subject_or_it_is_named() {
        assert!(!names::<false, false>("").iter().any(|name| name.starts_with("forkserver")));
        assert_eq!(names::<false, false>("forkserver"), ["forkserver/1", "forkserver/4"]);
        assert!(names::<false, true>("").iter().any(|name| name == "forkserver/4"));
    }

    #[test]
    fn with_weak_scaling_serial_has_as_much_to_do_as_the_others() {
        assert_eq!(
            names::<false, true>("serial,threads"),
            ["serial/1", "serial/4", "threads/1", "threads/4"]
        );
    }
}

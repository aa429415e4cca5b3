//! What is to be measured: sizes, executors and shapes, from the environment or from arguments.

use std::env;
use std::fmt;

use anyhow::{Context, Result, ensure};

use super::machine::useful_workers;
use crate::executors::{ExecutorKind, Shapes, Suitability};
use crate::scenario::Scenario;
use crate::shape::{MAX_PARALLELISM, Shape};
use crate::workload::{Scaling, Size};

/// Selects a size other than the default.
const SIZE: &str = "PARBENCH_SIZE";
/// Selects worker counts other than the scenario's own.
const WORKERS: &str = "PARBENCH_WORKERS";

/// What a run measures of each scenario.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    pub(crate) size: Size,
    /// Replaces the scenario's own worker counts.
    pub(crate) shapes: Option<Vec<Shape>>,
    pub(crate) executors: Vec<&'static ExecutorKind>,
    /// Whether the executors were named, and are not just all that there are.
    pub(crate) named: bool,
}

/// An executor with a shape: what is compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Variant {
    pub(crate) kind: &'static ExecutorKind,
    pub(crate) shape: Shape,
    /// The shape whose number of tasks it runs; it differs from `shape` for `serial` with weak scaling.
    pub(crate) load: Shape,
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.name, self.load)
    }
}

impl Variant {
    /// Parses a variant such as `threads/4`. `tasks` is the number of tasks of a single worker with weak scaling.
    ///
    /// # Errors
    /// If it names no executor of the list, or no shape.
    pub(crate) fn parse(
        executors: &[&'static ExecutorKind],
        text: &str,
        tasks: Option<usize>,
    ) -> Result<Variant> {
        let (name, shape) =
            text.split_once('/').with_context(|| format!("`{text}` is not a variant such as threads/4"))?;
        let (kind, shape) = (ExecutorKind::find_in(executors, name)?, shape.parse()?);
        Ok(Variant { kind, shape, load: tasks.map_or(shape, Shape::from) })
    }
}

impl Selection {
    /// What the environment selects of these executors.
    ///
    /// # Errors
    /// If a variable is set to what is not a size or a list of worker counts.
    pub(crate) fn from_env(executors: &[&'static ExecutorKind]) -> Result<Selection> {
        let read = |name| match env::var(name) {
            Err(env::VarError::NotPresent) => Ok(None),
            // As a script sets it that has nothing to say.
            Ok(value) if value.is_empty() => Ok(None),
            value => value.map(Some).with_context(|| format!("{name} is not UTF-8")),
        };
        let size = read(SIZE)?.map_or(Ok(Size::Default), |size| size.parse()).context(SIZE)?;
        let shapes = read(WORKERS)?.as_deref().map(parse_shapes).transpose().context(WORKERS)?;
        Ok(Selection { size, shapes, executors: executors.to_vec(), named: false })
    }

    /// Checks that each shape that was asked for is one that some executor can have.
    ///
    /// # Errors
    /// The first shape that is not.
    pub(crate) fn check(&self) -> Result<()> {
        for shape in self.shapes.iter().flatten() {
            let fits = self.executors.iter().any(|kind| kind.shapes.contain(*shape));
            ensure!(fits, "none of the executors can have {shape} workers; write numbers such as 1,2,4");
        }
        Ok(())
    }

    /// The variants of a scenario, executor by executor, smallest shape first.
    ///
    /// To the scenario's own worker counts are added one, the number C of useful workers, and 2C: a machine with more CPUs
    /// than the article's author had is to be used. Of a scenario that computes, counts between C and 2C and above 2C are
    /// left out: they show nothing that 2C does not.
    pub(crate) fn variants(&self, scenario: &Scenario) -> Vec<Variant> {
        let mut shapes = self.shapes.clone().unwrap_or_else(|| own_shapes(scenario, useful_workers()));
        shapes.sort_unstable();
        shapes.dedup();
        let kinds = self.executors.iter().filter(|kind| match (kind.suits)(&scenario.properties) {
            Suitability::Suited => true,
            Suitability::OnRequest => self.named || self.has_shape_of(kind),
            Suitability::Unsuited(_) => false,
        });
        let of_kind = |&kind: &&'static ExecutorKind| {
            let of_load = |shape, load| Variant { kind, shape, load };
            let (single, all) = (Shape::default(), shapes.iter().copied());
            if kind.shapes == Shapes::Threaded && self.shapes.is_none() {
                // As many tasks at once as the others have, two in each process.
                let pairs = all.filter(|shape| shape.workers.is_multiple_of(2));
                let shapes = pairs.map(|shape| Shape::new(shape.workers / 2, 2));
                return shapes.map(|shape| of_load(shape, shape)).collect();
            }
            let variants: Vec<_> = match (kind.shapes, scenario.properties.scaling) {
                // The base of every speed-up: it is measured even if one worker is not asked for.
                (Shapes::Single, Scaling::Strong) => vec![of_load(single, single)],
                (Shapes::Single, Scaling::Weak) => all.map(|load| of_load(single, load)).collect(),
                (shapes, _) => {
                    all.filter(|shape| shapes.contain(*shape)).map(|shape| of_load(shape, shape)).collect()
                }
            };
            variants
        };
        kinds.flat_map(of_kind).collect()
    }

    /// Whether workers of several threads are asked for, which this executor alone has.
    fn has_shape_of(&self, kind: &ExecutorKind) -> bool {
        kind.shapes == Shapes::Threaded
            && self.shapes.iter().flatten().any(|shape| kind.shapes.contain(*shape))
    }
}

/// The shapes that a scenario is measured with on a machine of so many useful workers.
fn own_shapes(scenario: &Scenario, useful: usize) -> Vec<Shape> {
    let counts = scenario.workers.iter().copied().chain([1, useful, 2 * useful]);
    let is_informative =
        |workers: &usize| scenario.properties.waits || *workers <= useful || *workers == 2 * useful;
    let counts = counts.filter(|workers| (1..=MAX_PARALLELISM).contains(workers));
    counts.filter(is_informative).map(Shape::from).collect()
}

/// Parses worker counts such as `1,2,4`.
pub(crate) fn parse_shapes(list: &str) -> Result<Vec<Shape>> {
    list.split(',').map(|shape| shape.trim().parse()).collect()
}

/// Finds executors in `known` by a list of names such as `serial,threads`.
pub(crate) fn find_executors(
    known: &[&'static ExecutorKind],
    list: &str,
) -> Result<Vec<&'static ExecutorKind>> {
    let mut found: Vec<&'static ExecutorKind> = Vec::new();
    for name in list.split(',') {
        let kind = ExecutorKind::find_in(known, name.trim())?;
        // Each once: two records of one key would be refused.
        if !found.iter().any(|other| other.name == kind.name) {
            found.push(kind);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executors::ALL;

    #[test]
    fn worker_counts_are_a_list_of_shapes() {
        assert_eq!(parse_shapes("1, 2x3,4").unwrap(), [Shape::from(1), Shape::new(2, 3), Shape::from(4)]);
        for list in ["", "0", "1,,2", "two", "-1", "1025"] {
            let error = parse_shapes(list).unwrap_err().to_string();
            assert!(error.contains("from 1 to 1024"), "{list}: {error}");
        }
    }

    #[test]
    fn an_unknown_executor_is_refused_with_the_known_ones() {
        assert_eq!(find_executors(ALL, "serial, rayon").unwrap().len(), 2);
        let error = find_executors(ALL, "serial,fibers").unwrap_err().to_string();
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
        let executors = if named.is_empty() { ALL.to_vec() } else { find_executors(ALL, named).unwrap() };
        let shapes = Some([4, 1, 4].map(Shape::from).to_vec());
        let selection = Selection { size: Size::Smoke, shapes, executors, named: !named.is_empty() };
        let variants = selection.variants(&Scenario::of::<Flagged<NESTED, WEAK_AND_COLD>>());
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
    fn processes_of_threads_have_two_in_each_unless_shapes_are_asked_for() {
        let selection = |shapes| {
            let executors = find_executors(ALL, "hybrid").unwrap();
            let selection = Selection { size: Size::Smoke, shapes, executors, named: true };
            let variants = selection.variants(&Scenario::of::<Flagged<false, false>>());
            variants.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert!(selection(None).contains(&"hybrid/2x2".into()));
        assert_eq!(selection(Some(parse_shapes("2,2x3,1x2").unwrap())), ["hybrid/1x2", "hybrid/2x3"]);
        // A shape that no other executor has asks for it, too.
        let (shapes, executors) = (Some(parse_shapes("2,2x2").unwrap()), ALL.to_vec());
        let selection = Selection { size: Size::Smoke, shapes, executors, named: false };
        let variants = selection.variants(&Scenario::of::<Flagged<false, false>>());
        assert_eq!(variants.iter().filter(|variant| variant.kind.name == "hybrid").count(), 1);
    }

    #[test]
    fn with_weak_scaling_serial_has_as_much_to_do_as_the_others() {
        assert_eq!(
            names::<false, true>("serial,threads"),
            ["serial/1", "serial/4", "threads/1", "threads/4"]
        );
    }
}

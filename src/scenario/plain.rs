//! A scenario of two plain functions: the smallest workload.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::mem;
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, ensure};

use super::{Prepared, Scenario, prepared};
use crate::data::packet::{Message, Packet};
use crate::workload::{Inputs, Properties, Size, Workload};

impl Scenario {
    /// A scenario of a function that makes the inputs, one for each task, and one that is a task: serially, on threads, and in
    /// processes.
    ///
    /// ```no_run
    /// use parbench::Scenario;
    ///
    /// fn main() {
    ///     let texts = || vec!["to be or not to be ".repeat(10_000); 8];
    ///     parbench::bench::main([
    ///         Scenario::new("words", texts, |text| text.split_whitespace().count()),
    ///         Scenario::new("letters", texts, |text| text.chars().filter(|c| c.is_alphabetic()).count()),
    ///     ]);
    /// }
    /// ```
    ///
    /// Both are functions or closures that capture nothing: a worker process is this program, started again, and finds them in
    /// its own list. Inputs and outputs derive serde's two traits. A task that cannot go on panics, which is its failure.
    ///
    /// Nothing says which answer is right, so the answers of all executors are compared with each other, and reports say so. With
    /// a check, a worker's own state, or inputs of several sizes, implement [`Workload`].
    ///
    /// It does not compile if one of them captures something:
    ///
    /// ```compile_fail
    /// let factor = std::env::args().count() as u64;
    /// parbench::bench::main([parbench::Scenario::new("scale", || vec![1_u64], move |n| n * factor)]);
    /// ```
    pub fn new<I, O, P, R>(name: &'static str, inputs: P, run: R) -> Scenario
    where
        I: Message,
        O: Message,
        P: Fn() -> Vec<I> + Copy + 'static,
        R: Fn(&I) -> O + Copy + 'static,
    {
        // That there is one of each type is all that is needed of them.
        let _ = (inputs, run);
        plain::<I, O, Given<P>, R>(name)
    }
}

impl Scenario {
    /// The same for several parameters, such as sizes: a scenario for each, named `sort/1000` and so on. The function that makes
    /// the inputs is given the parameter.
    ///
    /// ```no_run
    /// use parbench::Scenario;
    ///
    /// fn main() {
    ///     let inputs = |length| (0..8).map(|task| (0..length).map(|n| n * 7919 % (task + 1_009)).collect()).collect();
    ///     parbench::bench::main(Scenario::sweep("sort", [1_000, 100_000], inputs, |numbers: &Vec<u64>| {
    ///         let mut sorted = numbers.clone();
    ///         sorted.sort_unstable();
    ///         sorted.first().copied()
    ///     }));
    /// }
    /// ```
    pub fn sweep<const N: usize, I, O, P, R>(
        name: &'static str,
        parameters: [u64; N],
        inputs: P,
        run: R,
    ) -> [Scenario; N]
    where
        I: Message,
        O: Message,
        P: Fn(u64) -> Vec<I> + Copy + 'static,
        R: Fn(&I) -> O + Copy + 'static,
    {
        let _ = (inputs, run);
        parameters.map(|parameter| {
            let prepare: fn(&Scenario, Size) -> Result<Prepared> = |scenario, _| {
                let inputs = function::<P>()(scenario.parameter.unwrap_or_default());
                prepared::<Plain<I, O, Elsewhere, R>>(scenario.name, Inputs::new(inputs))
            };
            let scenario = plain::<I, O, Elsewhere, R>(format!("{name}/{parameter}").leak());
            Scenario { parameter: Some(parameter), prepare, ..scenario }
        })
    }
}

fn plain<I: Message, O: Message, S: Source<I>, R: Fn(&I) -> O + Copy + 'static>(
    name: &'static str,
) -> Scenario {
    let scenario = Scenario::of::<Plain<I, O, S, R>>();
    Scenario { name, properties: Properties { has_check: false, ..scenario.properties }, ..scenario }
}

/// Where inputs come from.
trait Source<I>: 'static {
    fn inputs() -> Vec<I>;
}

/// From a function.
struct Given<P>(PhantomData<P>);

impl<I, P: Fn() -> Vec<I> + Copy + 'static> Source<I> for Given<P> {
    fn inputs() -> Vec<I> {
        function::<P>()()
    }
}

/// From a function with a parameter, which the scenario's own `prepare` calls.
struct Elsewhere;

impl<I> Source<I> for Elsewhere {
    fn inputs() -> Vec<I> {
        Vec::new()
    }
}

/// The workload that two functions make.
struct Plain<I, O, S, R>(PhantomData<(I, O, S, R)>);

impl<I, O, S, R> Workload for Plain<I, O, S, R>
where
    I: Message,
    O: Message,
    S: Source<I>,
    R: Fn(&I) -> O + Copy + 'static,
{
    /// Each has the name that its scenario was given.
    const NAME: &'static str = "plain functions";
    type Input = I;
    type Output = O;
    type Worker = ();

    fn prepare(_: Size) -> Result<Inputs<I>> {
        Ok(Inputs::new(S::inputs()))
    }

    fn run(_: &mut (), input: &I) -> Result<O> {
        Ok(function::<R>()(input))
    }

    fn check(_: &[I], _: &[O]) -> Result<()> {
        Ok(())
    }

    fn check_as(name: &'static str, _: &[I], outputs: &[O]) -> Result<()> {
        let answers =
            outputs.iter().map(|output| Ok(Packet::pack(output)?.digest())).collect::<Result<Vec<_>>>()?;
        compare(name, &answers)
    }
}

/// The one value of a function's type.
fn function<F: Copy + 'static>() -> F {
    const {
        assert!(
            mem::size_of::<F>() == 0,
            "a scenario's functions must capture nothing, and be no function pointers"
        );
    }
    // SAFETY: the type has no bytes, so any aligned pointer will do to read a value from. There is such a value, and it may be
    // copied: only `Scenario::new` makes a `Plain`, and it is given one.
    unsafe { NonNull::<F>::dangling().read() }
}

/// Digests of the first answers of each workload in this process: in a cell those of its first batch, in a Criterion run those
/// of serial.
static FIRST: Mutex<Option<HashMap<&str, Vec<u64>>>> = Mutex::new(None);

fn compare(scenario: &'static str, answers: &[u64]) -> Result<()> {
    let mut first = FIRST.lock().unwrap_or_else(PoisonError::into_inner);
    let known = first.get_or_insert_default().entry(scenario).or_insert_with(|| answers.to_vec());
    let different = known.iter().zip(answers).position(|(known, answer)| known != answer);
    ensure!(
        different.is_none(),
        "task {} answers otherwise than before: its answer depends on more than its input; if that is right, implement \
         `Workload` with a `check`",
        different.unwrap_or(0)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn numbers() -> Vec<u64> {
        vec![2, 3]
    }

    #[test]
    fn two_functions_are_a_scenario() {
        let scenario = Scenario::new("squares", numbers, |n| n * n);
        assert_eq!((scenario.name, scenario.properties.has_check), ("squares", false));
        let job = scenario.prepare(Size::Smoke).unwrap().job(1);
        assert_eq!((job.scenario(), job.tasks()), ("squares", 2));
        for _ in 0..2 {
            (0..2).for_each(|task| _ = job.run(0, task).unwrap());
            assert_eq!(job.answer(1).unwrap().unpack::<u64>().unwrap(), 9);
            job.check().unwrap();
        }
    }

    #[test]
    fn a_sweep_has_a_scenario_for_each_parameter() {
        let scenarios =
            Scenario::sweep("sums", [2, 5], |length| vec![length; 3], |length| (0..*length).sum::<u64>());
        assert_eq!(scenarios.map(|scenario| scenario.name), ["sums/2", "sums/5"]);
        for (scenario, sum) in scenarios.iter().zip([1, 10]) {
            let job = scenario.prepare(Size::Smoke).unwrap().job(1);
            (0..3).for_each(|task| _ = job.run(0, task).unwrap());
            assert_eq!(job.answer(2).unwrap().unpack::<u64>().unwrap(), sum);
            // Each is compared with its own answers.
            job.check().unwrap();
        }
        assert_eq!(scenarios[0].bytes(7).amount, Some(crate::scenario::Amount::Bytes(7)));
    }

    #[test]
    fn an_answer_that_depends_on_more_than_its_input_is_noticed() {
        static CALLS: AtomicU64 = AtomicU64::new(0);
        let scenario = Scenario::new("calls", numbers, |n| n + CALLS.fetch_add(1, Ordering::Relaxed) / 2);
        let job = scenario.prepare(Size::Smoke).unwrap().job(1);
        (0..2).for_each(|task| _ = job.run(0, task).unwrap());
        job.check().unwrap();
        (0..2).for_each(|task| _ = job.run(0, task).unwrap());
        let error = format!("{:#}", job.check().unwrap_err());
        assert!(error.contains("task 0 answers otherwise than before"), "{error}");
    }
}

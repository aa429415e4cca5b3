//! Messages that would arrive as something else, or not at all, on their way to a worker process and back.

mod common;

use std::collections::BTreeMap;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use common::trial;
use libtest_mimic::Arguments;
use parbench::executors::{ExecutorKind, Output, PoolOptions};
use parbench::{Array, Inputs, Job, Scenario, Size, TypedJob, Workload};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a task of these tests is sent, or answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Op {
    #[serde(skip)]
    #[expect(dead_code, reason = "it shifts the others")]
    Cached,
    Add(u32),
    Mul(u32),
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Sometimes {
    a: u32,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    b: Option<u32>,
    c: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Flat {
    a: u32,
    #[serde(flatten)]
    rest: BTreeMap<String, u32>,
}

/// A number that its own code refuses, on one side or with a panic.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Refusal {
    None,
    Packing,
    PackingPanics,
    Unpacking,
}

#[derive(Clone, Debug)]
struct Refusing(Array<u32>, Refusal);

impl Serialize for Refusing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.1 {
            Refusal::Packing => Err(serde::ser::Error::custom("not on a Monday")),
            // The array has been met already.
            Refusal::PackingPanics => {
                self.0.serialize(serializer)?;
                panic!("in its own Serialize")
            }
            refusal => (&self.0, refusal == Refusal::Unpacking).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Refusing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (array, refused) = <(Array<u32>, bool)>::deserialize(deserializer)?;
        if refused {
            Err(serde::de::Error::custom("not on a Tuesday"))
        } else {
            Ok(Refusing(array, Refusal::None))
        }
    }
}

/// Answers something that depends on its input.
struct Echo<I, O>(I, O);

macro_rules! echo {
    ($name:literal, $input:ty, $output:ty, $answer:expr) => {
        impl Workload for Echo<$input, $output> {
            const NAME: &'static str = $name;
            type Input = $input;
            type Output = $output;
            type Worker = ();

            fn prepare(_: Size) -> Result<Inputs<$input>> {
                Ok(Inputs::new(Vec::new()))
            }

            fn run(_: &mut (), input: &$input) -> Result<$output> {
                let answer: fn(&$input) -> $output = $answer;
                Ok(answer(input))
            }

            fn check(_: &[$input], _: &[$output]) -> Result<()> {
                Ok(())
            }
        }
    };
}

echo!("op", Op, u32, |op| match op {
    Op::Cached => 0,
    Op::Add(n) => *n,
    Op::Mul(n) => 1_000 + n,
});
echo!("sometimes", Sometimes, u32, |sometimes| sometimes.c);
echo!("flat", Flat, u32, |flat| flat.a);
echo!("refusing", Refusing, u32, |refusing| refusing.0[0]);
echo!("answers op", u32, Op, |n| Op::Add(*n));
echo!("answers sometimes", u32, Sometimes, |n| Sometimes {
    b: n.is_multiple_of(2).then_some(1),
    c: *n,
    ..Sometimes::default()
});
echo!("answers refusing", u32, Refusing, |n| {
    let refusal = [Refusal::None, Refusal::Packing, Refusal::PackingPanics, Refusal::Unpacking][*n as usize];
    Refusing(vec![*n].into(), refusal)
});
echo!("array", Array<u32>, u32, |array| array.iter().sum());

fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::of::<Echo<Op, u32>>(),
        Scenario::of::<Echo<Sometimes, u32>>(),
        Scenario::of::<Echo<Flat, u32>>(),
        Scenario::of::<Echo<Refusing, u32>>(),
        Scenario::of::<Echo<u32, Op>>(),
        Scenario::of::<Echo<u32, Sometimes>>(),
        Scenario::of::<Echo<u32, Refusing>>(),
        Scenario::of::<Echo<Array<u32>, u32>>(),
    ]
}

/// Makes this program send arrays, under the limits that its parent has set.
const SEND_ARRAYS: &str = "send arrays";

fn main() -> ExitCode {
    parbench::bench::enter(scenarios());
    if std::env::args().nth(1).as_deref() == Some(SEND_ARRAYS) {
        return match send_arrays() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::from(2)
            }
        };
    }
    let mut trials = Vec::new();
    for executor in ["processes", "forkserver"] {
        let mut add = |what: &str, test: fn(&str) -> Result<()>| {
            trials.push(trial(format!("{what} ({executor})"), move || test(executor)));
        };
        add("an input that would arrive as something else is refused", other_inputs);
        add("an input in a format that is not ours fails by its own words", flat_inputs);
        add("an output that would arrive as something else is a failure", other_outputs);
        add("the refusal of a type keeps its words", refusals);
        add("a limit of file sizes ends nothing", file_limit);
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn options() -> PoolOptions {
    PoolOptions::new(2).output(Output::Discard)
}

/// Runs tasks; returns each answer or the failure in words, or why none was run.
fn run<W: Workload>(executor: &str, inputs: Vec<W::Input>) -> Result<Vec<Result<W::Output, String>>> {
    let job = Arc::new(TypedJob::<W>::new(inputs, 2));
    let erased: Arc<dyn Job> = job.clone();
    let mut pool = ExecutorKind::find(executor)?.start(&options())?;
    // Twice: what was found once is known.
    pool.execute(&erased)?;
    let outcome = pool.execute(&erased)?;
    let entries = outcome.tasks.into_iter().zip(job.take_outputs());
    let entries = entries.map(|(entry, output)| match entry {
        Ok(_) => Ok(Ok(output.context("it has no answer")?)),
        Err(failure) => Ok(Err(failure.to_string())),
    });
    entries.collect()
}

fn refused<W: Workload>(executor: &str, inputs: Vec<W::Input>, sentence: &str) -> Result<()> {
    let error = format!("{:#}", run::<W>(executor, inputs).err().context("they were run")?);
    ensure!(error.contains(sentence), "{error}");
    Ok(())
}

fn other_inputs(executor: &str) -> Result<()> {
    let sentence = "op: it was not run: its input 0 would arrive as something else: `Op` writes its variant `Add` as number 1";
    refused::<Echo<Op, u32>>(executor, vec![Op::Add(7), Op::Mul(8)], sentence)?;
    // The first is sound: it is the second that is not.
    let inputs = vec![Sometimes { b: Some(1), ..Sometimes::default() }, Sometimes::default()];
    refused::<Echo<Sometimes, u32>>(
        executor,
        inputs,
        "its input 1 would arrive as something else: `Sometimes` is written with",
    )?;
    // Serially nothing has to arrive.
    let job: Arc<dyn Job> = Arc::new(TypedJob::<Echo<Op, u32>>::new(vec![Op::Add(7)], 1));
    ExecutorKind::find("serial")?.start(&PoolOptions::new(1))?.execute(&job)?.spans()?;
    Ok(())
}

fn flat_inputs(executor: &str) -> Result<()> {
    let inputs = vec![Flat { a: 1, rest: BTreeMap::new() }; 3];
    for answer in run::<Echo<Flat, u32>>(executor, inputs)? {
        let failure = answer.err().context("it was sent")?;
        ensure!(
            failure.contains("its input cannot be packed: it writes a list or a map without its length"),
            "{failure}"
        );
    }
    Ok(())
}

fn other_outputs(executor: &str) -> Result<()> {
    for answer in run::<Echo<u32, Op>>(executor, vec![1, 2, 3])? {
        let failure = answer.err().context("it arrived")?;
        ensure!(failure.contains("its output would arrive as something else: `Op` writes"), "{failure}");
    }
    let answers = run::<Echo<u32, Sometimes>>(executor, (0..20).collect())?;
    for (number, answer) in (0..).zip(answers) {
        match answer {
            Ok(sometimes) => ensure!(number % 2 == 0 && sometimes.c == number, "{number}: {sometimes:?}"),
            Err(failure) => {
                ensure!(number % 2 == 1 && failure.contains("`Sometimes` is written with"), "{failure}")
            }
        }
    }
    Ok(())
}

fn refusals(executor: &str) -> Result<()> {
    let array = || Array::from(vec![5; 100_000]);
    let all = [Refusal::None, Refusal::Packing, Refusal::PackingPanics, Refusal::Unpacking];
    let inputs = all.map(|refusal| Refusing(array(), refusal)).to_vec();
    let sentences = [
        "",
        "cannot be packed: not on a Monday (in the type ",
        "it panicked: in its own Serialize at ",
        "cannot be unpacked: not on a Tuesday (in the type ",
    ];
    let check = |side: &str, answers: Vec<Option<String>>| {
        for (answer, sentence) in answers.into_iter().zip(sentences) {
            // An output is looked at closely where its type has more than one shape; its words do not come along.
            let sentence = if side == "output" {
                sentence.replace(": not on a Tuesday (in the type ", "")
            } else {
                sentence.into()
            };
            match answer {
                None => ensure!(sentence.is_empty(), "{side}: it arrived"),
                Some(failure) => {
                    ensure!(!sentence.is_empty() && failure.contains(&sentence), "{side}: {failure}")
                }
            }
        }
        Ok(())
    };
    check("input", run::<Echo<Refusing, u32>>(executor, inputs)?.into_iter().map(Result::err).collect())?;
    let answers = run::<Echo<u32, Refusing>>(executor, vec![0, 1, 2, 3])?;
    check("output", answers.into_iter().map(Result::err).collect())
}

/// Short arrays, and some that are larger than the limit.
fn send_arrays() -> Result<()> {
    let executor = std::env::args().nth(2).context("no executor")?;
    let lengths = [10, 100_000, 1_000_000];
    let shared = |length: usize| Array::shared(length, |numbers: &mut [u32]| numbers.fill(1));
    let private = lengths.map(|length| Array::from(vec![1u32; length]));
    let shared = lengths.iter().map(|length| shared(*length)).collect::<Result<Vec<_>>>()?;
    for answer in run::<Echo<Array<u32>, u32>>(&executor, private.into_iter().chain(shared).collect())? {
        let sum = answer.map_err(anyhow::Error::msg)?;
        ensure!(lengths.contains(&(sum as usize)), "{sum}");
    }
    Ok(())
}

fn file_limit(executor: &str) -> Result<()> {
    for limit in ["1", "100"] {
        let script = format!("ulimit -f {limit}; exec \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).arg(std::env::current_exe()?).args([SEND_ARRAYS, executor]);
        let output = command.stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        // A fork server passes descriptors of shared memory.
        let cannot = executor == "forkserver" && limit == "1";
        let clear = said.contains("ulimit -f");
        ensure!(output.status.success() || cannot && clear, "-f {limit}: {} {said}", output.status);
    }
    Ok(())
}

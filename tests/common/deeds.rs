//! Workloads whose tasks go wrong in all the ways that a task can.

use std::fs;
use std::io::Write;
use std::process::{self, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use parbench::executors::{Kind, Means};
use parbench::{Array, Inputs, Scenario, Size, Workload};
use serde::{Deserialize, Serialize};

/// What a task is to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Deed {
    Answer(u32),
    Fail,
    Panic,
    Exit(i32),
    Abort,
    /// Writes its process id there and waits to be killed.
    AwaitDeath(String),
    /// Prints, reads from stdin, and leaves a child behind that would keep an inherited socket open.
    Misbehave,
    StartWorkers,
    RefusePacking(Unpackable),
}

/// Cannot be packed: what becomes of a workload whose types do not do what they promise.
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Unpackable;

impl Serialize for Unpackable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("never packed"))
    }
}

fn run(deed: &Deed) -> Result<u32> {
    match deed {
        Deed::Answer(answer) => Ok(*answer),
        Deed::Fail => Err(anyhow::anyhow!("no such luck").context("throwing dice")),
        Deed::Panic => panic!("a task lost its nerve"),
        Deed::Exit(status) => process::exit(*status),
        Deed::Abort => process::abort(),
        Deed::AwaitDeath(path) => {
            fs::write(path, process::id().to_string())?;
            std::thread::sleep(Duration::from_secs(60));
            bail!("nobody came")
        }
        Deed::Misbehave => {
            print!("this goes nowhere near the wire");
            std::io::stdout().flush()?;
            let mut line = String::new();
            ensure!(std::io::stdin().read_line(&mut line)? == 0, "stdin gave {line:?}");
            Command::new("sleep").arg("5").stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
            Ok(1)
        }
        Deed::StartWorkers => {
            let error = Kind::find("processes")?.start(&Means::workers(1)).err().context("it started")?;
            bail!("{error:#}")
        }
        Deed::RefusePacking(_) => bail!("it was packed"),
    }
}

/// A workload for each list of deeds: a worker process knows it by name only.
macro_rules! workloads {
    ($($workload:ident $name:literal [$($deed:expr),* $(,)?])*) => {
        $(struct $workload;

        impl Workload for $workload {
            const NAME: &'static str = $name;
            type Input = Deed;
            type Output = u32;
            type Worker = ();

            fn prepare(_: Size) -> Result<Inputs<Deed>> {
                Ok(Inputs::new(vec![$($deed),*]))
            }

            fn run(_: &mut (), deed: &Deed) -> Result<u32> {
                run(deed)
            }

            fn check(_: &[Deed], _: &[u32]) -> Result<()> {
                Ok(())
            }
        })*

        pub(crate) static SCENARIOS: &[Scenario] = &[
            $(Scenario::of::<$workload>(),)* Scenario::of::<Picky>(), Scenario::of::<Moody>(), Scenario::of::<Bulky>(), Scenario::of::<Many>(),
        ];
    };
}

use Deed::*;

workloads! {
    Panics "panics" [Answer(0), Panic, Answer(2), Answer(3), Panic, Answer(5)]
    Errs "errs" [Answer(0), Fail, Answer(2), Answer(3), Answer(4), Fail]
    Exits "exits" [Answer(0), Answer(1), Exit(3), Answer(3), Answer(4), Answer(5)]
    Aborts "aborts" [Answer(0), Abort, Answer(2), Abort, Answer(4), Answer(5)]
    AllExit "all_exit" [Exit(0), Exit(1), Exit(2), Exit(3)]
    Waits "waits" [Answer(0), AwaitDeath(victim()), Answer(2), Answer(3), Answer(4), Answer(5)]
    Busy "busy" [AwaitDeath(victim()), AwaitDeath(victim())]
    BusyLater "busy_later" [Answer(0), Answer(1), Answer(2), Answer(3), AwaitDeath(victim()), AwaitDeath(victim())]
    Misbehaves "misbehaves" [Misbehave, Misbehave, Answer(2)]
    ForkBombs "fork_bombs" [StartWorkers, StartWorkers]
    Unpacked "unpacked" [Answer(0), RefusePacking(Unpackable), Answer(2)]
    Fine "fine" [Answer(0), Answer(1), Answer(2), Answer(3)]
}

/// Where a task that waits for its death writes its process id; the owner's process id tells runs apart.
pub(crate) fn victim() -> String {
    let owner = process::id();
    std::env::temp_dir().join(format!("parbench-victim-{owner}")).display().to_string()
}

/// Its state cannot be made.
#[derive(Default)]
struct Picky;

struct Reluctant;

impl Default for Reluctant {
    fn default() -> Self {
        panic!("not before noon")
    }
}

impl Workload for Picky {
    const NAME: &'static str = "picky";
    type Input = ();
    type Output = ();
    type Worker = Reluctant;

    fn prepare(_: Size) -> Result<Inputs<()>> {
        Ok(Inputs::new(vec![()]))
    }

    fn run(_: &mut Reluctant, _: &()) -> Result<()> {
        Ok(())
    }

    fn check(_: &[()], _: &[()]) -> Result<()> {
        Ok(())
    }
}

/// Counts its tasks in the worker's state, and panics in the middle of one.
struct Moody;

impl Workload for Moody {
    const NAME: &'static str = "moody";
    type Input = u32;
    type Output = u32;
    type Worker = u32;

    fn prepare(_: Size) -> Result<Inputs<u32>> {
        Ok(Inputs::new((0..6).collect()))
    }

    fn run(count: &mut u32, task: &u32) -> Result<u32> {
        *count += 1;
        assert!(*task != 2, "half done");
        Ok(*count)
    }

    fn check(_: &[u32], _: &[u32]) -> Result<()> {
        Ok(())
    }
}

/// Very many very short tasks, of which one ends its worker.
struct Many;

impl Workload for Many {
    const NAME: &'static str = "many";
    type Input = u32;
    type Output = u32;
    type Worker = ();

    fn prepare(_: Size) -> Result<Inputs<u32>> {
        Ok(Inputs::new((0..2_000).collect()))
    }

    fn run(_: &mut (), &task: &u32) -> Result<u32> {
        if task == 1_000 {
            process::exit(3);
        }
        Ok(task)
    }

    fn check(tasks: &[u32], answers: &[u32]) -> Result<()> {
        ensure!(tasks == answers, "an answer is not that of its own task");
        Ok(())
    }
}

/// Quick tasks whose inputs and outputs are now tiny, now more than a socket buffers, in the message itself
/// and in an array: if both sides wrote at once, both would wait for ever.
struct Bulky;

impl Workload for Bulky {
    const NAME: &'static str = "bulky";
    type Input = (Vec<u8>, Array<u8>);
    type Output = (Array<u8>, Vec<u8>);
    type Worker = ();

    fn prepare(_: Size) -> Result<Inputs<Self::Input>> {
        let lengths = (0..60).map(|task| if task % 7 == 3 { 1_000_000 } else { task });
        Ok(Inputs::new(lengths.map(|length| (vec![1; length], vec![2; length].into())).collect()))
    }

    fn run(_: &mut (), (bytes, array): &Self::Input) -> Result<Self::Output> {
        Ok((bytes.clone().into(), array.to_vec()))
    }

    fn check(inputs: &[Self::Input], outputs: &[Self::Output]) -> Result<()> {
        let same = |(input, output): (&Self::Input, &Self::Output)| {
            input.0 == output.0[..] && input.1[..] == output.1
        };
        ensure!(inputs.iter().zip(outputs).all(same), "what came back is not what was sent");
        Ok(())
    }
}

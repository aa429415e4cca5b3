//! NAME: serially, on threads or in processes? `cargo bench --bench NAME` measures it, `cargo parbench run` answers.

use anyhow::{Result, ensure};
use parbench::{Inputs, Scenario, Size, Workload};

/// Counts allocations where `cargo parbench compare` asks for it.
#[global_allocator]
static ALLOCATOR: parbench::CountingAllocator = parbench::CountingAllocator;

/// The workload: here, the most frequent word of a text. Replace it by yours, from `Input` on.
struct TYPE;

impl Workload for TYPE {
    /// The heading in reports.
    const NAME: &'static str = "NAME";
    /// What a task is given and what it returns: any type that derives serde's `Serialize` and `Deserialize`. Large arrays of
    /// numbers belong in a `parbench::Array`, which crosses to a process without a copy; a `Vec<u8>` is packed byte by byte.
    type Input = String;
    type Output = (String, usize);
    /// What a worker keeps from task to task, such as a client; what all workers of a process read, such as an index, is a
    /// `parbench::Shared`.
    type Worker = ();

    /// The inputs, one for each task, the same in every process. Aim at 50 to 300 ms for all of them, one after the other, at the
    /// default size; the small one is for tests.
    fn prepare(size: Size) -> Result<Inputs<String>> {
        let words = ["to", "be", "or", "not", "to", "be", "that", "is", "to", "be"];
        let text = |task: usize| {
            let count = size.pick(100, 100_000, 1_000_000);
            // Another text for each task, by a small step through the words.
            (0..count).map(|at| words[(at * (task + 3)) % words.len()]).collect::<Vec<_>>().join(" ")
        };
        Ok(Inputs::new((0..8).map(text).collect()))
    }

    /// One task. This is what is measured; nothing here knows of threads or processes.
    fn run(_: &mut (), text: &String) -> Result<(String, usize)> {
        let mut counts = std::collections::BTreeMap::new();
        for word in text.split(' ') {
            *counts.entry(word).or_insert(0) += 1;
        }
        let (word, count) = counts.into_iter().max_by_key(|(_, count)| *count).unwrap_or_default();
        Ok((word.to_string(), count))
    }

    /// Checks the answers, outside the clock: a fast wrong answer is a failure.
    fn check(texts: &[String], answers: &[(String, usize)]) -> Result<()> {
        for (text, (word, count)) in texts.iter().zip(answers) {
            let found = text.split(' ').filter(|other| other == word).count();
            ensure!(found == *count, "there are {found} times {word:?}, not {count}");
        }
        Ok(())
    }
}

fn main() {
    // A list: further workloads are further lines. A worker process is this program, started again, so parbench's main is all
    // that may stand here; `parbench::bench::enter` is for a main that does more.
    parbench::bench::main([Scenario::of::<TYPE>()]);
}

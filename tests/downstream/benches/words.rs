//! Counting words: serially, on threads or in processes?

use anyhow::{Result, ensure};
use parbench::{Inputs, Scenario, Size, Workload};

struct Words;

impl Workload for Words {
    const NAME: &'static str = "words";
    type Input = String;
    type Output = usize;
    type Worker = ();

    fn prepare(size: Size) -> Result<Inputs<String>> {
        Ok(Inputs::new(vec!["to be or not to be ".repeat(size.pick(10, 10_000, 1_000_000)); 8]))
    }

    fn run(_: &mut (), text: &String) -> Result<usize> {
        Ok(text.split_whitespace().count())
    }

    fn check(texts: &[String], counts: &[usize]) -> Result<()> {
        ensure!(counts.iter().zip(texts).all(|(count, text)| count * 19 == text.len() * 6), "{counts:?}");
        Ok(())
    }
}

fn main() {
    parbench::bench::main([Scenario::of::<Words>()]);
}

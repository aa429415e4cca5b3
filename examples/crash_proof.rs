//! Work that crashes, hangs or takes all memory, in a pool that survives it: `cargo run --release --example crash_proof`.
//!
//! A decoder in C, a plug-in, a model: what can end a program is run in worker processes. A task whose worker ends is a failure
//! that says how; all others have their answers, each exactly once, and are told as they come.

use std::time::Duration;

use anyhow::{Result, bail};
use parbench::executors::PoolOptions;
use parbench::{Inputs, Pool, Scenario, Size, Workload};

/// Decodes a document; some documents are bad for it.
struct Decode;

impl Workload for Decode {
    const NAME: &'static str = "decode";
    type Input = String;
    type Output = usize;
    type Worker = ();

    fn prepare(_: Size) -> Result<Inputs<String>> {
        Ok(Inputs::new(vec!["for a pool of given inputs this is not called".into()]))
    }

    fn run(_: &mut (), document: &String) -> Result<usize> {
        match &document[..] {
            "broken" => bail!("it has no end"),
            "abort" => std::process::abort(),
            "endless" => loop {
                std::hint::spin_loop();
            },
            "huge" => Ok(vec![1_u8; 1 << 36].len()),
            text => Ok(text.len()),
        }
    }

    fn check(_: &[String], _: &[usize]) -> Result<()> {
        Ok(())
    }
}

fn main() -> Result<()> {
    // First of all: a worker process is this program, started again, and stays in here.
    parbench::bench::enter([Scenario::of::<Decode>()]);

    let options = PoolOptions::new(2).deadline(Duration::from_millis(300)).memory_limit(1 << 30);
    let mut pool = Pool::<Decode>::start("processes", &options)?;
    let documents = ["one", "abort", "three", "endless", "broken", "huge", "seven"].map(String::from);
    let results =
        pool.run_watched(documents.to_vec(), |number, length| println!("document {number}: {length} bytes"))?;
    for failure in results.iter().filter_map(|result| result.as_ref().err()) {
        println!("{failure}");
    }
    // Nothing is left of what went wrong: the pool goes on.
    println!("afterwards: {:?}", pool.run(vec!["one more".into()])?);
    Ok(())
}

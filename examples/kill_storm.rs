//! What a pool of processes survives: its workers are killed at random, 10,000 times or as often as the argument says.
//!
//! `cargo run --release --example kill_storm -- 10000` prints what the kills hit, what became of the tasks, and what
//! this process had before and afterwards; it fails if anything was lost, doubled, wrong, unexplained or left.

#[cfg(target_os = "linux")]
#[path = "../tests/common/action/mod.rs"]
mod action;
#[cfg(target_os = "linux")]
#[path = "../tests/common/storm/mod.rs"]
mod storm;

#[cfg(target_os = "linux")]
fn main() -> anyhow::Result<()> {
    use anyhow::{Context, ensure};

    parbench::bench::enter(storm::SCENARIOS);
    let number = |index, otherwise| match std::env::args().nth(index) {
        Some(number) => number.parse().with_context(|| format!("`{number}` is not a number")),
        None => Ok(otherwise),
    };
    let (kills, seed) = (number(1, 10_000)?, number(2, 1)?);
    let summary = storm::run(kills, seed)?;
    print!("{summary}");
    let errors = summary.errors().len();
    ensure!(errors == 0, "{errors} things are not as they should be");
    Ok(())
}

/// Who is whose child, only Linux says.
#[cfg(not(target_os = "linux"))]
fn main() {
    println!("this needs Linux");
}

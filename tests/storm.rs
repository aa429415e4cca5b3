//! Workers are killed at random, hundreds of times: every task has its answer or its cause, and nothing is left.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
#[path = "common/action/mod.rs"]
mod action;
#[cfg(target_os = "linux")]
#[path = "common/storm/mod.rs"]
mod storm;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    use libtest_mimic::{Arguments, Trial};

    parbench::bench::enter(storm::SCENARIOS);
    let test = || match storm::run(500, 1) {
        Ok(summary) if summary.errors().is_empty() => Ok(()),
        Ok(summary) => Err(summary.to_string().into()),
        Err(error) => Err(format!("{error:#}").into()),
    };
    let trials = vec![Trial::test("500 workers are killed and nothing is lost or left", test)];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Who is whose child, only Linux says.
#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    ExitCode::SUCCESS
}

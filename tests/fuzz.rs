//! Pools run random plans of batches, in which much goes wrong: no answer is lost, doubled or wrong, and nothing is left.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
#[path = "common/action/mod.rs"]
mod action;
#[cfg(target_os = "linux")]
#[path = "common/fuzz/mod.rs"]
mod fuzz;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    use libtest_mimic::{Arguments, Trial};

    parbench::bench::enter(fuzz::SCENARIOS);
    fuzz::enter();
    let test = || {
        let found = fuzz::run(0..20, |_| {}).map_err(|error| format!("{error:#}"))?;
        let show = |found: &fuzz::Found| {
            format!("{}\n{}", found.error, serde_json::to_string(&found.plan).unwrap_or_default())
        };
        if found.is_empty() {
            Ok(())
        } else {
            Err(found.iter().map(show).collect::<Vec<_>>().join("\n").into())
        }
    };
    let trials = vec![Trial::test("20 plans lose and leave nothing", test)];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Who is whose child, only Linux says.
#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    ExitCode::SUCCESS
}

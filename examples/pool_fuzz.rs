//! A long fuzz of the pools: `cargo run --release --example pool_fuzz -- 2000 [SEED]`, or `-- PLAN.json` to replay a plan
//! that failed.

#[cfg(target_os = "linux")]
#[path = "../tests/common/action/mod.rs"]
mod action;
#[cfg(target_os = "linux")]
#[path = "../tests/common/fuzz/mod.rs"]
mod fuzz;

#[cfg(target_os = "linux")]
fn main() -> anyhow::Result<std::process::ExitCode> {
    parbench::bench::enter(fuzz::SCENARIOS);
    fuzz::enter();
    fuzz::main()
}

/// Who is whose child, only Linux says.
#[cfg(not(target_os = "linux"))]
fn main() {
    println!("this needs Linux");
}

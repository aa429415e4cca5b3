//! Where a run comes from: time, build, revision, load.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::programs::Cargo;
use crate::run_file::Build;

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A time in seconds since 1970 as UTC, such as `2026-11-26T12:00:00Z`.
pub(crate) fn utc(seconds: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}

/// The load average over the last minute, where the system tells.
pub(crate) fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

/// What is built: compiler, revision, profile.
pub(crate) fn build(cargo: &Cargo) -> Build {
    let package = cargo.package();
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let status = output(Command::new("git").args(["status", "--porcelain"]), &package);
    Build {
        rustc: output(Command::new(rustc).arg("--version"), &package),
        revision: output(Command::new("git").args(["rev-parse", "--short=10", "HEAD"]), &package),
        dirty: status.map(|changes| !changes.is_empty()),
        profile: cargo.profile().into(),
    }
}

/// What a command prints, if it succeeds.
fn output(command: &mut Command, folder: &Path) -> Option<String> {
    let output = command.current_dir(folder).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_string())
}

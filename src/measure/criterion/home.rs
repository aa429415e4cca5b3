//! The folder that Criterion keeps its results and pages in.

use std::env;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::index;

/// The folder, by the rules that Criterion has itself, but for asking cargo: this program lies in its target folder.
fn home() -> Option<PathBuf> {
    let named = env::var_os("CRITERION_HOME").map(PathBuf::from);
    let named = named.or_else(|| Some(PathBuf::from(env::var_os("CARGO_TARGET_DIR")?).join("criterion")));
    named.or_else(|| {
        // In `target/release/deps`.
        let program = env::current_exe().ok()?;
        Some(program.ancestors().nth(3)?.join("criterion"))
    })
}

/// Checks that results can be kept: Criterion itself measures for minutes, and then says nothing.
///
/// # Errors
/// If no file can be made in the folder.
pub(super) fn ensure_writable() -> Result<()> {
    let Some(home) = home() else { return Ok(()) };
    let try_it = || {
        fs::create_dir_all(&home)?;
        tempfile::tempfile_in(&home)
    };
    let context =
        || format!("cannot keep results in {}; CRITERION_HOME can name another folder", home.display());
    try_it().map(drop).with_context(context)
}

/// Mends Criterion's index page. It is a convenience: a page that cannot be read or written stays as it is.
pub(super) fn straighten_index() {
    let Some(path) = home().map(|home| home.join("report/index.html")) else { return };
    let Ok(page) = fs::read_to_string(&path) else { return };
    let straight = index::straighten(&page);
    let beside = path.with_extension("part");
    if straight != page && fs::write(&beside, straight).and_then(|()| fs::rename(&beside, &path)).is_err() {
        let _ = fs::remove_file(&beside);
    }
}

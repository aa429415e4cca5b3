//! Shows a run.

use crate::analysis::Analysis;
use crate::run_file::RunFile;

/// The table for a terminal.
pub(crate) fn terminal(_run: &RunFile, analysis: &Analysis) -> String {
    format!("{}\n", analysis.answer)
}

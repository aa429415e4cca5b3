//! Shows a run. Everything here is made from the run file and its analysis; nothing measures.

mod claims;
pub(crate) mod comparison;
mod csv;
pub(crate) mod format;
mod html;
mod markdown;
mod terminal;
mod trace;

pub(crate) use self::claims::claims;
pub(crate) use self::csv::csv;
pub(crate) use self::html::page;
pub(crate) use self::markdown::{markdown, table};
pub(crate) use self::terminal::{Style, terminal};
pub(crate) use self::trace::trace;

use anyhow::Result;

use crate::analysis::Analysis;

/// The reasons of all rows as JSON, for programs.
pub(crate) fn reasons(analysis: &Analysis) -> Result<String> {
    let of_row = |row: &crate::analysis::Row| {
        let name = row.name.clone();
        let reason = move |reason: &crate::analysis::Reason| serde_json::json!({"scenario": name, "way": reason.way, "cause": reason.cause, "sentence": reason.sentence});
        row.reasons.iter().map(reason).collect::<Vec<_>>()
    };
    let all: Vec<_> = analysis.scenarios.iter().flat_map(of_row).collect();
    Ok(serde_json::to_string_pretty(&all)?.replace('\u{a0}', " ") + "\n")
}

//! The page: one file that needs nothing else, made from run files through a template.

mod claims;
mod costs;
mod how;
mod pitfalls;
mod scaling;
mod shares;
mod sweeps;
mod timeline;
mod verdict;
mod view;

use anyhow::{Context, Result};
use askama::Template;

use crate::analysis::Analysis;
use crate::run_file::RunFile;

/// The page of one run, or of several: the first is shown whole, the others beside it in the first table. `link` gives, for a
/// scenario, where Criterion's own page of it is.
///
/// # Errors
/// If there is no run.
pub(crate) fn page(runs: &[(RunFile, Analysis)], link: &dyn Fn(&str) -> Option<String>) -> Result<String> {
    let (first, others) = runs.split_first().context("there is no run to show")?;
    view::Page::new(first, others, link).render().context("the page's template failed")
}

/// Text as it may stand in a figure.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A coordinate, to a tenth of a pixel: figures are most of the page.
fn coordinate(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").unwrap_or(&text).to_string()
}

#[cfg(test)]
mod tests;

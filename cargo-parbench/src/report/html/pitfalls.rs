//! The pitfalls that were run: what happened, what cures it, and the program that the compiler refuses.

use serde_json::Value;

use super::claims::Pill;
use crate::pitfalls::{PREFIX, SUCCESS};
use crate::report::format::duration;
use crate::run_file::Pitfall;

/// A pitfall, ready to be shown.
pub(super) struct Shown {
    pub(super) name: String,
    pub(super) outcome: Pill,
    pub(super) elapsed: String,
    pub(super) lines: Vec<String>,
    pub(super) cure: String,
    pub(super) codes: Option<Codes>,
}

/// What the compiler refuses, with which error, and what it accepts.
pub(super) struct Codes {
    pub(super) error: String,
    pub(super) refused: String,
    pub(super) accepted: String,
}

pub(super) fn shown(pitfall: &Pitfall) -> Shown {
    let field = |name: &str| pitfall.record.as_ref().and_then(|record| record.get(name));
    let text = |name: &str| field(name).and_then(Value::as_str).unwrap_or_default().to_string();
    let outcome = text("outcome").replace('_', " ");
    let outcome = match (&pitfall.status[..], &outcome[..]) {
        (SUCCESS, "") => Pill { class: "unclear", word: "says nothing".into() },
        (SUCCESS, _) => Pill { class: "holds", word: format!("{outcome}, and cured") },
        (status, "") => Pill { class: "refuted", word: status.into() },
        (status, _) => Pill { class: "refuted", word: format!("{outcome}: {status}") },
    };
    Shown {
        name: pitfall.name.strip_prefix(PREFIX).unwrap_or(&pitfall.name).into(),
        outcome,
        elapsed: field("elapsed_ns").and_then(Value::as_f64).map_or(String::new(), duration),
        lines: pitfall.lines.clone(),
        cure: text("cure"),
        codes: field("refused_code").is_some().then(|| Codes {
            error: text("refused"),
            refused: text("refused_code"),
            accepted: text("accepted_code"),
        }),
    }
}

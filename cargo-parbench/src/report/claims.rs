//! The claims as text, and how many of them hold.

use super::terminal::wrapped;
use crate::analysis::{Analysis, Judgement, Outcome};

/// An outcome's word.
pub(super) fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Holds => "holds",
        Outcome::Refuted => "refuted",
        Outcome::Unclear => "unclear",
        Outcome::Reported => "a number",
        Outcome::NotMeasured => "not measured",
    }
}

/// Python's figure, and its outcome as a word.
pub(super) fn python(claim: &Judgement) -> Option<String> {
    claim.python.as_ref().map(|(outcome, figure)| format!("{figure} ({})", word(*outcome)))
}

/// How many claims hold, and how many do not.
pub(super) fn counted(claims: &[Judgement]) -> String {
    let count = |outcome| claims.iter().filter(|claim| claim.outcome == outcome).count();
    let all = claims.len() - count(Outcome::Reported);
    format!(
        "Of {all} testable claims of the articles {} hold here, {} are refuted, {} unclear, {} not measured.",
        count(Outcome::Holds),
        count(Outcome::Refuted),
        count(Outcome::Unclear),
        count(Outcome::NotMeasured)
    )
}

/// All claims, those first that Python's global lock made true.
pub(crate) fn claims(analysis: &Analysis) -> String {
    let claims = &analysis.claims;
    let mut lines = vec![counted(claims)];
    lines.extend(analysis.python.clone());
    for (title, gil) in [("What Python's global lock made true", true), ("All others", false)] {
        lines.push(format!("\n{title}"));
        for claim in claims.iter().filter(|claim| claim.gil == gil) {
            let figures = match (&claim.article, &claim.ours) {
                (Some(article), Some(ours)) => format!("; there {article}, here {ours}"),
                (Some(article), None) => format!("; there {article}"),
                (None, Some(ours)) => format!("; here {ours}"),
                (None, None) => String::new(),
            };
            let python = python(claim).map_or(String::new(), |python| format!("; in Python here {python}"));
            let articles = claim.articles.join(", ");
            let text = format!("{} {} ({articles}){figures}{python}. {}", claim.id, claim.claim, claim.why);
            lines.push(wrapped(word(claim.outcome), &text, 14, 80));
        }
    }
    (lines.join("\n") + "\n").replace('\u{a0}', " ")
}

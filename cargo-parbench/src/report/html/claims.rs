//! The articles' claims in groups, and the pill that stands for an outcome.

use crate::analysis::{Analysis, Judgement, Outcome};
use crate::report::claims::word;

/// An outcome, as a word and a colour.
pub(super) struct Pill {
    pub(super) class: &'static str,
    pub(super) word: String,
}

pub(super) struct Group {
    pub(super) title: String,
    pub(super) open: bool,
    pub(super) claims: Vec<Claim>,
}

pub(super) struct Claim {
    pub(super) outcome: Pill,
    pub(super) claim: String,
    pub(super) articles: String,
    pub(super) theirs: String,
    /// Python's figure, and its outcome.
    pub(super) python: Option<(String, Pill)>,
    pub(super) ours: String,
    pub(super) why: String,
}

/// One pill for all claims about a scenario: its row in the first table has to stay one line.
pub(super) fn pill_of(scenario: &str, analysis: &Analysis) -> Option<Pill> {
    let about = analysis.claims.iter().filter(|claim| claim.scenarios.iter().any(|name| name == scenario));
    // A number of another machine neither holds nor fails, and what was not measured says nothing.
    let tested = |claim: &&Judgement| !matches!(claim.outcome, Outcome::NotMeasured | Outcome::Reported);
    let outcomes: Vec<_> = about.filter(tested).map(|claim| claim.outcome).collect();
    let first = *outcomes.first()?;
    if outcomes.iter().all(|outcome| *outcome == first) {
        return Some(pill(first));
    }
    let count = |wanted| outcomes.iter().filter(|outcome| **outcome == wanted).count();
    let word = match (count(Outcome::Holds), count(Outcome::Refuted)) {
        (0, refuted) => format!("{refuted} of {} refuted", outcomes.len()),
        (holds, _) => format!("{holds} of {} hold", outcomes.len()),
    };
    Some(Pill { class: "unclear", word })
}

fn pill(outcome: Outcome) -> Pill {
    let class = match outcome {
        Outcome::Holds => "holds",
        Outcome::Refuted => "refuted",
        Outcome::Unclear | Outcome::Reported | Outcome::NotMeasured => "unclear",
    };
    Pill { class, word: word(outcome).into() }
}

/// What the GIL made true first, then the rest by article.
pub(super) fn groups(claims: &[Judgement]) -> Vec<Group> {
    let group = |title: &str, open, wanted: &dyn Fn(&Judgement) -> bool| {
        let claims: Vec<_> = claims.iter().filter(|claim| wanted(claim)).map(claim).collect();
        Group { title: format!("{title} ({})", claims.len()), open, claims }
    };
    let mut groups = vec![group("What Python's global lock made true", true, &|claim| claim.gil)];
    let mut articles: Vec<&String> = claims.iter().filter_map(|claim| claim.articles.first()).collect();
    articles.sort();
    articles.dedup();
    for article in articles {
        groups.push(group(&format!("Article {article}"), false, &|claim| {
            !claim.gil && claim.articles.first() == Some(article)
        }));
    }
    groups.retain(|group| !group.claims.is_empty());
    groups
}

fn claim(judgement: &Judgement) -> Claim {
    Claim {
        outcome: pill(judgement.outcome),
        claim: judgement.claim.clone(),
        articles: judgement.articles.join(", "),
        theirs: judgement.article.clone().unwrap_or_default(),
        python: judgement.python.as_ref().map(|(outcome, figure)| (figure.clone(), pill(*outcome))),
        ours: judgement.ours.clone().unwrap_or_default(),
        why: judgement.why.clone(),
    }
}

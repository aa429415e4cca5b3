//! What a run says: times and speed-ups, verdicts, the pick, and the reason. The one place between records and what is shown;
//! pure functions of the run file.

mod answer;
mod claims;
mod costs;
mod facts;
mod pick;
mod reason;
mod remarks;
pub(crate) mod rounds;
mod row;
pub(crate) mod verdict;

use crate::run_file::{RunFile, Way};

pub(crate) use self::costs::{Cost, Costs, Price};
pub(crate) use self::facts::Facts;

impl Analysis {
    /// Judges a run.
    pub(crate) fn of(run: &RunFile) -> Analysis {
        let scenarios: Vec<_> = run
            .scenarios
            .iter()
            .map(|scenario| {
                let row = row::judge(run, scenario);
                Row { remarks: remarks::remarks(scenario, &row), ..row }
            })
            .collect();
        let mut controls: Vec<_> = scenarios.iter().filter_map(|row| row.control).collect();
        controls.sort_by(f64::total_cmp);
        let control = controls.last().map(|largest| [controls[controls.len() / 2], *largest]);
        let costs = Costs::of(run, &scenarios);
        let mut analysis = Analysis { scenarios, control, costs, ..Analysis::default() };
        analysis.answer = answer::answer(&analysis);
        analysis.trust = answer::trust(run, &analysis);
        analysis.rules = answer::rules(&analysis);
        analysis.claims = claims::judge(run);
        analysis
    }

    /// Judges the claims by what Python has measured, too; `about` says what and where.
    pub(crate) fn set_python(&mut self, run: &RunFile, about: &str) {
        let judged = claims::judge(run);
        let mut differing = Vec::new();
        for claim in &mut self.claims {
            let of_python = judged.iter().find(|of_python| of_python.id == claim.id);
            // A test tells nothing of Python, and what has no figure was not measured there.
            claim.python = of_python.and_then(|found| Some((found.outcome, found.ours.clone()?)));
            let Some((outcome, _)) = claim.python else { continue };
            let is_decided = |outcome| matches!(outcome, Outcome::Holds | Outcome::Refuted);
            if outcome != claim.outcome && is_decided(outcome) && is_decided(claim.outcome) {
                differing.push(claim.id.clone());
            }
        }
        let also = self.claims.iter().filter(|claim| claim.python.is_some()).count();
        let differing = if differing.is_empty() {
            "none has another verdict there than here".into()
        } else {
            format!("{} have another verdict there than here: {}", differing.len(), differing.join(", "))
        };
        self.python = Some(format!("{about}: it has figures for {also} of the claims; {differing}."));
    }
}

/// A run, judged.
#[derive(Clone, Debug, Default)]
pub(crate) struct Analysis {
    /// In the order of the run file.
    pub(crate) scenarios: Vec<Row>,
    /// Median and largest of the rows' controls, as ratios minus 1; `None` without a replica.
    pub(crate) control: Option<[f64; 2]>,
    /// What starting workers, handing over tasks and moving data cost.
    pub(crate) costs: Costs,
    /// The answer in one sentence, and the sentence about how sure it is.
    pub(crate) answer: String,
    pub(crate) trust: String,
    /// Rules for this machine, each a sentence with its break-even number.
    pub(crate) rules: Vec<String>,
    /// The articles' claims; empty if the run has none of their scenarios.
    pub(crate) claims: Vec<Judgement>,
    /// What Python says of them, in a sentence, if its times were given.
    pub(crate) python: Option<String>,
}

/// A scenario, judged.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) family: String,
    /// Every variant that was measured, the ceilings included, in the order of the records.
    pub(crate) variants: Vec<Measured>,
    /// What they used, in the same order.
    pub(crate) facts: Vec<Facts>,
    /// Indices into `variants` of what is judged: serial with the tasks of the others, the thread variant, the process one.
    pub(crate) serial: Option<usize>,
    pub(crate) threads: Option<usize>,
    pub(crate) processes: Option<usize>,
    /// How far the replicas of the judged variants differ for no reason, as a ratio minus 1 (0.02: 2 %).
    pub(crate) control: Option<f64>,
    /// Processes over threads; and the better of the two over serial.
    pub(crate) isolation: Comparison,
    pub(crate) parallel: Comparison,
    pub(crate) pick: Option<Pick>,
    /// Why it is not faster, or why one way loses, as sentences; empty where there is nothing to explain.
    pub(crate) reasons: Vec<Reason>,
    /// Why there is no verdict.
    pub(crate) error: Option<String>,
    /// What is said of it besides: its rate, and that its answers are not checked.
    pub(crate) remarks: Vec<String>,
}

/// What one variant needed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    /// `threads/2`; for a ceiling `ceiling/2`.
    pub(crate) name: String,
    pub(crate) executor: String,
    pub(crate) way: Option<Way>,
    pub(crate) workers: usize,
    pub(crate) tasks: usize,
    /// Medians over rounds of a batch: time, CPU time of program and workers, ns.
    pub(crate) time_ns: f64,
    pub(crate) cpu_ns: Option<f64>,
    /// Serial's time for the same tasks over this one's, with its interval.
    pub(crate) speed_up: Option<Interval>,
    /// Rounds that it was measured in.
    pub(crate) rounds: usize,
}

/// A median with the interval that holds it at least 96 times in 100; an interval of all rounds if there are fewer than six.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Interval {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// The ratio of two variants' times in the same rounds, and what it says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Comparison {
    /// Below 1: the first is faster.
    pub(crate) ratio: Option<Interval>,
    pub(crate) verdict: Verdict,
    /// Why it is open, or why there is none, in a few words.
    pub(crate) note: Option<String>,
}

/// Whether two variants differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// There are not enough rounds, or there is an error.
    #[default]
    None,
    /// The first is faster, beyond the control.
    First,
    /// The second is.
    Second,
    /// They differ by 5 % at most.
    Tie,
    /// It cannot be told.
    Open,
}

impl Verdict {
    /// Its word: clear, tie, open, or none.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Verdict::None => "no verdict",
            Verdict::First | Verdict::Second => "clear",
            Verdict::Tie => "tie",
            Verdict::Open => "open",
        }
    }
}

/// What to use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pick {
    /// Index into [`Row::variants`].
    pub(crate) variant: usize,
    /// The ways that are as good: `either` where threads and processes tie.
    pub(crate) either: bool,
    /// Whether the largest count that was tried is the best: more may be better still.
    pub(crate) at_least: bool,
    /// What the fastest variant would gain over the pick, and what it would cost in CPU time, as ratios minus 1.
    pub(crate) fastest: usize,
    pub(crate) gain: f64,
    pub(crate) cost: Option<f64>,
}

/// A cause, and the sentence that names it with the figures that it rests on.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Reason {
    /// The way that it is about: `threads`, `processes`, or both if they share the cause.
    pub(crate) way: String,
    /// A short word for the cause, such as `lock`; `unclear` if no rule holds.
    pub(crate) cause: &'static str,
    pub(crate) sentence: String,
}

/// What a run says of an article's claim.
#[derive(Clone, Debug, Default)]
pub(crate) struct Judgement {
    /// Such as `F08`.
    pub(crate) id: String,
    /// The articles that make it, such as `000`.
    pub(crate) articles: Vec<String>,
    pub(crate) claim: String,
    pub(crate) scenarios: Vec<String>,
    /// The article's own figures, for a person.
    pub(crate) article: Option<String>,
    /// Ours, for a person, with its interval.
    pub(crate) ours: Option<String>,
    pub(crate) outcome: Outcome,
    /// The same by Python's times, with its figure; `None` if it has none.
    pub(crate) python: Option<(Outcome, String)>,
    /// Why, in a sentence.
    pub(crate) why: String,
    /// Whether Python's global lock made it true.
    pub(crate) gil: bool,
}

/// Whether a claim holds here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Outcome {
    Holds,
    Refuted,
    Unclear,
    /// A number of the article's machine, beside ours.
    Reported,
    #[default]
    NotMeasured,
}

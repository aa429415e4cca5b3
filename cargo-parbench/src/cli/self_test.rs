//! `cargo parbench compare --self-test`: how often the gate is wrong, measured on this machine. Gates of identical programs
//! must find nothing; gates in which work was added to every task must find it.
//!
//! Each gate is a line in a file, which later self-tests go on with: proofs take hours, and may be made bit by bit.

mod resampled;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::compare::{Compare, interruption, new};
use super::print;
use crate::gate::built::{Built, Work};
use crate::gate::comparison::Row;
use crate::gate::judge::{Bound, Word, upper_bound};
use crate::gate::plan::{Plan, Wanted};
use crate::gate::revision::Repository;
use crate::provenance;

/// A kind of gate: what is added to head's tasks, and what must be found.
struct Kind {
    name: &'static str,
    injection: Option<&'static str>,
    /// Head is base linked in another order of sections.
    relinked: bool,
    /// Programs beside it keep all CPUs busy.
    hogs: bool,
    /// Which rows must be slower; in all others, nothing may be.
    slower: fn(&Row) -> bool,
}

const fn kind(name: &'static str, injection: Option<&'static str>, slower: fn(&Row) -> bool) -> Kind {
    Kind { name, injection, relinked: false, hogs: false, slower }
}

fn none(_: &Row) -> bool {
    false
}

fn all(_: &Row) -> bool {
    true
}

/// Only where there is anything that could run at once.
fn threads(row: &Row) -> bool {
    row.variant.starts_with("threads/")
}

const KINDS: [Kind; 10] = [
    kind("identical", None, none),
    Kind { relinked: true, ..kind("relinked", None, none) },
    kind("cpu +3 %", Some("cpu:3"), all),
    kind("cpu +5 %", Some("cpu:5"), all),
    kind("cpu +10 %", Some("cpu:10"), all),
    kind("one allocation a task", Some("allocation"), all),
    kind("lost parallelism", Some("lock"), threads),
    kind("wait +20 %", Some("wait:20"), all),
    Kind { hogs: true, ..kind("identical beside hogs", None, none) },
    Kind { hogs: true, ..kind("cpu +10 % beside hogs", Some("cpu:10"), all) },
];

/// A gate that was run: a line of the file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Ran {
    kind: String,
    /// The revision and the rows' names: what was measured.
    revision: String,
    at: String,
    seconds: u64,
    rows: Vec<RanRow>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct RanRow {
    row: String,
    word: Word,
    ratio: Option<f64>,
    must_be_slower: bool,
    error: Option<String>,
    bound: Option<Bound>,
    /// Head over base in the blocks of each stage, as logarithms.
    blocks: Vec<Vec<f64>>,
}

/// Runs gates of every kind until the file has as many as are wanted, and prints the rates.
///
/// # Errors
/// If the program cannot be built, a gate fails, or it is interrupted: the file has the gates before.
pub(super) fn run(compare: &Compare) -> Result<u8> {
    let interrupted = interruption()?;
    let interrupted = || interrupted.load(Ordering::Relaxed);
    let work = Work::new(&compare.cargo)?;
    let path = compare.output.clone().unwrap_or_else(|| work.folder.join("self-test.jsonl"));
    let mut ran = read(&path)?;
    let repository = Repository::of(&compare.cargo)?;
    let head = repository.find("HEAD")?;
    let mut built = Built::make(&compare.cargo, false, &repository, &work, [&head, &head])?
        .context("it is its own base")?;
    let kinds: Vec<_> = KINDS
        .iter()
        .filter(|kind| compare.kinds.is_empty() || compare.kinds.iter().any(|name| name == kind.name))
        .collect();
    ensure!(
        !kinds.is_empty(),
        "there is no such kind of gate; there are {}",
        KINDS.map(|kind| kind.name).join(", ")
    );
    for number in 1..=compare.runs {
        for kind in &kinds {
            let done = ran.iter().filter(|ran| ran.kind == kind.name).count();
            if done >= number as usize {
                continue;
            }
            eprintln!("Gate {number} of {}: {}", compare.runs, kind.name);
            let gate = one(compare, kind, number, &mut built, &work, &interrupted)?;
            let line = serde_json::to_string(&gate)? + "\n";
            let file = fs::File::options().create(true).append(true).open(&path);
            file.and_then(|mut file| file.write_all(line.as_bytes()))
                .with_context(|| format!("cannot write {}", path.display()))?;
            ran.push(gate);
            eprint!("{}", table(&ran));
        }
    }
    print(&table(&ran))?;
    Ok(u8::from(ran.iter().flat_map(|ran| &ran.rows).any(RanRow::is_false_alarm)))
}

fn read(path: &Path) -> Result<Vec<Ran>> {
    let Ok(text) = fs::read_to_string(path) else { return Ok(Vec::new()) };
    let line = |(number, line): (usize, &str)| {
        serde_json::from_str(line).with_context(|| format!("{}, line {number} is no gate", path.display()))
    };
    (1..).zip(text.lines()).map(line).collect()
}

/// One gate.
fn one(
    compare: &Compare,
    kind: &Kind,
    number: u32,
    built: &mut Built,
    work: &Work,
    interrupted: &dyn Fn() -> bool,
) -> Result<Ran> {
    let seed = compare.seed + u64::from(number) * 1_000;
    let wanted = Wanted { injection: kind.injection.map(Into::into), ..compare.wanted() };
    let began = provenance::now();
    let hogs = if kind.hogs { Hogs::start()? } else { Hogs::default() };
    if kind.relinked {
        built.relink_head(number)?;
    }
    let plan = Plan::make([&built.base, &built.head], &[], &wanted, interrupted);
    let mut comparison = new(built.revision().clone(), built.revision().clone(), seed);
    comparison.injection = wanted.injection;
    let path = work.folder.join("self-test-last.json");
    let measured = built.measure(plan, None, &path, interrupted, &mut comparison);
    built.restore_head()?;
    drop(hogs);
    measured?;
    let row = |row: &Row| RanRow {
        row: row.title(),
        word: row.word,
        ratio: row.ratio().map(|ratio| ratio.median),
        must_be_slower: (kind.slower)(row),
        error: row.error.as_ref().map(|(side, error)| format!("{side:?}: {error}")),
        bound: row.bound,
        blocks: row
            .blocks_of_stages()
            .map(|logs| logs.iter().map(|log| (log * 1e5).round() / 1e5).collect())
            .into(),
    };
    Ok(Ran {
        kind: kind.name.into(),
        revision: comparison.head.commit.clone(),
        at: comparison.id.clone(),
        seconds: provenance::now().saturating_sub(began),
        rows: comparison.rows.iter().map(row).collect(),
    })
}

impl RanRow {
    /// A change that is none.
    fn is_false_alarm(&self) -> bool {
        !self.must_be_slower && self.word == Word::Slower
    }
}

/// Rates of each kind, of rows and of gates, with the bounds that hold them in 95 of 100 cases.
fn table(ran: &[Ran]) -> String {
    let mut kinds: BTreeMap<usize, (&str, Vec<&Ran>)> = BTreeMap::new();
    for gate in ran {
        let place = KINDS.iter().position(|kind| kind.name == gate.kind).unwrap_or(KINDS.len());
        kinds.entry(place).or_insert((&gate.kind, Vec::new())).1.push(gate);
    }
    let mut text = String::new();
    for (kind, gates) in kinds.values() {
        let rows: Vec<_> =
            gates.iter().flat_map(|gate| &gate.rows).filter(|row| row.error.is_none()).collect();
        let count = |is: &dyn Fn(&RanRow) -> bool| rows.iter().filter(|row| is(row)).count() as u32;
        let wanted = count(&|row| row.must_be_slower);
        let quiet = rows.len() as u32 - wanted;
        text += &format!("{kind}: {} gates, {} rows\n", gates.len(), rows.len());
        if quiet > 0 {
            let alarms = count(&RanRow::is_false_alarm);
            let red = gates.iter().filter(|gate| gate.rows.iter().any(RanRow::is_false_alarm)).count() as u32;
            text += &format!(
                "  false alarms: {alarms} of {quiet} rows (at most {:.2} %), {red} of {} gates (at most {:.0} %); faster {}, not judged {}\n",
                100.0 * upper_bound(alarms, quiet),
                gates.len(),
                100.0 * upper_bound(red, gates.len() as u32),
                count(&|row| !row.must_be_slower && row.word == Word::Faster),
                count(&|row| !row.must_be_slower && row.word == Word::NotJudged),
            );
        }
        if wanted > 0 {
            let found = count(&|row| row.must_be_slower && row.word == Word::Slower);
            text += &format!(
                "  found: {found} of {wanted} (at least {:.0} %); no clear change {}, not judged {}\n",
                100.0 * (1.0 - upper_bound(wanted - found, wanted)),
                count(&|row| row.must_be_slower && row.word == Word::NoClearChange),
                count(&|row| row.must_be_slower && row.word == Word::NotJudged),
            );
        }
        if *kind == KINDS[0].name {
            text += &resampled::table(gates);
        }
        let slowest = gates.iter().map(|gate| gate.seconds).max().unwrap_or(0);
        text += &format!("  the longest gate took {slowest} s\n");
    }
    text
}

/// A program for each CPU that does nothing but keep it busy; they end with this.
#[derive(Default)]
struct Hogs(Vec<Child>);

impl Hogs {
    fn start() -> Result<Hogs> {
        let mut hogs = Hogs::default();
        for _ in 0..parbench::measure::Machine::this().cpus_allowed {
            let mut command = Command::new("sh");
            command.args(["-c", "while :; do :; done"]).stdin(Stdio::null());
            hogs.0.push(command.spawn().context("cannot start a busy program")?);
        }
        Ok(hogs)
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        for hog in &mut self.0 {
            let _ = hog.kill();
            let _ = hog.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_counted_with_their_bounds() {
        let row = |word, must_be_slower| RanRow { word, must_be_slower, ..RanRow::default() };
        let gate = |kind: &str, rows: Vec<RanRow>| Ran { kind: kind.into(), rows, ..Ran::default() };
        let quiet = vec![row(Word::NoClearChange, false); 66];
        let mut ran = vec![gate("identical", quiet); 20];
        ran.push(gate("cpu +5 %", vec![row(Word::Slower, true); 29]));
        let text = table(&ran);
        assert!(text.contains("0 of 1320 rows (at most 0.23 %), 0 of 20 gates (at most 14 %)"), "{text}");
        assert!(text.contains("found: 29 of 29 (at least 90 %)"), "{text}");
        ran[0].rows[0].word = Word::Slower;
        assert!(table(&ran).contains("1 of 1320 rows"), "{}", table(&ran));
    }
}

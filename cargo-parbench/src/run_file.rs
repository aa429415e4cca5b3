//! The run file: everything that a run has measured, in one JSON document. Reports read it and nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use parbench::executors::Isolation;
use parbench::measure::{Record, RunHeader};
use serde::{Deserialize, Serialize};

/// The format; a reader refuses others. A later version of the same format only adds fields.
pub(crate) const FORMAT: &str = "parbench.run/1";

/// A run: one build on one machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RunFile {
    /// [`FORMAT`].
    pub(crate) format: String,
    /// Its name, from the time at which it began: `2026-11-26T12-00-00Z`.
    pub(crate) id: String,
    /// When it began, and when its last scenario was saved, seconds since 1970.
    pub(crate) began: u64,
    pub(crate) saved: u64,
    pub(crate) options: Options,
    pub(crate) build: Build,
    /// The load average over one minute before the run and after it.
    pub(crate) load_before: Option<f64>,
    pub(crate) load_after: Option<f64>,
    /// The bench programs, and what each said of itself and its machine.
    pub(crate) programs: Vec<Program>,
    /// In the order of the programs' lists.
    pub(crate) scenarios: Vec<Scenario>,
    /// What the package's pitfalls said, if they were run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) pitfalls: Vec<Pitfall>,
}

/// What was asked for: a run is resumed only with the same.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Options {
    /// One launch, one pass a round: answers differences of 20 % and more.
    pub(crate) quick: bool,
    pub(crate) size: String,
    pub(crate) seed: u64,
    /// Launches, the first of which chooses what is judged, and the rounds of each.
    pub(crate) launches: u32,
    pub(crate) rounds: u32,
    /// Executors and worker counts that were named, and scenarios; empty if all are measured.
    pub(crate) executors: Vec<String>,
    pub(crate) workers: Vec<String>,
    pub(crate) scenarios: Vec<String>,
}

/// What was built.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Build {
    /// The line that `rustc --version` prints.
    pub(crate) rustc: Option<String>,
    /// The revision of the working copy, and whether files in it were changed.
    pub(crate) revision: Option<String>,
    pub(crate) dirty: Option<bool>,
    /// The profile that was built.
    pub(crate) profile: String,
}

/// A bench program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Program {
    /// The bench target's name: the family.
    pub(crate) family: String,
    /// The first header that it printed.
    pub(crate) header: RunHeader,
    /// Where the workers of each of its executors are.
    pub(crate) ways: BTreeMap<String, Way>,
}

/// What was measured of a scenario.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) family: String,
    /// As many tasks as workers, for serial too.
    pub(crate) weak: bool,
    /// Starting the executor is in the clock.
    pub(crate) cold: bool,
    /// Its tasks use threads of their own.
    pub(crate) nested: bool,
    /// Its tasks mostly wait.
    pub(crate) waits: bool,
    /// Its answers are compared with each other, and not checked.
    pub(crate) is_compared: bool,
    /// What a task works on, if that has been said.
    pub(crate) amount: Option<parbench::Amount>,
    /// The variants that were chosen to be judged, such as `threads/2`: the best of those whose workers are threads, and the
    /// best of those whose workers are processes.
    pub(crate) judged: Judged,
    /// Why it was not measured to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    pub(crate) records: Vec<Record>,
}

/// See [`Scenario::judged`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Judged {
    pub(crate) threads: Option<String>,
    pub(crate) processes: Option<String>,
}

/// What an example that shows a pitfall said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Pitfall {
    /// The example's name.
    pub(crate) name: String,
    /// Its lines for people.
    pub(crate) lines: Vec<String>,
    /// The line of JSON behind them.
    pub(crate) record: Option<serde_json::Value>,
    /// `success`, or how it ended otherwise.
    pub(crate) status: String,
}

/// Where an executor's workers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Way {
    Serial,
    Threads,
    Processes,
}

impl Way {
    /// # Errors
    /// If the program is of a later version and has executors of another kind.
    pub(crate) fn of(isolation: Isolation) -> Result<Way> {
        match isolation {
            Isolation::Caller => Ok(Way::Serial),
            Isolation::Thread => Ok(Way::Threads),
            Isolation::Process => Ok(Way::Processes),
            other => bail!("the bench program has an executor of a kind that is not known here: {other:?}"),
        }
    }
}

impl RunFile {
    /// Reads a run file.
    ///
    /// # Errors
    /// If it cannot be read, is cut or is not JSON, or is of another format.
    pub(crate) fn read(path: &Path) -> Result<RunFile> {
        let place = || format!("cannot read the run file {}", path.display());
        let text = fs::read_to_string(path).with_context(place)?;
        let value: serde_json::Value = serde_json::from_str(&text)
            .with_context(|| format!("{} is not a whole run file", path.display()))?;
        let format = value["format"].as_str().unwrap_or("no known format");
        ensure!(format == FORMAT, "{} is of {format}, and this version reads {FORMAT}", path.display());
        serde_json::from_value(value).with_context(|| format!("{} is not a run file", path.display()))
    }

    /// Writes it; see [`write_json`].
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        write_json(path, self).with_context(|| format!("cannot write the run file {}", path.display()))
    }
}

/// Writes a document beside its path and renames it: a crash or a full disk leaves the file that was there.
///
/// # Errors
/// The system's; it does not name the path.
pub(crate) fn write_json(path: &Path, document: &impl Serialize) -> Result<()> {
    let beside = path.with_extension("json.part");
    let written: std::io::Result<()> = (|| {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = fs::File::create(&beside)?;
        file.write_all(&serde_json::to_vec(document)?)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    Ok(written?)
}

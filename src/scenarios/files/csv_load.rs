//! Loads a CSV file, chosen at random from a folder.
//!
//! Article 004's `load_csv()`: `pd.read_csv(np.random.choice(glob.glob(...)))`, 16 times on 3 workers. Threads and
//! processes "took about as long as each other, and both were faster than using a loop", since reading is C code that
//! releases the GIL. The article gives neither seconds nor a size.
//!
//! Here, too, the task lists the folder and chooses a file, by its seed. There are 8 files with 10 columns, of 20 MB or
//! 2 MB each. As in the article, the table is dropped, but here its columns are summed first; missing values are left
//! out of the sums, as in pandas.

use std::path::PathBuf;
use std::{fs, io};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::table;
use crate::data::packet::Packet;
use crate::fixtures::csv::Csv;
use crate::fixtures::folder::Folder;
use crate::random::splitmix;
use crate::workload::{Inputs, Size, Workload};

const TASKS: u64 = 16;
/// Fewer files than tasks, so that some are loaded more than once, as in the article.
const FILES: u64 = 8;
const COLUMNS: usize = 10;

pub(super) struct CsvLoad;

#[derive(Serialize, Deserialize)]
pub(super) struct Choice {
    folder: PathBuf,
    seed: u64,
    /// The summary of the file that the seed chooses.
    expected: Summary,
}

/// A digest of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Summary {
    rows: usize,
    /// The sum of each column, without its missing values.
    sums: Vec<f64>,
}

impl Workload for CsvLoad {
    const NAME: &'static str = "csv_load";
    const WORKERS: &'static [usize] = &[1, 2, 3, 4];
    type Input = Choice;
    type Output = Summary;
    type Worker = ();

    fn prepare(size: Size) -> Result<Inputs<Choice>> {
        let folder = Folder::new()?;
        let rows = size.pick(50, 9_900, 99_000);
        let mut summaries = Vec::new();
        for seed in 0..FILES {
            let csv = Csv { seed, rows, columns: COLUMNS };
            csv.write(&folder.path().join(format!("{seed}.csv")))?;
            summaries.push(summary(&csv));
        }
        let choice = |seed| {
            let expected = summaries[choose(seed, summaries.len())].clone();
            Choice { folder: folder.path().into(), seed, expected }
        };
        Ok(Inputs::new((0..TASKS).map(choice).collect()).keep(folder))
    }

    /// The folder is another one each time.
    fn input_digest(choice: &Choice) -> Result<u64> {
        Ok(Packet::pack(&(choice.seed, choice.expected.clone()))?.digest())
    }

    fn run(_: &mut (), Choice { folder, seed, .. }: &Choice) -> Result<Summary> {
        let list = || fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
        let mut files = list().with_context(|| format!("cannot list {}", folder.display()))?;
        files.retain(|file| file.extension().is_some_and(|extension| extension == "csv"));
        ensure!(!files.is_empty(), "there is no CSV file in {}", folder.display());
        // The system lists files in no particular order.
        files.sort_unstable();
        let columns = table::read(&files[choose(*seed, files.len())])?;
        let sums = columns.iter().map(|column| column.iter().filter(|number| !number.is_nan()).sum());
        Ok(Summary { rows: columns[0].len(), sums: sums.collect() })
    }

    /// Compares the sums exactly: the numbers are written with all their digits and added in the same order.
    fn check(choices: &[Choice], summaries: &[Summary]) -> Result<()> {
        for (Choice { seed, expected, .. }, summary) in choices.iter().zip(summaries) {
            ensure!(summary == expected, "task {seed} loaded {summary:?}, not {expected:?}");
        }
        Ok(())
    }
}

/// Returns the index of the file that a seed chooses.
fn choose(mut seed: u64, files: usize) -> usize {
    (splitmix(&mut seed) % files as u64) as usize
}

/// Computes the summary of a file without reading it.
fn summary(csv: &Csv) -> Summary {
    let mut sums = vec![0.0; csv.columns];
    for (at, number) in csv.numbers().enumerate().filter(|(_, number)| !number.is_nan()) {
        sums[at % csv.columns] += number;
    }
    Summary { rows: csv.rows, sums }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_chooses_a_file_loads_it_and_sums_its_columns() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("notes.txt"), "no table").unwrap();
        let csvs = [0, 1, 2].map(|seed| Csv { seed, rows: 2_000, columns: COLUMNS });
        for csv in &csvs {
            csv.write(&folder.path().join(format!("{}.csv", csv.seed))).unwrap();
        }
        let mut seen = [false; 3];
        for seed in 0..20 {
            let chosen = choose(seed, 3);
            seen[chosen] = true;
            let choice = Choice { folder: folder.path().into(), seed, expected: summary(&csvs[chosen]) };
            let found = CsvLoad::run(&mut (), &choice).unwrap();
            let wrong = Summary { rows: found.rows, sums: vec![0.0; COLUMNS] };
            assert!(CsvLoad::check(&[choice], &[found]).is_ok(), "seed {seed}");
            let choice = Choice { folder: folder.path().into(), seed, expected: summary(&csvs[chosen]) };
            assert!(CsvLoad::check(&[choice], &[wrong]).is_err());
        }
        assert_eq!(seen, [true; 3]);
    }

    #[test]
    fn a_folder_without_a_table_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let expected = Summary { rows: 0, sums: vec![] };
        let choice = Choice { folder: folder.path().into(), seed: 0, expected };
        let error = CsvLoad::run(&mut (), &choice).unwrap_err().to_string();
        assert!(error.starts_with("there is no CSV file in /"), "{error}");
    }
}

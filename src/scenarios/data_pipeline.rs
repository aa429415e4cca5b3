//! A CSV file read, its columns standardised and correlated, the result stored.
//!
//! Article 001's "typical data processing pipeline": read raw data, compute, store what was found. It gives
//! neither code nor seconds: threads for the first and last step and processes for the second are its advice,
//! because of the GIL. Here a task is all three steps on a file of its own with 10 columns, 20 MB or 1 MB: rows
//! with a missing value are left out, columns brought to mean 0 and deviation 1 and correlated with each other,
//! and both tables stored in numpy's format.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use ndarray::{Array2, ArrayView2, ShapeBuilder};
use serde::{Deserialize, Serialize};

use crate::fixtures::csv::Csv;
use crate::fixtures::folder::Folder;
use crate::table;
use crate::workload::{Inputs, Size, Workload};

const TASKS: u64 = 16;
const COLUMNS: usize = 10;
/// Largest difference to the slow computation that is taken for rounding.
const TOLERANCE: f64 = 1e-9;

pub(super) struct DataPipeline;

#[derive(Serialize, Deserialize)]
pub(super) struct Step {
    /// What the file holds.
    csv: Csv,
    from: PathBuf,
    to: PathBuf,
}

impl Workload for DataPipeline {
    const NAME: &'static str = "data_pipeline";
    type Input = Step;
    /// Rows that were stored.
    type Output = usize;
    type Worker = ();

    fn prepare(size: Size) -> Result<Inputs<Step>> {
        let folder = Folder::new()?;
        let rows = size.pick(50, 4_950, 99_000);
        let step = |seed| {
            let file = |extension| folder.path().join(format!("{seed}.{extension}"));
            let step = Step { csv: Csv { seed, rows, columns: COLUMNS }, from: file("csv"), to: file("npy") };
            step.csv.write(&step.from)?;
            Ok(step)
        };
        Ok(Inputs::new((0..TASKS).map(step).collect::<Result<_>>()?).keep(folder))
    }

    fn run(_: &mut (), Step { from, to, .. }: &Step) -> Result<usize> {
        let mut table = complete(table::read(from)?)?;
        let rows = table.nrows();
        ensure!(rows > 0, "{} has no row without a missing value", from.display());
        for (at, mut column) in table.columns_mut().into_iter().enumerate() {
            column -= column.sum() / rows as f64;
            let deviation = (column.dot(&column) / rows as f64).sqrt();
            ensure!(deviation > 0.0, "column {} of {} is the same in all rows", at + 1, from.display());
            column /= deviation;
        }
        let correlations = table.t().dot(&table) / rows as f64;
        let mut stored = Vec::with_capacity(size_of::<f64>() * (table.len() + correlations.len()) + 256);
        append_npy(&mut stored, correlations.view());
        append_npy(&mut stored, table.view());
        fs::write(to, stored).with_context(|| format!("cannot write {}", to.display()))?;
        Ok(rows)
    }

    /// Compares what was stored with what the numbers of the seed give, and removes it: a file that was never
    /// written to the disk then never will be, in the clock of whoever comes next.
    fn check(steps: &[Step], rows: &[usize]) -> Result<()> {
        for (step, rows) in steps.iter().zip(rows) {
            let place = step.to.display();
            let stored = fs::read(&step.to).with_context(|| format!("cannot read {place} back"))?;
            fs::remove_file(&step.to).with_context(|| format!("cannot remove {place}"))?;
            let table = Reference::of(&step.csv);
            ensure!(*rows == table.rows.len(), "{rows} rows went to {place}, not {}", table.rows.len());
            table.compare(&stored).with_context(|| format!("{place} holds a wrong result"))?;
        }
        Ok(())
    }
}

/// The rows without a missing value, column by column in memory.
fn complete(mut columns: Vec<Vec<f64>>) -> Result<Array2<f64>> {
    let rows = columns.first().map_or(0, Vec::len);
    let whole: Vec<bool> = (0..rows).map(|row| columns.iter().all(|column| !column[row].is_nan())).collect();
    for column in &mut columns {
        let mut whole = whole.iter();
        column.retain(|_| whole.next() == Some(&true));
    }
    let shape = (columns.first().map_or(0, Vec::len), columns.len());
    Array2::from_shape_vec(shape.f(), columns.concat()).context("columns of unequal length")
}

/// Appends an array as `numpy.save` does; `numpy.load` on the open file reads one after the other.
fn append_npy(file: &mut Vec<u8>, array: ArrayView2<f64>) {
    // Column by column if it lies in memory so: nothing is moved about.
    let fortran = !array.is_standard_layout();
    file.extend(npy_head(array.dim(), fortran));
    let array = if fortran { array.reversed_axes() } else { array };
    array.iter().for_each(|number| file.extend_from_slice(&number.to_le_bytes()));
}

/// The first 128 bytes of version 1 of the format: an array of 64-bit floats.
fn npy_head((rows, columns): (usize, usize), fortran: bool) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    let text = format!("{{'descr': '<f8', 'fortran_order': {order}, 'shape': ({rows}, {columns}), }}");
    // Its length without the ten bytes before it, 118, as two bytes.
    let mut head = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    head.extend(format!("{text:<117}\n").bytes());
    head
}

/// The same, computed without haste from the numbers and never from the file.
struct Reference {
    rows: Vec<Vec<f64>>,
}

impl Reference {
    fn of(csv: &Csv) -> Reference {
        let numbers: Vec<_> = csv.numbers().collect();
        let rows = numbers.chunks(csv.columns).filter(|row| row.iter().all(|number| !number.is_nan()));
        Reference { rows: rows.map(<[f64]>::to_vec).collect() }
    }

    /// Mean of what `value` says of each row.
    fn mean(&self, value: impl Fn(&[f64]) -> f64) -> f64 {
        self.rows.iter().map(|row| value(row)).sum::<f64>() / self.rows.len() as f64
    }

    fn compare(&self, stored: &[u8]) -> Result<()> {
        let (rows, columns) = (self.rows.len(), self.rows.first().map_or(0, Vec::len));
        let means: Vec<_> = (0..columns).map(|a| self.mean(|row| row[a])).collect();
        // Not from the standardised columns, as the task does, but from the raw ones.
        let covariance = |a: usize, b: usize| self.mean(|row| row[a] * row[b]) - means[a] * means[b];
        let deviations: Vec<_> = (0..columns).map(|a| covariance(a, a).sqrt()).collect();

        let stored = take_head(stored, (columns, columns), false)?;
        let (correlations, stored) = take_numbers(stored, columns * columns)?;
        for (at, found) in correlations.enumerate() {
            let (a, b) = (at / columns, at % columns);
            let expected = covariance(a, b) / (deviations[a] * deviations[b]);
            // Not `> TOLERANCE`: that lets NaN through.
            let same = (found - expected).abs() <= TOLERANCE;
            ensure!(same, "the correlation of columns {a} and {b} is {expected}, not {found}");
        }
        let stored = take_head(stored, (rows, columns), true)?;
        let (table, rest) = take_numbers(stored, rows * columns)?;
        for (at, found) in table.enumerate() {
            let (column, row) = (at / rows, at % rows);
            let expected = (self.rows[row][column] - means[column]) / deviations[column];
            let same = (found - expected).abs() <= TOLERANCE;
            ensure!(same, "column {column}, row {row} is {expected} when standardised, not {found}");
        }
        ensure!(rest.is_empty(), "{} bytes too many", rest.len());
        Ok(())
    }
}

/// What stands after the head of an array.
fn take_head(bytes: &[u8], shape: (usize, usize), fortran: bool) -> Result<&[u8]> {
    let rest = bytes.strip_prefix(&npy_head(shape, fortran)[..]);
    rest.with_context(|| format!("there is no array of {} x {}", shape.0, shape.1))
}

/// So many numbers, and what stands after them.
fn take_numbers(bytes: &[u8], count: usize) -> Result<(impl Iterator<Item = f64>, &[u8])> {
    let split = bytes.split_at_checked(count * size_of::<f64>());
    let (numbers, rest) = split.with_context(|| format!("{count} numbers are not there"))?;
    let numbers = numbers.as_chunks().0.iter();
    Ok((numbers.map(|number| f64::from_le_bytes(*number)), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(folder: &tempfile::TempDir, seed: u64) -> Step {
        let file = |extension| folder.path().join(format!("{seed}.{extension}"));
        Step { csv: Csv { seed, rows: 3_000, columns: 4 }, from: file("csv"), to: file("npy") }
    }

    #[test]
    fn a_table_is_stored_as_numpy_stores_it() {
        let mut file = Vec::new();
        let table = Array2::from_shape_vec((2, 3).f(), vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        append_npy(&mut file, table.view());
        let head = b"\x93NUMPY\x01\0v\0{'descr': '<f8', 'fortran_order': True, 'shape': (2, 3), }   ";
        assert!(file.starts_with(head) && file[127] == b'\n' && file.len() == 128 + 48);
        let numbers: Vec<_> = take_numbers(&file[128..], 6).unwrap().0.collect();
        assert_eq!(numbers, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }

    #[test]
    fn rows_with_a_missing_value_are_left_out() {
        let columns = vec![vec![1.0, f64::NAN, 3.0, 4.0], vec![5.0, 6.0, 7.0, f64::NAN]];
        assert_eq!(complete(columns).unwrap(), ndarray::arr2(&[[1.0, 5.0], [3.0, 7.0]]));
    }

    #[test]
    fn a_wrong_number_anywhere_in_the_file_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let step = step(&folder, 5);
        step.csv.write(&step.from).unwrap();
        let rows = DataPipeline::run(&mut (), &step).unwrap();
        assert!(rows < 3_000, "no row had a missing value");
        let good = fs::read(&step.to).unwrap();
        // In the first head, a correlation, the second head, the first and the last number of the table.
        for at in [60, 128 + 8 * 5 + 6, 256 + 8 * 16 - 20, 256 + 8 * 16 + 6, good.len() - 2] {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            fs::write(&step.to, bad).unwrap();
            let error = DataPipeline::check(std::slice::from_ref(&step), &[rows]).unwrap_err();
            assert!(format!("{error:#}").contains("5.npy holds a wrong result: "), "{at}: {error:#}");
        }
        for (bytes, rows) in [(&good[..good.len() - 8], rows), (&good[..], rows - 1)] {
            fs::write(&step.to, bytes).unwrap();
            assert!(DataPipeline::check(std::slice::from_ref(&step), &[rows]).is_err());
        }
        fs::write(&step.to, &good).unwrap();
        DataPipeline::check(std::slice::from_ref(&step), &[rows]).unwrap();
        assert!(!step.to.exists(), "what was checked is removed");
    }

    #[test]
    fn a_file_with_nothing_to_compute_on_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let step = step(&folder, 0);
        for (text, reason) in [
            ("a,b\n1,\n,2\n", "0.csv has no row without a missing value"),
            ("a,b\n1,2\n2,2\n", "0.csv is the same in all rows"),
        ] {
            fs::write(&step.from, text).unwrap();
            let error = DataPipeline::run(&mut (), &step).unwrap_err().to_string();
            assert!(error.ends_with(reason), "{error}");
        }
    }
}

//! Reads a CSV file, standardises and correlates its columns, and stores the results.
//!
//! Article 001's "typical data processing pipeline": read raw data, compute, store the results. The article gives
//! neither code nor seconds; because of the GIL, it advises threads for the first and last step and processes for the
//! second. Here a task is all three steps, on its own file with 10 columns, of 20 MB or 1 MB. Rows with a missing value
//! are left out, columns are scaled to mean 0 and deviation 1 and correlated with each other, and both tables are
//! stored in numpy's format.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use ndarray::{Array2, ArrayView2, ShapeBuilder};
use serde::{Deserialize, Serialize};

use super::table;
use crate::data::packet::Packet;
use crate::fixtures::csv::Csv;
use crate::fixtures::folder::Folder;
use crate::workload::{Inputs, Size, Workload};

const TASKS: u64 = 16;
const COLUMNS: usize = 10;
/// Largest difference from the slow computation that is accepted as rounding.
const TOLERANCE: f64 = 1e-9;

pub(super) struct DataPipeline;

#[derive(Serialize, Deserialize)]
pub(super) struct Files {
    /// The content of the CSV file.
    csv: Csv,
    from: PathBuf,
    to: PathBuf,
}

impl Workload for DataPipeline {
    const NAME: &'static str = "data_pipeline";
    type Input = Files;
    /// The number of rows stored.
    type Output = usize;
    type Worker = ();

    fn prepare(size: Size) -> Result<Inputs<Files>> {
        let folder = Folder::new()?;
        let rows = size.pick(50, 4_950, 99_000);
        let files = |seed| {
            let file = |extension| folder.path().join(format!("{seed}.{extension}"));
            let files =
                Files { csv: Csv { seed, rows, columns: COLUMNS }, from: file("csv"), to: file("npy") };
            files.csv.write(&files.from)?;
            Ok(files)
        };
        Ok(Inputs::new((0..TASKS).map(files).collect::<Result<_>>()?).keep(folder))
    }

    /// The folder is another one each time.
    fn input_digest(files: &Files) -> Result<u64> {
        Ok(Packet::pack(&files.csv.seed)?.digest())
    }

    fn run(_: &mut (), Files { from, to, .. }: &Files) -> Result<usize> {
        let mut table = complete(table::read(from)?)?;
        let rows = table.nrows();
        ensure!(rows > 0, "{} has no complete row", from.display());
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

    /// Compares each stored file with the results for the numbers of its seed, then removes it. A file that the system
    /// has not written to the disk by then is never written, and so does not slow down the next measurement.
    fn check(inputs: &[Files], rows: &[usize]) -> Result<()> {
        for (files, rows) in inputs.iter().zip(rows) {
            let path = files.to.display();
            let stored = fs::read(&files.to).with_context(|| format!("cannot read {path} back"))?;
            fs::remove_file(&files.to).with_context(|| format!("cannot remove {path}"))?;
            let table = Reference::of(&files.csv);
            ensure!(*rows == table.rows.len(), "{rows} rows were stored in {path}, not {}", table.rows.len());
            table.compare(&stored).with_context(|| format!("{path} contains a wrong result"))?;
        }
        Ok(())
    }
}

/// Returns the rows without a missing value, as a column-major array.
fn complete(mut columns: Vec<Vec<f64>>) -> Result<Array2<f64>> {
    let rows = columns.first().map_or(0, Vec::len);
    let whole: Vec<bool> = (0..rows).map(|row| columns.iter().all(|column| !column[row].is_nan())).collect();
    for column in &mut columns {
        let mut whole = whole.iter();
        column.retain(|_| whole.next() == Some(&true));
    }
    let shape = (columns.first().map_or(0, Vec::len), columns.len());
    Array2::from_shape_vec(shape.f(), columns.concat()).context("the columns differ in length")
}

/// Appends an array in the format of `numpy.save`. `numpy.load` on the open file reads the arrays one by one.
fn append_npy(file: &mut Vec<u8>, array: ArrayView2<f64>) {
    // Column by column if that is the order in memory, so that nothing has to be rearranged.
    let fortran = !array.is_standard_layout();
    file.extend(npy_header(array.dim(), fortran));
    let array = if fortran { array.reversed_axes() } else { array };
    array.iter().for_each(|number| file.extend_from_slice(&number.to_le_bytes()));
}

/// Returns the header of an array of 64-bit floats, in version 1 of the format: 128 bytes.
fn npy_header((rows, columns): (usize, usize), fortran: bool) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    let text = format!("{{'descr': '<f8', 'fortran_order': {order}, 'shape': ({rows}, {columns}), }}");
    // The magic number, the version, and the length of the rest, 118, as two bytes.
    let mut header = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    header.extend(format!("{text:<117}\n").bytes());
    header
}

/// A slow computation of the same results, from the generated numbers instead of the file.
struct Reference {
    rows: Vec<Vec<f64>>,
}

impl Reference {
    fn of(csv: &Csv) -> Reference {
        let numbers: Vec<_> = csv.numbers().collect();
        let rows = numbers.chunks(csv.columns).filter(|row| row.iter().all(|number| !number.is_nan()));
        Reference { rows: rows.map(<[f64]>::to_vec).collect() }
    }

    /// Returns the mean of `value` over all rows.
    fn mean(&self, value: impl Fn(&[f64]) -> f64) -> f64 {
        self.rows.iter().map(|row| value(row)).sum::<f64>() / self.rows.len() as f64
    }

    fn compare(&self, stored: &[u8]) -> Result<()> {
        let (rows, columns) = (self.rows.len(), self.rows.first().map_or(0, Vec::len));
        let means: Vec<_> = (0..columns).map(|a| self.mean(|row| row[a])).collect();
        // From the raw columns, whereas the task uses the standardised ones.
        let covariance = |a: usize, b: usize| self.mean(|row| row[a] * row[b]) - means[a] * means[b];
        let deviations: Vec<_> = (0..columns).map(|a| covariance(a, a).sqrt()).collect();

        let stored = take_header(stored, (columns, columns), false)?;
        let (correlations, stored) = take_numbers(stored, columns * columns)?;
        for (at, found) in correlations.enumerate() {
            let (a, b) = (at / columns, at % columns);
            let expected = covariance(a, b) / (deviations[a] * deviations[b]);
            // Not `> TOLERANCE`, which would accept NaN.
            let same = (found - expected).abs() <= TOLERANCE;
            ensure!(same, "the correlation of columns {a} and {b} is {expected}, not {found}");
        }
        let stored = take_header(stored, (rows, columns), true)?;
        let (table, rest) = take_numbers(stored, rows * columns)?;
        for (at, found) in table.enumerate() {
            let (column, row) = (at / rows, at % rows);
            let expected = (self.rows[row][column] - means[column]) / deviations[column];
            let same = (found - expected).abs() <= TOLERANCE;
            ensure!(same, "column {column}, row {row} is {expected} when standardised, not {found}");
        }
        ensure!(rest.is_empty(), "it has {} extra bytes at its end", rest.len());
        Ok(())
    }
}

/// Returns the bytes after the header of an array.
fn take_header(bytes: &[u8], shape: (usize, usize), fortran: bool) -> Result<&[u8]> {
    let rest = bytes.strip_prefix(&npy_header(shape, fortran)[..]);
    rest.with_context(|| format!("the header of an array of {} x {} is missing", shape.0, shape.1))
}

/// Returns the first `count` numbers, and the bytes after them.
fn take_numbers(bytes: &[u8], count: usize) -> Result<(impl Iterator<Item = f64>, &[u8])> {
    let split = bytes.split_at_checked(count * size_of::<f64>());
    let (numbers, rest) = split.with_context(|| format!("it has fewer than {count} more numbers"))?;
    let numbers = numbers.as_chunks().0.iter();
    Ok((numbers.map(|number| f64::from_le_bytes(*number)), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &tempfile::TempDir, seed: u64) -> Files {
        let file = |extension| folder.path().join(format!("{seed}.{extension}"));
        Files { csv: Csv { seed, rows: 3_000, columns: 4 }, from: file("csv"), to: file("npy") }
    }

    #[test]
    fn a_table_is_stored_in_numpys_format() {
        let mut file = Vec::new();
        let table = Array2::from_shape_vec((2, 3).f(), vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        append_npy(&mut file, table.view());
        let header = b"\x93NUMPY\x01\0v\0{'descr': '<f8', 'fortran_order': True, 'shape': (2, 3), }   ";
        assert!(file.starts_with(header) && file[127] == b'\n' && file.len() == 128 + 48);
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
        let files = files(&folder, 5);
        files.csv.write(&files.from).unwrap();
        let rows = DataPipeline::run(&mut (), &files).unwrap();
        assert!(rows < 3_000, "no row had a missing value");
        let good = fs::read(&files.to).unwrap();
        // In the first header, a correlation, the second header, and the table's first and last number.
        for at in [60, 128 + 8 * 5 + 6, 256 + 8 * 16 - 20, 256 + 8 * 16 + 6, good.len() - 2] {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            fs::write(&files.to, bad).unwrap();
            let error = DataPipeline::check(std::slice::from_ref(&files), &[rows]).unwrap_err();
            assert!(format!("{error:#}").contains("5.npy contains a wrong result: "), "{at}: {error:#}");
        }
        for (bytes, rows) in [(&good[..good.len() - 8], rows), (&good[..], rows - 1)] {
            fs::write(&files.to, bytes).unwrap();
            assert!(DataPipeline::check(std::slice::from_ref(&files), &[rows]).is_err());
        }
        fs::write(&files.to, &good).unwrap();
        DataPipeline::check(std::slice::from_ref(&files), &[rows]).unwrap();
        assert!(!files.to.exists(), "the checked file is not removed");
    }

    #[test]
    fn a_file_without_usable_data_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(&folder, 0);
        for (text, reason) in [
            ("a,b\n1,\n,2\n", "0.csv has no complete row"),
            ("a,b\n1,2\n2,2\n", "0.csv is the same in all rows"),
        ] {
            fs::write(&files.from, text).unwrap();
            let error = DataPipeline::run(&mut (), &files).unwrap_err().to_string();
            assert!(error.ends_with(reason), "{error}");
        }
    }
}

//! Reads a table of numbers from a CSV file, for the scenarios on CSV files.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use simd_csv::{ZeroCopyByteRecord, ZeroCopyReaderBuilder};

/// Number of bytes read from the file at once. Reading the whole file into memory would cost a page fault for each of
/// its pages.
const BUFFER_BYTES: usize = 256 << 10;

/// Reads a CSV file that consists of a header and numbers; returns its columns.
///
/// Fields may be quoted, lines may end with CRLF, and empty lines are ignored. A missing value, that is, an empty field
/// or `nan`, becomes NaN. Unlike in pandas, a row with too few fields is an error and is not padded: usually, the file
/// is broken.
///
/// # Errors
/// If the file cannot be read, a row has the wrong number of fields, or a field is not a number. The error names the
/// file, the line and the column.
pub(crate) fn read(path: &Path) -> Result<Vec<Vec<f64>>> {
    let shown = path.display();
    let file = File::open(path).with_context(|| format!("cannot open {shown}"))?;
    let bytes = file.metadata().with_context(|| format!("cannot get the size of {shown}"))?.len();
    let failed = || format!("cannot read {shown}");
    let mut reader = ZeroCopyReaderBuilder::with_capacity(BUFFER_BYTES).flexible(true).from_reader(file);
    let header = reader.byte_headers().with_context(failed)?;
    let names: Vec<_> = header.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    ensure!(!names.is_empty(), "{shown} is empty: its first line must name the columns");
    for (at, name) in names.iter().enumerate() {
        let place = format!("{shown}, line 1, column {}", at + 1);
        ensure!(name.matches('"').count().is_multiple_of(2), "{place}: a quote is never closed");
        ensure!(!ends_in_cr(name.as_bytes()), "{place}: {CR_LINES}");
    }
    let mut columns = vec![Vec::new(); names.len()];
    while let Some(row) = reader.read_byte_record().with_context(failed)? {
        if columns[0].is_empty() {
            // An estimate of the number of rows: growing the columns would copy them.
            let rows = bytes as usize / row.as_slice().len().max(1) + 1;
            columns.iter_mut().for_each(|column| column.reserve(rows));
        }
        if let Err(error) = fill(&mut columns, &row, &names) {
            let end = reader.position() as usize;
            return Err(error.locate(path, end)?);
        }
    }
    Ok(columns)
}

/// Appends a row's numbers to the columns.
fn fill(columns: &mut [Vec<f64>], row: &ZeroCopyByteRecord, names: &[String]) -> Result<(), RowError> {
    if row.len() != columns.len() {
        return Err(RowError::row(row, names));
    }
    for (at, (column, field)) in columns.iter_mut().zip(row.iter()).enumerate() {
        let number = fast_float2::parse(field).ok().or_else(|| unusual(field));
        column.push(number.ok_or_else(|| RowError::field(row, at, names))?);
    }
    Ok(())
}

/// What is wrong with a file whose lines end as they did on old Macs: to the reader, it is one line.
const CR_LINES: &str = "its lines end in CR; they must end in LF or CR LF";

/// Returns whether a field or row holds a CR that is neither quoted nor before an LF, which the reader takes away.
fn ends_in_cr(bytes: &[u8]) -> bool {
    bytes.contains(&b'\r') && !bytes.contains(&b'"')
}

/// Parses a field that is quoted, padded with spaces, or empty.
#[cold]
fn unusual(field: &[u8]) -> Option<f64> {
    let field = field.trim_ascii();
    let inner = field.strip_prefix(b"\"").and_then(|field| field.strip_suffix(b"\""));
    let field = inner.unwrap_or(field).trim_ascii();
    if field.is_empty() { Some(f64::NAN) } else { fast_float2::parse(field).ok() }
}

/// An error in a row.
struct RowError {
    /// Length of the row in bytes.
    length: usize,
    /// Number of bytes before the wrong field.
    before: usize,
    message: String,
}

impl RowError {
    fn row(row: &ZeroCopyByteRecord, names: &[String]) -> RowError {
        let (fields, columns) = (row.len(), names.len());
        let message = if row.as_slice().iter().filter(|byte| **byte == b'"').count() % 2 == 1 {
            "a quote is never closed".into()
        } else if ends_in_cr(row.as_slice()) {
            CR_LINES.into()
        } else if fields < columns {
            let name = &names[fields];
            format!("{fields} fields instead of {columns}: column {} (`{name}`) is missing", fields + 1)
        } else {
            format!("{fields} fields instead of {columns}: column {} has no name", columns + 1)
        };
        RowError { length: row.as_slice().len(), before: 0, message }
    }

    fn field(row: &ZeroCopyByteRecord, at: usize, names: &[String]) -> RowError {
        let before = row.iter().take(at).map(|field| field.len() + 1).sum();
        let field = row.get(at).unwrap_or_default();
        let shown = String::from_utf8_lossy(field);
        let shown: String = shown.lines().next().unwrap_or_default().chars().take(40).collect();
        let cause = if ends_in_cr(field) { CR_LINES.into() } else { format!("`{shown}` is not a number") };
        let message = format!("column {} (`{}`): {cause}", at + 1, names[at]);
        RowError { length: row.as_slice().len(), before, message }
    }

    /// Returns the message with the file and the line, for a row whose line ends at byte `end`.
    fn locate(self, path: &Path, end: usize) -> Result<anyhow::Error> {
        // The reader counts records, not lines, and a quoted field may contain line breaks. Only an error is worth the
        // cost of counting lines.
        let text = fs::read(path).with_context(|| format!("cannot read {} again", path.display()))?;
        let text = &text[..end.min(text.len())];
        let text = text.strip_suffix(b"\n").map_or(text, |text| text.strip_suffix(b"\r").unwrap_or(text));
        let until = text.len().saturating_sub(self.length) + self.before;
        let line = 1 + text[..until].iter().filter(|byte| **byte == b'\n').count();
        Ok(anyhow!("{}, line {line}: {}", path.display(), self.message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Vec<Vec<f64>>> {
        let file = tempfile::NamedTempFile::new()?;
        fs::write(file.path(), text)?;
        read(file.path())
    }

    #[test]
    fn plain_quoted_and_crlf_files_are_the_same_table() {
        let table = vec![vec![1.5, 3.0, -5e3], vec![-2.0, 0.25, 6.0]];
        for text in [
            "a,b\n1.5,-2\n3,0.25\n-5e3,6\n",
            "a,b\n1.5,-2\n3,0.25\n-5e3,6",
            "a,b\r\n1.5,-2\r\n3,0.25\r\n-5e3,6\r\n",
            "\"a\",\"b\"\n\"1.5\",\"-2\"\n\"3\",0.25\n-5e3,\"6\"\n",
            "\"a\",\"b, with \"\"quotes\"\" and\na line\"\r\n\"1.5\",\"-2\"\r\n3,0.25\r\n\"-5e3\",\"6\"\r\n",
            "\u{feff}a,b\n 1.5 , -2\n\" 3\",0.25\n\n-5e3,6\n\n",
        ] {
            assert_eq!(read_text(text).unwrap(), table, "{text:?}");
        }
    }

    #[test]
    fn a_missing_value_is_nan_in_every_position() {
        for text in ["a,b\n,\n1,2\n", "a,b\r\n\"\",nan\r\n1,2\r\n", "a,b\n NaN, \n1,2"] {
            let table = read_text(text).unwrap();
            assert!(table[0][0].is_nan() && table[1][0].is_nan(), "{text:?}");
            assert_eq!((table[0][1], table[1][1]), (1.0, 2.0), "{text:?}");
        }
        assert!(read_text("a,b\n1,").unwrap()[1][0].is_nan());
    }

    #[test]
    fn a_header_alone_is_a_table_without_rows_and_an_empty_file_is_an_error() {
        assert_eq!(read_text("a,b\n").unwrap(), [const { Vec::<f64>::new() }; 2]);
        for text in ["", "\n\n"] {
            let error = read_text(text).unwrap_err().to_string();
            assert!(error.ends_with("is empty: its first line must name the columns"), "{error}");
        }
    }

    #[test]
    fn errors_name_the_file_the_line_and_the_column() {
        for (text, reason) in [
            ("a,b\n1,2\n3,x4\n", ", line 3: column 2 (`b`): `x4` is not a number"),
            ("a,b\r\n1,2\r\n\r\nNA,4\r\n", ", line 4: column 1 (`a`): `NA` is not a number"),
            ("a,b\n1,2\n3,4e\n5,6\n", ", line 3: column 2 (`b`): `4e` is not a number"),
            ("a,b\n\"1\n\n2\",2\n3,4\n", ", line 2: column 1 (`a`): `\"1` is not a number"),
            ("\"a\nb\",\"c\"\n1,2\n3,\"4\"\"\"", ", line 4: column 2 (`c`): `\"4\"\"\"` is not a number"),
            ("a,b,c\n1,2,3\n4\n", ", line 3: 1 fields instead of 3: column 2 (`b`) is missing"),
            ("a,b\n1,2\n3,4,\n", ", line 3: 3 fields instead of 2: column 3 has no name"),
            ("a,b\n1,2\n\"3,4\n5,6\n", ", line 3: a quote is never closed"),
            ("\"a,b\n1,2\n", ", line 1, column 1: a quote is never closed"),
            ("a,\"b\n1,2\n", ", line 1, column 2: a quote is never closed"),
            ("a,b\r1,2\r", ", line 1, column 2: its lines end in CR; they must end in LF or CR LF"),
            ("a\r1\r2\r", ", line 1, column 1: its lines end in CR; they must end in LF or CR LF"),
            ("a,b\n1,2\r3,4\r", ", line 2: its lines end in CR; they must end in LF or CR LF"),
            ("a\n1\r2\r", ", line 2: column 1 (`a`): its lines end in CR; they must end in LF or CR LF"),
        ] {
            let error = read_text(text).unwrap_err().to_string();
            assert!(error.ends_with(reason) && error.starts_with('/'), "{text:?}: {error}");
        }
    }

    #[test]
    fn the_line_is_correct_beyond_the_first_buffer() {
        let rows = 3 * BUFFER_BYTES / 4;
        let text = format!("a,b\n{}3,y\n", "1,2\n".repeat(rows));
        let error = read_text(&text).unwrap_err().to_string();
        assert!(error.contains(&format!(", line {}: column 2", rows + 2)), "{error}");
        assert_eq!(read_text(&text.replace('y', "4")).unwrap()[0].len(), rows + 1);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = format!("{:#}", read(Path::new("/no/such.csv")).unwrap_err());
        assert!(error.contains("/no/such.csv") && error.contains("No such file"), "{error}");
    }
}

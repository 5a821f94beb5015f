//! Rows of users: a CSV file (RFC 4180, with a header), once for the whole process. The cells lie
//! end to end, so a row costs its text and four bytes a cell.

use std::io::Read;

/// Rows with named columns.
#[derive(Clone, Debug, Default)]
pub struct Data {
    columns: Vec<String>,
    cells: Vec<u8>,
    /// Where each cell ends, row by row.
    ends: Vec<u32>,
}

/// Why a file of rows cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// It is no CSV, or its rows differ in length.
    #[error("{}", said(.0))]
    Csv(#[from] csv::Error),
    /// The header has a column without a name.
    #[error("line 1: column {0} has no name")]
    Nameless(usize),
    /// The header names two columns alike.
    #[error("line 1: two columns are named '{0}'")]
    Twice(String),
    /// There is no row below the header.
    #[error("there is no row below the header")]
    Empty,
    /// All cells together are too long.
    #[error("line {0}: the cells together are more than 4 GiB")]
    TooLarge(u64),
}

/// What the reader says, in our words.
fn said(error: &csv::Error) -> String {
    let line = error.position().map_or(0, csv::Position::line);
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("line {line} has {len} cells, the header has {expected_len}")
        }
        csv::ErrorKind::Io(error) => error.to_string(),
        _ => error.to_string(),
    }
}

impl Data {
    /// Reads a file with a header. A byte order mark is passed over, blanks belong to their cells.
    ///
    /// # Errors If it is no CSV, rows differ in length, columns have no name or the same, or there
    /// is no row.
    pub fn read(file: impl Read) -> Result<Self, DataError> {
        let mut reader = csv::ReaderBuilder::new().from_reader(file);
        let mut columns: Vec<String> = Vec::new();
        for (at, name) in reader.headers()?.iter().enumerate() {
            let name = if at == 0 { name.trim_start_matches('\u{feff}') } else { name };
            if name.trim().is_empty() {
                return Err(DataError::Nameless(at + 1));
            }
            if columns.iter().any(|known| known == name.trim()) {
                return Err(DataError::Twice(name.trim().to_owned()));
            }
            columns.push(name.trim().to_owned());
        }
        let mut data = Self { columns, ..Self::default() };
        let mut record = csv::ByteRecord::new();
        while reader.read_byte_record(&mut record)? {
            for cell in &record {
                data.cells.extend_from_slice(cell);
                let end = u32::try_from(data.cells.len());
                let line = record.position().map_or(0, csv::Position::line);
                data.ends.push(end.map_err(|_| DataError::TooLarge(line))?);
            }
        }
        if data.ends.is_empty() {
            return Err(DataError::Empty);
        }
        data.cells.shrink_to_fit();
        data.ends.shrink_to_fit();
        Ok(data)
    }

    /// The names of the columns.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// How many rows there are; 0 where there is no file.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.ends.len().checked_div(self.columns.len()).unwrap_or(0)
    }

    /// Bytes that the rows take, shared by all connections.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.cells.len() + size_of_val(&*self.ends)
    }

    /// The number of a column.
    pub(crate) fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|known| known == name)
    }

    /// The longest that `length` says of any cell of a column.
    pub(crate) fn longest(&self, column: usize, length: impl Fn(&[u8]) -> usize) -> usize {
        (0..self.rows()).map(|row| length(self.cell(row, column))).max().unwrap_or(0)
    }

    /// A cell; empty where there is none.
    #[must_use]
    pub fn cell(&self, row: usize, column: usize) -> &[u8] {
        let at = row * self.columns.len() + column;
        let Some(end) = self.ends.get(at) else { return &[] };
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.cells[start as usize..*end as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Data, String> {
        Data::read(text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn rows_have_cells_by_column() {
        let text = "\u{feff}user, token\r\nann,\"a,\"\"b\"\"\nc\"\r\nbob,\r\n";
        let data = read(text).expect("right");
        assert_eq!(data.columns(), ["user", "token"]);
        assert_eq!(data.rows(), 2);
        assert_eq!((data.cell(0, 0), data.cell(0, 1)), (&b"ann"[..], &b"a,\"b\"\nc"[..]));
        assert_eq!(
            (data.cell(1, 0), data.cell(1, 1), data.cell(2, 0)),
            (&b"bob"[..], &b""[..], &b""[..])
        );
        assert_eq!((data.column("token"), data.column("key")), (Some(1), None));
        assert_eq!(data.longest(0, <[u8]>::len), 3);
        assert_eq!(data.bytes(), 3 + 7 + 3 + 4 * 4);
        assert_eq!(Data::default().rows(), 0);
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_its_line() {
        let wrong = |text| read(text).expect_err(text);
        assert_eq!(wrong("a,b\n1,2\n3\n"), "line 3 has 1 cells, the header has 2");
        assert_eq!(wrong("a,b\n1,2,3\n"), "line 2 has 3 cells, the header has 2");
        assert_eq!(wrong("a,,b\n1,2,3\n"), "line 1: column 2 has no name");
        assert_eq!(wrong("a,b,a\n1,2,3\n"), "line 1: two columns are named 'a'");
        assert_eq!(wrong("a,b\n"), "there is no row below the header");
        assert_eq!(wrong(""), "there is no row below the header");
    }
}

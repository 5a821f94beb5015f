//! The result of a run that goes on: written over and over beside the place of the finished one
//! (`OUT.part`), so that a run that is killed leaves what it had measured.
//!
//! It is a whole result file, marked as unfinished. Its seconds are kept as text: a day of them is
//! written out again each time, but laid out once.

use crate::section::{Outcome, ResultFile, Second, Warning};
use crate::store::{self, StoreError};
use measure::Nanos;
use measure::units::format_duration;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The code of the warning that marks a result as unfinished.
pub const UNFINISHED: &str = "unfinished";

/// The exit code in such a file: that of a run which was cut short.
const CUT_SHORT: u8 = 130;

/// Whether a result is what a run left that never came to its end.
#[must_use]
pub fn is_unfinished(result: &ResultFile) -> bool {
    result.run.warnings.iter().any(|warning| warning.code == UNFINISHED)
}

/// Where the unfinished result of a run lies whose finished one goes to `output`.
#[must_use]
pub fn path_beside(output: &Path) -> PathBuf {
    let mut name = OsString::from(output);
    name.push(".part");
    name.into()
}

/// A result under way, and its file.
#[derive(Debug)]
pub struct Part {
    path: PathBuf,
    /// What is to be written, but for the seconds.
    pub result: ResultFile,
    /// Those that will not change any more, as JSON, with commas in between.
    seconds: String,
}

impl Part {
    /// A result without seconds, to be written to `path`.
    #[must_use]
    pub fn new(path: PathBuf, result: ResultFile) -> Self {
        Self { path, result, seconds: String::new() }
    }

    /// Adds seconds that will not change any more.
    pub fn add(&mut self, seconds: &[Second]) {
        add(&mut self.seconds, seconds);
    }

    /// Writes what there is `elapsed` after the start of the run, `open` being the seconds that may
    /// still change. The file is replaced in one step, but not forced to the disk.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&mut self, open: &[Second], elapsed: Nanos) -> Result<(), StoreError> {
        let run = &mut self.result.run;
        run.outcome = Outcome::Interrupted;
        run.warnings.retain(|warning| warning.code != UNFINISHED);
        run.warnings.insert(0, unfinished(elapsed));
        self.result.verdict.exit_code = CUT_SHORT;
        self.result.timeline.clear();
        let text = self.text(open).map_err(|error| StoreError::Io {
            verb: "write",
            path: self.path.clone(),
            error: error.into(),
        })?;
        store::write_unforced(&self.path, text.as_bytes())
    }

    fn text(&self, open: &[Second]) -> serde_json::Result<String> {
        const EMPTY: &str = "\"timeline\":[]";
        let frame = serde_json::to_string(&self.result)?;
        // The last one: a snapshot of a server, which comes before, may have a key of that name. In
        // texts the quotes would be escaped.
        let at = frame.rfind(EMPTY).map_or(frame.len(), |at| at + EMPTY.len() - 1);
        let mut text = String::with_capacity(frame.len() + self.seconds.len() + 1);
        text.push_str(&frame[..at]);
        text.push_str(&self.seconds);
        let mut last = String::new();
        add(&mut last, open);
        if !self.seconds.is_empty() && !last.is_empty() {
            text.push(',');
        }
        text.push_str(&last);
        text.push_str(&frame[at..]);
        text.push('\n');
        Ok(text)
    }

    /// Removes the file: the finished result is written.
    ///
    /// # Errors
    /// If it is there and cannot be removed.
    pub fn remove(path: &Path) -> Result<(), StoreError> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(StoreError::Io { verb: "remove", path: path.to_owned(), error })
            }
            _ => Ok(()),
        }
    }
}

fn add(text: &mut String, seconds: &[Second]) {
    for second in seconds {
        // A second is numbers and one text: it always can be written.
        let Ok(second) = serde_json::to_string(second) else { continue };
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(&second);
    }
}

fn unfinished(elapsed: Nanos) -> Warning {
    let whole = Nanos::from_secs(elapsed.0 / 1_000_000_000);
    Warning {
        code: UNFINISHED.to_owned(),
        text: format!(
            "the run never came to its end: this is what it had measured {} after its start",
            format_duration(whole)
        ),
        remedy: "run it again for a whole result: the stages of opening, memory, CPU time, the \
                 audit and \
                 the verdicts are in none but a finished one"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: u64) -> Second {
        Second {
            second,
            sent: 10 + second,
            response_hdr: Some("HISTF".into()),
            ..Default::default()
        }
    }

    #[test]
    fn a_part_is_a_result_with_all_its_seconds_and_is_marked() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = path_beside(&folder.path().join("r.json"));
        assert!(path.ends_with("r.json.part"));
        let mut result = ResultFile::default();
        result.run.label = Some("\"timeline\":[]".to_owned());
        result.peer = Some(serde_json::json!({"timeline": []}));
        let mut part = Part::new(path.clone(), result);
        let seconds = |path: &Path| {
            let read = store::read(path).expect("a result");
            assert!(is_unfinished(&read));
            assert_eq!((read.run.outcome, read.verdict.exit_code), (Outcome::Interrupted, 130));
            assert_eq!(read.run.warnings.len(), 1, "one mark, however often it is written");
            assert_eq!(read.peer, Some(serde_json::json!({"timeline": []})));
            read.timeline
        };
        part.write(&[], Nanos::ZERO).expect("written");
        assert_eq!(seconds(&path), []);
        part.write(&[second(0)], Nanos::from_secs(1)).expect("written");
        assert_eq!(seconds(&path), [second(0)]);
        part.add(&[second(0), second(1)]);
        part.write(&[], Nanos::from_secs(2)).expect("written");
        assert_eq!(seconds(&path), [second(0), second(1)]);
        part.add(&[second(2)]);
        part.write(&[second(3), second(4)], Nanos::from_millis(5_900)).expect("written");
        assert_eq!(seconds(&path), [0, 1, 2, 3, 4].map(second));
        let said = &store::read(&path).expect("a result").run.warnings[0].text;
        assert!(said.ends_with(" 5 s after its start"), "{said}");
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 1, "nothing else is left");
        Part::remove(&path).expect("removed");
        Part::remove(&path).expect("nothing to remove is no error");
        assert!(!path.exists());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_in_its_place_is_replaced_and_not_written_through() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, other) = (folder.path().join("r.part"), folder.path().join("other"));
        fs::write(&other, "precious").expect("written");
        std::os::unix::fs::symlink(&other, &path).expect("linked");
        let mut part = Part::new(path.clone(), ResultFile::default());
        part.write(&[], Nanos::ZERO).expect("written");
        assert_eq!(fs::read_to_string(&other).expect("there"), "precious");
        assert!(!path.is_symlink() && store::read(&path).is_ok());
    }
}

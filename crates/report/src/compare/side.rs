//! One side of a comparison: the runs in a file or in a folder.

use crate::section::ResultFile;
use crate::store::{self, StoreError};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The most runs that one side may have; more say nothing that these do not.
pub const RUNS_MAX: usize = 1_000;

/// A result and where it lies.
#[derive(Clone, Debug)]
pub struct RunFile {
    /// The file.
    pub path: PathBuf,
    /// What is in it.
    pub result: ResultFile,
}

/// The runs of one side, in the order of their starts.
#[derive(Clone, Debug)]
pub struct Side {
    /// One at least.
    pub runs: Vec<RunFile>,
    /// Files that were left out, each with the reason, as a sentence.
    pub left_out: Vec<String>,
}

/// Why a side has no runs.
#[derive(Debug, thiserror::Error)]
pub enum SideError {
    /// A file is not a result.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The folder cannot be listed.
    #[error("cannot list the folder '{0}': {1}")]
    Folder(PathBuf, io::Error),
    /// The folder holds no result.
    #[error("no result in '{0}': neither NAME.json in it nor result.json in a folder of it")]
    Nothing(PathBuf),
    /// The folder holds too many.
    #[error("more than {RUNS_MAX} results in '{0}': name a folder with fewer")]
    TooMany(PathBuf),
}

impl Side {
    /// The run in a file; or those in a folder: `*.json` in it, and `result.json` in its folders.
    /// JSON that is no result is left out, and so is a merged result beside any of its parts and a
    /// second copy of a run: counted twice they would make the noise look small.
    ///
    /// # Errors
    /// If nothing is found, or a result is damaged or of a newer version.
    pub fn read(path: &Path) -> Result<Self, SideError> {
        if !path.is_dir() {
            let run = RunFile { path: path.to_owned(), result: store::read(path)? };
            return Ok(Self { runs: vec![run], left_out: Vec::new() });
        }
        let mut side = Self { runs: Vec::new(), left_out: Vec::new() };
        for path in candidates(path).map_err(|error| SideError::Folder(path.to_owned(), error))? {
            match store::read(&path) {
                Ok(result) => side.runs.push(RunFile { path, result }),
                Err(foreign @ StoreError::Foreign(_)) => side.left_out.push(foreign.to_string()),
                Err(error) => return Err(error.into()),
            }
            if side.runs.len() > RUNS_MAX {
                return Err(SideError::TooMany(path_of(&side)));
            }
        }
        side.leave_out_copies();
        if side.runs.is_empty() { Err(SideError::Nothing(path.to_owned())) } else { Ok(side) }
    }

    /// Leaves out what is there already: a run of the same name, or a merged result of which parts
    /// are here. Of those the single runs stay, also where some of them are missing: it is them
    /// that tell the noise.
    fn leave_out_copies(&mut self) {
        self.runs.sort_by(|a, b| a.result.run.started.cmp(&b.result.run.started));
        let ids: BTreeSet<String> = self.runs.iter().map(|run| run.result.run.id.clone()).collect();
        let mut seen = BTreeSet::new();
        let Self { runs, left_out } = self;
        runs.retain(|RunFile { path, result }| {
            let parts = &result.run.parts;
            let reason = if !seen.insert(result.run.id.clone()) {
                "is a copy of another run here"
            } else if parts.iter().any(|part| ids.contains(&part.id)) {
                match parts.iter().all(|part| ids.contains(&part.id)) {
                    true => "was merged from other runs here",
                    false => "was merged from other runs here and some that are missing",
                }
            } else if parts.iter().any(|part| !seen.insert(part.id.clone())) {
                "shares runs with another merged result here"
            } else {
                return true;
            };
            left_out.push(format!("'{}' {reason}", path.display()));
            false
        });
    }
}

fn path_of(side: &Side) -> PathBuf {
    let parent = side.runs.first().and_then(|run| run.path.parent());
    parent.map_or_else(PathBuf::new, Path::to_owned)
}

/// The files of a folder that may be results, in the order of their names.
fn candidates(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let inner = path.join("result.json");
        if path.is_dir() && inner.is_file() {
            found.push(inner);
        } else if path.is_file() && path.extension().is_some_and(|extension| extension == "json") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

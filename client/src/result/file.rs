//! The file of a result: whether it can be written, judging and writing it, and where it goes if
//! that fails.

use crate::plan::Plan;
use control::Error;
use report::schema::ResultFile;
use report::{store, verdict};
use std::path::{Path, PathBuf};

/// Whether the result can be written there: better known before a long run than after it.
pub(crate) fn try_output(path: &Path) -> Result<(), Error> {
    if path.is_dir() {
        return Err(Error::Usage(format!(
            "--output {}: that is a folder: name a file in it, such as {}",
            path.display(),
            path.join("result.json").display()
        )));
    }
    if let Some(kind) = std::fs::metadata(path).ok().and_then(|found| no_place(path, &found)) {
        return Err(Error::Usage(format!(
            "--output {}: that is {kind}: name a file, or give - and read the result from stdout",
            path.display()
        )));
    }
    if path.exists() && !path.is_file() {
        // A device, or a pipe that the shell made and holds, takes what it gets.
        return Ok(());
    }
    if let Err(error) = path.metadata()
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(Error::Usage(format!(
            "--output {}: it cannot be used ({error}): choose another name",
            path.display()
        )));
    }
    // Of a symbolic link it is the target's folder that is written into.
    let target = target_of(path);
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let trial = folder.join(format!(".c1000k-{}.tmp", std::process::id()));
    let tried = std::fs::File::create(&trial).and_then(|_| std::fs::remove_file(&trial));
    tried.map_err(|error| {
        Error::Usage(format!(
            "--output {}: nothing can be written into {} ({error}): choose another folder",
            path.display(),
            folder.display()
        ))
    })
}

/// What it is, if no result is written there: opening a pipe by its name would wait for a reader,
/// or take its end for the end of the result, and a disk is no file.
fn no_place(path: &Path, found: &std::fs::Metadata) -> Option<&'static str> {
    use std::os::unix::fs::FileTypeExt as _;
    let kind = found.file_type();
    // Those that a shell made for `>(...)` or a pipe of its own are open here already.
    let inherited = path.starts_with("/dev") || path.starts_with("/proc");
    match kind {
        _ if kind.is_fifo() && !inherited => Some("a pipe"),
        _ if kind.is_socket() => Some("a socket"),
        _ if kind.is_block_device() => Some("a disk"),
        _ => None,
    }
}

/// The file that is written: what a symbolic link leads to, be it not there yet.
fn target_of(path: &Path) -> PathBuf {
    if let Ok(target) = path.canonicalize() {
        return target;
    }
    match std::fs::read_link(path) {
        Ok(target) => path.parent().unwrap_or_else(|| Path::new("")).join(target),
        Err(_) => path.to_owned(),
    }
}

/// Judges the result and writes it where it was asked for.
pub(crate) fn save(plan: &Plan, result: &mut ResultFile) -> Result<Option<PathBuf>, Error> {
    result.verdict = verdict::judge(result);
    keep(plan.output.file.as_deref(), result)
}

/// Writes a result where it was asked for. If that fails it goes to the folder for temporary files:
/// what was measured is not lost.
pub(crate) fn keep(path: Option<&Path>, result: &ResultFile) -> Result<Option<PathBuf>, Error> {
    let Some(path) = path else { return Ok(None) };
    let Err(error) = store::write(path, result) else { return Ok(Some(path.to_owned())) };
    Err(rescue(&error.to_string(), result))
}

/// Writes a result into the folder for temporary files, as it could not be where it should, and
/// says so.
pub(crate) fn rescue(error: &str, result: &ResultFile) -> Error {
    let refuge = std::env::temp_dir().join(format!("c1000k-{}.json", result.run.id));
    Error::Failed(match store::write(&refuge, result) {
        Ok(()) => format!("{error}; the result is in {} instead", refuge.display()),
        Err(other) => format!("{error}; and {other}: the result is lost but for what is above"),
    })
}

//! Result files on disk: written whole or not at all, read with a clear word about what is wrong.

use crate::section::ResultFile;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::error::Category;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
#[cfg(unix)]
use std::time::Duration;

/// The largest file that is read: 1 GiB. A long run with a full timeline takes a few megabytes.
pub const BYTES_MAX: u64 = 1 << 30;

/// What every result file's `schema` begins with; the major version follows.
const FAMILY: &str = "c1000k.result/";

/// The newest major version that is understood.
const MAJOR: u64 = 1;

/// Why a result could not be written or read. Each is one sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder to write into does not exist.
    #[error("cannot write '{path}': there is no folder '{folder}', create it first")]
    NoFolder {
        /// The file that was to be written.
        path: PathBuf,
        /// The folder that is missing.
        folder: PathBuf,
    },
    /// The folder or the file may not be written.
    #[error(
        "cannot write '{0}': no permission, or the file system is read-only; choose another place \
         with --output"
    )]
    NotWritable(PathBuf),
    /// No space is left, or no quota.
    #[error(
        "cannot write '{0}': the disk is full, free some space or choose another place with \
         --output"
    )]
    DiskFull(PathBuf),
    /// A folder is named where a file should be.
    #[error("'{0}' is a folder: name the file in it, such as result.json")]
    IsFolder(PathBuf),
    /// No such file.
    #[error("cannot read '{0}': there is no such file")]
    NoFile(PathBuf),
    /// The file may not be read.
    #[error("cannot read '{0}': no permission")]
    NotReadable(PathBuf),
    /// It would be larger than files may be (`ulimit -f`, or the file system's own limit).
    #[error(
        "cannot write '{0}': files may not be so large here (ulimit -f): raise that limit or \
         choose another place"
    )]
    FileLimit(PathBuf),
    /// A pipe from which nobody reads, or a socket.
    #[error("cannot write '{0}': nobody reads from it: name a file, or - for stdout")]
    NoReader(PathBuf),
    /// A pipe from which nothing was taken for a while.
    #[error("cannot write '{0}': whoever reads from it took nothing for 30 s: name a file instead")]
    SlowReader(PathBuf),
    /// Any other error of the operating system.
    #[error("cannot {verb} '{path}': {error}")]
    Io {
        /// `read` or `write`.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Larger than [`BYTES_MAX`].
    #[error("'{0}' is larger than 1 GiB: no run writes such a file")]
    TooLarge(PathBuf),
    /// Nothing is in it.
    #[error("'{0}' is empty: its run was cut off before it wrote a result, run it again")]
    Empty(PathBuf),
    /// The text ends in the middle.
    #[error(
        "'{path}' is truncated: it ends in line {line}, in the middle of the JSON; copy it again"
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Where it ends.
        line: usize,
    },
    /// The text is not JSON.
    #[error("'{path}' is damaged or not JSON: line {line}, column {column}")]
    NotJson {
        /// The file.
        path: PathBuf,
        /// Where.
        line: usize,
        /// Where in that line.
        column: usize,
    },
    /// JSON, but of something else.
    #[error("'{0}' is not a result of c1000k: it has no \"schema\" that begins with \"{FAMILY}\"")]
    Foreign(PathBuf),
    /// Written by a later version.
    #[error(
        "'{path}' has schema version {major}, this program reads up to {MAJOR}: use a newer \
         c1000k-report"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version found.
        major: u64,
    },
    /// The right schema, but a field is missing or of the wrong type.
    #[error("'{path}' is damaged: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which field, and where.
        reason: String,
    },
}

/// Whether a path means stdout: `-`, as many programs have it. A file of that name is `./-`.
#[must_use]
pub fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Writes a result: into a temporary file beside `path`, then renamed over it, so that whoever
/// looks finds the old file or the new one and never half of one. A symbolic link is followed; a
/// device or a pipe (`/dev/stdout`) is written to as it is.
///
/// # Errors
/// If the folder is missing or may not be written, the disk is full, or `path` is a folder.
pub fn write(path: &Path, result: &ResultFile) -> Result<(), StoreError> {
    let mut bytes = serde_json::to_vec_pretty(result).map_err(|error| StoreError::Io {
        verb: "write",
        path: path.to_owned(),
        error: error.into(),
    })?;
    bytes.push(b'\n');
    debug_assert!(parse(path, &bytes).is_ok(), "what is written can be read back");
    write_bytes(path, &bytes)
}

/// Writes text, such as a page or an export, in the same way.
///
/// # Errors
/// As [`write()`].
pub fn write_text(path: &Path, text: &str) -> Result<(), StoreError> {
    write_bytes(path, text.as_bytes())
}

fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let written = match fs::metadata(path) {
        Ok(found) if found.is_dir() => return Err(StoreError::IsFolder(path.to_owned())),
        Ok(found) if found.is_file() => path.canonicalize().and_then(|p| replace(&p, bytes)),
        Ok(_) => write_stream(path, bytes),
        // A link to a file that does not exist yet makes that file, as a shell's `>` does.
        Err(_) => match fs::read_link(path) {
            Ok(target) => replace(&folder_of(path).join(target), bytes),
            Err(_) => replace(path, bytes),
        },
    };
    written.map_err(|error| write_error(path, error))
}

/// Puts a file in the place of `path` in one step, but does not force it to the disk: for what is
/// soon written again. A link is replaced.
pub(crate) fn write_unforced(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    replace_by(path, |temporary| create_new(temporary)?.write_all(bytes))
        .map_err(|error| write_error(path, error))
}

fn write_error(path: &Path, error: io::Error) -> StoreError {
    let path = path.to_owned();
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            StoreError::NoFolder { folder: folder_of(&path).to_owned(), path }
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            StoreError::NotWritable(path)
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::DiskFull(path),
        ErrorKind::FileTooLarge => StoreError::FileLimit(path),
        ErrorKind::BrokenPipe => StoreError::NoReader(path),
        ErrorKind::TimedOut => StoreError::SlowReader(path),
        // Opening a pipe that nobody reads, or a socket (open(2)).
        _ if error.raw_os_error() == NO_DEVICE => StoreError::NoReader(path),
        _ => StoreError::Io { verb: "write", path, error },
    }
}

/// ENXIO, where it is known.
const NO_DEVICE: Option<i32> = if cfg!(unix) { Some(6) } else { None };

/// How long a reader that takes nothing is waited for, and how often is looked.
#[cfg(unix)]
const READER_PATIENCE: Duration = Duration::from_secs(30);
#[cfg(unix)]
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Writes to a pipe or a device as it is. Who reads from a pipe and takes nothing is not waited for
/// without end: the signals that would end the wait mean something else to a run.
#[cfg(unix)]
fn write_stream(path: &Path, mut bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let without_waiting = if cfg!(target_os = "linux") { 0o4000 } else { 0x4 };
    let mut file = OpenOptions::new().write(true).custom_flags(without_waiting).open(path)?;
    let mut waited = Duration::ZERO;
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => {
                bytes = &bytes[count..];
                waited = Duration::ZERO;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if waited >= READER_PATIENCE {
                    return Err(ErrorKind::TimedOut.into());
                }
                std::thread::park_timeout(LOOK_AGAIN);
                waited += LOOK_AGAIN;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(not(unix))]
fn write_stream(path: &Path, bytes: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(bytes)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Puts a file with these bytes in the place of `path` in one step.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_by(path, |temporary| write_synced(temporary, bytes))?;
    sync_folder(folder_of(path));
    Ok(())
}

/// So many characters of a name, of four bytes at most, stand in that of its temporary file; names
/// have 255 bytes (`NAME_MAX`).
const NAME_KEPT: usize = 50;

/// Puts what `write` makes of a temporary file in the place of `path`.
fn replace_by(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let name = path.file_name().ok_or(ErrorKind::InvalidFilename)?;
    // With more around it a name that is as long as names may be would be too long.
    let short: String = name.to_string_lossy().chars().take(NAME_KEPT).collect();
    let temporary = format!(".{short}.{}.tmp", std::process::id());
    let temporary = folder_of(path).join(temporary);
    let done = write(&temporary).and_then(|()| fs::rename(&temporary, path));
    if done.is_err() {
        // The first error is the one to tell; a left-over file is the lesser evil.
        let _ = fs::remove_file(&temporary);
    }
    done
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn create_new(path: &Path) -> io::Result<File> {
    // A file of this name is left from a process of the same number that died: containers repeat
    // numbers. A link of this name may point anywhere, so it is never written through.
    let _ = fs::remove_file(path);
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// Makes the new name last through a power cut. The file is complete either way, so a folder that
/// cannot be synced (Windows has no such call, some network mounts refuse it) is no failure.
fn sync_folder(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}

/// Reads a result of this or any earlier schema version. Fields that are not known are passed over.
///
/// # Errors
/// If the file cannot be read, is larger than [`BYTES_MAX`], or is not a result; see
/// [`StoreError`].
pub fn read(path: &Path) -> Result<ResultFile, StoreError> {
    let mut bytes = Vec::new();
    let too_large = File::open(path)
        .and_then(|file| {
            if file.metadata()?.len() > BYTES_MAX {
                return Ok(true);
            }
            // A pipe or a growing file says nothing true about its length: count as it comes. What
            // does not begin as JSON, such as /dev/zero, is not read to its end: there may be none.
            let mut file = file.take(BYTES_MAX + 1);
            file.by_ref().take(FIRST_BYTES).read_to_end(&mut bytes)?;
            if bytes.trim_ascii_start().first().is_some_and(|first| !begins_json(*first)) {
                return Ok(false);
            }
            file.read_to_end(&mut bytes)?;
            Ok(bytes.len() as u64 > BYTES_MAX)
        })
        .map_err(|error| read_error(path, error))?;
    if too_large {
        return Err(StoreError::TooLarge(path.to_owned()));
    }
    parse(path, &bytes)
}

/// How much of a file is read before it is looked at.
const FIRST_BYTES: u64 = 64 * 1024;

fn begins_json(byte: u8) -> bool {
    matches!(byte, b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n')
}

fn read_error(path: &Path, error: io::Error) -> StoreError {
    let is_folder = path.is_dir();
    let path = path.to_owned();
    match error.kind() {
        // Windows calls it a lack of permission.
        _ if is_folder => StoreError::IsFolder(path),
        ErrorKind::NotFound | ErrorKind::NotADirectory => StoreError::NoFile(path),
        ErrorKind::PermissionDenied => StoreError::NotReadable(path),
        _ => StoreError::Io { verb: "read", path, error },
    }
}

/// The one field that is read before all others, to know how to read them.
#[derive(Deserialize)]
struct Head {
    schema: Option<String>,
}

/// Reads what a file holds; `path` is there for the messages.
///
/// # Errors
/// If it is not a result; see [`StoreError`].
pub fn parse(path: &Path, bytes: &[u8]) -> Result<ResultFile, StoreError> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(StoreError::Empty(path.to_owned()));
    }
    let syntax: Result<IgnoredAny, _> = serde_json::from_slice(bytes);
    syntax.map_err(|error| syntax_error(path, bytes, &error))?;
    // A list would do for a struct too, field by field.
    let is_object = bytes.trim_ascii_start().starts_with(b"{");
    let head: Option<Head> = is_object.then(|| serde_json::from_slice(bytes).ok()).flatten();
    match head.as_ref().and_then(|head| major(head.schema.as_deref()?)) {
        None => Err(StoreError::Foreign(path.to_owned())),
        Some(major) if major > MAJOR => Err(StoreError::Newer { path: path.to_owned(), major }),
        Some(_) => serde_json::from_slice(bytes).map_err(|error| StoreError::Damaged {
            path: path.to_owned(),
            // It quotes what it found, line ends included.
            reason: error.to_string().replace(char::is_control, " "),
        }),
    }
}

/// The major version in `c1000k.result/1`, from 1 on.
fn major(schema: &str) -> Option<u64> {
    schema.strip_prefix(FAMILY)?.parse().ok().filter(|&major| major > 0)
}

fn syntax_error(path: &Path, bytes: &[u8], error: &serde_json::Error) -> StoreError {
    let path = path.to_owned();
    // A number or a word that is cut short is a mistake to the parser, and not an early end.
    let last = bytes.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count() + 1;
    let at_the_end = (error.line(), error.column()) >= (lines, last.len());
    match error.classify() {
        Category::Syntax if at_the_end => StoreError::Truncated { path, line: error.line() },
        Category::Eof => StoreError::Truncated { path, line: error.line() },
        _ => StoreError::NotJson { path, line: error.line(), column: error.column() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary folder")
    }

    fn message(done: Result<ResultFile, StoreError>) -> String {
        done.expect_err("an error").to_string()
    }

    fn read_bytes(bytes: &[u8]) -> Result<ResultFile, StoreError> {
        let folder = folder();
        let path = folder.path().join("result.json");
        fs::write(&path, bytes).expect("written");
        read(&path)
    }

    #[test]
    fn what_is_written_is_read_back_and_nothing_else_is_left() {
        let folder = folder();
        let path = folder.path().join("result.json");
        let mut result = ResultFile::default();
        for label in ["first", "second"] {
            result.run.label = Some(label.to_owned());
            write(&path, &result).expect("written");
            assert_eq!(read(&path).expect("read"), result);
        }
        let names = fs::read_dir(folder.path()).expect("listed");
        assert_eq!(names.count(), 1, "no temporary file stays");
    }

    #[test]
    fn a_missing_folder_is_named() {
        let folder = folder();
        let missing = folder.path().join("no");
        let error = write(&missing.join("result.json"), &ResultFile::default()).expect_err("none");
        assert!(matches!(&error, StoreError::NoFolder { folder, .. } if *folder == missing));
        assert!(error.to_string().ends_with("create it first"), "{error}");
    }

    #[test]
    fn a_folder_is_not_a_file() {
        let folder = folder();
        let written = write(folder.path(), &ResultFile::default());
        assert!(matches!(written, Err(StoreError::IsFolder(_))));
        assert!(matches!(read(folder.path()), Err(StoreError::IsFolder(_))));
    }

    #[test]
    fn a_name_may_be_as_long_as_names_are() {
        let folder = folder();
        for name in ["n".repeat(255), "\u{1f980}".repeat(63)] {
            let path = folder.path().join(name);
            write(&path, &ResultFile::default()).expect("written");
            assert!(read(&path).is_ok());
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_followed_and_stays_a_link() {
        let folder = folder();
        let (target, link) = (folder.path().join("target.json"), folder.path().join("link.json"));
        fs::write(&target, "old").expect("written");
        std::os::unix::fs::symlink(&target, &link).expect("linked");
        write(&link, &ResultFile::default()).expect("written");
        assert!(link.is_symlink());
        assert!(read(&target).is_ok());
        fs::remove_file(&target).expect("removed");
        write(&link, &ResultFile::default()).expect("written");
        assert!(link.is_symlink(), "a link to nothing is followed, too");
        assert!(read(&target).is_ok());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_device_is_written_to_and_a_full_disk_is_named() {
        write(Path::new("/dev/null"), &ResultFile::default()).expect("taken");
        let full = write(Path::new("/dev/full"), &ResultFile::default());
        assert!(matches!(full, Err(StoreError::DiskFull(_))), "{full:?}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_device_without_end_is_refused_at_once() {
        let said = message(read(Path::new("/dev/zero")));
        assert_eq!(said, "'/dev/zero' is damaged or not JSON: line 1, column 1");
        assert!(message(read(Path::new("/dev/null"))).contains("is empty"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_pipe_takes_a_result_while_somebody_reads_and_is_named_when_nobody_does() {
        let folder = folder();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
        assert!(made.success());
        let alone = write(&pipe, &ResultFile::default());
        assert!(matches!(alone, Err(StoreError::NoReader(_))), "{alone:?}");
        // More than a pipe holds.
        let text = "x".repeat(1 << 20);
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read_to_string(pipe).expect("read")
        });
        let written = loop {
            match write_text(&pipe, &text) {
                Err(StoreError::NoReader(_)) => std::thread::park_timeout(LOOK_AGAIN),
                written => break written,
            }
        };
        written.expect("taken");
        assert_eq!(reader.join().expect("a reader"), text);
    }

    #[test]
    fn a_file_that_is_no_result_says_why() {
        for (bytes, expected) in [
            (&b""[..], "is empty"),
            (b" \n", "is empty"),
            (b"{\"schema\": \"c1000k.res", "is truncated: it ends in line 1"),
            (b"PK\x03\x04", "is damaged or not JSON: line 1, column 1"),
            (b"{\"schema\": \xff\xfe}", "is damaged or not JSON"),
            (b"[\"c1000k.result/1\"]", "is not a result of c1000k"),
            (b"{}", "is not a result of c1000k"),
            (b"{\"schema\": 1}", "is not a result of c1000k"),
            (b"{\"schema\": \"k6/1\"}", "is not a result of c1000k"),
            (b"{\"schema\": \"c1000k.result/0\"}", "is not a result of c1000k"),
            (
                b"{\"schema\": \"c1000k.result/2\"}",
                "has schema version 2, this program reads up to 1",
            ),
            (b"{\"schema\": \"c1000k.result/1\"}", "is damaged: missing field `tool`"),
        ] {
            let message = message(read_bytes(bytes));
            assert!(message.contains(expected), "{message}");
            assert!(!message.contains('\n'), "{message}");
        }
        let missing = message(read(Path::new("no-such-file.json")));
        assert_eq!(missing, "cannot read 'no-such-file.json': there is no such file");
    }

    #[test]
    fn a_file_beyond_the_bound_is_not_even_read() {
        let folder = folder();
        let path = folder.path().join("huge.json");
        File::create(&path).and_then(|file| file.set_len(BYTES_MAX + 1)).expect("a sparse file");
        assert!(matches!(read(&path), Err(StoreError::TooLarge(_))));
    }
}

//! The files below a root, as one reactor serves them: found without leaving the root, the small
//! ones kept with their answers laid out, the large ones kept open for `sendfile(2)`.
//!
//! A file may change, shrink or vanish at any time. What is kept is compared with the file again
//! when it is older than [`FRESH`]; a small file's length is that of the bytes that were read; and
//! a large one that ends before its answer does is an error, never a short answer.

use measure::Nanos;
use reactor::FilePart;
use rustix::fs::{self, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::{Arc, Weak};
use wire::http::{
    DateText, File, PathError, Prepared, Request, SafePath, Status, choose, write_file_head,
    write_redirect, write_status,
};

/// For how long nobody looks whether a file has changed.
pub const FRESH: Nanos = Nanos::from_secs(1);

/// Files up to this length are kept in memory, in bytes.
pub const SMALL_BYTES_MAX: u64 = 64 * 1024;

/// What one reactor keeps of small files, in bytes.
pub const KEPT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Files that one reactor keeps, small and large.
pub const KEPT_FILES_MAX: usize = 4096;

/// Large files that one reactor keeps open, or half of those that it may have open, if that is
/// less. Transfers under way hold theirs, too.
pub const KEPT_DESCRIPTORS_MAX: usize = 256;

/// How often a file that changes while it is read is read anew.
const READS_MAX: usize = 3;

/// How often a lookup is repeated when a rename got in its way (`openat2(2)`, EAGAIN).
const LOOKUPS_MAX: usize = 8;

/// What a folder is served as.
const INDEX: &str = "index.html";

/// A file changed so shortly before it was read may change again without a new time: the kernel's
/// clock for files ticks every 1 to 10 milliseconds, those of some file systems every second or
/// two.
const RACY: Nanos = Nanos::from_secs(2);

// A single file always finds room.
const _: () = assert!((SMALL_BYTES_MAX as usize) < KEPT_BYTES_MAX / 2);

/// What became of a request.
#[derive(Debug)]
pub(crate) struct Answered {
    pub status: Status,
    /// What is to be sent behind what was written.
    pub part: Option<FilePart>,
}

/// Why nothing can be served.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The path itself is not acceptable.
    #[error("{0}")]
    Path(#[from] PathError),
    /// There is no such file below the root, or none that may be read: 404.
    #[error("there is no such file")]
    Missing,
    /// A folder was asked for without the slash at its end: to be asked for with it.
    #[error("this is a folder: its address ends with '/'")]
    Folder,
    /// A small file that was changed again and again while it was read: 503.
    #[error("the file changes faster than it can be read")]
    Restless,
    /// The machine lacks something, such as descriptors: 503.
    #[error("the file cannot be opened now: {0}")]
    Unavailable(#[source] io::Error),
}

impl FileError {
    /// The status of the answer.
    #[must_use]
    pub const fn status(&self) -> Status {
        match self {
            Self::Path(error) => error.status(),
            Self::Folder => Status::MOVED_PERMANENTLY,
            Self::Missing => Status::NOT_FOUND,
            Self::Restless | Self::Unavailable(_) => Status::SERVICE_UNAVAILABLE,
        }
    }
}

impl From<Errno> for FileError {
    fn from(error: Errno) -> Self {
        match error {
            Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::IO | Errno::AGAIN => {
                Self::Unavailable(error.into())
            }
            // Not there, not ours to read, or (XDEV, LOOP) a link that leads out of the root.
            _ => Self::Missing,
        }
    }
}

/// The folder whose files are served.
#[derive(Debug)]
pub struct Root {
    folder: OwnedFd,
    /// Whether the kernel itself keeps lookups below a folder (`openat2(2)`, since Linux 5.6).
    beneath: bool,
}

impl Root {
    /// Opens a folder to serve.
    ///
    /// # Errors
    /// If it is no folder, or may not be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = fs::open(path, flags, Mode::empty())?;
        let beneath = fs::openat2(&folder, ".", flags, Mode::empty(), Self::RESOLVE).is_ok();
        Ok(Self { folder, beneath })
    }

    /// Links may be followed as long as they stay below the root; those into `/proc` may not.
    const RESOLVE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);

    /// Says which file is meant by a path, and describes it: for a folder that is its index.
    /// Nothing is opened for that, because opening is noticed: by the writer of a pipe, by a
    /// device.
    fn find(&self, path: SafePath<'_>) -> Result<(Vec<u8>, Stat), FileError> {
        let mut name = path.as_bytes().to_vec();
        let mut stat = self.look_at(&name)?;
        if path.is_folder() {
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                // A file asked for as if it were a folder.
                return Err(FileError::Missing);
            }
            if !name.is_empty() {
                name.push(b'/');
            }
            name.extend_from_slice(INDEX.as_bytes());
            stat = self.look_at(&name)?;
        }
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok((name, stat)),
            FileType::Directory if !path.is_folder() => Err(FileError::Folder),
            // Pipes, devices and sockets; and folders with the name of an index.
            _ => Err(FileError::Missing),
        }
    }

    /// Opens a file that was found, and describes it anew: it may have been replaced.
    fn open_file(&self, name: &[u8]) -> Result<(OwnedFd, Stat), FileError> {
        // A pipe that took its place must not hold the reactor up.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = self.look_up(name, flags)?;
        let stat = fs::fstat(&fd)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok((fd, stat)),
            _ => Err(FileError::Missing),
        }
    }

    fn look_at(&self, path: &[u8]) -> Result<Stat, FileError> {
        let fd = self.look_up(path, OFlags::PATH | OFlags::CLOEXEC)?;
        Ok(fs::fstat(&fd)?)
    }

    fn look_up(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        if self.beneath { self.open_beneath(path, flags) } else { self.open_by_steps(path, flags) }
    }

    fn open_beneath(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let open = || fs::openat2(&self.folder, path, flags, Mode::empty(), Self::RESOLVE);
        let mut opened = open();
        for _ in 1..LOOKUPS_MAX {
            if !matches!(opened, Err(Errno::AGAIN | Errno::INTR)) {
                break;
            }
            opened = open();
        }
        opened
    }

    /// For older kernels: folder by folder, and no link is followed at all.
    fn open_by_steps(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let steps = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut segments = path.split(|byte| *byte == b'/').peekable();
        let mut folder: Option<OwnedFd> = None;
        loop {
            let at = folder.as_ref().unwrap_or(&self.folder);
            let segment = segments.next().ok_or(Errno::NOENT)?;
            if segments.peek().is_none() {
                return fs::openat(at, segment, flags | OFlags::NOFOLLOW, Mode::empty());
            }
            folder = Some(fs::openat(at, segment, steps, Mode::empty())?);
        }
    }
}

/// What identifies a file and its version. A change that leaves all of this as it was goes unseen.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Identity {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, u64),
    changed: (i64, u64),
}

impl From<&Stat> for Identity {
    fn from(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            length: stat.st_size.max(0).unsigned_abs(),
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

impl Identity {
    /// The entity tag: length, time of modification and inode.
    fn etag(&self) -> String {
        let (seconds, nanos) = self.modified;
        let mut tag = String::with_capacity(48);
        // Writing to a string does not fail.
        let _ = write!(tag, "\"{:x}-{seconds:x}.{nanos:x}-{:x}\"", self.length, self.inode);
        tag
    }

    /// When it was changed last, in seconds since 1970.
    fn modified_seconds(&self) -> u64 {
        self.modified.0.max(0).unsigned_abs()
    }

    /// Whether it changed so shortly before `now` that a further change could go unseen.
    fn is_racy(&self, now: Nanos) -> bool {
        let newest = self.modified.max(self.changed);
        let newest = (newest.0.max(0).unsigned_abs()).saturating_mul(1_000_000_000) + newest.1;
        Nanos(newest.saturating_add(RACY.0)) > now
    }
}

/// A file, ready to be answered with.
#[derive(Debug)]
pub struct Kept {
    identity: Identity,
    etag: String,
    content_type: &'static str,
    contents: Contents,
}

/// What is kept of a file.
#[derive(Debug)]
pub enum Contents {
    /// Its whole answer.
    Small(Prepared),
    /// Its descriptor, which whoever sends it holds, too.
    Large(Arc<OwnedFd>),
}

impl Kept {
    /// What is no file, but answered with like one; `unix` is the time since 1970.
    pub(crate) fn of_memory(content_type: &'static str, body: &[u8], unix: Nanos) -> Self {
        let seconds = (unix.0 / 1_000_000_000) as i64;
        let time = (seconds, unix.0 % 1_000_000_000);
        let length = body.len() as u64;
        let identity = Identity { device: 0, inode: 0, length, modified: time, changed: time };
        let etag = identity.etag();
        let modified = identity.modified_seconds();
        let prepared = Prepared::new(&File { length, modified, etag: &etag, content_type }, body);
        Self { identity, etag, content_type, contents: Contents::Small(prepared) }
    }

    /// What headers say of it.
    #[must_use]
    #[inline]
    pub fn describe(&self) -> File<'_> {
        File {
            length: self.identity.length,
            modified: self.identity.modified_seconds(),
            etag: &self.etag,
            content_type: self.content_type,
        }
    }

    /// What is in it.
    #[must_use]
    #[inline]
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Writes the answer to a request for this file, as [`Files::answer`] does.
    #[inline]
    pub(crate) fn answer(
        &self,
        request: &Request<'_>,
        now: Nanos,
        date: &DateText,
        out: &mut Vec<u8>,
    ) -> Answered {
        let (method, persistence) = (request.method(), request.persistence());
        if let (Contents::Small(prepared), false) = (&self.contents, request.is_conditional()) {
            prepared.write(method, persistence, date, out);
            return Answered { status: Status::OK, part: None };
        }
        let file = self.describe();
        let answer = choose(request, &file, now.0 / 1_000_000_000);
        write_file_head(answer, &file, persistence, date, out);
        let (first, end) = answer.body(method, &file);
        let part = match &self.contents {
            Contents::Small(prepared) => {
                out.extend_from_slice(&prepared.body()[first as usize..end as usize]);
                None
            }
            Contents::Large(fd) => (first < end).then(|| FilePart::new(Arc::clone(fd), first, end)),
        };
        Answered { status: answer.status(), part }
    }

    /// Descriptors that it holds.
    fn descriptors(&self) -> usize {
        usize::from(matches!(self.contents, Contents::Large(_)))
    }

    /// What it takes of the memory that files may take.
    fn size(&self) -> usize {
        match &self.contents {
            Contents::Small(prepared) => prepared.size(),
            Contents::Large(_) => 0,
        }
    }
}

/// The files of one reactor.
#[derive(Debug)]
pub struct Files {
    root: Arc<Root>,
    kept: HashMap<Box<[u8]>, Entry>,
    /// The paths in the order in which they are looked at when room is needed.
    order: VecDeque<Box<[u8]>>,
    bytes: usize,
    descriptors: usize,
    /// The large files that are open, by what they are: one descriptor each, under however many
    /// spellings it is asked for and however many transfers of it wait.
    open: HashMap<Identity, Weak<OwnedFd>>,
    /// How many they may be. Beyond it: 503.
    open_max: usize,
    refused: u64,
    /// Where paths are decoded.
    room: Vec<u8>,
    hits: u64,
    misses: u64,
}

#[derive(Debug)]
struct Entry {
    kept: Kept,
    /// When it was last compared with the file, in Unix time.
    checked: Nanos,
    /// Whether what was read may have changed since without a trace.
    racy: bool,
    /// Whether it was asked for since room was last looked for.
    used: bool,
}

impl Files {
    /// Nothing kept yet. Large files may take `open_max` descriptors, those of transfers under way
    /// included.
    #[must_use]
    pub fn new(root: Arc<Root>, open_max: usize) -> Self {
        Self {
            root,
            kept: HashMap::new(),
            order: VecDeque::new(),
            bytes: 0,
            descriptors: 0,
            open: HashMap::new(),
            open_max,
            refused: 0,
            room: Vec::new(),
            hits: 0,
            misses: 0,
        }
    }

    /// Answers a request: writes head and body behind `out`, or the head alone where what follows
    /// it is a part of a file, to be sent when `out` has left. `now` is the time since 1970, and
    /// `date` its text.
    #[inline]
    pub(crate) fn answer(
        &mut self,
        request: &Request<'_>,
        now: Nanos,
        date: &DateText,
        out: &mut Vec<u8>,
    ) -> Answered {
        let method = request.method();
        let found = match method.refusal() {
            Some(refusal) => Err(refusal),
            None => self.find(request.path(), now).map_err(|error| error.status()),
        };
        let status = match found {
            Ok(kept) => return kept.answer(request, now, date, out),
            Err(status) => status,
        };
        if status == Status::MOVED_PERMANENTLY {
            write_redirect(request, date, out);
        } else {
            write_status(status, method, request.persistence(), date, out);
        }
        Answered { status, part: None }
    }

    /// What a request for `path`, as it was sent, is answered with. `now` is the time since 1970.
    ///
    /// # Errors
    /// Why there is nothing to answer with.
    #[inline]
    pub fn find(&mut self, path: &[u8], now: Nanos) -> Result<&Kept, FileError> {
        let fresh = self.kept.get_mut(path).is_some_and(|entry| {
            entry.used = true;
            entry.checked.0.abs_diff(now.0) < FRESH.0
        });
        if fresh {
            self.hits += 1;
        } else {
            self.misses += 1;
            self.check(path, now)?;
        }
        self.kept.get(path).map(|entry| &entry.kept).ok_or(FileError::Missing)
    }

    /// Files that are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// How often a file was answered with that had just been looked at.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.hits
    }

    /// How often a file had to be looked at, or looked for in vain.
    #[must_use]
    pub fn misses(&self) -> u64 {
        self.misses
    }

    /// Large files that are open, those of transfers under way included.
    #[must_use]
    pub fn open_files(&self) -> usize {
        self.open.values().filter(|open| open.strong_count() > 0).count()
    }

    /// How often one more was asked for in vain.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Memory of the small files that are kept, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Looks at the file itself, and keeps what it is now.
    #[cold]
    fn check(&mut self, path: &[u8], now: Nanos) -> Result<(), FileError> {
        let safe = SafePath::decode(path, &mut self.room)?;
        let content_type = content_type(safe);
        let found = self.root.find(safe);
        let (name, stat) = found.inspect_err(|_| self.forget(path))?;
        let identity = Identity::from(&stat);
        if let Some(entry) = self.kept.get_mut(path) {
            if entry.kept.identity == identity && !entry.racy {
                entry.checked = now;
                return Ok(());
            }
            self.forget(path);
        }
        let (fd, stat) = self.root.open_file(&name)?;
        let mut kept = load(fd, Identity::from(&stat), content_type)?;
        self.share(&mut kept)?;
        let racy = kept.descriptors() == 0 && kept.identity.is_racy(now);
        self.keep(path, Entry { kept, checked: now, racy, used: false });
        Ok(())
    }

    /// Has a large file use the descriptor that is open for it already.
    fn share(&mut self, kept: &mut Kept) -> Result<(), FileError> {
        let Contents::Large(fd) = &mut kept.contents else { return Ok(()) };
        if let Some(open) = self.open.get(&kept.identity).and_then(Weak::upgrade) {
            *fd = open;
            return Ok(());
        }
        if self.open.len() >= self.open_max {
            self.open.retain(|_, open| open.strong_count() > 0);
        }
        // Those that are only kept make room for those that are asked for.
        while self.open.len() >= self.open_max && self.descriptors > 0 {
            self.make_room();
            self.open.retain(|_, open| open.strong_count() > 0);
        }
        if self.open.len() >= self.open_max {
            self.refused += 1;
            return Err(Errno::MFILE.into());
        }
        self.open.insert(kept.identity, Arc::downgrade(fd));
        Ok(())
    }

    fn keep(&mut self, path: &[u8], entry: Entry) {
        let (size, descriptors) = (entry.kept.size(), entry.kept.descriptors());
        while self.kept.len() >= KEPT_FILES_MAX
            || self.bytes + size > KEPT_BYTES_MAX
            || self.descriptors + descriptors > self.kept_descriptors_max()
        {
            self.make_room();
        }
        self.bytes += size;
        self.descriptors += descriptors;
        self.order.push_back(path.into());
        self.kept.insert(path.into(), entry);
    }

    fn kept_descriptors_max(&self) -> usize {
        KEPT_DESCRIPTORS_MAX.min(self.open_max.div_ceil(2))
    }

    /// Forgets the first file in the order that was not asked for since its last turn.
    fn make_room(&mut self) {
        while let Some(path) = self.order.pop_front() {
            match self.kept.get_mut(&path) {
                Some(entry) if entry.used => {
                    entry.used = false;
                    self.order.push_back(path);
                }
                _ => return self.take_out(&path),
            }
        }
    }

    fn forget(&mut self, path: &[u8]) {
        if self.kept.contains_key(path) {
            self.order.retain(|other| **other != *path);
            self.take_out(path);
        }
    }

    fn take_out(&mut self, path: &[u8]) {
        if let Some(entry) = self.kept.remove(path) {
            self.bytes -= entry.kept.size();
            self.descriptors -= entry.kept.descriptors();
        }
    }
}

/// The media type of a file by its name.
fn content_type(path: SafePath<'_>) -> &'static str {
    let name = if path.is_folder() { INDEX.as_bytes() } else { path.as_bytes() };
    let guess = mime_guess::from_path(Path::new(OsStr::from_bytes(name)));
    guess.first_raw().unwrap_or("application/octet-stream")
}

/// Loads a file: a small one with its contents, which are those of one moment.
fn load(
    fd: OwnedFd,
    mut identity: Identity,
    content_type: &'static str,
) -> Result<Kept, FileError> {
    let mut body = Vec::new();
    for _ in 0..READS_MAX {
        let etag = identity.etag();
        if identity.length > SMALL_BYTES_MAX {
            let contents = Contents::Large(Arc::new(fd));
            return Ok(Kept { identity, etag, content_type, contents });
        }
        read_whole(&fd, &mut body)?;
        let after = Identity::from(&fs::fstat(&fd)?);
        if after == identity && body.len() as u64 == identity.length {
            let file = File {
                length: identity.length,
                modified: identity.modified_seconds(),
                etag: &etag,
                content_type,
            };
            let contents = Contents::Small(Prepared::new(&file, &body));
            return Ok(Kept { identity, etag, content_type, contents });
        }
        identity = after;
    }
    Err(FileError::Restless)
}

/// Reads a small file from its beginning; of one that has grown, no more than is small.
fn read_whole(fd: &OwnedFd, body: &mut Vec<u8>) -> Result<(), FileError> {
    body.clear();
    body.resize(SMALL_BYTES_MAX as usize + 1, 0);
    let mut length = 0;
    while length < body.len() {
        match rustix::io::pread(fd, &mut body[length..], length as u64) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    body.truncate(length);
    Ok(())
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;

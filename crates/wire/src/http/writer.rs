//! Answers: heads laid out field by field, whole files kept ready, short texts.

use super::date::DateText;
use super::file::{Answer, File};
use super::request::Request;
use super::status::{Method, Status};
use std::io::Write as _;

/// What an answer says about the connection.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Persistence {
    /// It ends after the answer.
    Close,
    /// It goes on, as goes without saying.
    #[default]
    Keep,
    /// It goes on, and a client of HTTP/1.0 has to be told.
    KeepOld,
}

impl Persistence {
    /// Whether the connection goes on.
    #[must_use]
    #[inline]
    pub const fn keeps(self) -> bool {
        !matches!(self, Self::Close)
    }

    /// The header, if one is needed.
    const fn line(self) -> &'static [u8] {
        match self {
            Self::Close => b"Connection: close\r\n",
            Self::Keep => b"",
            Self::KeepOld => b"Connection: keep-alive\r\n",
        }
    }
}

/// The interim reply that invites a body (RFC 9110 15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Where the date stands in every head, behind the status line's beginning.
const DATE_LABEL: &[u8] = b"\r\nDate: ";

/// A head that is being written.
struct HeadWriter<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> HeadWriter<'a> {
    fn begin(status: Status, date: &DateText, out: &'a mut Vec<u8>) -> Self {
        // Writing to a vector does not fail.
        let _ = write!(out, "HTTP/1.1 {} {}", status.0, status.reason());
        out.extend_from_slice(DATE_LABEL);
        out.extend_from_slice(date);
        out.extend_from_slice(b"\r\n");
        Self { out }
    }

    fn field(self, name: &str, value: &[u8]) -> Self {
        for piece in [name.as_bytes(), b": ", value, b"\r\n"] {
            self.out.extend_from_slice(piece);
        }
        self
    }

    fn length(self, length: u64) -> Self {
        let _ = write!(self.out, "Content-Length: {length}\r\n");
        self
    }

    fn end(self, persistence: Persistence) {
        self.out.extend_from_slice(persistence.line());
        self.out.extend_from_slice(b"\r\n");
    }
}

/// Writes an answer that is a short text behind `out`, with further `fields`; to HEAD, its head
/// alone. Fields must be what headers can be: nothing of the peer's but what was checked.
pub fn write_text(
    status: Status,
    fields: &[(&str, &str)],
    text: &str,
    method: Method,
    persistence: Persistence,
    date: &DateText,
    out: &mut Vec<u8>,
) {
    let mut head = HeadWriter::begin(status, date, out);
    for (name, value) in fields {
        head = head.field(name, value.as_bytes());
    }
    head.field("Content-Type", b"text/plain; charset=utf-8")
        .length(text.len() as u64)
        .end(persistence);
    if method != Method::Head {
        out.extend_from_slice(text.as_bytes());
    }
}

/// Writes an answer that says no more than its status behind `out`, with the headers that belong to
/// it: `Allow` to 405.
pub fn write_status(
    status: Status,
    method: Method,
    persistence: Persistence,
    date: &DateText,
    out: &mut Vec<u8>,
) {
    let allow = [("Allow", super::ALLOWED)];
    let fields = if status == Status::METHOD_NOT_ALLOWED { &allow[..] } else { &[] };
    let text = format!("{} {}\n", status.0, status.reason());
    write_text(status, fields, &text, method, persistence, date, out);
}

/// Writes the answer that leads from a folder's path to the same with a slash, behind `out`.
pub fn write_redirect(request: &Request<'_>, date: &DateText, out: &mut Vec<u8>) {
    // Both are visible ASCII, or the request would have been refused.
    let (path, query) = (request.path(), request.query());
    let (path, query) = (String::from_utf8_lossy(path), String::from_utf8_lossy(query));
    let mark = if query.is_empty() { "" } else { "?" };
    let location = format!("{path}/{mark}{query}");
    let text = format!("see {location}\n");
    let (method, persistence) = (request.method(), request.persistence());
    let fields = [("Location", location.as_str())];
    write_text(Status::MOVED_PERMANENTLY, &fields, &text, method, persistence, date, out);
}

/// Writes the head of an answer about a file behind `out`. Which bytes of the file follow, if any,
/// is for [`Answer::body`] to say.
pub fn write_file_head(
    answer: Answer,
    file: &File<'_>,
    persistence: Persistence,
    date: &DateText,
    out: &mut Vec<u8>,
) {
    let modified = super::date_text(file.modified);
    let head = HeadWriter::begin(answer.status(), date, out);
    let head = match answer {
        Answer::NotModified => head,
        Answer::Failed => head.length(0),
        Answer::Unsatisfiable => {
            head.field("Content-Range", format!("bytes */{}", file.length).as_bytes()).length(0)
        }
        Answer::Part { first, end } => {
            let range = format!("bytes {first}-{}/{}", end - 1, file.length);
            let head = head.field("Content-Range", range.as_bytes()).length(end - first);
            head.field("Content-Type", file.content_type.as_bytes())
        }
        Answer::Whole => {
            let head = head.length(file.length).field("Accept-Ranges", b"bytes");
            head.field("Content-Type", file.content_type.as_bytes())
        }
    };
    let head = match answer {
        Answer::Failed | Answer::Unsatisfiable => head,
        _ => head.field("Last-Modified", &modified).field("ETag", file.etag.as_bytes()),
    };
    head.end(persistence);
}

/// A small file's whole answer, ready to be copied: head and body in one piece.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// Head, with a date in it that is of no account, and body.
    bytes: Box<[u8]>,
    /// Where the body begins.
    body_at: usize,
}

/// Where the date stands in a prepared answer, whose status is always 200.
const DATE_AT: usize = b"HTTP/1.1 200 OK".len() + DATE_LABEL.len();

impl Prepared {
    /// The answer to GET for a file with this body.
    ///
    /// # Panics
    /// If the body is not as long as the file is said to be.
    #[must_use]
    pub fn new(file: &File<'_>, body: &[u8]) -> Self {
        assert_eq!(file.length, body.len() as u64, "a length that is not the body's");
        let mut bytes = Vec::new();
        let date = [b' '; size_of::<DateText>()];
        write_file_head(Answer::Whole, file, Persistence::Keep, &date, &mut bytes);
        let body_at = bytes.len();
        bytes.extend_from_slice(body);
        Self { bytes: bytes.into(), body_at }
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.bytes[self.body_at..]
    }

    /// What it takes, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Writes the answer behind `out`; to HEAD, its head alone.
    #[inline]
    pub fn write(
        &self,
        method: Method,
        persistence: Persistence,
        date: &DateText,
        out: &mut Vec<u8>,
    ) {
        let date_at = out.len() + DATE_AT;
        let end = if method == Method::Head { self.body_at } else { self.bytes.len() };
        if persistence == Persistence::Keep {
            out.extend_from_slice(&self.bytes[..end]);
        } else {
            // Before the empty line.
            let empty_line = self.body_at - 2;
            out.extend_from_slice(&self.bytes[..empty_line]);
            out.extend_from_slice(persistence.line());
            out.extend_from_slice(&self.bytes[empty_line..end]);
        }
        out[date_at..date_at + date.len()].copy_from_slice(date);
    }
}

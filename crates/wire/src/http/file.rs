//! What is answered when a file is asked for: conditions (RFC 9110 13) and ranges (RFC 9110 14).

use super::date::{date_text, parse_date};
use super::request::Request;
use super::status::{Method, Status};

/// A file as headers describe it.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    /// Its length, in bytes.
    pub length: u64,
    /// When it was changed last, in seconds since 1970.
    pub modified: u64,
    /// Its entity tag: strong, with its quotes.
    pub etag: &'a str,
    /// Its media type.
    pub content_type: &'a str,
}

/// What a request for a file is answered with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// 412: it is not the file that the client means.
    Failed,
    /// 304: the client has it.
    NotModified,
    /// 206: the bytes from `first` up to, not including, `end`.
    Part {
        /// The first byte.
        first: u64,
        /// One past the last byte; above `first`.
        end: u64,
    },
    /// 416: no byte of the file is in the range.
    Unsatisfiable,
    /// 200.
    Whole,
}

impl Answer {
    /// The status.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::Failed => Status::PRECONDITION_FAILED,
            Self::NotModified => Status::NOT_MODIFIED,
            Self::Part { .. } => Status::PARTIAL_CONTENT,
            Self::Unsatisfiable => Status::RANGE_NOT_SATISFIABLE,
            Self::Whole => Status::OK,
        }
    }

    /// The bytes of the file that follow the head in an answer to `method`: first, and one past the
    /// last.
    #[must_use]
    pub fn body(self, method: Method, file: &File<'_>) -> (u64, u64) {
        match self {
            _ if method == Method::Head => (0, 0),
            Self::Failed | Self::NotModified | Self::Unsatisfiable => (0, 0),
            Self::Part { first, end } => (first, end),
            Self::Whole => (0, file.length),
        }
    }
}

/// Chooses the answer to a request for a file (RFC 9110 13.2.2). `now` is the time in seconds since
/// 1970. Several ranges at once are answered with the whole file, as any server may (RFC 9110
///       14.2).
#[must_use]
pub fn choose(request: &Request<'_>, file: &File<'_>, now: u64) -> Answer {
    if !request.is_conditional() {
        return Answer::Whole;
    }
    let etag = file.etag.as_bytes();
    let mut tags = request.header("If-Match").peekable();
    let is_meant = if tags.peek().is_some() {
        tags.any(|list| lists(list, etag, false))
    } else {
        let since = request.only("If-Unmodified-Since").and_then(parse_date);
        since.is_none_or(|since| file.modified <= since)
    };
    if !is_meant {
        return Answer::Failed;
    }
    let mut tags = request.header("If-None-Match").peekable();
    let unchanged = if tags.peek().is_some() {
        tags.any(|list| lists(list, etag, true))
    } else {
        let since = request.only("If-Modified-Since").and_then(parse_date);
        since.is_some_and(|since| file.modified <= since)
    };
    if unchanged {
        return Answer::NotModified;
    }
    let range = request.only("Range").filter(|_| request.method() == Method::Get);
    match range {
        Some(range) if may_be_part(request, file, now) => read_range(range, file.length),
        _ => Answer::Whole,
    }
}

/// Whether a list of entity tags has this one, or is `*`. With `weak` by the weak comparison, and
/// else by the strong one (RFC 9110 8.8.3.2). There may be commas within tags.
fn lists(list: &[u8], etag: &[u8], weak: bool) -> bool {
    if list == b"*" {
        return true;
    }
    let mut rest = list;
    loop {
        // Elements of a list may be empty (RFC 9110 5.6.1.2).
        rest = rest.trim_ascii_start();
        if let Some(next) = rest.strip_prefix(b",") {
            rest = next;
            continue;
        }
        if rest.is_empty() {
            return false;
        }
        let strong = rest.strip_prefix(b"W/").unwrap_or(rest);
        let is_comparable = weak || strong.len() == rest.len();
        let Some(behind) = strong.strip_prefix(b"\"") else { return false };
        let Some(length) = memchr::memchr(b'"', behind) else { return false };
        if is_comparable && &strong[..length + 2] == etag {
            return true;
        }
        rest = &behind[length + 1..];
    }
}

/// Whether the part that the client has is of this very file (RFC 9110 13.1.5): the strong
/// comparison.
fn may_be_part(request: &Request<'_>, file: &File<'_>, now: u64) -> bool {
    let mut conditions = request.header("If-Range");
    match (conditions.next(), conditions.next()) {
        (None, _) => true,
        (Some(tag), None) if tag.starts_with(b"\"") => tag == file.etag.as_bytes(),
        // A date proves nothing while the second lasts in which the file was changed.
        (Some(date), None) => *date == date_text(file.modified) && file.modified < now,
        (Some(_), Some(_)) => false,
    }
}

/// The answer to a `Range` header. What does not follow the grammar is ignored (RFC 9110 14.2).
fn read_range(range: &[u8], length: u64) -> Answer {
    let unit = range.get(..6).is_some_and(|unit| unit.eq_ignore_ascii_case(b"bytes="));
    let Some(spec) = range.get(6..).filter(|_| unit) else { return Answer::Whole };
    let spec = spec.trim_ascii();
    let Some(dash) = memchr::memchr(b'-', spec) else { return Answer::Whole };
    let (from, to) = (&spec[..dash], &spec[dash + 1..]);
    let digits = |text: &[u8]| text.iter().all(u8::is_ascii_digit);
    if !digits(from) || !digits(to) {
        return Answer::Whole;
    }
    let (first, last) = (number(from), number(to));
    let (first, end) = match (first, last) {
        (None, None) => return Answer::Whole,
        // There is no way to say that no byte of an empty file was sent.
        (None, Some(1..)) if length == 0 => return Answer::Whole,
        (None, Some(suffix)) => (length.saturating_sub(suffix), length),
        (Some(first), None) => (first, length),
        (Some(first), Some(last)) if first > last => return Answer::Whole,
        (Some(first), Some(last)) => (first, length.min(last.saturating_add(1))),
    };
    if first < end { Answer::Part { first, end } } else { Answer::Unsatisfiable }
}

/// The number that digits make; one that is too large is as good as the largest.
fn number(digits: &[u8]) -> Option<u64> {
    let digit =
        |number: u64, digit: &u8| number.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    (!digits.is_empty()).then(|| digits.iter().fold(0, digit))
}

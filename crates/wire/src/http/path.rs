//! From the path of a request to a path below a root, or to the reason why there is none.

use super::status::Status;
use crate::limits::HTTP_PATH_BYTES_MAX;

/// Why a path leads nowhere.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PathError {
    /// A `%` that two hexadecimal digits do not follow.
    #[error("a '%' in the path is not followed by two hexadecimal digits")]
    Encoding,
    /// A NUL, a line end or another control character.
    #[error("the path has a control character in it")]
    Control,
    /// A segment that begins with a dot: hidden.
    #[error("hidden files are not served")]
    Hidden,
    /// A segment `.` or `..`, in whatever encoding.
    #[error("the path has a segment '.' or '..' in it")]
    Dots,
    /// No segment between two slashes.
    #[error("the path has an empty segment in it")]
    Empty,
    /// No slash at its beginning.
    #[error("the path does not begin with '/'")]
    NoSlash,
    /// A backslash, or a slash in disguise.
    #[error("the path has a backslash or an encoded slash in it")]
    Separator,
    /// More than a system call takes.
    #[error("the path is longer than {HTTP_PATH_BYTES_MAX} bytes")]
    TooLong,
}

impl PathError {
    /// The status of the answer.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::Control | Self::Dots | Self::Encoding | Self::NoSlash | Self::Separator => {
                Status::BAD_REQUEST
            }
            Self::Empty | Self::Hidden | Self::TooLong => Status::NOT_FOUND,
        }
    }
}

/// A path that is safe to look up below a root: relative, decoded, without dots that lead upwards,
/// hidden segments, control characters or backslashes. Made by [`SafePath::decode`] only.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SafePath<'a> {
    path: &'a [u8],
    folder: bool,
}

impl<'a> SafePath<'a> {
    /// Decodes the path of a request into `room`, whose contents are replaced, once: what is
    /// encoded twice stays encoded. A query is dropped.
    ///
    /// # Errors
    /// What is wrong with it, the first thing in the path.
    pub fn decode(target: &[u8], room: &'a mut Vec<u8>) -> Result<Self, PathError> {
        room.clear();
        let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
        let mut rest = path.strip_prefix(b"/").ok_or(PathError::NoSlash)?;
        while let [first, behind @ ..] = rest {
            let (byte, behind) = match (first, behind) {
                (b'%', [high, low, behind @ ..]) => (unhex(*high, *low)?, behind),
                (b'%', _) => return Err(PathError::Encoding),
                (byte, behind) => (*byte, behind),
            };
            match byte {
                b'\\' => return Err(PathError::Separator),
                b'/' if *first == b'%' => return Err(PathError::Separator),
                b'/' => check_segment(room)?,
                0..=31 | 127 => return Err(PathError::Control),
                _ => {}
            }
            if room.len() == HTTP_PATH_BYTES_MAX {
                return Err(PathError::TooLong);
            }
            room.push(byte);
            rest = behind;
        }
        let folder = room.is_empty() || room.ends_with(b"/");
        if folder {
            room.pop();
        } else {
            check_segment(room)?;
        }
        Ok(Self { path: room, folder })
    }

    /// The path, relative to the root, without a slash at either end; empty for the root itself.
    #[must_use]
    pub fn as_bytes(self) -> &'a [u8] {
        self.path
    }

    /// Whether it ended with a slash: a folder is meant.
    #[must_use]
    pub fn is_folder(self) -> bool {
        self.folder
    }
}

/// The byte of two hexadecimal digits.
fn unhex(high: u8, low: u8) -> Result<u8, PathError> {
    let digit = |byte: u8| (byte as char).to_digit(16).ok_or(PathError::Encoding);
    Ok((digit(high)? << 4 | digit(low)?) as u8)
}

/// Checks the last segment of what was decoded so far.
fn check_segment(path: &[u8]) -> Result<(), PathError> {
    let segment = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    match segment {
        b"" => Err(PathError::Empty),
        b"." | b".." => Err(PathError::Dots),
        [b'.', ..] => Err(PathError::Hidden),
        _ => Ok(()),
    }
}

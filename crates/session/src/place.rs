//! Places in a message: where a value lies that is to be kept, compared or searched for a stamp.
//!
//! | written | what lies there |
//! |---|---|
//! | `/json/pointer` | the value there; a string without its quotes and escapes |
//! | `re:1` | group 1 of the kind's regular expression |
//! | `u8@4`, `u16@2`, `u16le@2`, `u32@0` | a number in bytes, from that byte on |
//! | `3..11`, `3..` | these bytes |
//! | `*` | the whole message |

use crate::json::{Kind, Pointers, Value, unescape};
use crate::pattern::{PatternScratch, Patterns};
use crate::template::decimal;

/// A place in a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    Pointer(u16),
    /// The number of an expression, and of its group.
    Group(usize, usize),
    Number {
        bytes: usize,
        little: bool,
        at: usize,
    },
    Bytes {
        from: usize,
        to: Option<usize>,
    },
    Whole,
}

/// What a message was found to hold before its places are asked for.
pub(crate) struct Read<'a> {
    pub(crate) message: &'a [u8],
    pub(crate) values: &'a [Option<Value>],
    pub(crate) patterns: &'a Patterns,
    pub(crate) scratch: &'a mut PatternScratch,
}

impl Place {
    /// Compiles a place. `pattern` is the number of the kind's regular expression.
    ///
    /// # Errors
    /// If it is none: what to write instead.
    pub(crate) fn parse(
        text: &str,
        pattern: Option<usize>,
        pointers: &mut Pointers,
        patterns: &mut Patterns,
    ) -> Result<Self, String> {
        let none = || {
            format!("'{text}' is no place: write '/json/pointer', 're:1', 'u16@2', '3..11' or '*'")
        };
        if text == "*" {
            return Ok(Self::Whole);
        }
        if text.starts_with('/') {
            return pointers.number(text).map(Self::Pointer).ok_or_else(none);
        }
        if let Some(group) = text.strip_prefix("re:") {
            let group = group.parse().map_err(|_| none())?;
            let pattern = pattern.ok_or("a group needs a `regex` of the same kind")?;
            patterns.take_group(pattern, group).map_err(|error| error.to_string())?;
            return Ok(Self::Group(pattern, group));
        }
        if let Some((width, at)) = text.split_once('@') {
            let (bytes, little) = match width {
                "u8" => (1, false),
                "u16" => (2, false),
                "u16le" => (2, true),
                "u32" => (4, false),
                _ => return Err(none()),
            };
            return Ok(Self::Number { bytes, little, at: at.parse().map_err(|_| none())? });
        }
        let (from, to) = text.split_once("..").ok_or_else(none)?;
        let from = from.parse().map_err(|_| none())?;
        let to = if to.is_empty() { None } else { Some(to.parse().map_err(|_| none())?) };
        if to.is_some_and(|to| to <= from) { Err(none()) } else { Ok(Self::Bytes { from, to }) }
    }

    /// Hands over what lies here, in parts. Whether there is anything, and all parts were taken.
    pub(crate) fn take(&self, read: &mut Read<'_>, mut take: impl FnMut(&[u8]) -> bool) -> bool {
        let mut pass = |part: &[u8]| if take(part) { Ok(()) } else { Err(()) };
        match self {
            Self::Pointer(number) => {
                let value = read.values.get(usize::from(*number)).and_then(Option::as_ref);
                let Some(Value { kind, at }) = value else { return false };
                let raw = &read.message[at.clone()];
                match kind {
                    Kind::String => unescape(raw, pass).is_ok(),
                    Kind::Plain | Kind::Nested => pass(raw).is_ok(),
                }
            }
            Self::Number { .. } => {
                let Some(number) = self.bytes_as_number(read.message) else { return false };
                let (digits, at) = decimal(number);
                take(&digits[at..])
            }
            Self::Group(..) | Self::Bytes { .. } | Self::Whole => {
                self.slice(read).is_some_and(take)
            }
        }
    }

    /// What lies here, where it lies in one piece as it is.
    pub(crate) fn slice<'a>(&self, read: &mut Read<'a>) -> Option<&'a [u8]> {
        match self {
            Self::Pointer(number) => {
                let value = read.values.get(usize::from(*number))?.as_ref()?;
                Some(&read.message[value.at.clone()])
            }
            Self::Group(pattern, group) => {
                let place = (*pattern, *group);
                Some(&read.message[read.patterns.group(place, read.message, read.scratch)?])
            }
            Self::Bytes { from, to } => read.message.get(*from..to.unwrap_or(read.message.len())),
            Self::Whole => Some(read.message),
            Self::Number { .. } => None,
        }
    }

    fn bytes_as_number(&self, message: &[u8]) -> Option<u64> {
        let Self::Number { bytes, little, at } = self else { return None };
        let bytes = message.get(*at..at.checked_add(*bytes)?)?;
        let push = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Some(if *little { bytes.iter().rev().fold(0, push) } else { bytes.iter().fold(0, push) })
    }

    /// The number that lies here.
    pub(crate) fn number(&self, read: &mut Read<'_>) -> Option<u64> {
        if let Self::Number { .. } = self {
            return self.bytes_as_number(read.message);
        }
        let digits = self.slice(read)?;
        let push = |number: u64, digit: &u8| {
            let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
            number.checked_mul(10)?.checked_add(digit)
        };
        if digits.is_empty() { None } else { digits.iter().try_fold(0, push) }
    }

    /// What a request's number is here: fewer bytes hold no more than 1 to their largest.
    pub(crate) fn as_sent(&self, sequence: u32) -> u64 {
        let sequence = u64::from(sequence);
        match self {
            Self::Number { bytes, .. } if *bytes < 4 => {
                let most = (1 << (8 * bytes)) - 1;
                if sequence > most { (sequence - 1) % most + 1 } else { sequence }
            }
            _ => sequence,
        }
    }
}

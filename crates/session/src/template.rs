//! Templates: what a session sends, with `${…}` for what differs from connection to connection and
//! from message to message; as text, or as bytes with groups that carry their own length. Compiled
//! once; filling one allocates nothing, and is never longer than [`Template::longest`].

mod binary;
mod text;

pub(crate) use binary::parse_binary;
pub(crate) use text::parse_text;

use crate::data::Data;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use std::ops::Range;
use wire::{STAMP_BYTES, SplitMix64};

/// What a stamp begins with in a message, so that it is found wherever a server puts it.
pub const STAMP_MARK: &[u8; 4] = b"c1k.";

/// Bytes of a stamp in a message: its mark, and base64 for URLs without padding.
pub const STAMP_TEXT_BYTES: usize = STAMP_MARK.len() + 43;

/// Names that stand for something in every session.
pub(crate) const RESERVED: [&str; 7] = ["conn", "seq", "n", "stamp", "rand", "pad", "now_ms"];

/// Groups may lie in each other so deep.
const DEPTH_MAX: usize = 8;

/// The longest that a template may be when it is filled, in bytes.
pub const TEMPLATE_BYTES_MAX: usize = 64 * 1024;

/// What a template is filled with.
#[derive(Clone, Copy, Debug)]
pub struct Fill<'a> {
    /// The row of the connection.
    pub row: usize,
    /// What the connection has captured, laid out by [`crate::Variables`].
    pub captured: &'a [u8],
    /// The connection's number within the run.
    pub connection: u64,
    /// The number of its request.
    pub sequence: u32,
    /// How often it has gone through its loop.
    pub count: u64,
    /// Milliseconds since 1970.
    pub now_ms: u64,
    /// What `rand` is drawn from.
    pub random: u64,
    /// The message's stamp.
    pub stamp: &'a [u8; STAMP_BYTES],
}

/// A template that may be filled.
#[derive(Clone, Debug)]
pub struct Template {
    literals: Box<[u8]>,
    parts: Box<[Part]>,
    longest: usize,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Part {
    /// These of the literals.
    Literal(Range<u32>),
    Column(u16, Escape),
    Variable(u8, Escape),
    Number(Number, Form),
    Stamp,
    Pad(u32),
    /// A group begins, which has its length before it.
    Open(Width),
    Close,
}

/// How a value is written so that it may stand where it does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Escape {
    None,
    /// Within the quotes of a JSON string.
    Json,
    /// Percent-encoded: all but letters, digits and `-._~` (RFC 3986 2.3).
    Url,
    Base64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Number {
    Connection { divided_by: u64, modulo: u64 },
    Sequence,
    Count,
    NowMs,
    Random { low: u64, high: u64 },
}

/// How a number is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    Decimal,
    Binary(Width),
}

/// A number in bytes; most significant first, where nothing else is said.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Width {
    U8,
    U16,
    /// Least significant byte first.
    U16Le,
    U32,
    /// Seven bits a byte, the lowest first (MQTT 3.1.1, 2.2.3); up to four bytes.
    Varint,
}

/// Why a template cannot be used: what of it, and why.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct TemplateError(pub(crate) String);

/// What may be named in templates.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names<'a> {
    pub(crate) data: &'a Data,
    pub(crate) variables: &'a Variables,
}

/// Where a connection keeps what it captures: for each variable two bytes of length, and its room.
#[derive(Clone, Debug, Default)]
pub struct Variables {
    names: Vec<String>,
    rooms: Vec<Range<usize>>,
}

impl Variables {
    /// Adds one with room for so many bytes.
    pub(crate) fn add(&mut self, name: String, room: u16) {
        let start = self.bytes() + 2;
        self.names.push(name);
        self.rooms.push(start..start + usize::from(room));
    }

    /// Bytes that each connection keeps for them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.rooms.last().map_or(0, |room| room.end)
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    pub(crate) fn number(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    pub(crate) fn room(&self, number: usize) -> usize {
        self.rooms[number].len()
    }

    /// The value of one; empty before there is any.
    #[must_use]
    pub fn value<'a>(&self, number: usize, captured: &'a [u8]) -> &'a [u8] {
        let room = &self.rooms[number];
        let length = captured
            .get(room.start - 2..room.start)
            .map_or(0, |length| usize::from(u16::from_le_bytes([length[0], length[1]])));
        captured.get(room.start..room.start + length).unwrap_or(&[])
    }

    /// Begins the value of one anew.
    pub(crate) fn clear(&self, number: usize, captured: &mut [u8]) {
        let start = self.rooms[number].start;
        captured[start - 2..start].fill(0);
    }

    /// Appends to the value of one. Whether there was room: where there is none, it stays as it
    /// was.
    pub(crate) fn append(&self, number: usize, captured: &mut [u8], bytes: &[u8]) -> bool {
        let room = self.rooms[number].clone();
        let length = self.value(number, captured).len();
        if room.len() - length < bytes.len() {
            return false;
        }
        captured[room.start + length..][..bytes.len()].copy_from_slice(bytes);
        // No more than the room, which is counted in 16 bits.
        let length = (length + bytes.len()) as u16;
        captured[room.start - 2..room.start].copy_from_slice(&length.to_le_bytes());
        true
    }
}

impl Template {
    fn new(literals: Vec<u8>, parts: Vec<Part>, names: Names<'_>) -> Result<Self, TemplateError> {
        let longest = longest(&parts, names)?;
        if longest > TEMPLATE_BYTES_MAX {
            return Err(TemplateError(format!(
                "it may take {longest} bytes, and {TEMPLATE_BYTES_MAX} are the most"
            )));
        }
        Ok(Self { literals: literals.into(), parts: parts.into(), longest })
    }

    /// The longest that it may be when it is filled, in bytes.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// Whether it is always the same: then what it is.
    pub(crate) fn constant(&self) -> Option<&[u8]> {
        match &*self.parts {
            [] => Some(&[]),
            [Part::Literal(range)] if range.len() == self.literals.len() => Some(&self.literals),
            _ => None,
        }
    }

    /// Whether it carries the number of its request, by which the reply is known.
    #[must_use]
    pub fn has_sequence(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Number(Number::Sequence, _)))
    }

    /// Whether it carries a stamp.
    #[must_use]
    pub fn has_stamp(&self) -> bool {
        self.parts.contains(&Part::Stamp)
    }

    /// Appends it, filled, to `out`.
    pub fn write(&self, data: &Data, variables: &Variables, fill: &Fill<'_>, out: &mut Vec<u8>) {
        let mut groups = [(Width::U8, 0); DEPTH_MAX];
        let mut depth = 0;
        for (at, part) in self.parts.iter().enumerate() {
            match part {
                Part::Literal(range) => {
                    out.extend_from_slice(&self.literals[range.start as usize..range.end as usize]);
                }
                Part::Column(column, escape) => {
                    escape.write(data.cell(fill.row, usize::from(*column)), out);
                }
                Part::Variable(number, escape) => {
                    escape.write(variables.value(usize::from(*number), fill.captured), out);
                }
                Part::Number(number, form) => form.write(number.value(fill, at), out),
                Part::Stamp => write_stamp(fill.stamp, out),
                Part::Pad(count) => out.resize(out.len() + *count as usize, b'x'),
                Part::Open(width) => {
                    groups[depth] = (*width, out.len());
                    depth += 1;
                }
                Part::Close => {
                    depth -= 1;
                    let (width, start) = groups[depth];
                    width.put_before(start, out);
                }
            }
        }
    }
}

/// The longest that all parts together may be.
fn longest(parts: &[Part], Names { data, variables }: Names<'_>) -> Result<usize, TemplateError> {
    let mut groups = Vec::new();
    let mut total = 0_usize;
    for part in parts {
        total += match part {
            Part::Literal(range) => range.len(),
            Part::Column(column, escape) => {
                data.longest(usize::from(*column), |cell| escape.length(cell))
            }
            Part::Variable(number, escape) => escape.longest(variables.room(usize::from(*number))),
            Part::Number(number, form) => form.longest(number.most()),
            Part::Stamp => STAMP_TEXT_BYTES,
            Part::Pad(count) => *count as usize,
            Part::Open(width) => {
                groups.push((*width, total));
                0
            }
            Part::Close => {
                let (width, start) = groups.pop().expect("brackets are in pairs");
                let length = (total - start) as u64;
                if length > width.most() {
                    return Err(TemplateError(format!(
                        "a group {}( ) may hold {length} bytes, and its length holds {} at most",
                        width.word(),
                        width.most()
                    )));
                }
                Form::Binary(width).longest(length)
            }
        };
    }
    Ok(total)
}

fn write_stamp(stamp: &[u8; STAMP_BYTES], out: &mut Vec<u8>) {
    out.extend_from_slice(STAMP_MARK);
    let at = out.len();
    out.resize(at + STAMP_TEXT_BYTES - STAMP_MARK.len(), 0);
    URL_SAFE_NO_PAD.encode_slice(stamp, &mut out[at..]).expect("it has that length");
}

/// The stamp that lies in a message, wherever that is. Of several the first.
#[must_use]
pub fn find_stamp(message: &[u8]) -> Option<[u8; STAMP_BYTES]> {
    let mut stamp = [0; STAMP_BYTES];
    memchr::memmem::find_iter(message, STAMP_MARK).find_map(|at| {
        let text = message.get(at + STAMP_MARK.len()..at + STAMP_TEXT_BYTES)?;
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut stamp).ok()?;
        (length == STAMP_BYTES).then_some(stamp)
    })
}

impl Number {
    /// What it is; `at` tells several random ones of a template apart.
    fn value(self, fill: &Fill<'_>, at: usize) -> u64 {
        match self {
            Self::Connection { divided_by, modulo } => fill.connection / divided_by % modulo,
            Self::Sequence => u64::from(fill.sequence),
            Self::Count => fill.count,
            Self::NowMs => fill.now_ms,
            Self::Random { low, high } => {
                let drawn = mixed(fill.random.wrapping_add(at as u64));
                // The share of 2^64 that was drawn; the bias is that of 2^-64 for each value.
                low + ((u128::from(drawn) * (u128::from(high - low) + 1)) >> 64) as u64
            }
        }
    }

    fn most(self) -> u64 {
        match self {
            Self::Connection { divided_by, modulo } => (modulo - 1).min(u64::MAX / divided_by),
            Self::Sequence => u64::from(u32::MAX),
            Self::Count | Self::NowMs => u64::MAX,
            Self::Random { high, .. } => high,
        }
    }
}

/// A number of which no bit shows what it was made of.
pub(crate) fn mixed(number: u64) -> u64 {
    SplitMix64::new(number).next()
}

impl Form {
    fn longest(self, most: u64) -> usize {
        match self {
            Self::Decimal => most.checked_ilog10().unwrap_or(0) as usize + 1,
            Self::Binary(width) => match width {
                Width::U8 => 1,
                Width::U16 | Width::U16Le => 2,
                Width::U32 => 4,
                Width::Varint => 1 + (1..4).filter(|bytes| most >= 1 << (7 * bytes)).count(),
            },
        }
    }

    fn write(self, value: u64, out: &mut Vec<u8>) {
        match self {
            Self::Binary(width) => {
                let (bytes, length) = width.bytes(value);
                out.extend_from_slice(&bytes[..length]);
            }
            Self::Decimal => {
                let (digits, at) = decimal(value);
                out.extend_from_slice(&digits[at..]);
            }
        }
    }
}

/// A number in decimal digits, and where they begin.
pub(crate) fn decimal(number: u64) -> ([u8; 20], usize) {
    let mut digits = [0; 20];
    let (mut at, mut rest) = (digits.len(), number);
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            return (digits, at);
        }
    }
}

impl Width {
    pub(crate) const ALL: [Self; 5] = [Self::U8, Self::U16, Self::U16Le, Self::U32, Self::Varint];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::U16 => "u16",
            Self::U16Le => "u16le",
            Self::U32 => "u32",
            Self::Varint => "varint",
        }
    }

    /// The largest number that it holds.
    fn most(self) -> u64 {
        match self {
            Self::U8 => u64::from(u8::MAX),
            Self::U16 | Self::U16Le => u64::from(u16::MAX),
            Self::U32 => u64::from(u32::MAX),
            Self::Varint => (1 << 28) - 1,
        }
    }

    /// A number in bytes, and how many those are. One that is too large loses its upper bits; but a
    /// number that goes round skips 0, which no identifier may be in MQTT (2.3.1).
    fn bytes(self, value: u64) -> ([u8; 4], usize) {
        let most = self.most();
        let value = if value > most { (value - 1) % most + 1 } else { value };
        match self {
            Self::U8 => ([value as u8, 0, 0, 0], 1),
            Self::U16 => {
                let [a, b] = (value as u16).to_be_bytes();
                ([a, b, 0, 0], 2)
            }
            Self::U16Le => {
                let [a, b] = (value as u16).to_le_bytes();
                ([a, b, 0, 0], 2)
            }
            Self::U32 => ((value as u32).to_be_bytes(), 4),
            Self::Varint => {
                let (mut bytes, mut length, mut rest) = ([0; 4], 0, value);
                loop {
                    bytes[length] = (rest & 0x7f) as u8 | if rest > 0x7f { 0x80 } else { 0 };
                    length += 1;
                    rest >>= 7;
                    if rest == 0 {
                        return (bytes, length);
                    }
                }
            }
        }
    }

    /// Puts the length of what lies behind `start` before it.
    fn put_before(self, start: usize, out: &mut Vec<u8>) {
        let (bytes, length) = self.bytes((out.len() - start) as u64);
        let end = out.len();
        out.resize(end + length, 0);
        out.copy_within(start..end, start + length);
        out[start..start + length].copy_from_slice(&bytes[..length]);
    }
}

impl Escape {
    /// Bytes that a value takes.
    fn length(self, value: &[u8]) -> usize {
        let each = |cost: fn(&u8) -> usize| value.iter().map(cost).sum();
        match self {
            Self::None => value.len(),
            Self::Json => each(|byte| json_escape(*byte).1),
            Self::Url => each(|byte| if is_unreserved(*byte) { 1 } else { 3 }),
            Self::Base64 => value.len().div_ceil(3) * 4,
        }
    }

    /// The most that a value of so many bytes may take.
    fn longest(self, bytes: usize) -> usize {
        match self {
            Self::None => bytes,
            Self::Json => 6 * bytes,
            Self::Url => 3 * bytes,
            Self::Base64 => bytes.div_ceil(3) * 4,
        }
    }

    fn write(self, value: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::None => out.extend_from_slice(value),
            Self::Json => {
                for byte in value {
                    let (escaped, length) = json_escape(*byte);
                    out.extend_from_slice(&escaped[..length]);
                }
            }
            Self::Url => {
                for byte in value {
                    if is_unreserved(*byte) {
                        out.push(*byte);
                    } else {
                        out.extend([
                            b'%',
                            HEX[usize::from(byte >> 4)],
                            HEX[usize::from(byte & 15)],
                        ]);
                    }
                }
            }
            Self::Base64 => {
                let at = out.len();
                out.resize(at + self.length(value), 0);
                STANDARD.encode_slice(value, &mut out[at..]).expect("it has that length");
            }
        }
    }
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// A byte within a JSON string (RFC 8259 7), and how many it takes there.
fn json_escape(byte: u8) -> ([u8; 6], usize) {
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0..0x20 => {
            let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
            return ([b'\\', b'u', b'0', b'0', high, low], 6);
        }
        _ => return ([byte, 0, 0, 0, 0, 0], 1),
    };
    ([b'\\', short, 0, 0, 0, 0], 2)
}

#[cfg(test)]
mod tests;

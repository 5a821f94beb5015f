//! The fast path: messages that are whole in one read, as single frames that are not compressed.
//! Nearly all are. Whatever is not is left to the [`Reader`](super::Reader).

use super::frame::{Header, Opcode, Role};
use super::mask::{hides_ascii, mask as apply_mask, unmask_down};
use super::reader::{Kind, Limits};

/// What [`echo_in_place`] did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Echoes {
    /// Bytes of the stream that were answered.
    pub consumed: usize,
    /// The length of the answers, which lie end to end at the start of the buffer.
    pub reply_bytes: usize,
    /// Messages that were answered.
    pub messages: u32,
}

/// A data frame that is whole.
struct Whole {
    kind: Kind,
    mask: [u8; 4],
    /// Where the payload begins.
    start: usize,
    length: usize,
}

/// The frame at the start of `bytes`, if it is a whole message and nothing is to be said against it
/// but perhaps its text.
#[inline]
fn whole(bytes: &[u8], role: Role, limits: &Limits) -> Option<Whole> {
    let (header, start) = Header::decode(bytes, role, false).ok()??;
    let kind = match header.opcode {
        Opcode::Binary => Kind::Binary,
        Opcode::Text => Kind::Text,
        _ => return None,
    };
    let fits = header.fin
        && header.length <= (bytes.len() - start) as u64
        && header.length <= limits.whole_bytes_max();
    let (length, mask) = (header.length as usize, header.mask.unwrap_or_default());
    fits.then_some(Whole { kind, mask, start, length })
}

/// The same for the shortest form of a frame without a mask, since most of the load is made of
/// those.
#[inline]
fn short(bytes: &[u8], limits: &Limits) -> Option<Whole> {
    let &[first @ (0x81 | 0x82), length @ 0..=125] = bytes.first_chunk()? else { return None };
    let kind = if first == 0x81 { Kind::Text } else { Kind::Binary };
    let (start, length) = (2, usize::from(length));
    let fits = bytes.len() - start >= length && length as u64 <= limits.whole_bytes_max();
    fits.then_some(Whole { kind, mask: [0; 4], start, length })
}

impl Limits {
    /// The largest message that is a single frame.
    #[inline]
    fn whole_bytes_max(&self) -> u64 {
        self.message_bytes_max.min(self.frame_bytes_max)
    }
}

/// Answers the whole messages at the start of a client's stream, in place: a masked frame is four
/// bytes longer than the same frame without a mask, so the answers always fit where the questions
/// were. Stops at whatever else there is: cut frames, fragments, control frames, errors.
///
/// To be called between two messages only ([`Reader::is_idle`](super::Reader::is_idle)).
#[inline]
pub fn echo_in_place(bytes: &mut [u8], limits: &Limits) -> Echoes {
    echo_whole(bytes, limits, u32::MAX)
}

/// The same for so many messages at the most.
#[inline]
pub(super) fn echo_whole(bytes: &mut [u8], limits: &Limits, messages_max: u32) -> Echoes {
    let mut echoes = Echoes::default();
    loop {
        echo_short(bytes, limits, messages_max, &mut echoes);
        if echoes.messages >= messages_max || !echo_any(bytes, limits, &mut echoes) {
            return echoes;
        }
    }
}

/// Answers short messages that are binary or ASCII, a loop of its own because most of the load is
/// made of them.
#[inline]
fn echo_short(bytes: &mut [u8], limits: &Limits, messages_max: u32, echoes: &mut Echoes) {
    let Echoes { mut consumed, mut reply_bytes, mut messages } = *echoes;
    while let Some(&[first @ (0x81 | 0x82), second @ 0x80..=0xfd, a, b, c, d]) =
        bytes[consumed..].first_chunk()
    {
        let (from, to, length) = (consumed + 6, reply_bytes + 2, usize::from(second - 0x80));
        if bytes.len() - from < length
            || length as u64 > limits.whole_bytes_max()
            || messages >= messages_max
        {
            break;
        }
        let mask = [a, b, c, d];
        if first == 0x81 && !hides_ascii(&bytes[from..from + length], mask) {
            break;
        }
        bytes[reply_bytes..to].copy_from_slice(&[first, length as u8]);
        unmask_down(bytes, from, to, length, mask);
        (consumed, reply_bytes) = (from + length, to + length);
        messages += 1;
    }
    *echoes = Echoes { consumed, reply_bytes, messages };
}

/// Answers the next message, if it is whole.
#[inline(never)]
fn echo_any(bytes: &mut [u8], limits: &Limits, echoes: &mut Echoes) -> bool {
    let Echoes { consumed, reply_bytes, messages } = *echoes;
    let Some(frame) = whole(&bytes[consumed..], Role::Server, limits) else { return false };
    let Whole { kind, mask, start, length } = frame;
    let (from, to) = (consumed + start, reply_bytes + start - 4);
    if kind == Kind::Text && !unmask_text(&mut bytes[from..from + length], mask) {
        return false;
    }
    // The header without its mask, and without the bit that announces one.
    bytes.copy_within(consumed..from - 4, reply_bytes);
    bytes[reply_bytes + 1] &= 0x7f;
    match kind {
        Kind::Binary => unmask_down(bytes, from, to, length, mask),
        Kind::Text => bytes.copy_within(from..from + length, to),
    }
    let (consumed, reply_bytes) = (from + length, to + length);
    *echoes = Echoes { consumed, reply_bytes, messages: messages + 1 };
    true
}

/// Unmasks a text and says whether it is one. If not, it is left as it was.
fn unmask_text(bytes: &mut [u8], mask: [u8; 4]) -> bool {
    apply_mask(bytes, mask);
    let is_text = std::str::from_utf8(bytes).is_ok();
    if !is_text {
        apply_mask(bytes, mask);
    }
    is_text
}

/// Hands on the whole messages at the start of a server's stream, and says how many bytes they
/// were. Stops at whatever else there is, as [`echo_in_place`] does, and is to be called between
/// two messages only.
#[inline]
pub fn read_whole(bytes: &[u8], limits: &Limits, mut sink: impl FnMut(Kind, &[u8])) -> usize {
    let mut consumed = 0;
    while let Some(frame) = short(&bytes[consumed..], limits)
        .or_else(|| whole(&bytes[consumed..], Role::Client, limits))
    {
        let start = consumed + frame.start;
        let payload = &bytes[start..start + frame.length];
        if frame.kind == Kind::Text && std::str::from_utf8(payload).is_err() {
            break;
        }
        sink(frame.kind, payload);
        consumed = start + frame.length;
    }
    consumed
}

//! Naive parsers that share no code with the ones they judge: they want everything at once, copy as
//! they please, and follow the text of the RFCs.

pub(crate) mod http;

use crate::support::Seen;
use flate2::{Decompress, FlushDecompress, Status};
use wire::ws::{Agreed, Close, Kind, Limits, Role, Window, WsError};

/// Inflates one message (RFC 7692 7.2.2) with `stream`, up to `most` bytes and one more.
fn inflated(stream: &mut Decompress, payload: &[u8], most: usize) -> Option<Vec<u8>> {
    let input = [payload, &[0, 0, 0xff, 0xff]].concat();
    let (mut message, mut at, mut out) = (Vec::new(), 0, vec![0; 1 << 16]);
    loop {
        let (read, written) = (stream.total_in(), stream.total_out());
        let status = stream.decompress(&input[at..], &mut out, FlushDecompress::Sync).ok()?;
        let (read, written) = (stream.total_in() - read, stream.total_out() - written);
        at += read as usize;
        message.extend_from_slice(&out[..written as usize]);
        if message.len() > most {
            return Some(message);
        }
        match status {
            // A final block ends the stream, not the message.
            Status::StreamEnd => stream.reset(false),
            _ if at == input.len() && (written as usize) < out.len() => return Some(message),
            _ if read == 0 && written == 0 => return None,
            _ => {}
        }
    }
}

/// A message that is open.
struct Open {
    kind: Kind,
    compressed: bool,
    fragments: u32,
    announced: u64,
    payload: Vec<u8>,
}

/// All that is in a stream. Of compressed messages only those that are complete are judged: where
/// in the middle a bad one is found depends on the inflater.
pub(crate) fn frames(
    role: Role,
    deflate: Option<Agreed>,
    limits: &Limits,
    mut rest: &[u8],
) -> Vec<Seen> {
    let window = deflate.map(|agreed| match role {
        Role::Client => agreed.server,
        Role::Server => agreed.client,
    });
    let mut inflater = Decompress::new_with_window_bits(false, 15);
    let (mut seen, mut open) = (Vec::new(), None);
    let error = loop {
        match frame(role, window, limits, &mut rest, &mut open, &mut inflater, &mut seen) {
            Ok(true) => {}
            Ok(false) => break None,
            Err(error) => break Some(error),
        }
    };
    if let Some(Open { kind, compressed: false, mut payload, .. }) = open {
        if let (Kind::Text, Err(error)) = (kind, std::str::from_utf8(&payload)) {
            payload.truncate(error.valid_up_to());
        }
        seen.push(Seen::Message { kind, bytes: payload, complete: false });
    }
    seen.extend(error.map(Seen::Error));
    seen
}

/// Takes one frame off the stream. Says whether another one may follow.
fn frame(
    role: Role,
    window: Option<Window>,
    limits: &Limits,
    rest: &mut &[u8],
    open: &mut Option<Open>,
    inflater: &mut Decompress,
    seen: &mut Vec<Seen>,
) -> Result<bool, WsError> {
    let &[first, second, ..] = *rest else { return Ok(false) };
    let (fin, rsv1, opcode) = (first >= 0x80, first & 0x40 != 0, first & 0x0f);
    if !matches!(opcode, 0..=2 | 8..=10) {
        return Err(WsError::ReservedOpcode(opcode));
    }
    if first & 0x30 != 0 || (rsv1 && !(window.is_some() && matches!(opcode, 1 | 2))) {
        return Err(WsError::ReservedBits);
    }
    match (role, second >= 0x80) {
        (Role::Client, true) => return Err(WsError::MaskUnexpected),
        (Role::Server, false) => return Err(WsError::MaskMissing),
        _ => {}
    }
    let short = u64::from(second & 0x7f);
    if opcode >= 8 && !fin {
        return Err(WsError::ControlFragmented);
    }
    if opcode >= 8 && short > 125 {
        return Err(WsError::ControlTooLong);
    }
    let (extended, least) = match short {
        126 => (2, 126),
        127 => (8, 65_536),
        _ => (0, 0),
    };
    let Some(digits) = rest.get(2..2 + extended) else { return Ok(false) };
    let long = digits.iter().fold(0u64, |length, byte| length << 8 | u64::from(*byte));
    let length = if extended > 0 { long } else { short };
    if length >= 1 << 63 {
        return Err(WsError::LengthTopBit);
    }
    if length < least {
        return Err(WsError::LengthNotShortest);
    }
    let mut start = 2 + extended;
    let mut key = [0; 4];
    if role == Role::Server {
        let Some(bytes) = rest.get(start..start + 4) else { return Ok(false) };
        key.copy_from_slice(bytes);
        start += 4;
    }
    let here = rest[start..].len().min(usize::try_from(length).unwrap_or(usize::MAX));
    let payload = &rest[start..start + here];
    let payload: Vec<u8> = payload.iter().zip(key.iter().cycle()).map(|(a, b)| a ^ b).collect();
    let whole = here as u64 == length;
    *rest = &rest[start + here..];
    if opcode >= 8 {
        return if whole { control(opcode, payload, seen) } else { Ok(false) };
    }
    match (opcode, &open) {
        (0, None) => return Err(WsError::ContinuationUnexpected),
        (1 | 2, Some(_)) => return Err(WsError::MessageInterrupted),
        _ => {}
    }
    let kind = if opcode == 1 { Kind::Text } else { Kind::Binary };
    let fresh = Open { kind, compressed: rsv1, fragments: 0, announced: 0, payload: Vec::new() };
    let mut message = open.take().unwrap_or(fresh);
    // The message is open from here on only if its first frame is let through.
    let is_first = message.fragments == 0;
    message.fragments += 1;
    message.announced = message.announced.saturating_add(length);
    let error = if message.fragments > limits.fragments_max && !is_first {
        Some(WsError::TooManyFragments)
    } else if length > limits.frame_bytes_max {
        Some(WsError::FrameTooBig(length))
    } else if !message.compressed && message.announced > limits.message_bytes_max {
        Some(WsError::MessageTooBig)
    } else {
        None
    };
    if let Some(error) = error {
        *open = Some(message).filter(|_| !is_first);
        return Err(error);
    }
    message.payload.extend(payload);
    let complete = whole && fin;
    if !message.compressed
        && message.kind == Kind::Text
        && let Err(error) = std::str::from_utf8(&message.payload)
        && (error.error_len().is_some() || complete)
    {
        *open = Some(message);
        return Err(WsError::TextNotUtf8);
    }
    if !complete {
        *open = Some(message);
        return Ok(whole);
    }
    let Open { kind, compressed, mut payload, .. } = message;
    if compressed {
        let most = usize::try_from(limits.message_bytes_max).unwrap_or(usize::MAX);
        payload = inflated(inflater, &payload, most).ok_or(WsError::DeflateInvalid)?;
        if payload.len() > most {
            return Err(WsError::MessageTooBig);
        }
        if kind == Kind::Text && std::str::from_utf8(&payload).is_err() {
            return Err(WsError::TextNotUtf8);
        }
        if window.is_some_and(|window| !window.takeover) {
            inflater.reset(false);
        }
    }
    seen.push(Seen::whole(kind, &payload));
    Ok(true)
}

fn control(opcode: u8, payload: Vec<u8>, seen: &mut Vec<Seen>) -> Result<bool, WsError> {
    match opcode {
        9 => seen.push(Seen::Ping(payload)),
        10 => seen.push(Seen::Pong(payload)),
        _ => {
            let Close { code, reason } = Close::decode(&payload)?;
            seen.push(Seen::Close(code.map(|code| code.0), reason.to_owned()));
            return Ok(false);
        }
    }
    Ok(true)
}

/// A header's list of extensions (RFC 6455 9.1): each one's name, and its parameters with the value
/// that they have, quotes and escapes taken off. `None` where the grammar is broken.
pub(crate) type Extension = (String, Vec<(String, Option<String>)>);

/// Reads the `Sec-WebSocket-Extensions` lines of a head: several are one list, which has an
/// element.
pub(crate) fn extensions(lines: &[&str]) -> Option<Vec<Extension>> {
    let elements = lines.iter().map(|line| split(line, ',')).collect::<Option<Vec<_>>>()?.concat();
    let elements = elements.iter().map(|element| blank_trimmed(element)).filter(|e| !e.is_empty());
    let list: Vec<Extension> = elements
        .map(|element| {
            let mut parts = split(element, ';')?.into_iter();
            let name = token(blank_trimmed(&parts.next()?))?;
            let parameters = parts.map(|part| parameter(&part)).collect::<Option<_>>()?;
            Some((name, parameters))
        })
        .collect::<Option<_>>()?;
    (lines.is_empty() || !list.is_empty()).then_some(list)
}

fn parameter(text: &str) -> Option<(String, Option<String>)> {
    let Some((name, value)) = text.split_once('=') else {
        return Some((token(blank_trimmed(text))?, None));
    };
    let value = blank_trimmed(value);
    let value = match value.strip_prefix('"') {
        None => token(value)?,
        Some(quoted) => {
            let (mut plain, mut characters) = (String::new(), quoted.chars());
            loop {
                match characters.next()? {
                    '"' => break,
                    '\\' => plain.push(characters.next()?),
                    character => plain.push(character),
                }
            }
            if characters.next().is_some() {
                return None;
            }
            token(&plain)?
        }
    };
    Some((token(blank_trimmed(name))?, Some(value)))
}

/// Splits at a character that is not within quotes; `None` if a quote stays open.
fn split(text: &str, at: char) -> Option<Vec<String>> {
    let (mut parts, mut quoted, mut escaped) = (vec![String::new()], false, false);
    for character in text.chars() {
        if character == at && !quoted {
            parts.push(String::new());
            continue;
        }
        (quoted, escaped) = match (quoted, escaped, character) {
            (false, _, '"') => (true, false),
            (true, false, '"') => (false, false),
            (true, false, '\\') => (true, true),
            (quoted, _, _) => (quoted, false),
        };
        parts.last_mut()?.push(character);
    }
    (!quoted).then_some(parts)
}

fn blank_trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// A token (RFC 9110 5.6.2).
fn token(text: &str) -> Option<String> {
    let is_token = |c: char| c.is_ascii_graphic() && !"\"(),/:;<=>?@[\\]{}".contains(c);
    (!text.is_empty() && text.chars().all(is_token)).then(|| text.to_owned())
}

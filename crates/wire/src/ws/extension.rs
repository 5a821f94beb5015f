//! The negotiation of permessage-deflate (RFC 7692 7.1), as data, over the grammar of extension
//! lists (RFC 6455 9.1).

use crate::http::fields::is_token;
use std::fmt::Write as _;

const NAME: &str = "permessage-deflate";

/// One direction's window.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Window {
    /// The base-2 logarithm of the window's size in bytes: 8 to 15.
    pub bits: u8,
    /// Whether a message may refer to the ones before it. If so the stream is dedicated to the
    /// connection for life, else it is borrowed for a message.
    pub takeover: bool,
}

/// What both ends agreed upon.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Agreed {
    /// The window of what the server sends.
    pub server: Window,
    /// The window of what the client sends.
    pub client: Window,
}

/// What an end is ready for, and asks for. The default is what costs an idle connection nothing: no
/// window outlives its message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DeflatePolicy {
    /// Whether windows may be dedicated to a connection, in both directions.
    pub takeover: bool,
    /// The largest window for what the server sends: 9 to 15.
    pub server_bits: u8,
    /// The largest window for what the client sends: 9 to 15.
    pub client_bits: u8,
}

impl Default for DeflatePolicy {
    fn default() -> Self {
        Self { takeover: false, server_bits: 15, client_bits: 15 }
    }
}

/// A header that does not follow the grammar: the handshake must fail (RFC 6455 9.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Malformed;

/// A server's answer to an offer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Answer {
    /// What is agreed upon.
    pub agreed: Agreed,
    /// The value of the reply's `Sec-WebSocket-Extensions`.
    pub header: String,
}

/// Chooses the first acceptable offer of a client's `Sec-WebSocket-Extensions` lines; `None` if
/// there is none, or without a policy. Offers that break a rule of RFC 7692 7.1 are declined. So
/// are those that want a window of 256 bytes from us: zlib cannot keep to that, and to answer a
/// decompression bomb by messages that are not compressed would be to pay for it.
///
/// # Errors
/// [`Malformed`], even where every offer would be declined.
pub(super) fn answer<'a>(
    lines: impl Iterator<Item = &'a [u8]>,
    policy: Option<&DeflatePolicy>,
) -> Result<Option<Answer>, Malformed> {
    let mut chosen = None;
    parse(lines, |extension| {
        if let (None, Some(policy)) = (&chosen, policy)
            && extension.name == NAME.as_bytes()
            && extension.valid
            && extension.server_bits != Some(8)
        {
            chosen = Some(accept(&extension, policy));
        }
    })?;
    Ok(chosen)
}

/// What is answered to an offer that can be met.
fn accept(offer: &Extension<'_>, policy: &DeflatePolicy) -> Answer {
    let server = Window {
        bits: offer.server_bits.unwrap_or(15).min(policy.server_bits),
        takeover: policy.takeover && !offer.server_no_takeover,
    };
    // Only a client that says it knows the parameter may be told to use a smaller window.
    let limit = if offer.client_bits.is_some() { policy.client_bits } else { 15 };
    let client = Window {
        bits: offer.client_bits.flatten().unwrap_or(15).min(limit),
        takeover: policy.takeover && !offer.client_no_takeover,
    };
    let mut header = NAME.to_owned();
    if !server.takeover {
        header.push_str("; server_no_context_takeover");
    }
    if !client.takeover {
        header.push_str("; client_no_context_takeover");
    }
    // Writing to a string cannot fail.
    if server.bits < 15 || offer.server_bits.is_some() {
        let _ = write!(header, "; server_max_window_bits={}", server.bits);
    }
    if client.bits < 15 || offer.client_bits.flatten().is_some() {
        let _ = write!(header, "; client_max_window_bits={}", client.bits);
    }
    Answer { agreed: Agreed { server, client }, header }
}

/// The value of a client's `Sec-WebSocket-Extensions`. Who wants no dedicated windows asks for that
/// first, and takes a server that will not do without as a fallback (RFC 7692 5.2): such servers
/// are to be met too.
#[must_use]
pub(super) fn offer(policy: &DeflatePolicy) -> String {
    let mut windows = String::new();
    // Writing to a string cannot fail.
    if policy.server_bits < 15 {
        let _ = write!(windows, "; server_max_window_bits={}", policy.server_bits);
    }
    windows.push_str("; client_max_window_bits");
    if policy.client_bits < 15 {
        let _ = write!(windows, "={}", policy.client_bits);
    }
    let any = format!("{NAME}{windows}");
    if policy.takeover {
        return any;
    }
    format!("{NAME}; server_no_context_takeover; client_no_context_takeover{windows}, {any}")
}

/// Why a server's `Sec-WebSocket-Extensions` is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refused {
    /// It names an extension that was not offered.
    Unasked,
    /// It does not follow the grammar, or answers [`offer`] in a way that RFC 7692 7.1 forbids.
    Wrong,
}

/// Reads a server's answer to [`offer`]; without a policy nothing was offered.
///
/// # Errors
/// [`Refused`]: the client must fail the connection.
pub(super) fn check<'a>(
    lines: impl Iterator<Item = &'a [u8]>,
    policy: Option<&DeflatePolicy>,
) -> Result<Option<Agreed>, Refused> {
    let (mut agreed, mut refused) = (None, None);
    parse(lines, |extension| {
        let verdict = match policy {
            Some(policy) if extension.name == NAME.as_bytes() => meets(&extension, policy),
            _ => Err(Refused::Unasked),
        };
        match verdict {
            Ok(window) if agreed.is_none() => agreed = Some(window),
            // The same extension twice.
            Ok(_) => refused = refused.or(Some(Refused::Wrong)),
            Err(reason) => refused = refused.or(Some(reason)),
        }
    })
    .map_err(|Malformed| Refused::Wrong)?;
    refused.map_or(Ok(agreed), Err)
}

fn meets(answer: &Extension<'_>, policy: &DeflatePolicy) -> Result<Agreed, Refused> {
    let asked_bits = (policy.server_bits < 15).then_some(policy.server_bits);
    let too_wide = asked_bits.is_some_and(|most| answer.server_bits.is_none_or(|bits| bits > most));
    // In an answer, client_max_window_bits always has a value.
    let no_value = answer.client_bits == Some(None);
    if !answer.valid || too_wide || no_value {
        return Err(Refused::Wrong);
    }
    let client_bits = answer.client_bits.flatten().unwrap_or(15).min(policy.client_bits);
    Ok(Agreed {
        server: Window {
            bits: answer.server_bits.unwrap_or(15),
            takeover: !answer.server_no_takeover,
        },
        client: Window {
            bits: client_bits,
            // We need not, whatever we offered; and the server may forbid it in any case.
            takeover: policy.takeover && !answer.client_no_takeover,
        },
    })
}

/// An extension of a list, with the parameters of permessage-deflate.
#[derive(Debug, Default)]
struct Extension<'a> {
    name: &'a [u8],
    /// Whether each parameter is one of permessage-deflate's, there once, with a value it may have.
    valid: bool,
    server_no_takeover: bool,
    client_no_takeover: bool,
    server_bits: Option<u8>,
    /// Its value may be left out in an offer.
    client_bits: Option<Option<u8>>,
}

impl Extension<'_> {
    fn set(&mut self, name: &[u8], value: Option<Value<'_>>) {
        let is_flag = value.is_none();
        let bits = value.map(|value| value.window_bits());
        self.valid &= match name {
            b"server_no_context_takeover" => {
                is_flag && !std::mem::replace(&mut self.server_no_takeover, true)
            }
            b"client_no_context_takeover" => {
                is_flag && !std::mem::replace(&mut self.client_no_takeover, true)
            }
            b"server_max_window_bits" => {
                let bits = bits.flatten();
                bits.is_some() && std::mem::replace(&mut self.server_bits, bits).is_none()
            }
            b"client_max_window_bits" => {
                bits != Some(None) && self.client_bits.replace(bits.flatten()).is_none()
            }
            _ => false,
        };
    }
}

/// A parameter's value: a token, or a quoted string that is a token once its escapes are undone.
#[derive(Clone, Copy, Debug)]
struct Value<'a> {
    raw: &'a [u8],
}

impl Value<'_> {
    /// A decimal number from 8 to 15 without leading zeros. (A backslash is in no token, so it
    /// can only be an escape here.)
    fn window_bits(self) -> Option<u8> {
        let mut digits = self.raw.iter().filter(|byte| **byte != b'\\');
        let bits = match (digits.next(), digits.next(), digits.next()) {
            (Some(digit @ b'8'..=b'9'), None, None) => digit - b'0',
            (Some(b'1'), Some(digit @ b'0'..=b'5'), None) => 10 + digit - b'0',
            _ => return None,
        };
        Some(bits)
    }
}

/// Calls `each` for every extension. Several header lines are one list (RFC 6455 9.1); one that is
/// there at all must not be empty.
fn parse<'a>(
    lines: impl Iterator<Item = &'a [u8]>,
    mut each: impl FnMut(Extension<'a>),
) -> Result<(), Malformed> {
    let (mut there, mut empty) = (false, true);
    for line in lines {
        there = true;
        parse_line(line, |extension| {
            empty = false;
            each(extension);
        })?;
    }
    if there && empty { Err(Malformed) } else { Ok(()) }
}

fn parse_line<'a>(line: &'a [u8], mut each: impl FnMut(Extension<'a>)) -> Result<(), Malformed> {
    let mut cursor = Cursor { rest: line };
    loop {
        cursor.skip_blanks();
        // Empty elements of a list are skipped (RFC 9110 5.6.1.2).
        if !cursor.rest.is_empty() && cursor.rest[0] != b',' {
            each(cursor.extension()?);
        }
        if cursor.rest.is_empty() {
            return Ok(());
        }
        if !cursor.eat(b',') {
            return Err(Malformed);
        }
    }
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn extension(&mut self) -> Result<Extension<'a>, Malformed> {
        let mut extension = Extension { name: self.token()?, valid: true, ..Extension::default() };
        self.skip_blanks();
        while self.eat(b';') {
            self.skip_blanks();
            let name = self.token()?;
            self.skip_blanks();
            let value = if self.eat(b'=') {
                self.skip_blanks();
                Some(self.value()?)
            } else {
                None
            };
            extension.set(name, value);
            self.skip_blanks();
        }
        Ok(extension)
    }

    fn value(&mut self) -> Result<Value<'a>, Malformed> {
        if !self.eat(b'"') {
            return Ok(Value { raw: self.token()? });
        }
        let mut at = 0;
        loop {
            match *self.rest.get(at..).ok_or(Malformed)? {
                [b'"', ..] if at > 0 => break,
                [b'\\', escaped, ..] if is_token(escaped) => at += 2,
                [byte, ..] if is_token(byte) => at += 1,
                _ => return Err(Malformed),
            }
        }
        let raw = &self.rest[..at];
        self.rest = &self.rest[at + 1..];
        Ok(Value { raw })
    }

    fn token(&mut self) -> Result<&'a [u8], Malformed> {
        let end = self.rest.iter().position(|byte| !is_token(*byte));
        let (token, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        if token.is_empty() { Err(Malformed) } else { Ok(token) }
    }

    fn skip_blanks(&mut self) {
        while let [b' ' | b'\t', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.rest.first() == Some(&byte);
        if found {
            self.rest = &self.rest[1..];
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAKEOVER: DeflatePolicy =
        DeflatePolicy { takeover: true, server_bits: 15, client_bits: 15 };
    const SMALL: DeflatePolicy = DeflatePolicy { takeover: true, server_bits: 12, client_bits: 11 };

    fn answered(line: &str, policy: &DeflatePolicy) -> Option<String> {
        let answer = answer([line.as_bytes()].into_iter(), Some(policy)).expect("well-formed");
        answer.map(|answer| answer.header.strip_prefix(NAME).expect("the name").to_owned())
    }

    #[test]
    fn offers_are_met_or_declined() {
        let plain = DeflatePolicy::default();
        let both = "; server_no_context_takeover; client_no_context_takeover";
        let table: &[(&str, &DeflatePolicy, Option<&str>)] = &[
            ("permessage-deflate", &plain, Some(both)),
            ("permessage-deflate", &TAKEOVER, Some("")),
            ("permessage-deflate; client_max_window_bits", &TAKEOVER, Some("")),
            ("permessage-deflate", &SMALL, Some("; server_max_window_bits=12")),
            (
                "permessage-deflate; client_max_window_bits",
                &SMALL,
                Some("; server_max_window_bits=12; client_max_window_bits=11"),
            ),
            (
                "permessage-deflate;server_max_window_bits=10;client_max_window_bits=9",
                &SMALL,
                Some("; server_max_window_bits=10; client_max_window_bits=9"),
            ),
            (
                "permessage-deflate; server_max_window_bits=\"1\\0\"",
                &TAKEOVER,
                Some("; server_max_window_bits=10"),
            ),
            // What we could not compress for is declined; the next offer can be met.
            ("permessage-deflate; server_max_window_bits=8", &TAKEOVER, None),
            (
                "permessage-deflate; server_max_window_bits=8, permessage-deflate",
                &TAKEOVER,
                Some(""),
            ),
            (
                "permessage-deflate; client_max_window_bits=8",
                &TAKEOVER,
                Some("; client_max_window_bits=8"),
            ),
            (
                "permessage-deflate; server_no_context_takeover",
                &TAKEOVER,
                Some("; server_no_context_takeover"),
            ),
            (
                "permessage-deflate; client_no_context_takeover",
                &TAKEOVER,
                Some("; client_no_context_takeover"),
            ),
            // The first that can be met, of several.
            (
                "x-other; a=b, permessage-deflate; server_max_window_bits=7, ,permessage-deflate;\
                 server_max_window_bits=11, permessage-deflate",
                &TAKEOVER,
                Some("; server_max_window_bits=11"),
            ),
            ("permessage-bzip2, x-webkit-deflate-frame", &TAKEOVER, None),
            ("permessage-deflate; unknown", &TAKEOVER, None),
            ("permessage-deflate; server_no_context_takeover=1", &TAKEOVER, None),
            ("permessage-deflate; client_no_context_takeover=\"true\"", &TAKEOVER, None),
            ("permessage-deflate; server_max_window_bits", &TAKEOVER, None),
            ("permessage-deflate; server_max_window_bits=16", &TAKEOVER, None),
            ("permessage-deflate; server_max_window_bits=09", &TAKEOVER, None),
            ("permessage-deflate; client_max_window_bits=7", &TAKEOVER, None),
            ("permessage-deflate; client_max_window_bits=100", &TAKEOVER, None),
            (
                "permessage-deflate; client_max_window_bits; client_max_window_bits=10",
                &TAKEOVER,
                None,
            ),
            (
                "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
                &TAKEOVER,
                None,
            ),
        ];
        for (line, policy, expected) in table {
            assert_eq!(answered(line, policy).as_deref(), *expected, "{line}");
        }
        let line = &b"permessage-deflate"[..];
        assert_eq!(answer([line].into_iter(), None), Ok(None));
    }

    #[test]
    fn several_lines_are_one_list() {
        let lines: [&[u8]; 4] = [b"", b"x-other", b"permessage-deflate; unknown,", b""];
        let chosen = |lines: &[&'static [u8]]| answer(lines.iter().copied(), Some(&TAKEOVER));
        assert_eq!(chosen(&lines), Ok(None));
        let all = [&lines[..], &[b"permessage-deflate", b","]].concat();
        assert_eq!(chosen(&all).map(|answer| answer.is_some()), Ok(true));
        assert_eq!(chosen(&[b"", b","]), Err(Malformed));
        assert_eq!(chosen(&[b"permessage-deflate", b";"]), Err(Malformed));
        assert_eq!(chosen(&[]), Ok(None));
    }

    #[test]
    fn what_breaks_the_grammar_fails() {
        for line in [
            "",
            ",",
            ";",
            "a b",
            "a;",
            "a;;b",
            "a; b=",
            "a; b=\"\"",
            "a; b=\"c",
            "a; b=\"c d\"",
            "a; =c",
            "a; b=\"\\",
            "a\u{7f}",
            "permessage-deflate, b;",
        ] {
            let policies = [None, Some(&TAKEOVER)];
            for policy in policies {
                assert_eq!(answer([line.as_bytes()].into_iter(), policy), Err(Malformed), "{line}");
            }
        }
    }

    #[test]
    fn our_server_meets_our_client_under_every_policy() {
        let policies = [false, true].into_iter().flat_map(|takeover| {
            (9..=15).flat_map(move |server_bits| {
                (9..=15).map(move |client_bits| DeflatePolicy {
                    takeover,
                    server_bits,
                    client_bits,
                })
            })
        });
        let policies: Vec<_> = policies.collect();
        for ours in &policies {
            let offered = offer(ours);
            for theirs in policies.iter().step_by(5) {
                let answer = answer([offered.as_bytes()].into_iter(), Some(theirs));
                let answer = answer.expect("well-formed").expect("acceptable");
                let agreed = check([answer.header.as_bytes()].into_iter(), Some(ours));
                assert_eq!(agreed, Ok(Some(answer.agreed)), "{offered} / {}", answer.header);
                assert!(answer.agreed.server.bits <= ours.server_bits.min(theirs.server_bits));
                assert!(answer.agreed.client.bits <= ours.client_bits.min(theirs.client_bits));
            }
        }
    }

    #[test]
    fn wrong_answers_are_refused() {
        let table: &[(&str, Option<&DeflatePolicy>, Refused)] = &[
            ("permessage-deflate", None, Refused::Unasked),
            ("x-other", Some(&TAKEOVER), Refused::Unasked),
            ("permessage-deflate, permessage-deflate", Some(&TAKEOVER), Refused::Wrong),
            ("permessage-deflate; unknown", Some(&TAKEOVER), Refused::Wrong),
            ("permessage-deflate; client_max_window_bits", Some(&TAKEOVER), Refused::Wrong),
            ("permessage-deflate; server_max_window_bits=16", Some(&TAKEOVER), Refused::Wrong),
            ("permessage-deflate", Some(&SMALL), Refused::Wrong),
            ("permessage-deflate; server_max_window_bits=13", Some(&SMALL), Refused::Wrong),
            ("permessage-deflate;", Some(&TAKEOVER), Refused::Wrong),
        ];
        for (line, policy, expected) in table {
            assert_eq!(check([line.as_bytes()].into_iter(), *policy), Err(*expected), "{line}");
        }
        assert_eq!(check(std::iter::empty(), Some(&TAKEOVER)), Ok(None));
    }

    #[test]
    fn a_server_that_keeps_its_window_takes_the_second_offer() {
        let policy = DeflatePolicy::default();
        let agreed = check([&b"permessage-deflate"[..]].into_iter(), Some(&policy));
        let (server, client) =
            (Window { bits: 15, takeover: true }, Window { bits: 15, takeover: false });
        assert_eq!(agreed, Ok(Some(Agreed { server, client })));
        let both = offer(&policy);
        let second = both.split_once(", ").map(|(_, second)| second);
        assert_eq!(second, Some("permessage-deflate; client_max_window_bits"));
    }
}

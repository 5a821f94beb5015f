//! The grammar of header fields: lines, lists, tokens; what every reader and writer of heads
//! shares.

use crate::limits::HTTP_HEADERS_MAX;
use std::mem::MaybeUninit;

/// The header lines of one name, in any case.
pub(crate) fn lines<'a>(
    headers: &'a [httparse::Header<'a>],
    name: &'static str,
) -> impl Iterator<Item = &'a [u8]> + Clone {
    headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|h| h.value)
}

/// The elements of comma-separated lists over several lines. Empty ones are left out.
pub(crate) fn elements<'a>(
    lines: impl Iterator<Item = &'a [u8]> + Clone,
) -> impl Iterator<Item = &'a [u8]> + Clone {
    lines
        .flat_map(|line| line.split(|byte| *byte == b','))
        .map(|element| element.trim_ascii())
        .filter(|element| !element.is_empty())
}

/// Whether a list has this element, in any case.
pub(crate) fn has_element<'a>(
    lines: impl Iterator<Item = &'a [u8]> + Clone,
    element: &str,
) -> bool {
    elements(lines).any(|found| found.eq_ignore_ascii_case(element.as_bytes()))
}

/// Whether this is a token (RFC 9110 5.6.2).
#[must_use]
pub fn is_token_text(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| is_token(*byte))
}

/// The value of a header that is there exactly once.
pub(crate) fn one<'a>(headers: &'a [httparse::Header<'a>], name: &'static str) -> Option<&'a [u8]> {
    let mut lines = lines(headers, name);
    lines.next().filter(|_| lines.next().is_none())
}

/// Whether the byte may be in a token (RFC 9110 5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// How the lines of a head end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Lines {
    /// With CR LF, and no line feed stands elsewhere.
    Strict,
    /// The same, and some header goes on over the next line (RFC 9112 5.2).
    Folded,
    /// With a bare line feed. (The parser would let those pass; who lets them pass disagrees with
    /// others about where a message ends. Bare carriage returns it refuses.)
    Bare,
}

impl Lines {
    #[inline]
    pub(crate) fn of(head: &[u8]) -> Self {
        let (mut lines, mut first) = (Self::Strict, true);
        for feed in memchr::memchr_iter(b'\n', head) {
            if feed == 0 || head[feed - 1] != b'\r' {
                return Self::Bare;
            }
            // Behind the first line there is no header yet that could go on (RFC 9112 2.2).
            if !first && matches!(head.get(feed + 1), Some(b' ' | b'\t')) {
                lines = Self::Folded;
            }
            first = false;
        }
        lines
    }
}

/// Whether every line ends with CR LF, and no header goes on over the next one.
#[inline]
pub(crate) fn has_strict_lines(head: &[u8]) -> bool {
    Lines::of(head) == Lines::Strict
}

/// The same head with each fold taken as blanks, as a user agent has to (RFC 9112 5.2). It is as
/// long as before, so that places in it are the same.
#[cold]
pub(crate) fn unfold(head: &[u8]) -> Vec<u8> {
    let mut plain = head.to_vec();
    for feed in memchr::memchr_iter(b'\n', head).skip(1) {
        if feed > 0 && matches!(head.get(feed + 1), Some(b' ' | b'\t')) {
            plain[feed - 1..=feed].fill(b' ');
        }
    }
    plain
}

/// Whether a field goes on over the next line that says where the message ends. A server may refuse
/// folds (RFC 9112 5.2), and does so with these: whoever stands before it may read them in another
/// way, and a request may hide in that.
#[cold]
pub(crate) fn folds_framing(head: &[u8]) -> bool {
    // The first line is no field.
    let mut field = memchr::memchr(b'\n', head).map_or(head.len(), |feed| feed + 1);
    for feed in memchr::memchr_iter(b'\n', head).skip(1) {
        if matches!(head.get(feed + 1), Some(b' ' | b'\t')) {
            let name = head[field..feed].split(|byte| *byte == b':').next().unwrap_or_default();
            let is = |known: &str| name.trim_ascii().eq_ignore_ascii_case(known.as_bytes());
            if is("Content-Length") || is("Transfer-Encoding") {
                return true;
            }
        } else {
            field = feed + 1;
        }
    }
    false
}

/// Gives `then` room for so many headers: on the stack for as many as there mostly are.
#[inline]
pub(crate) fn with_room<'a, R>(
    headers: usize,
    then: impl FnOnce(&mut [MaybeUninit<httparse::Header<'a>>]) -> R,
) -> R {
    if headers <= HTTP_HEADERS_MAX {
        let mut room = [const { MaybeUninit::uninit() }; HTTP_HEADERS_MAX];
        then(&mut room[..headers])
    } else {
        let mut room: Vec<_> = (0..headers).map(|_| MaybeUninit::uninit()).collect();
        then(&mut room)
    }
}

/// Whether this can be the value of `Host` (RFC 9112 3.2): a host that is not empty, in brackets if
/// it has colons of its own, and perhaps a port, which is digits.
pub(crate) fn is_authority(authority: &[u8]) -> bool {
    let (host, port) = match authority.strip_prefix(b"[") {
        Some(rest) => rest.split_at(memchr::memchr(b']', rest).unwrap_or(rest.len())),
        None => authority.split_at(memchr::memchr(b':', authority).unwrap_or(authority.len())),
    };
    let port = if authority.starts_with(b"[") { port.strip_prefix(b"]") } else { Some(port) };
    let is_port = match port {
        Some([]) => true,
        Some([b':', digits @ ..]) => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    let odd = |byte: &u8| !byte.is_ascii_graphic() || b",/@?#\\\"<>[]".contains(byte);
    is_port && !host.is_empty() && !host.iter().any(odd)
}

/// Whether this can be sent as the value of a header: visible ASCII, no blanks around it.
pub(crate) fn is_value_text(value: &str) -> bool {
    value.trim_matches([' ', '\t']) == value
        && value.bytes().all(|byte| byte.is_ascii_graphic() || b" \t".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_go_over_lines() {
        let lines: [&[u8]; 3] = [b"keep-alive ,  UPGRADE", b"", b",x,"];
        let found: Vec<_> = elements(lines.into_iter()).collect();
        assert_eq!(found, [&b"keep-alive"[..], b"UPGRADE", b"x"]);
        assert!(has_element(lines.into_iter(), "upgrade"));
        assert!(!has_element(lines.into_iter(), "up"));
    }

    #[test]
    fn an_authority_is_a_host_and_a_port() {
        for good in ["a", "a.example", "127.0.0.1:80", "a:", "[::1]", "[::1]:9000", "[fe80::1%lo]"]
        {
            assert!(is_authority(good.as_bytes()), "{good}");
        }
        for bad in [
            "", ":80", "a:b", "a:80:80", "a:8o", "a:-1", "::1", "[]", "[::1", "[::1]80", "::1]",
            "[[::1]]", "a b", "u@a", "a/b", "a,b", "a?", "a#", "[::1]:x",
        ] {
            assert!(!is_authority(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn a_bare_line_feed_is_seen() {
        assert_eq!(Lines::of(b"a\r\nb\r\n\r\n"), Lines::Strict);
        for bare in [&b"\n"[..], b"a\nb\r\n\r\n", b"a\r\nb\r\n\n", b"a\r\nb\r\n c\n\r\n"] {
            assert_eq!(Lines::of(bare), Lines::Bare, "{}", bare.escape_ascii());
        }
    }

    #[test]
    fn folds_are_blanks_but_for_one_behind_the_first_line() {
        for (folded, plain) in [
            (&b"a\r\nb: c\r\n d\r\n\r\n"[..], &b"a\r\nb: c   d\r\n\r\n"[..]),
            (b"a\r\nb:\r\n\tc\r\n \r\n d\r\n\r\n", b"a\r\nb:  \tc      d\r\n\r\n"),
        ] {
            assert_eq!(Lines::of(folded), Lines::Folded);
            assert_eq!(unfold(folded), plain);
            assert!(!folds_framing(folded));
            assert_eq!(Lines::of(plain), Lines::Strict);
        }
        assert_eq!(Lines::of(b"a\r\n b: c\r\n\r\n"), Lines::Strict);
        let first = b"a\r\n b: c\r\n\r\n";
        assert_eq!(unfold(first), first);
        for framing in [
            &b"a\r\ntransfer-encoding:\r\n chunked\r\n\r\n"[..],
            b"a\r\nX: y\r\nContent-Length: 5\r\n\t0\r\n\r\n",
            b"a\r\nContent-Length: 5\r\n 0\r\n 1\r\n\r\n",
        ] {
            assert!(folds_framing(framing), "{}", framing.escape_ascii());
        }
    }
}

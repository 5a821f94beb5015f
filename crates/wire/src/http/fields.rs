//! The grammar of header fields: lines, lists, tokens; what every reader and writer of heads shares.

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

/// Every line ends with CR LF, and no line feed stands elsewhere. (The parser would let bare line
/// feeds pass; who lets them pass disagrees with others about where a message ends. Bare carriage
/// returns it refuses.)
#[inline]
pub(crate) fn has_strict_lines(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head).all(|feed| feed > 0 && head[feed - 1] == b'\r')
}

/// Whether this can be the value of `Host` (RFC 9112 3.2): a host that is not empty, in brackets if it
/// has colons of its own, and perhaps a port, which is digits.
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
        assert!(has_strict_lines(b"a\r\nb\r\n\r\n"));
        for bare in [&b"\n"[..], b"a\nb\r\n\r\n", b"a\r\nb\r\n\n"] {
            assert!(!has_strict_lines(bare), "{}", bare.escape_ascii());
        }
    }
}

//! HTTP/1.1 read naively: the whole stream is there, heads are split into lines and lines at their
//! colons, and nothing is remembered from one message to the next. Sizes of heads are not looked
//! at.

use crate::http_support::{Asked, BODY_MAX, Reply, Seen};
use wire::http::{
    HTTP_HEADERS_MAX, HTTP_INFORMATIONAL_MAX, HTTP_PATH_BYTES_MAX, HTTP_TARGET_BYTES_MAX, Method,
    Persistence,
};

/// Whatever rule it is that the stream breaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Broken;

/// All requests of a stream, and whether one of them broke a rule.
pub(crate) fn requests(mut rest: &[u8]) -> (Vec<Seen>, Option<Broken>) {
    let mut seen = Vec::new();
    let verdict = loop {
        match request(&mut rest, &mut seen) {
            Ok(true) => {}
            Ok(false) => break None,
            Err(broken) => break Some(broken),
        }
    };
    (seen, verdict)
}

/// Takes one request off the stream. Says whether another one may follow.
fn request(rest: &mut &[u8], seen: &mut Vec<Seen>) -> Result<bool, Broken> {
    match rest {
        // One empty line before a request is passed over (RFC 9112 2.2).
        [b'\r', b'\n', behind @ ..] => *rest = behind,
        [] | [b'\r'] => return Ok(false),
        _ => {}
    }
    must(rest.first().is_none_or(|first| is_token(&[*first])))?;
    let Some((first, headers)) = head(rest, true)? else { return Ok(false) };
    let mut words = first.split(' ');
    let words = [words.next(), words.next(), words.next(), words.next()];
    let [Some(method), Some(target), Some(version), None] = words else { return Err(Broken) };
    let minor = version.strip_prefix("HTTP/1.").unwrap_or_default();
    let is_later = minor.len() == 1 && ("1"..="9").contains(&minor);
    must(is_token(method.as_bytes()) && (is_later || version == "HTTP/1.0"))?;
    let (method, old) = (Method::named(method), !is_later);
    let (absolute, path, query) = target_parts(target, method)?;
    let all = |name: &str| values(&headers, name);
    let elements = |name: &str| elements(&all(name));
    let has = |name: &str, element: &str| elements(name).iter().any(|found| found == element);

    let hosts = all("host");
    must(hosts.len() <= 1 && hosts.iter().all(|host| is_authority(host)))?;
    must(old || hosts.len() == 1)?;
    let expects = !old && !elements("expect").is_empty();
    must(old || elements("expect").iter().all(|expectation| expectation == "100-continue"))?;
    let body = match (&all("content-length")[..], &all("transfer-encoding")[..]) {
        ([], []) => None,
        ([length], []) => Some(Framing::Sized(number(length)?)).filter(|f| *f != Framing::Sized(0)),
        ([], [_]) if !old && elements("transfer-encoding") == ["chunked"] => Some(Framing::Chunked),
        _ => return Err(Broken),
    };
    let persistence = match (old, has("connection", "close"), has("connection", "keep-alive")) {
        (_, true, _) | (true, false, false) => Persistence::Close,
        (true, false, true) => Persistence::KeepOld,
        (false, false, _) => Persistence::Keep,
    };
    let conditions = [
        "range",
        "if-range",
        "if-match",
        "if-none-match",
        "if-modified-since",
        "if-unmodified-since",
    ];
    let mut asked = Asked {
        method,
        path,
        query,
        host: absolute.or_else(|| hosts.first().cloned()).unwrap_or_default(),
        persistence,
        websocket: !old
            && method == Method::Get
            && has("upgrade", "websocket")
            && has("connection", "upgrade"),
        conditional: conditions.iter().any(|name| !all(name).is_empty()),
        body_bytes: 0,
    };
    if let Some(framing) = body {
        must(!matches!(framing, Framing::Sized(length) if length > u128::from(BODY_MAX)))?;
        if expects {
            seen.push(Seen::Continue);
        }
        let mut bytes = Vec::new();
        if !take_body(framing, u128::from(BODY_MAX), rest, &mut bytes)? {
            return Ok(false);
        }
        asked.body_bytes = bytes.len() as u64;
    }
    seen.push(Seen::Request(asked));
    Ok(persistence != Persistence::Close)
}

/// The host that an absolute target names, and the target's path and query (RFC 9112 3.2).
fn target_parts(target: &str, method: Method) -> Result<(Option<String>, String, String), Broken> {
    let is_plain = target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    must(is_plain && target.len() <= HTTP_TARGET_BYTES_MAX)?;
    let (host, local) = if target.starts_with('/') {
        (None, target)
    } else if method == Method::Connect && is_authority(target)
        || method == Method::Options && target == "*"
    {
        (None, "")
    } else {
        let (scheme, behind) = target.split_once("://").ok_or(Broken)?;
        must(["http", "ws"].contains(&&*scheme.to_ascii_lowercase()))?;
        let end = behind.find(['/', '?']).unwrap_or(behind.len());
        must(is_authority(&behind[..end]))?;
        (Some(behind[..end].to_owned()), &behind[end..])
    };
    let (path, query) = local.split_once('?').unwrap_or((local, ""));
    let path = if path.is_empty() && host.is_some() { "/" } else { path };
    Ok((host, path.to_owned(), query.to_owned()))
}

/// All replies of a stream at whose end the connection ends, and whether one of them broke a rule.
pub(crate) fn replies(method: Method, mut rest: &[u8]) -> (Vec<Reply>, Option<Broken>) {
    let (mut seen, mut interim) = (Vec::new(), 0);
    let verdict = loop {
        match reply(method, &mut rest, &mut interim, &mut seen) {
            Ok(true) => {}
            Ok(false) => break None,
            Err(broken) => break Some(broken),
        }
    };
    (seen, verdict)
}

/// Takes one reply off the stream. Says whether another one may follow.
fn reply(
    method: Method,
    rest: &mut &[u8],
    interim: &mut u8,
    seen: &mut Vec<Reply>,
) -> Result<bool, Broken> {
    let Some(first) = rest.first() else { return must(*interim == 0).map(|()| false) };
    must(first.is_ascii_uppercase())?;
    // The end within a head is one, too.
    let (first, headers) = head(rest, false)?.ok_or(Broken)?;
    let version = first.strip_prefix("HTTP/1.").ok_or(Broken)?;
    let (minor, behind) = version.split_once(' ').ok_or(Broken)?;
    must(minor.len() == 1 && minor.bytes().all(|digit| digit.is_ascii_digit()))?;
    let old = minor == "0";
    let (code, reason) = behind.split_once(' ').unwrap_or((behind, ""));
    must(code.len() == 3 && code.bytes().all(|digit| digit.is_ascii_digit()))?;
    must(reason.chars().all(is_text))?;
    let status: u16 = code.parse().map_err(|_| Broken)?;
    must(status >= 100)?;
    let connection = elements(&values(&headers, "connection"));
    let says = |option: &str| connection.iter().any(|found| found == option);
    let length = match &values(&headers, "content-length")[..] {
        [] => None,
        [length] => Some(number(length)?),
        _ => return Err(Broken),
    };
    let chunked = match &values(&headers, "transfer-encoding")[..] {
        [] => false,
        [coding] if !old && length.is_none() && coding.eq_ignore_ascii_case("chunked") => true,
        _ => return Err(Broken),
    };
    if status < 200 {
        *interim += 1;
        return must(status != 101 && *interim <= HTTP_INFORMATIONAL_MAX).map(|()| true);
    }
    *interim = 0;
    let framing = match length {
        _ if method == Method::Head || status == 204 || status == 304 => Some(Framing::Sized(0)),
        _ if chunked => Some(Framing::Chunked),
        Some(length) => Some(Framing::Sized(length)),
        None => None,
    };
    let mut body = Vec::new();
    let complete = match framing {
        Some(framing) => take_body(framing, u128::from(u64::MAX), rest, &mut body),
        None => {
            body = std::mem::take(rest).to_vec();
            Ok(true)
        }
    };
    let Ok(true) = complete else {
        seen.push(Reply::Cut { status, body });
        return Err(Broken);
    };
    let keeps = framing.is_some() && !says("close") && (!old || says("keep-alive"));
    let length = length.map(|length| length as u64);
    seen.push(Reply::Whole { status, length, keeps, body });
    Ok(keeps)
}

/// A head: its first line, and its headers with their names in lower case.
type Head = (String, Vec<(String, String)>);

/// Takes a head off the stream; `None` if its end is not there. Folds are blanks (RFC 9112 5.2),
/// but what says where the body ends may not be folded where that is asked for.
fn head(rest: &mut &[u8], framing_in_one_line: bool) -> Result<Option<Head>, Broken> {
    // Each byte as the character of its number, so that nothing is lost.
    let text: String = rest.iter().map(|byte| char::from(*byte)).collect();
    let ends = ["\n\r\n", "\n\n"].map(|end| text.find(end).map(|at| (at, at + end.len())));
    // The end that begins first.
    let Some((_, end)) = ends.into_iter().flatten().min() else { return Ok(None) };
    let whole = &text[..end];
    *rest = &rest[whole.chars().count()..];
    must(whole.ends_with("\r\n\r\n") && !whole.replace("\r\n", "").contains(['\r', '\n']))?;
    let mut lines = whole[..whole.len() - 4].split("\r\n");
    let first = lines.next().unwrap_or_default().to_owned();
    let mut fields: Vec<String> = Vec::new();
    for line in lines {
        match fields.last_mut() {
            Some(field) if line.starts_with([' ', '\t']) => {
                let name = field.split(':').next().unwrap_or_default().trim();
                let frames =
                    ["content-length", "transfer-encoding"].contains(&&*name.to_ascii_lowercase());
                must(!(frames && framing_in_one_line))?;
                field.push_str("  ");
                field.push_str(line);
            }
            _ => fields.push(line.to_owned()),
        }
    }
    must(fields.len() <= HTTP_HEADERS_MAX)?;
    let fields = fields.iter().map(|field| {
        let (name, value) = field.split_once(':').ok_or(Broken)?;
        must(is_token(name.as_bytes()) && value.chars().all(is_text))?;
        Ok((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
    });
    Ok(Some((first, fields.collect::<Result<_, _>>()?)))
}

/// The values of all lines of this name.
fn values(headers: &[(String, String)], name: &str) -> Vec<String> {
    let named = headers.iter().filter(|(found, _)| found == name);
    named.map(|(_, value)| value.clone()).collect()
}

/// What several lists name, in lower case.
fn elements(lists: &[String]) -> Vec<String> {
    let all = lists.iter().flat_map(|list| list.split(','));
    let all = all.map(|one| one.trim_matches([' ', '\t']));
    all.filter(|one| !one.is_empty()).map(str::to_ascii_lowercase).collect()
}

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Framing {
    Chunked,
    Sized(u128),
}

/// Takes a body off the stream. Says whether it is complete; what there is of it is in `body`.
fn take_body(
    framing: Framing,
    max: u128,
    rest: &mut &[u8],
    body: &mut Vec<u8>,
) -> Result<bool, Broken> {
    if let Framing::Sized(length) = framing {
        must(length <= max)?;
        return Ok(take(length, rest, body));
    }
    loop {
        let Some(size) = chunk_size(rest)? else { return Ok(false) };
        must(body.len() as u128 + size <= max)?;
        if size == 0 {
            break;
        }
        if !take(size, rest, body) || !line_end(rest)? {
            return Ok(false);
        }
    }
    // Trailers, up to an empty line.
    loop {
        if rest.is_empty() {
            return Ok(false);
        }
        if rest[0] == b'\r' {
            return line_end(rest);
        }
        let name = rest.iter().take_while(|byte| is_token(&[**byte])).count();
        *rest = &rest[name..];
        match rest {
            [] => return Ok(false),
            [b':', behind @ ..] if name > 0 => *rest = behind,
            _ => return Err(Broken),
        }
        pass_text(rest);
        if !line_end(rest)? {
            return Ok(false);
        }
    }
}

/// Takes so many bytes off the stream, or as many as there are. Says whether that is all.
fn take(length: u128, rest: &mut &[u8], body: &mut Vec<u8>) -> bool {
    let here = usize::try_from(length).unwrap_or(usize::MAX).min(rest.len());
    body.extend_from_slice(&rest[..here]);
    *rest = &rest[here..];
    here as u128 == length
}

/// Takes the line of a chunk's size off the stream; `None` if it is not all there.
fn chunk_size(rest: &mut &[u8]) -> Result<Option<u128>, Broken> {
    let digits = rest.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (number, behind) = rest.split_at(digits);
    let number: String = number.iter().map(|digit| char::from(*digit)).collect();
    let number = number.trim_start_matches('0');
    must(number.len() <= 16 && (digits > 0 || behind.is_empty()))?;
    let blanks = behind.iter().take_while(|byte| b" \t".contains(byte)).count();
    *rest = &behind[blanks..];
    match rest {
        [] => return Ok(None),
        [b';', extension @ ..] => {
            *rest = extension;
            pass_text(rest);
        }
        _ => must(blanks == 0)?,
    }
    let size = u128::from_str_radix(&format!("0{number}"), 16).map_err(|_| Broken)?;
    Ok(line_end(rest)?.then_some(size))
}

/// Passes over what may stand in a line.
fn pass_text(rest: &mut &[u8]) {
    let length = rest.iter().take_while(|byte| is_text(char::from(**byte))).count();
    *rest = &rest[length..];
}

/// Takes a line's end off the stream; `false` if it is not all there.
fn line_end(rest: &mut &[u8]) -> Result<bool, Broken> {
    match rest {
        [] | [b'\r'] => Ok(false),
        [b'\r', b'\n', behind @ ..] => {
            *rest = behind;
            Ok(true)
        }
        _ => Err(Broken),
    }
}

/// The file below a root that a path names, and whether it is a folder.
pub(crate) fn path(target: &[u8]) -> Option<(Vec<u8>, bool)> {
    let path = target.split(|byte| *byte == b'?').next()?.strip_prefix(b"/")?;
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < path.len() {
        let escaped = path[at] == b'%';
        let byte = if escaped {
            let digits = path.get(at + 1..at + 3)?;
            let digits = digits.iter().all(u8::is_ascii_hexdigit).then_some(digits)?;
            u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?
        } else {
            path[at]
        };
        if byte == b'\\' || escaped && byte == b'/' || byte.is_ascii_control() {
            return None;
        }
        decoded.push(byte);
        at += if escaped { 3 } else { 1 };
    }
    let folder = decoded.is_empty() || decoded.ends_with(b"/");
    let named = decoded.strip_suffix(b"/").unwrap_or(&decoded);
    let is_open = |segment: &[u8]| !segment.is_empty() && segment[0] != b'.';
    let all_open = decoded.is_empty() || named.split(|byte| *byte == b'/').all(is_open);
    (all_open && decoded.len() <= HTTP_PATH_BYTES_MAX).then(|| (named.to_vec(), folder))
}

/// A number in decimal digits, in the 64 bits that one may have.
fn number(text: &str) -> Result<u128, Broken> {
    must(!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))?;
    text.parse::<u64>().map(u128::from).map_err(|_| Broken)
}

/// A host and perhaps a port (RFC 9112 3.2): an address with colons in it stands in brackets.
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(behind) => match behind.split_once(']') {
            Some((host, port)) => (host, port),
            None => return false,
        },
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let is_port = port.is_empty()
        || port.strip_prefix(':').is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    let is_plain = |c: char| c.is_ascii_graphic() && !",/@?#\\\"<>[]".contains(c);
    is_port && !host.is_empty() && host.chars().all(is_plain)
}

/// A token (RFC 9110 5.6.2).
fn is_token(text: &[u8]) -> bool {
    let is_token = |byte: &u8| byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(byte);
    !text.is_empty() && text.iter().all(is_token)
}

/// A character that may stand in a line: visible, a blank, or beyond ASCII (RFC 9110 5.5).
fn is_text(character: char) -> bool {
    character == '\t' || (character >= ' ' && character != '\x7f')
}

fn must(holds: bool) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(Broken) }
}

//! JSON as far as it is asked about: one scan forward over a message finds the values at all
//! pointers (RFC 6901) of a session at once. What no pointer names is skipped by quotes and
//! brackets only; the scan ends with the last value that was looked for. Nothing is allocated, and
//! no depth is too deep.
//!
//! Of a key that comes twice the first counts. What lies behind the last value that was looked for
//! is not looked at, so it need not be JSON.

use memchr::memchr2;
use std::ops::Range;

/// Names no node.
const NOWHERE: u32 = u32::MAX;

/// The pointers of a session, as a trie by their parts.
#[derive(Clone, Debug)]
pub(crate) struct Pointers {
    nodes: Vec<Node>,
    /// How many pointers there are.
    count: usize,
}

#[derive(Clone, Debug, Default)]
struct Node {
    /// The pointer that ends here.
    pointer: Option<u16>,
    members: Vec<(Box<[u8]>, u32)>,
    /// Those of the members whose names are numbers: elements, where an array lies here.
    elements: Vec<(usize, u32)>,
}

/// What a value is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// A string; its place is that between the quotes, and it is escaped there.
    String,
    /// A number, `true`, `false` or `null`: as it is written.
    Plain,
    /// An object or an array, brackets included.
    Nested,
}

/// A value that was found: what it is, and where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Value {
    pub(crate) kind: Kind,
    pub(crate) at: Range<usize>,
}

/// Why a scan ended early.
enum Stop {
    /// Everything was found.
    Done,
    /// This is no JSON, or not all of it.
    Broken,
}

impl Default for Pointers {
    fn default() -> Self {
        Self { nodes: vec![Node::default()], count: 0 }
    }
}

impl Pointers {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The number of a pointer, which is added if it is not here. `None`: it is none, since it
    /// neither is empty nor begins with `/`, or has a `~` without 0 or 1.
    pub(crate) fn number(&mut self, pointer: &str) -> Option<u16> {
        let mut at = 0;
        let parts = match pointer.strip_prefix('/') {
            Some(rest) => Some(rest.split('/')),
            None if pointer.is_empty() => None,
            None => return None,
        };
        for part in parts.into_iter().flatten() {
            at = self.member(at, &unescaped_part(part)?);
        }
        let next = self.count;
        let number = *self.nodes[at].pointer.get_or_insert(next as u16);
        if usize::from(number) == next {
            self.count += 1;
        }
        Some(number)
    }

    fn member(&mut self, at: usize, name: &str) -> usize {
        let known = self.nodes[at].members.iter().find(|(known, _)| **known == *name.as_bytes());
        if let Some((_, child)) = known {
            return *child as usize;
        }
        let child = self.nodes.len();
        self.nodes.push(Node::default());
        let node = &mut self.nodes[at];
        node.members.push((name.as_bytes().into(), child as u32));
        // 01 is the name of a member, and of no element.
        if let Ok(index) = name.parse::<usize>()
            && index.to_string() == name
        {
            node.elements.push((index, child as u32));
        }
        child
    }

    /// Finds the values at all pointers in a text: by their numbers in `found`, which is as long as
    /// there are pointers. Those that come before something that is no JSON are found.
    pub(crate) fn find(&self, text: &[u8], found: &mut [Option<Value>]) {
        found.fill(None);
        if self.count > 0 {
            let _ = Scan { pointers: self, text, found, left: self.count }.value(0, 0);
        }
    }
}

/// A part of a pointer with `~1` and `~0` as what they stand for.
fn unescaped_part(part: &str) -> Option<String> {
    let mut name = String::with_capacity(part.len());
    let mut rest = part.chars();
    while let Some(char) = rest.next() {
        name.push(match char {
            '~' => match rest.next()? {
                '0' => '~',
                '1' => '/',
                _ => return None,
            },
            other => other,
        });
    }
    Some(name)
}

struct Scan<'a> {
    pointers: &'a Pointers,
    text: &'a [u8],
    found: &'a mut [Option<Value>],
    left: usize,
}

impl Scan<'_> {
    fn byte(&self, at: usize) -> Result<u8, Stop> {
        self.text.get(at).copied().ok_or(Stop::Broken)
    }

    fn blanks(&self, mut at: usize) -> usize {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.text.get(at) {
            at += 1;
        }
        at
    }

    /// Reads the value that begins at `at`, or behind blanks there, and lies at a node of the trie.
    /// Where it ends. Goes no deeper than pointers do.
    fn value(&mut self, node: u32, at: usize) -> Result<usize, Stop> {
        let (at, pointers) = (self.blanks(at), self.pointers);
        let Some(here) = pointers.nodes.get(node as usize) else { return self.skip(at) };
        let kind = match self.byte(at)? {
            b'"' => Kind::String,
            b'{' | b'[' => Kind::Nested,
            _ => Kind::Plain,
        };
        let end = match self.byte(at)? {
            b'{' if !here.members.is_empty() => self.members(here, at)?,
            b'[' if !here.elements.is_empty() => self.elements(here, at)?,
            _ => self.skip(at)?,
        };
        if let Some(pointer) = here.pointer
            && let Some(place @ None) = self.found.get_mut(usize::from(pointer))
        {
            let quotes = usize::from(kind == Kind::String);
            *place = Some(Value { kind, at: at + quotes..end - quotes });
            self.left -= 1;
            if self.left == 0 {
                return Err(Stop::Done);
            }
        }
        Ok(end)
    }

    fn members(&mut self, node: &Node, at: usize) -> Result<usize, Stop> {
        let mut at = self.blanks(at + 1);
        if self.byte(at)? == b'}' {
            return Ok(at + 1);
        }
        loop {
            if self.byte(at)? != b'"' {
                return Err(Stop::Broken);
            }
            let end = self.skip(at)?;
            let name = &self.text[at + 1..end - 1];
            let child = node.members.iter().find(|(known, _)| is_text(name, known));
            let child = child.map_or(NOWHERE, |(_, child)| *child);
            at = self.blanks(end);
            if self.byte(at)? != b':' {
                return Err(Stop::Broken);
            }
            at = self.value(child, at + 1)?;
            at = self.blanks(at);
            match self.byte(at)? {
                b',' => at = self.blanks(at + 1),
                b'}' => return Ok(at + 1),
                _ => return Err(Stop::Broken),
            }
        }
    }

    fn elements(&mut self, node: &Node, at: usize) -> Result<usize, Stop> {
        let mut at = self.blanks(at + 1);
        if self.byte(at)? == b']' {
            return Ok(at + 1);
        }
        for index in 0.. {
            let child = node.elements.iter().find(|(known, _)| *known == index);
            at = self.value(child.map_or(NOWHERE, |(_, child)| *child), at)?;
            at = self.blanks(at);
            match self.byte(at)? {
                b',' => at = self.blanks(at + 1),
                b']' => return Ok(at + 1),
                _ => return Err(Stop::Broken),
            }
        }
        Err(Stop::Broken)
    }

    /// Where the value ends that begins at `at`.
    fn skip(&self, at: usize) -> Result<usize, Stop> {
        match self.byte(at)? {
            b'"' => self.skip_string(at),
            b'{' | b'[' => self.skip_nested(at),
            b'-' | b'0'..=b'9' | b'a'..=b'z' => {
                let is_part =
                    |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
                let rest = &self.text[at..];
                // A number at the end of a message may go on in what is not here.
                let length = rest.iter().position(|byte| !is_part(byte)).unwrap_or(rest.len());
                Ok(at + length)
            }
            _ => Err(Stop::Broken),
        }
    }

    fn skip_string(&self, at: usize) -> Result<usize, Stop> {
        let mut at = at + 1;
        loop {
            let rest = self.text.get(at..).ok_or(Stop::Broken)?;
            at += memchr2(b'"', b'\\', rest).ok_or(Stop::Broken)?;
            if self.text[at] == b'"' {
                return Ok(at + 1);
            }
            at += 2;
        }
    }

    fn skip_nested(&self, mut at: usize) -> Result<usize, Stop> {
        let mut depth = 0_usize;
        loop {
            match self.byte(at)? {
                b'"' => {
                    at = self.skip_string(at)?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        return Ok(at + 1);
                    }
                }
                _ => {}
            }
            at += 1;
        }
    }
}

/// Whether a string, escaped as it was found, is this text.
pub(crate) fn is_text(escaped: &[u8], text: &[u8]) -> bool {
    if !escaped.contains(&b'\\') {
        return escaped == text;
    }
    let mut rest = text;
    let is_next = |part: &[u8]| {
        rest = rest.strip_prefix(part).ok_or(())?;
        Ok::<(), ()>(())
    };
    unescape(escaped, is_next).is_ok() && rest.is_empty()
}

/// Hands over the parts of a string without its escapes. What is no escape becomes U+FFFD, as half
/// of a surrogate pair does.
pub(crate) fn unescape<E>(
    escaped: &[u8],
    mut take: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut rest = escaped;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        if at > 0 {
            take(&rest[..at])?;
        }
        let (char, used) = escape(&rest[at + 1..]);
        take(char.encode_utf8(&mut [0; 4]).as_bytes())?;
        rest = &rest[at + 1 + used..];
    }
    if rest.is_empty() { Ok(()) } else { take(rest) }
}

/// The character that an escape stands for, and the bytes behind its backslash.
fn escape(bytes: &[u8]) -> (char, usize) {
    let simple = match bytes.first() {
        Some(b'n') => '\n',
        Some(b't') => '\t',
        Some(b'r') => '\r',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(plain @ (b'"' | b'\\' | b'/')) => char::from(*plain),
        Some(b'u') => return unicode_escape(bytes),
        // Nothing behind it, or what is no escape: it stays.
        Some(_) | None => return (char::REPLACEMENT_CHARACTER, 0),
    };
    (simple, 1)
}

fn unicode_escape(bytes: &[u8]) -> (char, usize) {
    let unit = |at: usize| {
        let digits = std::str::from_utf8(bytes.get(at..at + 4)?).ok()?;
        let digits = digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then_some(digits)?;
        u32::from_str_radix(digits, 16).ok()
    };
    let Some(first) = unit(1) else { return (char::REPLACEMENT_CHARACTER, 1) };
    if let Some(char) = char::from_u32(first) {
        return (char, 5);
    }
    if first < 0xdc00
        && bytes.get(5..7) == Some(b"\\u")
        && let Some(second @ 0xdc00..=0xdfff) = unit(7)
    {
        let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        return (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 11);
    }
    (char::REPLACEMENT_CHARACTER, 5)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value as Json;

    /// What is found at pointers, as the text of the values.
    fn found(pointers: &[&str], text: &str) -> Vec<Option<String>> {
        let mut trie = Pointers::default();
        let numbers: Vec<_> = pointers.iter().map(|one| trie.number(one).expect(one)).collect();
        let mut values = vec![None; trie.len()];
        trie.find(text.as_bytes(), &mut values);
        let value = |number: &u16| {
            let Value { kind, at } = values[usize::from(*number)].clone()?;
            let raw = &text.as_bytes()[at];
            let mut plain = Vec::new();
            if kind == Kind::String {
                unescape::<()>(raw, |part| {
                    plain.extend_from_slice(part);
                    Ok(())
                })
                .expect("nothing fails");
                assert!(is_text(raw, &plain));
            } else {
                plain.extend_from_slice(raw);
            }
            Some(String::from_utf8(plain).expect("text"))
        };
        numbers.iter().map(value).collect()
    }

    fn one(pointer: &str, text: &str) -> Option<String> {
        found(&[pointer], text).remove(0)
    }

    #[test]
    fn values_are_found_where_pointers_point() {
        let text = r#" { "type" : "chat", "from":{"id":17,"tags":["a",{"b":null}]}, "a/b":1,
            "m~n":2, "":3, "more": [] , "t\u0079pe2": "\u00e9\n\ud83d\ude00" } "#;
        assert_eq!(one("/type", text).as_deref(), Some("chat"));
        assert_eq!(one("/from/id", text).as_deref(), Some("17"));
        assert_eq!(one("/from/tags/0", text).as_deref(), Some("a"));
        assert_eq!(one("/from/tags/1/b", text).as_deref(), Some("null"));
        assert_eq!(one("/from/tags/2", text), None);
        assert_eq!(one("/from/tags/01", text), None);
        assert_eq!(one("/from/tags", text).as_deref(), Some(r#"["a",{"b":null}]"#));
        assert_eq!(one("/a~1b", text).as_deref(), Some("1"));
        assert_eq!(one("/m~0n", text).as_deref(), Some("2"));
        assert_eq!(one("/", text).as_deref(), Some("3"));
        assert_eq!(one("/more", text).as_deref(), Some("[]"));
        assert_eq!(one("/more/0", text), None);
        assert_eq!(one("/type2", text).as_deref(), Some("é\n😀"));
        let both = found(&["/type", "/from/id", "/type", "/nothing"], text);
        assert_eq!(both[..3], [Some("chat".into()), Some("17".into()), Some("chat".into())]);
        assert_eq!(one("", "[1] ").as_deref(), Some("[1]"));
        assert_eq!(one("/3", r#"["1","2","t","phx_reply",{}]"#).as_deref(), Some("phx_reply"));
        // A member whose name is a number.
        assert_eq!(one("/3", r#"{"3":4}"#).as_deref(), Some("4"));
    }

    #[test]
    fn what_is_no_pointer_is_refused() {
        let mut trie = Pointers::default();
        for wrong in ["type", "/a~", "/a~2", "#/a"] {
            assert_eq!(trie.number(wrong), None, "{wrong}");
        }
        assert_eq!(trie.len(), 0);
    }

    #[test]
    fn of_keys_that_come_twice_the_first_counts() {
        assert_eq!(one("/a", r#"{"a":1,"a":2}"#).as_deref(), Some("1"));
        assert_eq!(found(&["/a", "/b"], r#"{"a":1,"a":2,"b":3}"#)[1].as_deref(), Some("3"));
    }

    #[test]
    fn what_is_cut_or_no_json_has_what_came_before() {
        let text = r#"{"a":{"b":"x"},"c":[1,2,3],"d":"y"}"#;
        for cut in 0..text.len() - 1 {
            let all = found(&["/a/b", "/c/2", "/d"], &text[..cut]);
            assert_eq!(all[2], None, "{cut}");
            assert!(all[0].as_deref().is_none_or(|b| b == "x"));
        }
        for wrong in
            ["", "x", "{", "{a:1}", "{\"a\"", "{\"a\" 1}", "[1 2]", "\"", "\"\\", "}", "nul\u{1}"]
        {
            assert_eq!(one("/a", wrong), None, "{wrong}");
        }
    }

    #[test]
    fn depth_costs_nothing() {
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        let text = format!(r#"{{"skip":{deep},"a":5}}"#);
        assert_eq!(one("/a", &text).as_deref(), Some("5"));
        assert_eq!(one("/skip/0/0", &text).map(|raw| raw.len()), Some(200_001 - 4));
    }

    fn any_json() -> impl Strategy<Value = Json> {
        let text = "[a-c\"\\\\/\u{0}\n é😀]{0,4}";
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::Bool),
            any::<i64>().prop_map(Json::from),
            any::<i32>().prop_map(|quarters| Json::from(f64::from(quarters) / 4.0)),
            text.prop_map(Json::String),
        ];
        leaf.prop_recursive(4, 40, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Json::Array),
                prop::collection::btree_map("[a-c0-2/~\"]{0,2}", inner, 0..5)
                    .prop_map(|members| Json::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_finds_what_serde_json_finds(
            json in any_json(),
            pointers in prop::collection::vec("(/([a-c0-2\"]|~0|~1){0,2}){0,3}", 1..6),
            pretty: bool,
        ) {
            let write = if pretty { serde_json::to_string_pretty } else { serde_json::to_string };
            let text = write(&json);
            let text = text.expect("it is written");
            let pointers: Vec<_> = pointers.iter().map(String::as_str).collect();
            for (pointer, ours) in pointers.iter().zip(found(&pointers, &text)) {
                let theirs = json.pointer(pointer).map(|value| match value {
                    Json::String(text) => text.clone(),
                    other if other.is_object() || other.is_array() => other.to_string(),
                    other => other.to_string(),
                });
                // Blanks within brackets are part of what we find.
                let ours = ours.map(|raw| match serde_json::from_str::<Json>(&raw) {
                    Ok(value) if value.is_object() || value.is_array() => value.to_string(),
                    _ => raw,
                });
                prop_assert_eq!(ours, theirs, "{} in {}", pointer, text);
            }
        }

        #[test]
        fn any_bytes_do_no_harm(text: Vec<u8>, cut: usize) {
            let mut trie = Pointers::default();
            for pointer in ["/a", "/a/b", "/0", ""] {
                trie.number(pointer);
            }
            let mut values = vec![None; trie.len()];
            trie.find(&text, &mut values);
            let json = format!("{{\"a\":{{\"b\":[{:?}]}}}}", String::from_utf8_lossy(&text));
            trie.find(&json.as_bytes()[..cut % (json.len() + 1)], &mut values);
            for value in values.iter().flatten() {
                prop_assert!(value.at.end <= json.len());
            }
        }
    }
}

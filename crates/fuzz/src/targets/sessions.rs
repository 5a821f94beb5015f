//! Session files, and what sessions make of messages. What a file compiles to is filled and told
//! apart within the sizes that it was given before; messages are told apart as readers of another
//! make would.

use super::cuts;
use crate::Verdict;
use serde_json::Value;
use session::{Context, Data, Fill, Frame, Message, Program, Send, find_stamp};
use std::sync::LazyLock;
use wire::STAMP_BYTES;

/// Words of session files.
pub(super) const FILE_WORDS: &[&str] = &[
    "data = \"users.csv\"\n",
    "vars = { a = 4 }\n",
    "setup = [{ send = \"",
    "loop = [{ binary = \"",
    "every = \"1s\"\n",
    "expect = \"",
    "[messages]\n",
    "json = { \"/a\" = \"*\" }",
    "regex = '^(a+)$'",
    "take = { a = \"/a\" }",
    "id = \"re:1\"",
    "push = \"*\"",
    "${user:json}",
    "${conn%7}",
    "${seq}",
    "${stamp}",
    "${rand:1-9}",
    "varint( str16('a') )",
];

/// Words of messages.
pub(super) const MESSAGE_WORDS: &[&str] = &[
    "{\"a\":",
    "\"b\"",
    "\\u0062",
    "[1,2]",
    "null",
    "c1k.",
    "id:17;",
    "  ",
    "\\\"",
    "\\ud83d\\ude00",
];

/// Frames and lengths.
pub(super) const FRAME_WORDS: &[&str] = &["\n", "\r\n", "\0", "\u{1e}", "\u{80}"];

const STAMP: [u8; STAMP_BYTES] = [7; STAMP_BYTES];

fn users() -> Data {
    Data::read(&b"user,token,device,pass,email\nann,a\"1,d,,\nb\xc3\xa9,,,p,e\n"[..]).expect("rows")
}

/// A session file compiles or is refused in one line; what it sends is no longer than it says.
pub(super) fn files(input: &[u8]) -> Verdict {
    let Ok(text) = std::str::from_utf8(input) else { return Verdict::of("no text") };
    let program = match Program::compile("a.toml", text, |_| Ok(users())) {
        Ok(program) => program,
        Err(problem) => {
            let said = problem.to_string();
            assert!(!said.is_empty() && problem.line <= text.matches('\n').count() + 1, "{said}");
            // The kind of problem: what it says without what was typed.
            return Verdict::of(problem.text.split('\'').next().map(str::len));
        }
    };
    let mut sent = 0;
    for connection in [0, 1, u64::from(u32::MAX)] {
        let fill = Fill {
            row: program.row(connection, 1),
            captured: &program.first,
            connection,
            sequence: u32::MAX,
            count: u64::MAX,
            now_ms: u64::MAX,
            random: connection,
            stamp: &STAMP,
        };
        for send in program.steps().filter_map(|step| step.send.as_ref()) {
            let templates: Vec<_> = match send {
                Send::Text(text) | Send::Binary(text) => vec![text],
                Send::Request { line, header, body } => {
                    std::iter::once(line).chain(header).chain(body).collect()
                }
            };
            for template in templates {
                let mut out = Vec::new();
                template.write(&program.data, &program.variables, &fill, &mut out);
                assert!(out.len() <= template.longest(), "{} > {}", out.len(), template.longest());
                if template.has_stamp() {
                    assert!(find_stamp(&out).is_some());
                }
                sent += 1;
            }
        }
        let context = Context { data: &program.data, variables: &program.variables, fill: &fill };
        let mut scratch = program.kinds.scratch();
        let mut captured = program.first.clone();
        for bytes in [&b""[..], b"{\"a\":\"b\"}", b"aaa", input] {
            let message = Message { bytes, status: Some(200) };
            let kind = program.kinds.tell(message, context, &mut scratch);
            let why = program.kinds.why_not(message, context, &mut scratch);
            assert_eq!(kind, why.iter().position(|(_, why)| why.is_none()));
            if let Some(kind) = kind {
                let _ = program.kinds.keep(
                    kind,
                    bytes,
                    &program.variables,
                    &mut captured,
                    &mut scratch,
                );
                assert_eq!(captured.len(), program.first.len());
            }
        }
    }
    Verdict::of((sent, program.kinds.all().len(), program.names.len(), program.is_http()))
}

static TELLER: LazyLock<Program> = LazyLock::new(|| {
    let file = r#"
vars = { kept = 8 }
loop = [{ expect = "text" }]
[messages]
text  = { json = { "/a" = "b" } }
deep  = { json = { "/a/1" = "*" }, take = { kept = "/a/1" } }
id    = { regex = 'id:([0-9]+);', id = "re:1", take = { kept = "re:1" } }
bytes = { bytes = "00 .. ff", at = 1 }
push  = { has = "c1k.", push = "*" }
"#;
    Program::compile("teller.toml", file, |_| Err("none".to_owned())).expect("right")
});

/// A message is of the kind that `serde_json` and a plain search say, if it is JSON at all.
pub(super) fn messages(input: &[u8]) -> Verdict {
    let program = &*TELLER;
    let fill = Fill {
        row: 0,
        captured: &program.first,
        connection: 0,
        sequence: 0,
        count: 0,
        now_ms: 0,
        random: 0,
        stamp: &STAMP,
    };
    let context = Context { data: &program.data, variables: &program.variables, fill: &fill };
    let mut scratch = program.kinds.scratch();
    let message = Message { bytes: input, status: None };
    let kind = program.kinds.tell(message, context, &mut scratch);
    let json: Option<Value> = serde_json::from_slice(input).ok();
    // Of keys that come twice the other reader takes the last.
    if let Some(json) = json.filter(|json| json.to_string().len() == compact(input)) {
        assert_eq!(kind == Some(0), json.pointer("/a") == Some(&Value::from("b")), "{json}");
        if kind != Some(0) {
            assert_eq!(kind == Some(1), json.pointer("/a/1").is_some(), "{json}");
        }
    }
    let mut captured = program.first.clone();
    let kept = kind.map(|kind| {
        let _ = program.kinds.answers(kind, input, 17, &mut scratch);
        let pushed = program.kinds.pushed(kind, input, &mut scratch).map(<[u8]>::len);
        assert_eq!(pushed.is_some(), program.kinds.is_push(kind));
        program.kinds.keep(kind, input, &program.variables, &mut captured, &mut scratch).is_ok()
    });
    Verdict::of((kind, kept, find_stamp(input).is_some()))
}

/// Bytes of a text without the blanks between its tokens: as many as another writer needs, if no
/// key comes twice and nothing is escaped otherwise.
fn compact(text: &[u8]) -> usize {
    let (mut length, mut quoted, mut escaped) = (0, false, false);
    for byte in text {
        length += usize::from(quoted || !byte.is_ascii_whitespace());
        (quoted, escaped) = match byte {
            b'"' if !escaped => (!quoted, false),
            b'\\' if !escaped => (quoted, true),
            _ => (quoted, false),
        };
    }
    length
}

/// A stream is cut into the same messages however it comes.
pub(super) fn frames(input: &[u8]) -> Verdict {
    let Some((first, stream)) = input.split_first() else { return Verdict::of("nothing") };
    let (_, frame) = Frame::ALL[1 + usize::from(*first) % (Frame::ALL.len() - 1)];
    let [whole, others @ ..] = cuts(stream).map(|cuts| cut(frame, stream, &cuts));
    for other in others {
        assert_eq!(other, whole);
    }
    Verdict::of((frame.word(), whole.0.len().min(4), whole.1))
}

/// The messages of a stream that comes in reads of these lengths, and whether it ends in an error.
fn cut(frame: Frame, stream: &[u8], cuts: &[usize]) -> (Vec<Vec<u8>>, bool) {
    let (mut messages, mut here, mut rest) = (Vec::new(), Vec::new(), stream);
    let mut cuts = cuts.iter();
    while !rest.is_empty() {
        let length = cuts.next().map_or(rest.len(), |cut| (*cut).clamp(1, rest.len()));
        here.extend_from_slice(&rest[..length]);
        rest = &rest[length..];
        loop {
            match frame.cut(&here, 300) {
                Err(_) => return (messages, true),
                Ok(None) => break,
                Ok(Some(found)) => {
                    assert!(found.used > 0 && found.content.end <= found.used);
                    messages.push(here[found.content].to_vec());
                    here.drain(..found.used);
                }
            }
        }
    }
    (messages, false)
}

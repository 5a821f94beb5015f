//! RFC 6455, sections 5 to 7, rule by rule over real sockets: framing, reserved bits and opcodes,
//! masks, fragmentation, control frames, UTF-8, closing. Each case is sent whole, and byte by byte.

use crate::common::Server;
use crate::ws::{
    BINARY, CLOSE, FIRST_BINARY, FIRST_TEXT, Frame, LAST, NEXT, PING, PONG, Peer, TEXT, close,
    frame, header,
};

/// What is said, and what is to come of it.
struct Case {
    name: String,
    said: Vec<u8>,
    expected: Expected,
}

enum Expected {
    /// These frames, and a good-bye to ours.
    Answers(Vec<Frame>),
    /// These frames, and then the connection is closed with this code.
    Fails(Vec<Frame>, u16),
    /// These frames, of which the last is the close frame.
    Closes(Vec<Frame>),
}

fn case(name: impl Into<String>, said: &[&[u8]], expected: Expected) -> Case {
    Case { name: name.into(), said: said.concat(), expected }
}

/// What is said comes back so.
fn answers(name: impl Into<String>, said: &[&[u8]], expected: &[Frame]) -> Case {
    case(name, said, Expected::Answers(expected.to_vec()))
}

/// What is said breaks a rule. A message in front of it is answered first.
fn fails(name: impl Into<String>, said: &[&[u8]], code: u16) -> Case {
    let first = frame(BINARY, b"before");
    let said = [&[&first[..]], said].concat();
    case(name, &said, Expected::Fails(vec![Frame::new(BINARY, b"before")], code))
}

/// Runs a case on a connection of its own. Returns what is wrong.
fn run(server: &Server, case: &Case, byte_by_byte: bool) -> Result<(), String> {
    let mut peer: Peer = server.upgrade();
    let chunk = if byte_by_byte { 1 } else { case.said.len() };
    case.said.chunks(chunk).for_each(|chunk| peer.say(chunk));
    if let Expected::Answers(_) = case.expected {
        peer.say(&frame(CLOSE, &close(1000, "")));
    }
    let mut got = peer.rest();
    let last = got.pop().ok_or("closed without a word")?;
    let (expected, good) = match &case.expected {
        Expected::Answers(expected) => (expected.clone(), last.close_code() == Some(1000)),
        Expected::Fails(expected, code) => (expected.clone(), last.close_code() == Some(*code)),
        Expected::Closes(expected) => {
            let (end, before) = expected.split_last().ok_or("nothing is expected")?;
            (before.to_vec(), last == *end)
        }
    };
    if good && got == expected {
        return Ok(());
    }
    got.push(last);
    Err(format!("{}{}: got {got:.300?}", case.name, if byte_by_byte { " in bytes" } else { "" }))
}

fn check(cases: &[Case]) {
    let server = Server::on(&["ws://127.0.0.1:0"], &[]);
    let ways = cases.iter().flat_map(|case| [(case, false), (case, true)]);
    // Nobody waits for thousands of writes of a byte each.
    let ways = ways.filter(|(case, byte_by_byte)| !byte_by_byte || case.said.len() <= 1_000);
    let wrong: Vec<String> = ways.filter_map(|(case, way)| run(&server, case, way).err()).collect();
    assert!(wrong.is_empty(), "{} of {}: {wrong:#?}", wrong.len(), cases.len());
    let ws = server.snapshot().websocket;
    assert_eq!((ws.partial_messages, ws.open), (0, 0));
}

#[test]
fn framing_and_echo() {
    let mut cases = Vec::new();
    for length in [0, 1, 125, 126, 127, 128, 65_535, 65_536, 65_537, 300_000] {
        for kind in [TEXT, BINARY] {
            let payload = vec![b'*'; length];
            let said = [&frame(kind, &payload)[..]];
            cases.push(answers(format!("{length} bytes"), &said, &[Frame::new(kind, &payload)]));
        }
    }
    let (one, two) = (Frame::new(BINARY, b"one"), Frame::new(TEXT, b"two"));
    let said = [&frame(BINARY, b"one")[..], &frame(TEXT, b"two"), &frame(BINARY, b"one")];
    cases.push(answers("several at once", &said, &[one.clone(), two, one]));
    let zero_mask = [0x82, 0x83, 0, 0, 0, 0, 1, 2, 3];
    cases.push(answers("a mask of zeros", &[&zero_mask], &[Frame::new(BINARY, &[1, 2, 3])]));
    check(&cases);
}

#[test]
fn lengths_and_masks_that_are_not_as_they_should_be() {
    let mask = [1, 2, 3, 4];
    check(&[
        fails("125 in 16 bits", &[&[0x82, 0xfe, 0, 125], &mask], 1002),
        fails("0 in 16 bits", &[&[0x82, 0xfe, 0, 0], &mask], 1002),
        fails("65,535 in 64 bits", &[&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 255, 255], &mask], 1002),
        fails("the top bit of 64", &[&[0x82, 0xff, 0x80, 0, 0, 0, 0, 1, 0, 0], &mask], 1002),
        fails("all bits of 64", &[&[0x82, 0xff], &[0xff; 8], &mask], 1002),
        fails("no mask", &[&[0x82, 3], b"abc"], 1002),
        fails("no mask on an empty frame", &[&[0x82, 0]], 1002),
        fails("no mask on a ping", &[&[0x89, 0]], 1002),
        fails("more than any message may have", &[&header(BINARY, 1 << 40)], 1009),
        fails("63 bits", &[&header(BINARY, (1 << 63) - 1)], 1009),
    ]);
}

#[test]
fn reserved_bits_and_opcodes() {
    let mut cases = Vec::new();
    for bits in 1..8_u8 {
        for opcode in [TEXT, BINARY, CLOSE, PING, PONG, NEXT] {
            let name = format!("reserved bits {bits} with opcode {opcode:#x}");
            cases.push(fails(name, &[&frame(opcode | bits << 4, b"")], 1002));
        }
    }
    for opcode in [3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf_u8] {
        cases.push(fails(format!("opcode {opcode:#x}"), &[&frame(0x80 | opcode, b"x")], 1002));
        cases.push(fails(format!("opcode {opcode:#x}, cut"), &[&frame(opcode, b"")], 1002));
    }
    check(&cases);
}

#[test]
fn control_frames() {
    let full = [0xfe; 125];
    let (ping, pong) = (frame(PING, b"hello"), Frame::new(PONG, b"hello"));
    let mut cases = vec![
        answers("a ping", &[&ping], std::slice::from_ref(&pong)),
        answers("an empty ping", &[&frame(PING, b"")], &[Frame::new(PONG, b"")]),
        answers("a full ping", &[&frame(PING, &full)], &[Frame::new(PONG, &full)]),
        answers("ten pings", &[&ping.repeat(10)], &vec![pong.clone(); 10]),
        answers("an unasked pong", &[&frame(PONG, b"?")], &[]),
        answers("a pong and a ping", &[&frame(PONG, b"?"), &ping], std::slice::from_ref(&pong)),
        answers(
            "a ping between fragments",
            &[&frame(FIRST_TEXT, b"frag"), &ping, &frame(LAST, b"ment")],
            &[pong, Frame::new(TEXT, b"fragment")],
        ),
        fails("a ping of 126 bytes", &[&header(PING, 126)], 1002),
        fails("a pong of 126 bytes", &[&header(PONG, 126)], 1002),
        fails("a close of 126 bytes", &[&header(CLOSE, 126)], 1002),
        fails("a ping of 64 bits", &[&header(PING, 70_000)], 1002),
    ];
    for opcode in [CLOSE, PING, PONG] {
        let name = format!("a fragmented {opcode:#x}");
        cases.push(fails(name, &[&frame(opcode & 0x0f, b"")], 1002));
    }
    check(&cases);
}

#[test]
fn fragmentation() {
    let (ab, text) = (Frame::new(BINARY, b"ab"), Frame::new(TEXT, b"ab"));
    let (first, last) = (frame(FIRST_BINARY, b"a"), frame(LAST, b"b"));
    let first_text = frame(FIRST_TEXT, b"a");
    let empty = frame(NEXT, b"");
    check(&[
        answers("two fragments", &[&first, &last], std::slice::from_ref(&ab)),
        answers("of text", &[&first_text, &last], std::slice::from_ref(&text)),
        answers("an empty one between", &[&first, &empty, &last], std::slice::from_ref(&ab)),
        answers(
            "all empty",
            &[&frame(FIRST_BINARY, b""), &empty, &frame(LAST, b"")],
            &[Frame::new(BINARY, b"")],
        ),
        answers(
            "a thousand",
            &[&first, &frame(NEXT, b"x").repeat(1_000), &last],
            &[Frame::new(BINARY, &[b"a", &[b'x'; 1_000][..], b"b"].concat())],
        ),
        answers("two messages", &[&first, &last, &first_text, &last], &[ab, text]),
        fails("a last one without a first", &[&last], 1002),
        fails("a next one without a first", &[&empty], 1002),
        fails("one behind the last", &[&frame(BINARY, b"x"), &last], 1002).after_echo(b"x"),
        fails("a message within a message", &[&first, &frame(TEXT, b"b")], 1002),
        fails("a first within a message", &[&first_text, &first], 1002),
    ]);
}

impl Case {
    /// One more message is answered before the rule is broken.
    fn after_echo(mut self, payload: &[u8]) -> Self {
        if let Expected::Fails(before, _) = &mut self.expected {
            before.push(Frame::new(BINARY, payload));
        }
        self
    }
}

#[test]
fn texts_are_utf8() {
    let mut cases = Vec::new();
    // The edges of the code points, and what Markus Kuhn's stress test has of good ones.
    for good in ["", "\0", "\u{7f}", "\u{80}", "\u{7ff}", "\u{800}", "\u{d7ff}", "\u{e000}"]
        .into_iter()
        .chain(["\u{fffd}", "\u{ffff}", "\u{10000}", "\u{10ffff}", "\u{3ba}\u{1f79}\u{3c3}"])
    {
        let text = format!("a{good}z");
        let whole = Frame::new(TEXT, text.as_bytes());
        cases.push(answers(
            "a text",
            &[&frame(TEXT, text.as_bytes())],
            std::slice::from_ref(&whole),
        ));
        // A fragment may end anywhere, also in a character (RFC 6455, section 5.6).
        for cut in 0..=text.len() {
            let (a, b) = text.as_bytes().split_at(cut);
            let said = [&frame(FIRST_TEXT, a)[..], &frame(LAST, b)];
            cases.push(answers(format!("cut at {cut}"), &said, std::slice::from_ref(&whole)));
        }
    }
    let bad: &[&[u8]] = &[
        b"\x80",
        b"\xbf",
        b"\xc0\xaf",
        b"\xc1\xbf",
        b"\xc3(",
        b"\xe0\x80\xaf",
        b"\xe2\x82",
        b"\xe2(\xa1",
        b"\xed\xa0\x80",
        b"\xed\xbf\xbf",
        b"\xf0\x80\x80\x80",
        b"\xf0\x28\x8c\xbc",
        b"\xf4\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xfe",
        b"\xff",
    ];
    for bad in bad {
        let name = bad.escape_ascii().to_string();
        cases.push(fails(name, &[&frame(TEXT, bad)], 1007));
    }
    let binary = Frame::new(BINARY, b"\xff\xfe");
    cases.push(answers("binary is not checked", &[&frame(BINARY, b"\xff\xfe")], &[binary]));
    check(&cases);
}

#[test]
fn a_bad_text_fails_before_it_is_complete() {
    check(&[
        // Nine tenths of the frame are still to come.
        case(
            "within a frame",
            &[&header(TEXT, 100), &[0x9a ^ 0xc0, 0xaf, 0, 0, 0]],
            Expected::Fails(vec![], 1007),
        ),
        case(
            "within a message",
            &[&frame(FIRST_TEXT, b"good so far"), &frame(NEXT, b"\xed\xa0")],
            Expected::Fails(vec![], 1007),
        ),
        case(
            "at the end of a message",
            &[&frame(FIRST_TEXT, b"\xe2"), &frame(LAST, b"\x82")],
            Expected::Fails(vec![], 1007),
        ),
    ]);
}

#[test]
fn closing() {
    let goodbye = |payload: &[u8]| Expected::Closes(vec![Frame::new(CLOSE, payload)]);
    let mut cases = vec![
        case("without a code", &[&frame(CLOSE, b"")], goodbye(b"")),
        case("with a reason", &[&frame(CLOSE, &close(1000, "why"))], goodbye(&close(1000, ""))),
        case(
            "the longest reason",
            &[&frame(CLOSE, &close(1000, &"x".repeat(123)))],
            goodbye(&close(1000, "")),
        ),
        case(
            "what comes behind is passed over",
            &[&frame(CLOSE, b""), &frame(BINARY, b"x"), &frame(PING, b""), &[0xff; 9]],
            goodbye(b""),
        ),
        case(
            "in the middle of a message",
            &[&frame(FIRST_TEXT, b"a"), &frame(CLOSE, &close(1001, ""))],
            goodbye(&close(1001, "")),
        ),
        case(
            "behind a message",
            &[&frame(BINARY, b"x"), &frame(CLOSE, &close(4000, ""))],
            Expected::Closes(vec![Frame::new(BINARY, b"x"), Frame::new(CLOSE, &close(4000, ""))]),
        ),
        fails("half a code", &[&frame(CLOSE, &[3])], 1002),
        fails("a reason that is not UTF-8", &[&frame(CLOSE, b"\x03\xe8\xff")], 1007),
        fails("a reason that is cut", &[&frame(CLOSE, b"\x03\xe8\xe2\x82")], 1007),
    ];
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999] {
        let word = close(code, "");
        cases.push(case(format!("code {code}"), &[&frame(CLOSE, &word)], goodbye(&word)));
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        cases.push(fails(format!("code {code}"), &[&frame(CLOSE, &close(code, ""))], 1002));
    }
    check(&cases);
}

//! WebSocket streams against the examples of the RFCs, a naive parser, and themselves cut
//! otherwise.

use crate::support::{Seen, all_agreements, echoed, read};
use c1000k_wire::ws::{
    Agreed, CloseCode, End, Header, Kind, Limits, Opcode, Pools, Role, Window, WritePool, Writer,
    Ws, WsError, echo_in_place, read_whole, write_frame,
};
use proptest::prelude::*;

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fn limits() -> Limits {
    Limits::default()
}

/// A frame as the peer of `role` sends it.
fn frame(role: Role, first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let masked = if role == Role::Server { 0x80 } else { 0 };
    match payload.len() {
        length @ 0..=125 => bytes.push(masked | length as u8),
        length @ 126..=0xffff => {
            bytes.push(masked | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(masked | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    if role == Role::Server {
        bytes.extend(KEY);
        bytes.extend(payload.iter().enumerate().map(|(index, byte)| byte ^ KEY[index % 4]));
    } else {
        bytes.extend(payload);
    }
    bytes
}

#[test]
fn the_examples_of_rfc_6455_section_5_7() {
    let hello = [Seen::whole(Kind::Text, b"Hello")];
    let plain = [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
    assert_eq!(read(Role::Client, None, &limits(), &plain, &[]), hello);
    let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(read(Role::Server, None, &limits(), &masked, &[]), hello);
    let fragments = [0x01, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f];
    assert_eq!(read(Role::Client, None, &limits(), &fragments, &[]), hello);
    let ping = [0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
    let seen = read(Role::Client, None, &limits(), &ping, &[]);
    assert_eq!(seen, [Seen::Ping(b"Hello".to_vec())]);
    let pong = [0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    let (reply, end, _) = echoed(Role::Client, None, &limits(), &ping, &[]);
    assert_eq!(
        (read(Role::Server, None, &limits(), &reply, &[]), end),
        (vec![Seen::Pong(b"Hello".to_vec())], None)
    );
    let seen = read(Role::Server, None, &limits(), &pong, &[]);
    assert_eq!(seen, [Seen::Pong(b"Hello".to_vec())]);
    for (size, head) in
        [(256, &[0x82, 0x7e, 0x01, 0x00][..]), (65_536, &[0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0])]
    {
        let payload = vec![7; size];
        let bytes = [head, &payload].concat();
        let seen = read(Role::Client, None, &limits(), &bytes, &[3, 50]);
        assert_eq!(seen, [Seen::whole(Kind::Binary, &payload)]);
    }
}

#[test]
fn the_examples_of_rfc_7692_section_7_2_3() {
    let both = |takeover| {
        let window = Window { bits: 15, takeover };
        Some(Agreed { server: window, client: window })
    };
    let hello = Seen::whole(Kind::Text, b"Hello");
    let compressed = [0xc1, 0x07, 0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let again = [0xc1, 0x05, 0xf2, 0x00, 0x11, 0x00, 0x00];
    let fragments = [0x41, 0x03, 0xf2, 0x48, 0xcd, 0x80, 0x04, 0xc9, 0xc9, 0x07, 0x00];
    let whole = [&compressed[..], &fragments].concat();
    let seen = read(Role::Client, both(false), &limits(), &whole, &[]);
    assert_eq!(seen, [hello.clone(), hello.clone()]);
    let taken_over = [&compressed[..], &again].concat();
    let seen = read(Role::Client, both(true), &limits(), &taken_over, &[]);
    assert_eq!(seen, [hello.clone(), hello.clone()]);
    // Without the window of the message before, there is nothing to refer to.
    let seen = read(Role::Client, both(false), &limits(), &taken_over, &[]);
    assert_eq!(seen.first(), Some(&hello));
    assert_eq!(seen.last(), Some(&Seen::Error(WsError::DeflateInvalid)));
    // An empty message, and one that ends its DEFLATE stream.
    let seen = read(Role::Client, both(true), &limits(), &[0xc2, 0x01, 0x00], &[]);
    assert_eq!(seen, [Seen::whole(Kind::Binary, b"")]);
    let finished = [0xc1, 0x08, 0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    assert_eq!(read(Role::Client, both(false), &limits(), &finished, &[]), [hello]);
}

#[test]
fn each_broken_rule_is_named_and_the_rest_is_silence() {
    use WsError as E;
    let server = |first, payload: &[u8]| frame(Role::Server, first, payload);
    let table: &[(&str, Vec<u8>, WsError)] = &[
        ("continuation first", server(0x80, b"x"), E::ContinuationUnexpected),
        (
            "continuation after the end",
            [server(0x81, b"x"), server(0x80, b"x")].concat(),
            E::ContinuationUnexpected,
        ),
        (
            "text within text",
            [server(0x01, b"x"), server(0x81, b"x")].concat(),
            E::MessageInterrupted,
        ),
        (
            "ping between, then text",
            [server(0x01, b"x"), server(0x89, b""), server(0x02, b"x")].concat(),
            E::MessageInterrupted,
        ),
        ("no mask", frame(Role::Client, 0x81, b"x"), E::MaskMissing),
        ("rsv1", server(0xc1, b"x"), E::ReservedBits),
        ("rsv2", server(0xa1, b"x"), E::ReservedBits),
        ("rsv3", server(0x91, b"x"), E::ReservedBits),
        ("opcode 3", server(0x83, b"x"), E::ReservedOpcode(3)),
        ("opcode 11", server(0x8b, b"x"), E::ReservedOpcode(11)),
        ("long ping", server(0x89, &[0; 126]), E::ControlTooLong),
        ("ping in fragments", server(0x09, b""), E::ControlFragmented),
        ("not UTF-8", server(0x81, b"ab\xffcd"), E::TextNotUtf8),
        ("cut character at the end", server(0x81, b"ab\xe2\x82"), E::TextNotUtf8),
        (
            "surrogate over two fragments",
            [server(0x01, b"\xed"), server(0x80, b"\xa0\x80")].concat(),
            E::TextNotUtf8,
        ),
        ("close with half a code", server(0x88, &[3]), E::CloseBodyTooShort),
        ("close with code 1005", server(0x88, &[3, 237]), E::CloseCodeInvalid(1005)),
        ("close with a bad reason", server(0x88, &[3, 232, 0xff]), E::CloseReasonNotUtf8),
        ("length not shortest", vec![0x82, 0xfe, 0, 5], E::LengthNotShortest),
        ("top bit", vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], E::LengthTopBit),
    ];
    for (what, bad, error) in table {
        let good = server(0x82, b"good");
        let stream = [&good[..], bad, &good].concat();
        for size in [1, 2, 7, 1000] {
            let seen = read(Role::Server, None, &limits(), &stream, &vec![size; stream.len()]);
            assert_eq!(seen.first(), Some(&Seen::whole(Kind::Binary, b"good")), "{what}");
            assert_eq!(seen.last(), Some(&Seen::Error(*error)), "{what}");
            let (reply, end, _) = echoed(Role::Server, None, &limits(), &stream, &vec![size; 99]);
            assert_eq!(end, Some(End::Broken(*error)), "{what}");
            let answered = read(Role::Client, None, &limits(), &reply, &[]);
            let close = Seen::Close(Some(error.close_code().0), error.to_string());
            assert!(answered.contains(&close), "{what}: {answered:?}");
        }
    }
    let masked = frame(Role::Server, 0x81, b"x");
    let seen = read(Role::Client, None, &limits(), &masked, &[]);
    assert_eq!(seen, [Seen::Error(E::MaskUnexpected)]);
}

#[test]
fn bad_text_fails_in_the_middle_of_its_frame() {
    // The frame announces 100 bytes; the wrong one is the fourth, and nothing else has come.
    let mut stream = frame(Role::Server, 0x81, &[b"abc\xff".as_slice(), &[b'z'; 96]].concat());
    stream.truncate(6 + 4);
    let seen = read(Role::Server, None, &limits(), &stream, &[]);
    assert_eq!(seen.last(), Some(&Seen::Error(WsError::TextNotUtf8)));
}

#[test]
fn a_close_is_answered_with_its_code_and_ends_it_all() {
    let table: [(&[u8], Option<u16>); 3] =
        [(b"", None), (b"\x03\xe8bye", Some(1000)), (b"\x0f\xa0", Some(4000))];
    for (body, code) in table {
        let stream = [frame(Role::Server, 0x88, body), frame(Role::Server, 0x82, b"late")].concat();
        let (reply, end, messages) = echoed(Role::Server, None, &limits(), &stream, &[]);
        assert_eq!((end, messages), (Some(End::Closed(code.map(CloseCode))), 0));
        let seen = read(Role::Client, None, &limits(), &reply, &[]);
        assert_eq!(seen, [Seen::Close(code, String::new())]);
    }
}

#[test]
fn limits_hold_before_the_bytes_come() {
    let limits = Limits { frame_bytes_max: 100, message_bytes_max: 150, fragments_max: 3 };
    let of = |frames: &[Vec<u8>]| read(Role::Server, None, &limits, &frames.concat(), &[]);
    let part = |first, size| frame(Role::Server, first, &vec![b'a'; size]);
    let last = |seen: Vec<Seen>| seen.last().cloned();
    assert_eq!(of(&[part(0x02, 100), part(0x80, 50)]), [Seen::whole(Kind::Binary, &[b'a'; 150])]);
    assert_eq!(of(&[part(0x82, 101)]), [Seen::Error(WsError::FrameTooBig(101))]);
    let too_big = of(&[part(0x02, 100), part(0x80, 51)]);
    assert_eq!(last(too_big), Some(Seen::Error(WsError::MessageTooBig)));
    let parts = [part(0x02, 1), part(0x00, 0), part(0x00, 0), part(0x80, 1)];
    assert_eq!(last(of(&parts)), Some(Seen::Error(WsError::TooManyFragments)));
    assert_eq!(of(&[part(0x02, 1), part(0x00, 0), part(0x80, 1)]).len(), 1);
    // A header alone is enough to know.
    let huge = [0x82, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3, 4];
    let seen = read(Role::Server, None, &limits, &huge, &[]);
    assert_eq!(seen, [Seen::Error(WsError::FrameTooBig(i64::MAX as u64))]);
    // The fast path keeps to the limits, too.
    assert_eq!(echo_in_place(&mut part(0x82, 101), &limits).messages, 0);
    assert_eq!(echo_in_place(&mut part(0x82, 100), &limits).messages, 1);
}

#[test]
fn sixteen_mebibytes_in_65536_fragments_pass() {
    let piece = frame(Role::Server, 0x00, &[9; 256]);
    let mut stream = frame(Role::Server, 0x02, &[9; 256]);
    for _ in 0..65_534 {
        stream.extend_from_slice(&piece);
    }
    stream.extend(frame(Role::Server, 0x80, &[9; 256]));
    let sizes = vec![65_536; 300];
    let seen = read(Role::Server, None, &limits(), &stream, &sizes);
    assert_eq!(seen, [Seen::whole(Kind::Binary, &vec![9; 16 << 20])]);
    let (reply, end, messages) = echoed(Role::Server, None, &limits(), &stream, &sizes);
    assert_eq!((end, messages), (None, 1));
    let seen = read(Role::Client, None, &limits(), &reply, &sizes);
    assert_eq!(seen, [Seen::whole(Kind::Binary, &vec![9; 16 << 20])]);
}

#[test]
fn a_message_of_the_largest_size_passes_though_it_does_not_deflate() {
    let window = Window { bits: 15, takeover: false };
    let agreed = Some(Agreed { server: window, client: window });
    let (mut word, mut noise) = (1u64, Vec::new());
    while noise.len() < 16 << 20 {
        word = word.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ 0xa5a5;
        noise.extend(word.to_le_bytes());
    }
    let (mut writer, mut pool, mut out) =
        (Writer::new(Some(window)), WritePool::new(1), Vec::new());
    writer.message(&mut pool, Kind::Binary, &noise, Some(KEY), &mut out);
    assert!(out.len() > noise.len(), "it has grown to {} bytes", out.len());
    let seen = read(Role::Server, agreed, &limits(), &out, &[]);
    assert!(seen == [Seen::whole(Kind::Binary, &noise)]);
}

#[test]
fn bombs_hit_the_limit() {
    let window = Window { bits: 15, takeover: false };
    let agreed = Some(Agreed { server: window, client: window });
    let (mut writer, mut pool) = (Writer::new(Some(window)), WritePool::new(1));
    let mut bomb = Vec::new();
    writer.message(&mut pool, Kind::Text, &vec![b'a'; 64 << 20], Some(KEY), &mut bomb);
    assert!(bomb.len() < 1 << 20, "64 MiB in {} bytes", bomb.len());
    for message_bytes_max in [0, 1, 1000, 1 << 20] {
        let limits = Limits { message_bytes_max, ..limits() };
        let seen = read(Role::Server, agreed, &limits, &bomb, &[100, 1000]);
        let bytes = vec![b'a'; message_bytes_max as usize];
        let open = Seen::Message { kind: Kind::Text, bytes, complete: false };
        assert_eq!(seen, [open, Seen::Error(WsError::MessageTooBig)]);
    }
}

#[test]
fn without_a_stream_ours_goes_plain_and_theirs_fails() {
    let window = Window { bits: 15, takeover: true };
    let agreed = Some(Agreed { server: window, client: window });
    let mut pools = Pools { read: c1000k_wire::ws::ReadPool::new(1), write: WritePool::new(1) };
    let (mut one, mut two) = (Ws::new(Role::Server, agreed), Ws::new(Role::Server, agreed));
    let mut message = frame(Role::Server, 0xc1, &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]);
    let mut again = message.clone();
    let verdict = one.reader.read(&limits(), &mut pools.read, &mut message, |_| {});
    assert_eq!(verdict, Ok(()));
    let verdict = two.reader.read(&limits(), &mut pools.read, &mut again, |_| {});
    assert_eq!(verdict, Err(WsError::NoInflater));
    assert_eq!((pools.read.inflaters_in_use(), pools.read.inflaters_refused()), (1, 1));
    let mut out = Vec::new();
    one.writer.message(&mut pools.write, Kind::Text, b"Hello", None, &mut out);
    assert_eq!(out[0], 0xc1);
    out.clear();
    two.writer.message(&mut pools.write, Kind::Text, b"Hello", None, &mut out);
    assert_eq!(out, [0x81, 5, b'H', b'e', b'l', b'l', b'o']);
    assert_eq!(pools.write.deflaters_refused(), 1);
}

#[test]
fn a_message_that_is_given_up_leaves_nothing_behind() {
    let noise: Vec<u8> =
        (0..300_000u32).map(|n| (n.wrapping_mul(0x9e37_79b1) >> 24) as u8).collect();
    let same = vec![b'A'; noise.len()];
    for (takeover, bits) in [(false, 9), (false, 15), (true, 9), (true, 15)] {
        let window = Window { bits, takeover };
        let hello = |pool: &mut WritePool| {
            let (mut writer, mut out) = (Writer::new(Some(window)), Vec::new());
            writer.message(pool, Kind::Text, b"Hello", None, &mut out);
            writer.forget(pool);
            out
        };
        let expected = hello(&mut WritePool::new(1));
        for length in [0, 1, 100, 2_000, 10_000, noise.len()] {
            for text in [&same, &noise] {
                let mut pool = WritePool::new(1);
                let mut given_up = Writer::new(Some(window));
                given_up.start(&mut pool, Kind::Binary);
                given_up.piece(&mut pool, &text[..length], false, None, &mut Vec::new());
                given_up.forget(&mut pool);
                assert_eq!(pool.deflaters_in_use(), 0);
                assert_eq!(hello(&mut pool), expected, "{window:?}, {length}");
            }
        }
    }
}

#[test]
fn a_binary_frame_that_is_cut_is_answered_by_one_frame() {
    let stream = frame(Role::Server, 0x82, &[5; 300]);
    let expected = frame(Role::Client, 0x82, &[5; 300]);
    for cut in 1..stream.len() {
        let (reply, end, messages) = echoed(Role::Server, None, &limits(), &stream, &[cut]);
        assert_eq!((reply.as_slice(), end, messages), (&expected[..], None, 1));
    }
}

#[test]
fn fragments_in_one_read_are_answered_by_the_same_fragments() {
    let parts = [(0x01, &b"Hel"[..]), (0x00, b"lo, "), (0x80, b"you")];
    let of = |role| parts.map(|(first, payload)| frame(role, first, payload)).concat();
    let (reply, ..) = echoed(Role::Server, None, &limits(), &of(Role::Server), &[]);
    assert_eq!(reply, of(Role::Client));
}

/// The rules of RFC 6455, written down for a stream that is all here, without a thought for speed.
fn naive(role: Role, mut rest: &[u8]) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut open: Option<(Kind, Vec<u8>)> = None;
    let error = loop {
        let (header, size) = match Header::decode(rest, role, false) {
            Ok(Some(header)) => header,
            Ok(None) => break None,
            Err(error) => break Some(error),
        };
        match (header.opcode, &open) {
            (Opcode::Continuation, None) => break Some(WsError::ContinuationUnexpected),
            (Opcode::Text | Opcode::Binary, Some(_)) => break Some(WsError::MessageInterrupted),
            _ => {}
        }
        if header.length > limits().frame_bytes_max {
            break Some(WsError::FrameTooBig(header.length));
        }
        let before = open.as_ref().map_or(0, |(_, bytes)| bytes.len() as u64);
        if !header.opcode.is_control() && before + header.length > limits().message_bytes_max {
            break Some(WsError::MessageTooBig);
        }
        let end = rest.len().min(size + header.length as usize);
        let is_whole = (end - size) as u64 == header.length;
        let mask = header.mask.unwrap_or_default();
        let payload = rest[size..end].iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]);
        let payload: Vec<u8> = payload.collect();
        rest = &rest[end..];
        if header.opcode.is_control() {
            match (header.opcode, is_whole) {
                (_, false) => break None,
                (Opcode::Ping, _) => seen.push(Seen::Ping(payload)),
                (Opcode::Pong, _) => seen.push(Seen::Pong(payload)),
                _ => match c1000k_wire::ws::Close::decode(&payload) {
                    Err(error) => break Some(error),
                    Ok(close) => {
                        let code = close.code.map(|code| code.0);
                        seen.push(Seen::Close(code, close.reason.to_owned()));
                        break None;
                    }
                },
            }
            continue;
        }
        let kind = if header.opcode == Opcode::Text { Kind::Text } else { Kind::Binary };
        let (kind, bytes) = open.get_or_insert((kind, Vec::new()));
        bytes.extend(payload);
        let ends = is_whole && header.fin;
        if *kind == Kind::Text
            && let Err(error) = std::str::from_utf8(bytes)
            && (error.error_len().is_some() || ends)
        {
            bytes.truncate(error.valid_up_to());
            break Some(WsError::TextNotUtf8);
        }
        if ends {
            let (kind, bytes) = open.take().expect("it is open");
            seen.push(Seen::Message { kind, bytes, complete: true });
        } else if !is_whole {
            break None;
        }
    };
    if let Some((kind, mut bytes)) = open {
        if kind == Kind::Text
            && let Err(error) = std::str::from_utf8(&bytes)
        {
            bytes.truncate(error.valid_up_to());
        }
        seen.push(Seen::Message { kind, bytes, complete: false });
    }
    seen.extend(error.map(Seen::Error));
    seen
}

/// What one end says: messages in pieces, with control frames between them.
#[derive(Clone, Debug)]
enum Say {
    Message(Kind, Vec<Vec<u8>>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

fn any_payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..40),
        2 => prop::collection::vec(any::<u8>(), 120..140),
        1 => (any::<u8>(), 65_500..65_600usize).prop_map(|(byte, size)| vec![byte; size]),
    ]
}

fn any_say() -> impl Strategy<Value = Say> {
    let binary = prop::collection::vec(any_payload(), 1..4);
    let text = prop::collection::vec("[a-zé€😀]{0,20}", 1..4);
    let small = || prop::collection::vec(any::<u8>(), 0..=125);
    prop_oneof![
        4 => binary.prop_map(|pieces| Say::Message(Kind::Binary, pieces)),
        4 => (text, 0..3usize).prop_map(|(pieces, shift)| {
            // Fragments may end in the middle of a character.
            let whole = pieces.concat().into_bytes();
            let size = whole.len() / pieces.len() + shift + 1;
            let mut pieces: Vec<_> = whole.chunks(size).map(<[u8]>::to_vec).collect();
            pieces.push(Vec::new());
            Say::Message(Kind::Text, pieces)
        }),
        1 => small().prop_map(Say::Ping),
        1 => small().prop_map(Say::Pong),
    ]
}

fn any_talk() -> impl Strategy<Value = Vec<Say>> {
    let close = (prop::option::of(1000..1004u16), "[a-z€]{0,20}");
    (prop::collection::vec(any_say(), 0..8), prop::option::of(close)).prop_map(
        |(mut talk, close)| {
            talk.extend(close.map(|(code, reason)| Say::Close(code, reason)));
            talk
        },
    )
}

/// The bytes of a talk, and what a reader is to see of it. Pings go between the pieces, too.
fn say(role: Role, deflate: Option<Agreed>, talk: &[Say]) -> (Vec<u8>, Vec<Seen>) {
    let (mut ws, mut pools) = (Ws::new(role, deflate), Pools::default());
    let (mut out, mut seen, mut masks) = (Vec::new(), Vec::new(), 1u32);
    let mut mask = || {
        masks = masks.wrapping_mul(0x9e37_79b1);
        (role == Role::Client).then(|| masks.to_be_bytes())
    };
    for word in talk {
        match word {
            Say::Message(kind, pieces) => {
                ws.writer.start(&mut pools.write, *kind);
                for (index, piece) in pieces.iter().enumerate() {
                    if index > 0 {
                        Writer::ping(b"between", mask(), &mut out);
                        seen.push(Seen::Ping(b"between".to_vec()));
                    }
                    let last = index + 1 == pieces.len();
                    ws.writer.piece(&mut pools.write, piece, last, mask(), &mut out);
                }
                seen.push(Seen::whole(*kind, &pieces.concat()));
            }
            Say::Ping(payload) => {
                Writer::ping(payload, mask(), &mut out);
                seen.push(Seen::Ping(payload.clone()));
            }
            Say::Pong(payload) => {
                Writer::pong(payload, mask(), &mut out);
                seen.push(Seen::Pong(payload.clone()));
            }
            Say::Close(code, reason) => {
                let reason = if code.is_some() { reason.as_str() } else { "" };
                Writer::close(code.map(CloseCode), reason, mask(), &mut out);
                seen.push(Seen::Close(*code, reason.to_owned()));
            }
        }
    }
    assert!(!ws.writer.is_mid_message());
    ws.forget(&mut pools);
    assert_eq!(pools.write.deflaters_in_use(), 0);
    (out, seen)
}

fn peer(role: Role) -> Role {
    match role {
        Role::Client => Role::Server,
        Role::Server => Role::Client,
    }
}

fn any_role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Client), Just(Role::Server)]
}

fn any_agreement() -> impl Strategy<Value = Option<Agreed>> {
    prop::sample::select(all_agreements().collect::<Vec<_>>())
}

fn any_sizes() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        prop::collection::vec(0..5usize, 0..80),
        prop::collection::vec(0..200usize, 0..40),
        prop::collection::vec(0..70_000usize, 0..5),
    ]
}

/// A talk with some of its bytes changed, or noise.
fn any_stream(role: Role, deflate: Option<Agreed>) -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    let talk = (any_talk(), changes, any::<prop::sample::Index>(), any::<bool>()).prop_map(
        move |(talk, changes, cut, cuts)| {
            let (mut stream, _) = say(peer(role), deflate, &talk);
            for (at, byte) in changes {
                if !stream.is_empty() {
                    let at = at.index(stream.len());
                    stream[at] ^= byte;
                }
            }
            if cuts && !stream.is_empty() {
                stream.truncate(cut.index(stream.len()));
            }
            stream
        },
    );
    // First bytes that are mostly sensible, so that noise gets somewhere.
    let first =
        prop::sample::select(vec![0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8a, 0xc1, 0x41]);
    let one = (first, prop::collection::vec(any::<u8>(), 0..30));
    let noise = prop::collection::vec(one, 0..6).prop_map(move |frames| {
        frames.into_iter().flat_map(|(first, payload)| frame(role, first, &payload)).collect()
    });
    prop_oneof![talk, noise, prop::collection::vec(any::<u8>(), 0..200)]
}

fn any_case() -> impl Strategy<Value = (Role, Option<Agreed>, Vec<u8>)> {
    (any_role(), any_agreement())
        .prop_flat_map(|(role, deflate)| (Just(role), Just(deflate), any_stream(role, deflate)))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_one_end_says_the_other_sees(
        talk in any_talk(),
        role in any_role(),
        deflate in any_agreement(),
        sizes in any_sizes(),
    ) {
        let (stream, expected) = say(role, deflate, &talk);
        prop_assert_eq!(read(peer(role), deflate, &limits(), &stream, &sizes), expected);
    }

    #[test]
    fn events_do_not_depend_on_where_reads_fall(
        (role, deflate, stream) in any_case(),
        sizes in any_sizes(),
        message_bytes_max in prop_oneof![Just(1u64 << 24), 0..200u64],
    ) {
        let limits = Limits { message_bytes_max, ..limits() };
        let whole = read(role, deflate, &limits, &stream, &[]);
        prop_assert_eq!(&read(role, deflate, &limits, &stream, &sizes), &whole);
        if stream.len() < 2000 {
            let ones = vec![1; stream.len()];
            prop_assert_eq!(&read(role, deflate, &limits, &stream, &ones), &whole);
        }
    }

    #[test]
    fn agrees_with_the_naive_parser((role, stream) in any_role().prop_flat_map(|role| {
        (Just(role), any_stream(role, None))
    })) {
        prop_assert_eq!(read(role, None, &limits(), &stream, &[]), naive(role, &stream));
    }

    #[test]
    fn an_echo_answers_what_was_said(
        talk in any_talk(),
        role in any_role(),
        deflate in any_agreement(),
        sizes in any_sizes(),
    ) {
        let (stream, said) = say(peer(role), deflate, &talk);
        let (reply, end, messages) = echoed(role, deflate, &limits(), &stream, &sizes);
        let expected: Vec<_> = said.into_iter().filter_map(|seen| match seen {
            Seen::Ping(payload) => Some(Seen::Pong(payload)),
            Seen::Pong(_) => None,
            Seen::Close(code, _) => Some(Seen::Close(code, String::new())),
            message => Some(message),
        }).collect();
        let count = expected.iter().filter(|seen| matches!(seen, Seen::Message { .. })).count();
        prop_assert_eq!(messages as usize, count);
        prop_assert_eq!(end.is_some(), matches!(talk.last(), Some(Say::Close(..))));
        prop_assert_eq!(read(peer(role), deflate, &limits(), &reply, &[]), expected);
    }

    #[test]
    fn an_echo_never_breaks_a_rule((role, deflate, stream) in any_case(), sizes in any_sizes()) {
        let seen = read(role, deflate, &limits(), &stream, &[]);
        let (reply, end, messages) = echoed(role, deflate, &limits(), &stream, &sizes);
        let whole = |seen: &&Seen| matches!(seen, Seen::Message { complete: true, .. });
        let count = seen.iter().filter(whole).count();
        prop_assert_eq!(messages as usize, count);
        let answers = read(peer(role), deflate, &limits(), &reply, &[]);
        prop_assert!(!answers.iter().any(|s| matches!(s, Seen::Error(_))), "{:?}", answers);
        match end {
            None => prop_assert!(!answers.iter().any(|s| matches!(s, Seen::Close(..)))),
            Some(End::Closed(code)) => {
                let code = code.map(|code| code.0);
                prop_assert!(answers.contains(&Seen::Close(code, String::new())));
            }
            Some(End::Broken(error)) => {
                prop_assert_eq!(seen.last(), Some(&Seen::Error(error)));
                let close = Seen::Close(Some(error.close_code().0), error.to_string());
                prop_assert!(answers.contains(&close));
            }
        }
    }

    #[test]
    fn the_fast_path_does_what_the_machine_does((role, stream) in any_role().prop_flat_map(|role| {
        (Just(role), any_stream(role, None))
    })) {
        let mut fast = Vec::new();
        let consumed = match role {
            Role::Client => read_whole(&stream, &limits(), |kind, bytes| {
                fast.push(Seen::whole(kind, bytes));
            }),
            Role::Server => {
                let mut bytes = stream.clone();
                let echoes = echo_in_place(&mut bytes, &limits());
                // What was not answered is as it was.
                prop_assert_eq!(&bytes[echoes.consumed..], &stream[echoes.consumed..]);
                prop_assert_eq!(echoes.reply_bytes + 4 * echoes.messages as usize, echoes.consumed);
                fast = read(Role::Client, None, &limits(), &bytes[..echoes.reply_bytes], &[]);
                prop_assert_eq!(fast.len(), echoes.messages as usize);
                echoes.consumed
            }
        };
        prop_assert_eq!(&read(role, None, &limits(), &stream[..consumed], &[]), &fast);
        let all = read(role, None, &limits(), &stream, &[]);
        prop_assert_eq!(&all[..fast.len()], &fast);
    }

    #[test]
    fn messages_at_once_are_the_messages_one_by_one(
        (size, count) in (1..300usize, 0..20usize),
        text: bool,
        deflate: bool,
        seed: u32,
    ) {
        let kind = if text { Kind::Text } else { Kind::Binary };
        let payloads: Vec<u8> = (0..size * count).map(|at| b'a' + (at % 23) as u8).collect();
        let window = deflate.then_some(Window { bits: 15, takeover: false });
        let key = |index: u32| (seed ^ index.wrapping_mul(0x9e37_79b9)).to_le_bytes();
        let (mut pool, mut writer) = (WritePool::new(1), Writer::new(window));
        let mut one_by_one = b"before".to_vec();
        for (payload, index) in payloads.chunks(size).zip(0..) {
            writer.message(&mut pool, kind, payload, Some(key(index)), &mut one_by_one);
        }
        let (mut at_once, mut next) = (b"before".to_vec(), 0..);
        let keys = || key(next.next().expect("endless"));
        writer.messages(&mut pool, kind, (&payloads, size), keys, &mut at_once);
        prop_assert_eq!(at_once, one_by_one);
    }

    #[test]
    fn fragments_carry_no_more_than_they_may(
        payload in any_payload(),
        most in 1..300usize,
        deflate in any_agreement(),
        text: bool,
    ) {
        let kind = if text && payload.is_ascii() { Kind::Text } else { Kind::Binary };
        let (mut ws, mut pools) = (Ws::new(Role::Client, deflate), Pools::default());
        let (mut out, mut keys) = (Vec::new(), 0u32);
        let mut key = || {
            keys = keys.wrapping_add(0x9e37_79b1);
            keys.to_be_bytes()
        };
        // Twice: the second one may refer to the first.
        for _ in 0..2 {
            ws.writer.fragments(&mut pools.write, kind, (&payload, most), &mut key, &mut out);
        }
        ws.forget(&mut pools);
        let seen = read(Role::Server, deflate, &limits(), &out, &[]);
        prop_assert_eq!(seen, [Seen::whole(kind, &payload), Seen::whole(kind, &payload)]);

        let (mut rest, mut first) = (&out[..], true);
        while !rest.is_empty() {
            let length = usize::from(rest[1] & 0x7f);
            let (length, header) = match length {
                126 => (usize::from(u16::from_be_bytes([rest[2], rest[3]])), 8),
                length => (length, 6),
            };
            prop_assert!(length <= most, "{} in a frame of {}", length, most);
            prop_assert_eq!(rest[0] & 0x0f == 0, !first);
            let compressed = first && deflate.is_some_and(|d| d.client.bits > 8);
                prop_assert_eq!(rest[0] & 0x40 != 0, compressed);
            first = rest[0] & 0x80 != 0;
            prop_assert!(first || length == most, "only the last is shorter");
            rest = &rest[header + length..];
        }
    }

    #[test]
    fn frames_are_written_as_announced(payload in any_payload(), mask: Option<[u8; 4]>) {
        let opcode = Opcode::Binary;
            let header = Header { fin: true, compressed: false, opcode, mask, length: 0 };
        let mut out = vec![1, 2, 3];
        write_frame(header, &payload, &mut out);
        let role = if mask.is_some() { Role::Server } else { Role::Client };
        let seen = read(role, None, &limits(), &out[3..], &[]);
            prop_assert_eq!(seen, [Seen::whole(Kind::Binary, &payload)]);
    }
}

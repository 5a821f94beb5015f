//! Replies right, wrong, cut anywhere, and strangers' greetings.

use super::*;
use crate::stamp::Stamp;
use crate::unasked::Unasked;
use proptest::prelude::*;

const CONNECTION: u32 = 77;

/// A connection with `count` messages on their way, and the bytes of their replies.
fn sent(template: &mut Template, count: usize) -> (Echo, Vec<u8>) {
    let mut echo = Echo::new(CONNECTION);
    let mut stream = Vec::new();
    for n in 0..count as u64 {
        stream.extend_from_slice(template.compose(&mut echo, 1, n * 10, n * 10 + 3));
    }
    (echo, stream)
}

/// Feeds the stream in the given chunk sizes; all replies, or the first mismatch.
fn feed(
    template: &Template,
    echo: &mut Echo,
    stream: &[u8],
    chunks: &[usize],
) -> Result<Vec<Stamp>, Mismatch> {
    let (mut pool, mut stamps, mut at) = (PartialPool::new(), Vec::new(), 0);
    for chunk in chunks.iter().copied().chain([stream.len()]) {
        let end = (at + chunk).min(stream.len());
        let before = stamps.len();
        let count =
            echo.read(template, &mut pool, &stream[at..end], |stamp| stamps.push(*stamp))?;
        assert_eq!(count as usize, stamps.len() - before);
        at = end;
    }
    assert_eq!(pool.in_use(), usize::from(!stream.len().is_multiple_of(template.size())));
    echo.forget(&mut pool);
    assert_eq!(pool.in_use(), 0);
    Ok(stamps)
}

#[test]
fn a_batch_is_messages_end_to_end() {
    let mut template = Template::new(100, 4, 1);
    let mut echo = Echo::new(CONNECTION);
    assert_eq!(template.compose(&mut echo, 4, 5, 6).len(), 400);
    assert_eq!(echo.in_flight(), 4);
    let stream = template.batch.clone();
    let stamps = feed(&template, &mut echo, &stream, &[]).expect("right");
    let sequences: Vec<u32> = stamps.iter().map(|stamp| stamp.sequence).collect();
    assert_eq!(sequences, [0, 1, 2, 3]);
    assert!(stamps.iter().all(|stamp| (stamp.intended, stamp.sent) == (5, 6)));
    assert_eq!(echo.in_flight(), 0);
}

#[test]
fn each_kind_of_wrong_reply_is_told_apart() {
    let mut template = Template::new(64, 1, 1);
    let (echo, stream) = sent(&mut template, 3);
    let wrong = |stream: &[u8]| {
        // Cutting must not change the verdict.
        let whole = feed(&template, &mut echo.clone(), stream, &[]);
        let cut = feed(&template, &mut echo.clone(), stream, &vec![1; stream.len()]);
        assert_eq!(whole, cut);
        whole.expect_err("a mismatch")
    };
    assert_eq!(
        wrong(b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n----------------------------"),
        Mismatch::OtherProtocol(OtherProtocol::Http1)
    );
    assert_eq!(wrong(&stream[64..]), Mismatch::WrongSequence { expected: 0, got: 1 });
    assert_eq!(wrong(&[&stream[..], b"?"].concat()), Mismatch::Unasked);
    assert_eq!(wrong(&stream[1..]), Mismatch::Foreign);
    let mut damaged = stream.clone();
    damaged[40] ^= 1;
    assert_eq!(wrong(&damaged), Mismatch::WrongBody);
    let (_, foreign) = sent(&mut Template::new(64, 1, 2), 1);
    assert_eq!(wrong(&foreign), Mismatch::Foreign);
    let mut other = Echo::new(CONNECTION + 1);
    let mut template = Template::new(64, 1, 1);
    let stray = template.compose(&mut other, 1, 0, 0).to_vec();
    let verdict = feed(&template, &mut echo.clone(), &stray, &[]);
    assert_eq!(verdict, Err(Mismatch::WrongConnection(CONNECTION + 1)));
}

/// Feeds one reply as a message of its own: whole, or cut into pieces.
fn message(template: &Template, echo: &mut Echo, reply: &[u8], piece: usize) -> Verdict {
    if piece == 0 {
        return echo.read_message(template, reply);
    }
    let mut pool = PartialPool::new();
    let mut pieces = || {
        echo.begin(template, &mut pool, true)?;
        for piece in reply.chunks(piece) {
            echo.piece(template, &mut pool, piece)?;
        }
        Ok(echo.end(template, &mut pool)?.expect("nothing is passed over"))
    };
    let verdict = pieces();
    echo.forget(&mut pool);
    assert_eq!(pool.in_use(), 0);
    verdict
}

type Verdict = Result<Stamp, Mismatch>;

#[test]
fn messages_are_judged_alike_whole_or_in_pieces() {
    for mut template in [Template::new(90, 1, 1), Template::text(90, 1, 1)] {
        let (echo, stream) = sent(&mut template, 2);
        let (first, second) = stream.split_at(90);
        let verdict = |reply: &[u8]| {
            let whole = message(&template, &mut echo.clone(), reply, 0);
            for piece in [1, 7, 33, 89, 1000] {
                assert_eq!(message(&template, &mut echo.clone(), reply, piece), whole);
            }
            whole
        };
        assert_eq!(verdict(first).map(|stamp| (stamp.intended, stamp.sent)), Ok((0, 3)));
        assert_eq!(verdict(second), Err(Mismatch::WrongSequence { expected: 0, got: 1 }));
        assert_eq!(verdict(b""), Err(Mismatch::Foreign));
        assert_eq!(verdict(b"Request served by a machine"), Err(Mismatch::Foreign));
        assert_eq!(verdict(&first[..89]), Err(Mismatch::WrongBody));
        assert_eq!(verdict(&stream), Err(Mismatch::WrongBody));
        assert!(verdict(&first.to_ascii_uppercase()).is_err());
    }
}

#[test]
fn a_text_is_digits_and_letters() {
    let mut template = Template::text(200, 2, 5);
    let mut echo = Echo::new(CONNECTION);
    let bytes = template.compose(&mut echo, 2, u64::MAX, 1).to_vec();
    assert!(bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()));
    for reply in bytes.chunks(200) {
        assert!(message(&template, &mut echo, reply, 0).is_ok());
    }
    assert_eq!(message(&template, &mut echo, &bytes[..200], 0), Err(Mismatch::Unasked));
    assert_eq!(message(&template, &mut echo, &bytes[..200], 9), Err(Mismatch::Unasked));
}

#[test]
fn any_reply_counts_where_only_the_order_does() {
    let mut template = Template::new(32, 2, 1);
    let mut echo = Echo::new(CONNECTION);
    template.compose(&mut echo, 2, 0, 0);
    let counted = [(); 3].map(|()| echo.count_reply());
    assert_eq!(counted, [Ok(()), Ok(()), Err(Mismatch::Unasked)]);
}

#[test]
fn sequence_numbers_wrap_around() {
    let mut template = Template::new(32, 2, 1);
    let mut echo = Echo::new(CONNECTION);
    (echo.sent, echo.received) = (u32::MAX, u32::MAX);
    let stream = template.compose(&mut echo, 2, 0, 0).to_vec();
    assert_eq!(echo.in_flight(), 2);
    assert_eq!(feed(&template, &mut echo, &stream, &[]).map(|stamps| stamps.len()), Ok(2));
    assert_eq!((echo.in_flight(), echo.received()), (0, 1));
}

/// What became of a stream whose first `early` bytes came before anything was sent.
fn greeted(
    template: &mut Template,
    stream: &dyn Fn(&[u8]) -> Vec<u8>,
    early: usize,
    chunks: &[usize],
) -> (Result<usize, Mismatch>, Unasked) {
    let (mut echo, mut pool) = (Echo::new(CONNECTION), PartialPool::new());
    let (_, replies) = sent(template, 3);
    let stream = stream(&replies);
    let (mut at, mut replies) = (0, 0);
    let mut chunks = chunks.iter().copied();
    let verdict = loop {
        if at >= early.min(stream.len()) && echo.in_flight() == 0 && echo.received() == 0 {
            for n in 0..3 {
                template.compose(&mut echo, 1, n * 10, n * 10 + 3);
            }
        }
        if at == stream.len() {
            break Ok(replies);
        }
        let until = if at < early { early.min(stream.len()) } else { stream.len() };
        let end = chunks.next().map_or(until, |size| until.min(at + size));
        match echo.read(template, &mut pool, &stream[at..end], |_| replies += 1) {
            Ok(_) => at = end,
            Err(mismatch) => break Err(mismatch),
        }
    };
    echo.give_up(template, &mut pool);
    assert_eq!(pool.in_use(), 0);
    (verdict, pool.unasked().clone())
}

#[test]
fn a_greeting_is_passed_over_before_the_first_message_and_while_it_leaves() {
    let mut template = Template::new(40, 1, 9).passing_over();
    let banner = |replies: &[u8]| [b"220 hello\r\n", replies].concat();
    for early in [11, 5, 0] {
        let (verdict, unasked) = greeted(&mut template, &banner, early, &[]);
        assert_eq!(verdict, Ok(3), "{early} bytes before");
        assert_eq!((unasked.messages, unasked.bytes), (1, 11));
        assert_eq!(unasked.first, b"220 hello\r\n");
    }
    let binary = |replies: &[u8]| [&[0; 300], replies].concat();
    let (verdict, unasked) = greeted(&mut template, &binary, 300, &[7; 99]);
    assert_eq!((verdict, unasked.bytes, unasked.first.len()), (Ok(3), 300, 64));
    // While a message is on its way, bytes that are no text are a reply that was spoilt.
    let (verdict, unasked) = greeted(&mut template, &binary, 0, &[]);
    assert_eq!((verdict, unasked.messages), (Err(Mismatch::Foreign), 0));
    let endless = |_: &[u8]| vec![b'x'; 5000];
    assert_eq!(greeted(&mut template, &endless, 0, &[]).0, Err(Mismatch::Foreign));
    // A short answer that is none is not lost in silence.
    let (verdict, unasked) = greeted(&mut template, &|_| b"-ERR what?\r\n".to_vec(), 0, &[]);
    assert_eq!((verdict, unasked.messages, unasked.bytes), (Ok(0), 1, 12));
    let mut strict = Template::new(40, 1, 9);
    assert_eq!(greeted(&mut strict, &banner, 11, &[]).0, Err(Mismatch::Unasked));
    assert_eq!(greeted(&mut strict, &banner, 0, &[]).0, Err(Mismatch::Foreign));
}

#[test]
fn behind_the_first_reply_a_stream_has_to_be_replies() {
    let mut template = Template::new(40, 1, 9).passing_over();
    let between = |replies: &[u8]| [&replies[..40], b"push", &replies[40..]].concat();
    assert_eq!(greeted(&mut template, &between, 0, &[]).0, Err(Mismatch::Foreign));
    let damaged = |replies: &[u8]| [&replies[..8], b"?", &replies[9..]].concat();
    let (verdict, unasked) = greeted(&mut template, &damaged, 0, &[]);
    assert_eq!((verdict, unasked.messages), (Err(Mismatch::Foreign), 0));
    let more = |replies: &[u8]| [replies, &replies[80..]].concat();
    assert_eq!(greeted(&mut template, &more, 0, &[]).0, Err(Mismatch::Unasked));
}

#[test]
fn another_protocol_is_named_however_little_of_it_comes() {
    for (bytes, other) in [
        (&b"SSH-2.0-x\r\n"[..], OtherProtocol::Ssh),
        (&[0x15, 3, 3, 0, 2, 2, 10], OtherProtocol::Tls),
        (b"HTTP/1.1 400 Bad Request\r\n", OtherProtocol::Http1),
        (&[0, 0, 0, 4, 0, 0, 0, 0, 0], OtherProtocol::Http2),
    ] {
        for early in [0, 100] {
            for chunks in [&[][..], &[1; 99]] {
                let mut template = Template::new(40, 1, 9).passing_over();
                let (verdict, _) = greeted(&mut template, &|_| bytes.to_vec(), early, chunks);
                assert_eq!(verdict, Err(Mismatch::OtherProtocol(other)), "{early}");
            }
        }
    }
}

/// Takes one message, whole or in pieces of this size: whether it was a reply.
fn judged(
    template: &Template,
    echo: &mut Echo,
    (message, same_kind): (&[u8], bool),
    piece: usize,
) -> (Result<bool, Mismatch>, Unasked) {
    let mut pool = PartialPool::new();
    let verdict = if piece == 0 {
        let read = match same_kind {
            true => echo.read_message(template, message),
            false => Err(Mismatch::WrongKind),
        };
        match read {
            Ok(_) => Ok(true),
            Err(wrong) => Echo::pass_over(template, &mut pool, message, wrong).map(|()| false),
        }
    } else {
        let mut pieces = || {
            echo.begin(template, &mut pool, same_kind)?;
            for piece in message.chunks(piece) {
                echo.piece(template, &mut pool, piece)?;
            }
            Ok(echo.end(template, &mut pool)?.is_some())
        };
        pieces()
    };
    echo.forget(&mut pool);
    assert_eq!(pool.in_use(), 0);
    (verdict, pool.unasked().clone())
}

#[test]
fn messages_without_a_stamp_are_passed_over_whole_or_in_pieces() {
    for template in [Template::new(90, 1, 1), Template::text(90, 1, 1)] {
        let mut template = template.passing_over();
        let (echo, stream) = sent(&mut template, 2);
        let (first, second) = stream.split_at(90);
        let fresh = Echo::new(CONNECTION);
        let verdict = |echo: &Echo, message: &[u8], same_kind| {
            let whole = judged(&template, &mut echo.clone(), (message, same_kind), 0);
            for piece in [1, 7, 33, 89, 1000] {
                let cut = judged(&template, &mut echo.clone(), (message, same_kind), piece);
                assert_eq!(cut, whole, "pieces of {piece}");
            }
            let Unasked { messages, bytes, first, .. } = whole.1;
            let passed = messages > 0;
            assert_eq!((messages, bytes), if passed { (1, message.len() as u64) } else { (0, 0) });
            assert!(!passed || first == message[..message.len().min(64)]);
            whole.0
        };
        let mut broken = first.to_vec();
        broken[20] ^= 1;
        for push in [&b""[..], b"welcome", &[b'{'; 500], &broken] {
            for same_kind in [true, false] {
                assert_eq!(verdict(&echo, push, same_kind), Ok(false));
                assert_eq!(verdict(&fresh, push, same_kind), Ok(false), "nothing sent yet");
            }
        }
        assert_eq!(verdict(&echo, first, true), Ok(true));
        assert_eq!(verdict(&echo, first, false), Err(Mismatch::WrongKind));
        assert_eq!(
            verdict(&echo, second, true),
            Err(Mismatch::WrongSequence { expected: 0, got: 1 })
        );
        assert_eq!(verdict(&echo, &first[..89], true), Err(Mismatch::WrongBody));
        assert_eq!(verdict(&fresh, first, true), Err(Mismatch::Unasked));
    }
}

proptest! {
    #[test]
    fn replies_do_not_depend_on_where_reads_fall(
        size in 32..200usize,
        count in 1..12usize,
        chunks in prop::collection::vec(1..300usize, 0..40),
        short in 0..32usize,
    ) {
        let mut template = Template::new(size, 1, 9);
        let (mut echo, stream) = sent(&mut template, count);
        let stream = &stream[..stream.len() - short.min(stream.len())];
        let whole = feed(&template, &mut echo.clone(), stream, &[]);
        let cut = feed(&template, &mut echo, stream, &chunks);
        prop_assert_eq!(&cut, &whole);
        let whole = whole.expect("nothing is wrong with it");
        prop_assert_eq!(whole.len(), stream.len() / size);
        prop_assert!(whole.iter().enumerate().all(|(n, s)| s.sequence == n as u32));
    }

    #[test]
    fn any_bytes_give_the_same_verdict_for_any_cut(
        noise in prop::collection::vec(any::<u8>(), 0..200),
        good in 0..3usize,
        chunks in prop::collection::vec(1..50usize, 0..40),
    ) {
        let mut template = Template::new(40, 1, 9);
        let (mut echo, stream) = sent(&mut template, 3);
        let stream = [&stream[..good * 40], &noise].concat();
        let whole = feed(&template, &mut echo.clone(), &stream, &[]);
        prop_assert_eq!(feed(&template, &mut echo, &stream, &chunks), whole);
    }

    #[test]
    fn greetings_are_the_same_for_any_cut(
        noise in prop::collection::vec(
            prop_oneof![3 => b' '..=b'~', 1 => any::<u8>(), 1 => Just(b'S')], 0..120),
        early in 0..130usize,
        chunks in prop::collection::vec(1..50usize, 0..60),
    ) {
        let mut template = Template::new(40, 1, 9).passing_over();
        let stream = |replies: &[u8]| [&noise[..], replies].concat();
        let early = early.min(noise.len());
        let whole = greeted(&mut template, &stream, early, &[]);
        let cut = greeted(&mut template, &stream, early, &chunks);
        prop_assert_eq!(&cut, &whole);
        let text = noise[early..].iter().all(|byte| (b' '..=b'~').contains(byte));
        if early > 0 && text && whole.0.is_ok() {
            prop_assert_eq!((&whole.0, whole.1.bytes), (&Ok(3), noise.len() as u64));
        }
    }
}

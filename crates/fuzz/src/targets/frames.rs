//! Streams of messages: WebSocket frames and what they are made of, and the raw echo.

use super::cuts;
use crate::support::{Seen, all_agreements, chunks, echoed, read};
use crate::{Verdict, oracle};
use std::mem::discriminant;
use wire::ws::{
    Agreed, CloseCode, End, Kind, Limits, Pools, Role, Utf8, Writer, Ws, advance, mask, read_whole,
};
use wire::{Echo, PartialPool, STAMP_BYTES, Stamp, Template};

pub(super) const WORDS: &[&str] =
    &["\x01\x00", "\x02\x00", "\u{0}\u{0}", "\x02\x7e\x00\x7e", "\x7f\0\0\0\0\0\x01\0\0", "€"];

/// What of the first two bytes of an input: who reads, what was agreed upon, what is let through.
fn setting(input: &[u8]) -> Option<(Role, Option<Agreed>, Limits, &[u8])> {
    let (&[first, second], rest) = input.split_first_chunk()?;
    let role = if first & 1 == 0 { Role::Client } else { Role::Server };
    let count = all_agreements().count();
    let deflate = all_agreements().nth(usize::from(first >> 1) % count)?;
    let limits = [(1500, 2000, 20), (16 << 20, 16 << 20, 1000), (125, 125, 2), (0, 0, 1)];
    let (frame_bytes_max, message_bytes_max, fragments_max) = limits[usize::from(second % 4)];
    Some((role, deflate, Limits { frame_bytes_max, message_bytes_max, fragments_max }, rest))
}

/// What an input of `frames` is a case of.
fn kinds(seen: &[Seen]) -> Vec<(std::mem::Discriminant<Seen>, u64)> {
    let kind = |seen: &Seen| {
        let detail = match seen {
            Seen::Message { kind, bytes, complete } => {
                let size = bytes.len().checked_ilog2().map_or(0, |bits| 1 + u64::from(bits));
                size << 2 | u64::from(*complete) << 1 | u64::from(*kind == Kind::Text)
            }
            Seen::Ping(bytes) | Seen::Pong(bytes) => u64::from(!bytes.is_empty()),
            Seen::Close(code, _) => u64::from(code.unwrap_or(0) / 1000),
            // An enum without a number of its own: its sentence has one for each.
            Seen::Error(error) => Verdict::of(discriminant(error)).0,
        };
        (discriminant(seen), detail)
    };
    seen.iter().take(6).map(kind).collect()
}

pub(super) fn frames(input: &[u8]) -> Verdict {
    let Some((role, deflate, limits, stream)) = setting(input) else { return Verdict::of(()) };
    let [whole, cut @ ..] = cuts(stream);
    let seen = read(role, deflate, &limits, stream, &whole);
    for sizes in &cut {
        assert_eq!(read(role, deflate, &limits, stream, sizes), seen, "cut into {sizes:?}");
    }
    agrees_with_the_oracle(&seen, &oracle::frames(role, deflate, &limits, stream), deflate);
    stays_within(&seen, &limits);
    for sizes in [&whole, &cut[1]] {
        answers_fit(role, deflate, &limits, stream, sizes, &seen);
    }
    if role == Role::Client && deflate.is_none() {
        the_fast_path_agrees(stream, &limits, &seen);
    }
    Verdict::of((kinds(&seen), role == Role::Client, deflate.is_some()))
}

fn agrees_with_the_oracle(seen: &[Seen], expected: &[Seen], deflate: Option<Agreed>) {
    if deflate.is_none() {
        assert_eq!(seen, expected, "the naive parser sees something else");
        return;
    }
    // Where in a compressed message an error is found is the inflater's own affair.
    let (seen_whole, expected_whole) = (complete(seen), complete(expected));
    assert!(expected_whole.starts_with(&seen_whole), "{seen:?} is not the start of {expected:?}");
    if !seen.iter().any(|seen| matches!(seen, Seen::Error(_))) {
        assert_eq!(seen_whole, expected_whole, "the naive parser sees more");
    }
}

fn complete(seen: &[Seen]) -> Vec<&Seen> {
    let complete = |s: &&Seen| !matches!(s, Seen::Error(_) | Seen::Message { complete: false, .. });
    seen.iter().filter(complete).collect()
}

fn stays_within(seen: &[Seen], limits: &Limits) {
    for seen in seen {
        if let Seen::Message { bytes, .. } = seen {
            assert!(bytes.len() as u64 <= limits.message_bytes_max, "{} bytes", bytes.len());
        }
    }
}

/// The peer understands what is answered, and it is what was said.
fn answers_fit(
    role: Role,
    deflate: Option<Agreed>,
    limits: &Limits,
    stream: &[u8],
    sizes: &[usize],
    seen: &[Seen],
) {
    let (reply, end, messages) = echoed(role, deflate, limits, stream, sizes);
    let peer = if role == Role::Client { Role::Server } else { Role::Client };
    // Echoes of single bytes make more fragments than came.
    let all = Limits { fragments_max: u32::MAX, ..Limits::default() };
    let answers = read(peer, deflate, &all, &reply, &[]);
    let mut expected: Vec<Seen> = complete(seen).into_iter().cloned().collect();
    expected.retain(|seen| !matches!(seen, Seen::Pong(_)));
    for answer in &mut expected {
        match answer {
            Seen::Ping(bytes) => *answer = Seen::Pong(std::mem::take(bytes)),
            Seen::Close(_, reason) => reason.clear(),
            _ => {}
        }
    }
    let is_message = |seen: &&Seen| matches!(seen, Seen::Message { .. });
    assert_eq!(messages as usize, expected.iter().filter(is_message).count());
    if let Some(Seen::Error(error)) = seen.last() {
        assert_eq!(end, Some(End::Broken(*error)));
        expected.push(Seen::Close(Some(error.close_code().0), error.to_string()));
    }
    let closes = expected.iter().any(|seen| matches!(seen, Seen::Close(..)));
    assert_eq!(end.is_some(), closes);
    let answers: Vec<Seen> = complete(&answers).into_iter().cloned().collect();
    assert_eq!(answers, expected, "another answer than was to be given");
}

/// Whole messages at the start of a server's stream, read in one go.
fn the_fast_path_agrees(stream: &[u8], limits: &Limits, seen: &[Seen]) {
    let mut quick = Vec::new();
    let used = read_whole(stream, limits, |kind, bytes| quick.push(Seen::whole(kind, bytes)));
    quick.extend(read(Role::Client, None, limits, &stream[used..], &[]));
    assert_eq!(quick, seen, "the fast path sees something else");
}

/// A script of what an end says, a byte for each word, and what the other end hears.
pub(super) fn messages(input: &[u8]) -> Verdict {
    let Some((role, deflate, _, mut script)) = setting(input) else { return Verdict::of(()) };
    let (mut ws, mut pools) = (Ws::new(role, deflate), Pools::default());
    let (mut out, mut said, mut words, mut masks) = (Vec::new(), Vec::new(), Vec::new(), 7u32);
    let mut key = || {
        masks = masks.wrapping_mul(0x9e37_79b1);
        (role == Role::Client).then(|| masks.to_be_bytes())
    };
    while let [word, length, rest @ ..] = script {
        let (payload, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        script = rest;
        words.push(word % 6);
        let text = String::from_utf8_lossy(payload).into_owned();
        match word % 6 {
            0 => {
                ws.writer.message(&mut pools.write, Kind::Binary, payload, key(), &mut out);
                said.push(Seen::whole(Kind::Binary, payload));
            }
            1 => {
                ws.writer.message(&mut pools.write, Kind::Text, text.as_bytes(), key(), &mut out);
                said.push(Seen::whole(Kind::Text, text.as_bytes()));
            }
            2 => {
                // In pieces, which may end within a character, and far more than one window of it.
                let whole = text.repeat(if payload.len() > 200 { 200 } else { 1 });
                ws.writer.start(&mut pools.write, Kind::Text);
                for piece in whole.as_bytes().chunks(usize::from(*word) * 16 + 1) {
                    ws.writer.piece(&mut pools.write, piece, false, key(), &mut out);
                    Writer::ping(b"between", key(), &mut out);
                    said.push(Seen::Ping(b"between".to_vec()));
                }
                ws.writer.piece(&mut pools.write, b"", true, key(), &mut out);
                said.push(Seen::whole(Kind::Text, whole.as_bytes()));
            }
            3 => {
                Writer::ping(&payload[..payload.len().min(125)], key(), &mut out);
                said.push(Seen::Ping(payload[..payload.len().min(125)].to_vec()));
            }
            4 => {
                Writer::pong(&payload[..payload.len().min(125)], key(), &mut out);
                said.push(Seen::Pong(payload[..payload.len().min(125)].to_vec()));
            }
            _ => {
                let reason: String = text.chars().take(30).collect();
                Writer::close(Some(CloseCode(3000)), &reason, key(), &mut out);
                said.push(Seen::Close(Some(3000), reason));
                break;
            }
        }
    }
    ws.forget(&mut pools);
    assert_eq!(pools.write.deflaters_in_use(), 0);
    let peer = if role == Role::Client { Role::Server } else { Role::Client };
    for sizes in cuts(input) {
        let heard = read(peer, deflate, &Limits::default(), &out, &sizes);
        assert_eq!(heard, said, "cut into {sizes:?}");
    }
    words.truncate(6);
    Verdict::of((words, deflate.map(|agreed| agreed.client.bits)))
}

pub(super) fn masks(input: &[u8]) -> Verdict {
    let Some((&key, rest)) = input.split_first_chunk::<4>() else { return Verdict::of(()) };
    let Some((&at, bytes)) = rest.split_first() else { return Verdict::of(()) };
    let expected: Vec<u8> = bytes.iter().zip(key.iter().cycle()).map(|(a, b)| a ^ b).collect();
    let mut masked = bytes.to_vec();
    let (left, right) = masked.split_at_mut(usize::from(at).min(bytes.len()));
    mask(left, key);
    mask(right, advance(key, left.len()));
    assert_eq!(masked, expected, "in two parts");
    mask(&mut masked, key);
    assert_eq!(masked, bytes, "there and back");
    Verdict::of((bytes.len() % 32, at % 8))
}

pub(super) fn utf8(input: &[u8]) -> Verdict {
    let verdict = std::str::from_utf8(input);
    // The shortest start that nothing could make a text of.
    let is_wrong = |end: &usize| {
        std::str::from_utf8(&input[..*end]).is_err_and(|error| error.error_len().is_some())
    };
    let good = verdict.map_or_else(|error| error.valid_up_to(), str::len);
    let wrong_from = (good..=input.len()).take(5).find(is_wrong);
    for sizes in cuts(input) {
        let (mut check, mut text, mut seen) = (Utf8::default(), String::new(), 0);
        let failed = chunks(input, &sizes).find_map(|chunk| {
            seen += chunk.len();
            check.push(chunk, |piece| text.push_str(piece)).err().map(|_| seen - chunk.len())
        });
        assert_eq!(text.as_bytes(), &input[..good], "cut into {sizes:?}");
        match (failed, wrong_from) {
            (None, None) => assert_eq!(check.is_complete(), verdict.is_ok()),
            // It failed in the very chunk that brought the wrong byte.
            (Some(before), Some(end)) => assert!(before < end && end <= seen, "too late"),
            other => panic!("failed, and to fail: {other:?}, cut into {sizes:?}"),
        }
    }
    Verdict::of((good.min(8), verdict.err().map(|error| error.error_len()), good == input.len()))
}

/// Replies of a server that damages them: each three bytes say where and how.
pub(super) fn echoes(input: &[u8]) -> Verdict {
    let Some((&[size, count], edits)) = input.split_first_chunk() else { return Verdict::of(()) };
    let (size, count) = (STAMP_BYTES + usize::from(size), 1 + usize::from(count % 8));
    let mut template = Template::new(size, count, 5);
    let mut asked = Echo::new(3);
    let sent = template.compose(&mut asked, count, 10, 11).to_vec();
    let mut stream = sent.clone();
    for edit in edits.chunks_exact(3) {
        let at = usize::from(u16::from_be_bytes([edit[0], edit[1]])) % (stream.len() + 1);
        match (edit[2], stream.get_mut(at)) {
            (0, _) => stream.truncate(at),
            (1, _) => stream.extend_from_slice(&sent[..at.min(sent.len())]),
            (change, Some(byte)) => *byte ^= change,
            (_, None) => stream.push(edit[2]),
        }
    }
    let same = stream.iter().zip(&sent).take_while(|(a, b)| a == b).count();
    let mut verdicts = cuts(&stream).map(|sizes| {
        let (mut echo, mut pool, mut replies) = (asked, PartialPool::new(), Vec::new());
        let verdict = chunks(&stream, &sizes)
            .map(|chunk| echo.read(&template, &mut pool, chunk, |stamp| replies.push(*stamp)))
            .find_map(Result::err);
        echo.forget(&mut pool);
        assert_eq!(pool.in_use(), 0);
        (replies.len(), verdict)
    });
    // A cut may find a wrong byte before the whole stamp or message would: only the rule differs.
    verdicts.iter_mut().for_each(|(_, error)| assert!(error.is_none() || same < stream.len()));
    let (replies, error) = &verdicts[0];
    assert!(
        verdicts.iter().all(|(count, other)| count == replies && other == error),
        "{verdicts:?}"
    );
    assert_eq!(*replies, same / size, "not every right reply was taken, or a wrong one was");
    Verdict::of((*replies, error.as_ref().map(discriminant)))
}

pub(super) fn stamps(input: &[u8]) -> Verdict {
    let Some(bytes) = input.first_chunk() else { return Verdict::of(()) };
    let stamp = Stamp::from_bytes(bytes);
    if let Some(stamp) = stamp {
        assert_eq!(stamp.to_bytes(), *bytes);
    }
    Verdict::of(stamp.is_some())
}

//! A connection that answers every message by the same message, every ping by a pong, and a close
//! by a close.

use super::close::CloseCode;
use super::error::WsError;
use super::frame::Role;
use super::reader::{Event, Kind, Limits};
use super::whole::{Echoes, echo_whole};
use super::writer::Writer;
use super::{Pools, Ws};

/// How the stream ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// The peer closed, with this code.
    Closed(Option<CloseCode>),
    /// The peer broke a rule.
    Broken(WsError),
}

/// What [`echo`] did.
#[derive(Debug, Eq, PartialEq)]
pub struct Echoed<'a> {
    /// What is to be sent, in one write.
    pub reply: &'a [u8],
    /// Messages that are complete with these bytes.
    pub messages: u32,
    /// How the stream ended, if it did. The reply ends with a close frame then; once it is sent,
    /// the connection is to be closed.
    pub end: Option<End>,
}

/// Takes the next bytes of the stream and gives the answer to all of them. It lies in `bytes` where
/// that is possible, else in `out`, which is cleared first. `masks` is asked for a fresh mask per
/// frame if we are the client.
///
/// A message that is cut by a read is answered in fragments, as it comes. But where a server gets a
/// binary message that is a single frame, the answer is a single frame too. (A text may turn out
/// not to be one, and the close frame that says so could not be sent in the middle of a frame.)
///
/// Where the work is bounded ([`ReadPool::allow`](super::ReadPool::allow)) not all bytes may be
/// taken.
#[inline]
pub fn echo<'a>(
    ws: &mut Ws,
    limits: &Limits,
    pools: &mut Pools,
    masks: impl FnMut() -> [u8; 4],
    bytes: &'a mut [u8],
    out: &'a mut Vec<u8>,
) -> Echoed<'a> {
    let mut echoes = Echoes::default();
    if ws.reader.role() == Role::Server && ws.reader.is_idle() {
        echoes = echo_whole(bytes, limits, pools.read.frames_left());
        pools.read.note_frames(echoes.messages);
    }
    let Echoes { consumed, reply_bytes, messages } = echoes;
    if messages > 0 {
        ws.writer.note_message();
    }
    let (reply, rest) = if consumed == bytes.len() {
        return Echoed { reply: &bytes[..reply_bytes], messages, end: None };
    } else {
        bytes.split_at_mut(consumed)
    };
    out.clear();
    out.extend_from_slice(&reply[..reply_bytes]);
    let (more, end) = echo_anything(ws, limits, pools, masks, rest, out);
    Echoed { reply: out, messages: messages + more, end }
}

/// The general case of [`echo`]: answers behind `out`, and says how many messages were complete and
/// how the stream ended.
fn echo_anything(
    ws: &mut Ws,
    limits: &Limits,
    pools: &mut Pools,
    mut masks: impl FnMut() -> [u8; 4],
    bytes: &mut [u8],
    out: &mut Vec<u8>,
) -> (u32, Option<End>) {
    let Ws { reader, writer } = ws;
    let Pools { read, write } = pools;
    let role = reader.role();
    let mut mask = || (role == Role::Client).then(&mut masks);
    let (mut messages, mut end) = (0, None);
    // Where in `out` the last fragment of the open answer begins.
    let mut fragment = None;
    let verdict = reader.read(limits, read, bytes, |event| match event {
        Event::Start { kind: kind @ Kind::Binary, length: Some(length) }
            if role == Role::Server =>
        {
            writer.start_frame(kind, length, out);
        }
        Event::Start { kind, .. } => writer.start(write, kind),
        Event::Chunk(chunk) if writer.is_mid_frame() => out.extend_from_slice(chunk),
        Event::Chunk(chunk) => {
            fragment = Some(out.len());
            writer.piece(write, chunk, false, mask(), out);
        }
        Event::End => {
            messages += 1;
            if writer.is_mid_frame() {
                writer.end_frame();
            } else if !fragment.take().is_some_and(|at| writer.end_with(at, out)) {
                writer.piece(write, b"", true, mask(), out);
            }
        }
        Event::Ping(payload) => {
            // What follows the pong must not be moved in front of it.
            fragment = None;
            Writer::pong(payload, mask(), out);
            writer.note_pong();
        }
        Event::Pong(_) => {}
        Event::Close(close) => {
            Writer::close(close.code, "", mask(), out);
            end = Some(End::Closed(close.code));
        }
    });
    if messages > 0 {
        writer.note_message();
    }
    if let Err(error) = verdict {
        // The answer that was being written stays unfinished, which a close frame allows.
        debug_assert!(!writer.is_mid_frame());
        Writer::close(Some(error.close_code()), &error.to_string(), mask(), out);
        end = Some(End::Broken(error));
    }
    if end.is_some() {
        writer.forget(write);
    }
    (messages, end)
}

//! What the WebSocket tests and the fuzz targets share: events that can be compared, and streams
//! fed in chunks.

use c1000k_wire::ws::{
    Agreed, Close, End, Event, Kind, Limits, Pools, Role, Window, Ws, WsError, echo,
};

/// An event with its chunks put together: a message, or a part of one at the end of a stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Seen {
    Message { kind: Kind, bytes: Vec<u8>, complete: bool },
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
    Error(WsError),
}

impl Seen {
    pub(crate) fn whole(kind: Kind, bytes: &[u8]) -> Self {
        Self::Message { kind, bytes: bytes.to_vec(), complete: true }
    }
}

/// Collects events. A control frame within a message comes before the message it interrupts.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) seen: Vec<Seen>,
    open: Option<(Kind, Vec<u8>, Option<u64>)>,
}

impl Log {
    pub(crate) fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start { kind, length } => {
                assert!(self.open.is_none(), "a message within a message");
                self.open = Some((kind, Vec::new(), length));
            }
            Event::Chunk(chunk) => {
                assert!(!chunk.is_empty());
                let (kind, bytes, _) = self.open.as_mut().expect("a message is open");
                assert!(*kind == Kind::Binary || std::str::from_utf8(chunk).is_ok());
                bytes.extend_from_slice(chunk);
            }
            Event::End => {
                let (kind, bytes, length) = self.open.take().expect("a message is open");
                assert!(length.is_none_or(|length| length == bytes.len() as u64));
                self.seen.push(Seen::Message { kind, bytes, complete: true });
            }
            Event::Ping(bytes) => self.seen.push(Seen::Ping(bytes.to_vec())),
            Event::Pong(bytes) => self.seen.push(Seen::Pong(bytes.to_vec())),
            Event::Close(Close { code, reason }) => {
                self.seen.push(Seen::Close(code.map(|code| code.0), reason.to_owned()));
            }
        }
    }

    /// What was seen, with the message that is open and the error behind it.
    pub(crate) fn finish(mut self, error: Option<WsError>) -> Vec<Seen> {
        if let Some((kind, bytes, _)) = self.open {
            self.seen.push(Seen::Message { kind, bytes, complete: false });
        }
        self.seen.extend(error.map(Seen::Error));
        self.seen
    }
}

/// Cuts a stream into chunks of the given sizes; the rest is the last chunk.
pub(crate) fn chunks<'a>(stream: &'a [u8], sizes: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = stream;
    sizes.iter().copied().chain([usize::MAX]).map(move |size| {
        let (now, then) = rest.split_at(size.min(rest.len()));
        rest = then;
        now
    })
}

/// All that a reader makes of a stream.
pub(crate) fn read(
    role: Role,
    deflate: Option<Agreed>,
    limits: &Limits,
    stream: &[u8],
    sizes: &[usize],
) -> Vec<Seen> {
    let (mut ws, mut pools, mut log) = (Ws::new(role, deflate), Pools::default(), Log::default());
    let mut error = None;
    for chunk in chunks(stream, sizes) {
        let mut bytes = chunk.to_vec();
        let before = log.seen.len();
        let verdict = ws.reader.read(limits, &mut pools.read, &mut bytes, |event| log.event(event));
        if error.is_some() {
            assert!(log.seen.len() == before && verdict.is_ok(), "silence after an error");
        }
        error = error.or_else(|| verdict.err());
    }
    if ws.reader.is_idle() && deflate.is_none() {
        assert_eq!((pools.read.partials_in_use(), pools.read.inflaters_in_use()), (0, 0));
    }
    ws.forget(&mut pools);
    assert_eq!((pools.read.partials_in_use(), pools.read.inflaters_in_use()), (0, 0));
    log.finish(error)
}

/// All that an echo answers to a stream, and how it ends.
pub(crate) fn echoed(
    role: Role,
    deflate: Option<Agreed>,
    limits: &Limits,
    stream: &[u8],
    sizes: &[usize],
) -> (Vec<u8>, Option<End>, u32) {
    let (mut ws, mut pools, mut out) = (Ws::new(role, deflate), Pools::default(), Vec::new());
    let (mut replies, mut end, mut messages) = (Vec::new(), None, 0);
    let mut masks = 0u32;
    for chunk in chunks(stream, sizes) {
        let mut bytes = chunk.to_vec();
        let mask = || {
            masks = masks.wrapping_add(0x9e37_79b9);
            masks.to_be_bytes()
        };
        let echoed = echo(&mut ws, limits, &mut pools, mask, &mut bytes, &mut out);
        assert!(end.is_none() || (echoed.reply.is_empty() && echoed.end.is_none()));
        replies.extend_from_slice(echoed.reply);
        messages += echoed.messages;
        end = end.or(echoed.end);
    }
    ws.forget(&mut pools);
    assert_eq!((pools.read.partials_in_use(), pools.read.inflaters_in_use()), (0, 0));
    assert_eq!(pools.write.deflaters_in_use(), 0);
    (replies, end, messages)
}

/// Every way that compression can be agreed upon.
pub(crate) fn all_agreements() -> impl Iterator<Item = Option<Agreed>> {
    let windows = || {
        [8, 9, 10, 12, 15]
            .into_iter()
            .flat_map(|bits| [false, true].map(|takeover| Window { bits, takeover }))
    };
    let both =
        windows().flat_map(move |server| windows().map(move |client| Agreed { server, client }));
    [None].into_iter().chain(both.map(Some))
}

//! `WebSocket`: the echo load in frames of RFC 6455, masked, perhaps compressed (RFC 7692).

use super::order::Order;
use super::{Before, Closes, Content, End, Protocol, Received, State, Times, batch_max};
use measure::{Nanos, Stage};
use wire::ws::{
    self, Accepted, CloseCode, Event, HEADER_BYTES_MAX, HandshakeFailure, Head, HeadPool, Kind,
    Limits, Pools, Request, Role, Writer, Ws, WsError,
};
use wire::{
    Echo, Mismatch, OtherProtocol, PartialPool, STAMP_BYTES, SplitMix64, Stamp, Template, Unasked,
};

/// What all connections of a run have in common.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// What is asked of each target.
    pub(crate) requests: Vec<Request>,
    /// What messages are made of.
    pub(crate) kind: Kind,
    /// The most payload that one frame carries, in bytes; `None`: as much as there is.
    pub(crate) fragment: Option<usize>,
    /// Whether compression is offered.
    pub(crate) deflate: bool,
    /// Whether replies belong to messages by their order alone.
    pub(crate) in_order: bool,
    /// Whether every message that is not the reply to one breaks a rule.
    pub(crate) strict: bool,
    /// Size of a message, in bytes.
    pub(crate) size: usize,
    /// Messages that a connection may have on their way.
    pub(crate) in_flight: u32,
    /// Reactors of the run.
    pub(crate) reactors: u64,
    /// The seed of the run.
    pub(crate) seed: u64,
}

impl Setup {
    /// Bytes that a message has on the wire, at the most.
    #[must_use]
    pub(crate) fn message_bytes(&self) -> usize {
        // Data that does not compress grows by five bytes for every 16 KiB, and for the flush.
        let payload = self.size + if self.deflate { self.size / 1024 + 16 } else { 0 };
        let frames = self.fragment.map_or(1, |fragment| payload.div_ceil(fragment));
        payload + frames * HEADER_BYTES_MAX
    }
}

/// The nonce of a connection: fresh for each, and the same when the seed is.
pub(crate) fn nonce(seed: u64, connection: u32) -> [u8; 16] {
    let mut random = SplitMix64::new(seed ^ u64::from(connection).rotate_left(32));
    // The seed of the neighbours differs in few bits: the first number spreads them.
    let mut random = SplitMix64::new(random.next());
    let (low, high) = (random.next(), random.next());
    (u128::from(high) << 64 | u128::from(low)).to_le_bytes()
}

/// A connection whose request is to be sent, or waits for its reply.
#[derive(Debug)]
pub(crate) struct Upgrade {
    head: Head,
    /// Which request.
    pub(crate) target: u16,
}

/// What came of the bytes of a reply.
pub(crate) enum Reply {
    /// It is not complete.
    Partial,
    /// The connection is upgraded; so many of the bytes belonged to the reply.
    Accepted(Accepted, usize),
    /// It is not what was asked for.
    Failed(HandshakeFailure),
    /// It is no reply but the first words of another protocol.
    Other(OtherProtocol),
}

impl Upgrade {
    pub(crate) fn new(target: u16) -> Self {
        Self { head: Head::default(), target }
    }

    /// Takes the next bytes of the reply to the request that was written with this nonce. Interim
    /// replies are passed over.
    pub(crate) fn read(
        &mut self,
        pool: &mut HeadPool,
        request: &Request,
        nonce: [u8; 16],
        bytes: &[u8],
    ) -> Reply {
        let mut used = 0;
        if let Some(other) = self.head.other_protocol(pool, bytes) {
            return Reply::Other(other);
        }
        loop {
            let read = self.head.read(pool, &bytes[used..], |head| {
                (!ws::is_interim(head)).then(|| request.check(nonce, head))
            });
            match read {
                Ok(None) => return Reply::Partial,
                Ok(Some((None, length))) => used += length,
                Ok(Some((Some(Ok(accepted)), length))) => {
                    return Reply::Accepted(accepted, used + length);
                }
                Ok(Some((Some(Err(failure)), _))) => return Reply::Failed(failure),
                Err(error) => return Reply::Failed(error.into()),
            }
        }
    }

    pub(crate) fn forget(&mut self, pool: &mut HeadPool) {
        self.head.forget(pool);
    }
}

/// Where a connection stands.
#[derive(Debug)]
enum Link {
    Upgrading(Upgrade),
    Open(Ws),
    /// Our close frame is sent.
    Closing(Ws),
}

/// What is kept for each connection.
#[derive(Debug)]
pub(crate) struct Session {
    link: Link,
    echo: Echo,
    /// When the request, the ping or the close frame left that still waits for its answer; zero if
    /// none does.
    asked: Nanos,
}

const _: () = assert!(size_of::<Session>() == 48);

/// The protocol.
#[derive(Debug)]
pub(crate) struct WebSocket {
    setup: std::sync::Arc<Setup>,
    template: Template,
    partials: PartialPool,
    heads: HeadPool,
    pools: Pools,
    limits: Limits,
    masks: SplitMix64,
    order: Option<Order>,
    /// How peers took leave in the middle of the run.
    closes: Closes,
    /// Messages on their way out.
    composed: Vec<u8>,
    /// Control frames on their way out.
    answers: Vec<u8>,
}

impl WebSocket {
    /// For reactor `index`.
    #[must_use]
    pub(crate) fn new(setup: std::sync::Arc<Setup>, index: usize) -> Self {
        let Setup { kind, size, seed, in_flight, in_order, strict, reactors, .. } = *setup;
        let batch_max = batch_max(setup.message_bytes(), in_flight);
        let template = match kind {
            Kind::Binary => Template::new(size, batch_max, seed),
            Kind::Text => Template::text(size, batch_max, seed),
        };
        let template = if strict { template } else { template.passing_over() };
        // Not the stream that the nonces and the filler come from.
        let mut spread = SplitMix64::new(!seed ^ (index as u64) << 48);
        Self {
            setup,
            template,
            partials: PartialPool::new(),
            heads: HeadPool::default(),
            pools: Pools::default(),
            limits: Limits::default(),
            masks: SplitMix64::new(spread.next()),
            order: in_order.then(|| Order::new(reactors)),
            closes: Closes::default(),
            composed: Vec::new(),
            answers: Vec::new(),
        }
    }

    fn mask(&mut self) -> Option<[u8; 4]> {
        Some(fresh_key(&mut self.masks))
    }

    /// Goes on with the opening handshake. The bytes behind the reply, if it is complete and right.
    #[cold]
    fn shake_hands<'a>(
        &mut self,
        session: &mut Session,
        bytes: &'a mut [u8],
        heard: &mut Received,
    ) -> &'a mut [u8] {
        let Link::Upgrading(upgrade) = &mut session.link else { return bytes };
        let nonce = nonce(self.setup.seed, session.echo.connection());
        let request = &self.setup.requests[usize::from(upgrade.target)];
        match upgrade.read(&mut self.heads, request, nonce, bytes) {
            Reply::Partial => &mut [],
            Reply::Accepted(accepted, used) => {
                session.link = Link::Open(Ws::new(Role::Client, accepted.deflate));
                heard.opened = Some(std::mem::take(&mut session.asked));
                &mut bytes[used..]
            }
            Reply::Other(other) => {
                heard.end = Some(End::Violation(other.to_string()));
                &mut []
            }
            Reply::Failed(failure) => {
                let text = failure.to_string();
                heard.end = Some(match failure {
                    HandshakeFailure::Status(status) | HandshakeFailure::Redirect(status, _) => {
                        End::Status(status, text)
                    }
                    _ => End::Violation(text),
                });
                &mut []
            }
        }
    }

    /// Takes what the fast path left: cut frames, fragments, control frames, compressed messages.
    fn read_on(
        &mut self,
        session: &mut Session,
        bytes: &mut [u8],
        heard: &mut Received,
        on_reply: &mut impl FnMut(&Times, Option<Content>),
    ) {
        self.answers.clear();
        let Session { link, echo, asked } = session;
        let closing = matches!(link, Link::Closing(_));
        let (Link::Open(ws) | Link::Closing(ws)) = link else { return };
        let Self {
            template, partials, pools, limits, masks, order, answers, setup, closes, ..
        } = self;
        let tag = template.tag();
        let mut replies = Replies { setup, template, partials, order, echo, count: 0, wrong: None };
        let mut closed = false;
        let read = ws.reader.read(limits, &mut pools.read, bytes, |event| match event {
            Event::Start { kind, .. } => replies.start(kind),
            Event::Chunk(chunk) => replies.chunk(chunk),
            Event::End => replies.end(on_reply),
            // After a close frame nothing more may be sent (RFC 6455 5.5.1).
            Event::Ping(payload) if !closing => {
                Writer::pong(payload, Some(fresh_key(masks)), answers);
            }
            Event::Ping(_) => {}
            Event::Pong(payload) => {
                let stamp =
                    <&[u8; STAMP_BYTES]>::try_from(payload).ok().and_then(Stamp::from_bytes);
                let ours = |stamp: &Stamp| {
                    !closing
                        && *asked > Nanos::ZERO
                        && (stamp.tag, stamp.connection) == (tag, replies.echo.connection())
                        && stamp.sent == asked.0
                };
                // Pongs out of the blue are allowed (RFC 6455 5.5.3).
                if stamp.as_ref().is_some_and(ours) {
                    heard.pong = Some(std::mem::take(asked));
                }
            }
            Event::Close(close) => {
                closed = true;
                if !closing {
                    closes.count(close.code.map(|code| code.0), close.reason);
                    Writer::close(close.code, "", Some(fresh_key(masks)), answers);
                }
            }
        });
        heard.replies += replies.count;
        match (replies.wrong, read) {
            (_, Err(error)) if closing => {
                let rule = (error != WsError::NoInflater).then(|| error.to_string());
                heard.end = Some(End::NoLeave(rule));
            }
            (_, Err(error)) => heard.end = Some(self.broken(session, error)),
            (Some(mismatch), _) if !closing => heard.end = Some(End::Mismatch(mismatch)),
            (_, Ok(())) if closed && closing => heard.left = Some(std::mem::take(asked)),
            (_, Ok(())) if closed => {
                heard.end = Some(End::Closed);
                session.close();
            }
            (_, Ok(())) => {}
        }
        heard.answers = !self.answers.is_empty();
    }

    /// The peer has broken a rule, and is told so.
    #[cold]
    fn broken(&mut self, session: &mut Session, error: WsError) -> End {
        let mask = self.mask();
        Writer::close(Some(error.close_code()), &error.to_string(), mask, &mut self.answers);
        session.close();
        match error {
            WsError::NoInflater => End::NoMemory,
            _ => End::Violation(error.to_string()),
        }
    }
}

/// A fresh mask for every frame. It can be predicted by who has seen others, which matters to
/// proxies that a browser's script would deceive (RFC 6455 10.3), and not to a load.
#[inline]
fn fresh_key(masks: &mut SplitMix64) -> [u8; 4] {
    (masks.next() as u32).to_le_bytes()
}

impl Session {
    /// Our close frame is on its way.
    fn close(&mut self) {
        let gone = Link::Upgrading(Upgrade::new(0));
        self.link = match std::mem::replace(&mut self.link, gone) {
            Link::Open(ws) => Link::Closing(ws),
            other => other,
        };
    }
}

/// Matches what comes with what was sent.
struct Replies<'a> {
    setup: &'a Setup,
    template: &'a Template,
    partials: &'a mut PartialPool,
    order: &'a mut Option<Order>,
    echo: &'a mut Echo,
    count: u32,
    /// What was wrong with a reply: those behind it are not looked at.
    wrong: Option<Mismatch>,
}

impl Replies<'_> {
    fn whole(
        &mut self,
        kind: Kind,
        payload: &[u8],
        on_reply: &mut impl FnMut(&Times, Option<Content>),
    ) {
        if self.wrong.is_some() {
            return;
        }
        if self.order.is_some() {
            if self.is_unasked() {
                return self.partials.pass_over(payload);
            }
            return self.end(on_reply);
        }
        let read = if kind == self.setup.kind {
            self.echo.read_message(self.template, payload)
        } else {
            Err(Mismatch::WrongKind)
        };
        match read {
            Ok(stamp) => self.take(stamp, on_reply),
            Err(wrong) => {
                self.wrong = Echo::pass_over(self.template, self.partials, payload, wrong).err();
            }
        }
    }

    /// Whether what comes now comes while nothing is on its way, so that it is no reply in any
    /// order.
    fn is_unasked(&self) -> bool {
        self.echo.in_flight() == 0 && !self.setup.strict
    }

    fn start(&mut self, kind: Kind) {
        if self.wrong.is_some() {
            return;
        }
        if self.order.is_some() {
            if self.is_unasked() {
                self.echo.begin_unasked(self.partials);
            }
            return;
        }
        let same_kind = kind == self.setup.kind;
        self.wrong = self.echo.begin(self.template, self.partials, same_kind).err();
    }

    fn chunk(&mut self, bytes: &[u8]) {
        if self.wrong.is_none() && (self.order.is_none() || self.echo.has_begun()) {
            self.wrong = self.echo.piece(self.template, self.partials, bytes).err();
        }
    }

    fn end(&mut self, on_reply: &mut impl FnMut(&Times, Option<Content>)) {
        if self.wrong.is_some() {
            return;
        }
        if self.order.is_none() || self.echo.has_begun() {
            match self.echo.end(self.template, self.partials) {
                Ok(Some(stamp)) => self.take(stamp, on_reply),
                Ok(None) => {}
                Err(mismatch) => self.wrong = Some(mismatch),
            }
            return;
        }
        let Some(order) = self.order else { return };
        if let Err(mismatch) = self.echo.count_reply() {
            self.wrong = Some(mismatch);
        } else if let Some(times) = order.pop(self.echo.connection()) {
            self.count += 1;
            on_reply(&times, None);
        }
    }

    #[inline]
    fn take(&mut self, stamp: Stamp, on_reply: &mut impl FnMut(&Times, Option<Content>)) {
        self.count += 1;
        let (intended, sent) = (Nanos(stamp.intended), Nanos(stamp.sent));
        on_reply(&Times { first: stamp.sequence == 0, intended, sent }, None);
    }
}

impl Protocol for WebSocket {
    type Session = Session;

    const HANDSHAKES: bool = true;
    const STAGES: &'static [Stage] = &[Stage::Upgrade, Stage::Handshake, Stage::Ping, Stage::Close];

    fn session(&self, number: u32, target: u16, _: Before) -> Session {
        let link = Link::Upgrading(Upgrade::new(target));
        Session { link, echo: Echo::new(number), asked: Nanos::ZERO }
    }

    fn number(session: &Session) -> u32 {
        session.echo.connection()
    }

    #[inline]
    fn state(session: &Session) -> State {
        match &session.link {
            Link::Upgrading(_) => State::Opening,
            Link::Open(_) => State::Open,
            Link::Closing(ws) if ws.reader.is_closed() => State::Left,
            Link::Closing(_) => State::Leaving,
        }
    }

    #[inline]
    fn in_flight(session: &Session) -> u32 {
        session.echo.in_flight()
    }

    fn received(session: &Session) -> u32 {
        session.echo.received()
    }

    fn batch_max(&self) -> usize {
        self.template.batch_max()
    }

    fn message_bytes(&self) -> usize {
        self.setup.message_bytes()
    }

    #[inline]
    fn compose(
        &mut self,
        session: &mut Session,
        count: usize,
        intended: Nanos,
        sent: Nanos,
    ) -> &[u8] {
        let Self { setup, template, pools, masks, order, composed, .. } = self;
        composed.clear();
        let Link::Open(Ws { writer, .. }) = &mut session.link else { return composed };
        let echo = &mut session.echo;
        if let Some(order) = order {
            let first = echo.received() == 0 && echo.in_flight() == 0;
            for index in 0..count {
                order.push(echo.connection(), first && index == 0, intended, sent);
            }
        }
        let messages = template.compose(echo, count, intended.0, sent.0);
        let (pool, kind) = (&mut pools.write, setup.kind);
        let Some(fragment) = setup.fragment else {
            let keys = || fresh_key(masks);
            writer.messages(pool, kind, (messages, setup.size), keys, composed);
            return composed;
        };
        for message in messages.chunks_exact(setup.size) {
            writer.fragments(pool, kind, (message, fragment), || fresh_key(masks), composed);
        }
        composed
    }

    #[inline]
    fn receive(
        &mut self,
        session: &mut Session,
        bytes: &mut [u8],
        _: Nanos,
        mut on_reply: impl FnMut(&Times, Option<Content>),
    ) -> Received {
        let mut heard = Received::default();
        let mut bytes = bytes;
        if matches!(session.link, Link::Upgrading(_)) {
            bytes = self.shake_hands(session, bytes, &mut heard);
        }
        if let Link::Open(ws) = &session.link
            && ws.reader.is_idle()
        {
            let Self { template, partials, limits, order, setup, .. } = self;
            let echo = &mut session.echo;
            let mut replies =
                Replies { setup, template, partials, order, echo, count: 0, wrong: None };
            let each = |kind, payload: &[u8]| replies.whole(kind, payload, &mut on_reply);
            let used = ws::read_whole(bytes, limits, each);
            heard.replies = replies.count;
            if let Some(mismatch) = replies.wrong {
                heard.end = Some(End::Mismatch(mismatch));
                return heard;
            }
            bytes = &mut bytes[used..];
        }
        if !bytes.is_empty() {
            self.read_on(session, bytes, &mut heard, &mut on_reply);
        }
        heard
    }

    fn answers(&self) -> &[u8] {
        &self.answers
    }

    fn upgrade(&mut self, session: &mut Session, now: Nanos) -> &[u8] {
        self.composed.clear();
        if let Link::Upgrading(Upgrade { target, .. }) = session.link {
            session.asked = now;
            let nonce = nonce(self.setup.seed, session.echo.connection());
            self.setup.requests[usize::from(target)].write(nonce, &mut self.composed);
        }
        &self.composed
    }

    fn ping(&mut self, session: &mut Session, now: Nanos) -> &[u8] {
        session.asked = now;
        let stamp = Stamp {
            tag: self.template.tag(),
            connection: session.echo.connection(),
            sequence: 0,
            intended: now.0,
            sent: now.0,
        };
        self.composed.clear();
        let mask = self.mask();
        Writer::ping(&stamp.to_bytes(), mask, &mut self.composed);
        &self.composed
    }

    fn farewell(&mut self, session: &mut Session, now: Nanos) -> &[u8] {
        session.asked = now;
        session.close();
        self.composed.clear();
        let mask = self.mask();
        Writer::close(Some(CloseCode::NORMAL), "", mask, &mut self.composed);
        &self.composed
    }

    fn asked(session: &Session) -> Option<Nanos> {
        (session.asked > Nanos::ZERO).then_some(session.asked)
    }

    fn forget(&mut self, session: &mut Session) {
        session.echo.forget(&mut self.partials);
        if let Some(order) = &mut self.order {
            order.forget(session.echo.connection());
        }
        match &mut session.link {
            Link::Upgrading(upgrade) => upgrade.forget(&mut self.heads),
            Link::Open(ws) | Link::Closing(ws) => ws.forget(&mut self.pools),
        }
    }

    fn unasked(&self) -> Unasked {
        self.partials.unasked().clone()
    }

    fn closes(&self) -> Closes {
        self.closes.clone()
    }

    fn limits_reached(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("inflaters_refused", self.pools.read.inflaters_refused()),
            ("deflaters_refused", self.pools.write.deflaters_refused()),
        ]
    }
}

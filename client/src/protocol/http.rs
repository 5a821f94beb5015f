//! `Http`: requests and their responses over HTTP/1.1. Responses carry no stamp: they are matched
//! with requests by their order, and their lengths are checked; bodies are counted, not kept.

use super::order::{Chain, Clocks};
use super::{Before, Content, End, Owed, Protocol, Received, State, Times, batch_max};
use measure::{Nanos, Stage};
use report::statuses::Expected;
use std::sync::Arc;
use wire::http::{Composer, HeadLimits, Method, Response, ResponseEvent, ResponsePool, Responses};

/// A status has three digits.
const STATUSES: usize = 1000;
/// How a server may take leave of a connection on which nobody asks anything (RFC 9110 15.5.9).
const REQUEST_TIMEOUT: u16 = 408;
/// The rule that a response broke which belongs to no request.
const UNASKED: &str = "a response came that no request had asked for (RFC 9112 9.2)";

/// What all connections of a run have in common.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// What is asked of each target: the same paths, in the same order.
    pub(crate) requests: Vec<Composer>,
    /// How many paths are asked for in turn.
    pub(crate) paths: u64,
    /// Requests that a connection may have on their way.
    pub(crate) in_flight: u32,
    /// Whether each request has a connection of its own.
    pub(crate) close: bool,
    /// How large the heads of responses may be.
    pub(crate) heads: HeadLimits,
    /// The statuses that mean that a request was served.
    pub(crate) expected: Expected,
}

impl Setup {
    /// Bytes that a request has on the wire, at the most.
    #[must_use]
    pub(crate) fn message_bytes(&self) -> usize {
        let lengths = |composer: &Composer| (0..self.paths).map(|n| composer.length(n)).max();
        let most = self.requests.iter().filter_map(lengths).max();
        most.unwrap_or_default().max(1)
    }
}

/// What is kept for each connection.
#[derive(Debug)]
pub(crate) struct Session {
    responses: Responses,
    /// When the requests on their way left.
    sent: Chain,
    number: u32,
    in_flight: u32,
    /// Responses that were complete, on this connection and those whose place it took.
    received: u32,
    /// Which target.
    target: u16,
    /// A response has begun that no request had asked for.
    unasked: bool,
    before: Before,
}

const _: () = assert!(size_of::<Session>() == 36);

impl Session {
    /// The number of the next request among those that are asked for in turn. Each connection
    /// starts at another one, so that the load on them is even.
    #[inline]
    fn next(&self) -> u64 {
        u64::from(self.number) + u64::from(self.received) + u64::from(self.in_flight)
    }

    /// Whether a response was complete on this very connection.
    fn served(&self) -> bool {
        self.received > u32::from(self.before == Before::Spoken)
    }
}

/// The protocol.
#[derive(Debug)]
pub(crate) struct Http {
    setup: Arc<Setup>,
    message_bytes: usize,
    pool: ResponsePool,
    clocks: Clocks,
    /// Responses by status.
    statuses: Box<[u64; STATUSES]>,
    /// Which statuses mean that a request was served.
    expected: Box<[bool; STATUSES]>,
    /// Requests on their way out.
    composed: Vec<u8>,
}

impl Http {
    /// For one reactor.
    #[must_use]
    pub(crate) fn new(setup: Arc<Setup>) -> Self {
        let mut expected = Box::new([false; STATUSES]);
        for (status, is) in (0..).zip(expected.iter_mut()) {
            *is = setup.expected.has(status);
        }
        Self {
            expected,
            message_bytes: setup.message_bytes(),
            pool: ResponsePool::new(setup.heads),
            setup,
            clocks: Clocks::default(),
            statuses: Box::new([0; STATUSES]),
            composed: Vec::new(),
        }
    }

    /// What reads the responses of a connection: their method, and who takes them.
    #[inline]
    fn replies<'a>(
        &'a mut self,
        session: &'a mut Session,
        now: Nanos,
    ) -> (Method, (&'a mut Responses, &'a mut ResponsePool, Replies<'a>)) {
        let served = session.served();
        let Self { setup, pool, clocks, statuses, expected, .. } = self;
        let Session { responses, sent, in_flight, received, target, unasked, .. } = session;
        let method = setup.requests[usize::from(*target)].method();
        let replies = Replies {
            clocks,
            statuses,
            expected,
            sent,
            in_flight,
            received,
            unasked,
            now,
            close: setup.close,
            repeats: method.is_idempotent(),
            served,
            heard: Received::default(),
        };
        (method, (responses, pool, replies))
    }
}

/// Matches responses with requests.
struct Replies<'a> {
    clocks: &'a mut Clocks,
    statuses: &'a mut [u64; STATUSES],
    expected: &'a [bool; STATUSES],
    sent: &'a mut Chain,
    in_flight: &'a mut u32,
    received: &'a mut u32,
    unasked: &'a mut bool,
    now: Nanos,
    /// Each connection carries one response.
    close: bool,
    /// Requests may be sent twice.
    repeats: bool,
    /// A response has come on this connection.
    served: bool,
    heard: Received,
}

impl Replies<'_> {
    #[inline]
    fn take(
        &mut self,
        event: ResponseEvent<'_>,
        on_reply: &mut impl FnMut(&Times, Option<Content>),
    ) {
        match event {
            ResponseEvent::Start { status, .. } => self.start(status),
            ResponseEvent::Chunk(_) => {}
            ResponseEvent::End(response) => self.end(response, on_reply),
        }
    }

    #[inline]
    fn start(&mut self, status: u16) {
        if *self.in_flight > 0 && !*self.unasked {
            self.clocks.begin(self.sent, self.now);
        } else {
            self.heard.end.get_or_insert_with(|| match status {
                REQUEST_TIMEOUT => End::Idle,
                _ => End::Violation(UNASKED.to_owned()),
            });
        }
    }

    #[inline]
    fn end(&mut self, response: Response, on_reply: &mut impl FnMut(&Times, Option<Content>)) {
        let Response { status, keeps, body_bytes } = response;
        // What nobody asked for has been found out when it began.
        if self.heard.end.is_some() {
            return;
        }
        let late = status == REQUEST_TIMEOUT && !keeps && self.served && self.repeats;
        if late && !self.clocks.is_repeated(self.sent) {
            // The server took its leave of an idle connection while the request was on its way.
            self.heard.end = Some(End::Idle);
            return;
        }
        let Some((times, begun)) = self.clocks.pop(self.sent) else { return };
        *self.in_flight -= 1;
        self.served = true;
        *self.received = self.received.saturating_add(1);
        self.heard.replies += 1;
        self.statuses[usize::from(status) % STATUSES] += 1;
        let served = self.expected[usize::from(status) % STATUSES];
        let class = Stage::of_status(status);
        let content = Content { begun, bytes: body_bytes, served, class };
        on_reply(&times, Some(content));
        if !keeps || self.close {
            self.heard.end = Some(End::Agreed);
        }
    }
}

impl Protocol for Http {
    type Session = Session;

    const HANDSHAKES: bool = false;
    const ENDS_AGREED: bool = true;
    const STAGES: &'static [Stage] = &[
        Stage::FirstByte,
        Stage::Response2xx,
        Stage::Response3xx,
        Stage::Response4xx,
        Stage::Response5xx,
    ];

    fn session(&self, number: u32, target: u16, before: Before) -> Session {
        Session {
            responses: Responses::default(),
            sent: Chain::default(),
            number,
            in_flight: 0,
            received: u32::from(before == Before::Spoken),
            target,
            unasked: false,
            before,
        }
    }

    fn number(session: &Session) -> u32 {
        // The next one goes on behind the paths that were asked for here, and counts one response.
        let spoken = session.received > 0 || session.in_flight > 0;
        session.number.wrapping_add(session.received).wrapping_sub(u32::from(spoken))
    }

    fn before(session: &Session) -> Before {
        session.before
    }

    #[inline]
    fn state(_: &Session) -> State {
        State::Open
    }

    #[inline]
    fn in_flight(session: &Session) -> u32 {
        session.in_flight
    }

    fn received(session: &Session) -> u32 {
        session.received
    }

    fn batch_max(&self) -> usize {
        batch_max(self.message_bytes, self.setup.in_flight)
    }

    fn message_bytes(&self) -> usize {
        self.message_bytes
    }

    #[inline]
    fn compose(
        &mut self,
        session: &mut Session,
        count: usize,
        intended: Nanos,
        sent: Nanos,
    ) -> &[u8] {
        self.composed.clear();
        let composer = &self.setup.requests[usize::from(session.target)];
        composer.write_many(session.next(), count, &mut self.composed);
        for _ in 0..count {
            let first = session.received == 0 && session.in_flight == 0;
            self.clocks.push(&mut session.sent, Times { first, intended, sent }, false);
            session.in_flight += 1;
        }
        &self.composed
    }

    fn oldest(&mut self, session: &Session) -> &[u8] {
        self.composed.clear();
        let composer = &self.setup.requests[usize::from(session.target)];
        let number = session.next() - u64::from(session.in_flight);
        composer.write(number, &mut self.composed);
        &self.composed
    }

    #[inline]
    fn receive(
        &mut self,
        session: &mut Session,
        bytes: &mut [u8],
        now: Nanos,
        mut on_reply: impl FnMut(&Times, Option<Content>),
    ) -> Received {
        if session.received == 0
            && let Some(other) = session.responses.other_protocol(&mut self.pool, bytes)
        {
            let end = Some(End::Violation(other.to_string()));
            return Received { end, ..Received::default() };
        }
        let (method, (responses, pool, mut replies)) = self.replies(session, now);
        let read = responses.read(method, pool, bytes, |event| replies.take(event, &mut on_reply));
        let Replies { mut heard, .. } = replies;
        let responses = &session.responses;
        if let Err(error) = read {
            heard.end = Some(End::Violation(error.to_string()));
        } else if !responses.is_idle() && !responses.is_over() {
            // Of a response that is only partly here, the first byte is.
            self.clocks.begin(&session.sent, now);
            session.unasked |= session.in_flight == 0;
        }
        heard
    }

    fn peer_closed(
        &mut self,
        session: &mut Session,
        now: Nanos,
        mut on_reply: impl FnMut(&Times, Option<Content>),
    ) -> Received {
        let (_, (responses, pool, mut replies)) = self.replies(session, now);
        let ended = responses.end(pool, |event| replies.take(event, &mut on_reply));
        let mut heard = replies.heard;
        match ended {
            Err(error) => heard.end = Some(End::Violation(error.to_string())),
            Ok(()) if heard.end.is_none() => heard.end = Some(End::Closed),
            Ok(()) => {}
        }
        heard
    }

    fn take_back(&mut self, session: &mut Session) -> Option<Owed> {
        let repeated = self.clocks.is_repeated(&session.sent);
        let (Times { first, intended, .. }, _) = self.clocks.pop(&mut session.sent)?;
        session.in_flight -= 1;
        Some(Owed { intended, first, repeated })
    }

    fn compose_owed(&mut self, session: &mut Session, owed: Owed, sent: Nanos) -> &[u8] {
        self.composed.clear();
        let composer = &self.setup.requests[usize::from(session.target)];
        composer.write(session.next(), &mut self.composed);
        let Owed { intended, first, repeated } = owed;
        self.clocks.push(&mut session.sent, Times { first, intended, sent }, repeated);
        session.in_flight += 1;
        &self.composed
    }

    fn is_between(&self, session: &Session) -> bool {
        session.responses.is_idle() && !session.unasked
    }

    fn has_served(session: &Session) -> bool {
        session.served()
    }

    fn may_repeat(&self, session: &Session) -> bool {
        self.setup.requests[usize::from(session.target)].method().is_idempotent()
    }

    fn surplus(&self) -> u64 {
        self.pool.surplus()
    }

    fn forget(&mut self, session: &mut Session) {
        session.responses.forget(&mut self.pool);
        while self.clocks.pop(&mut session.sent).is_some() {}
    }

    fn statuses(&self) -> Vec<(u16, u64)> {
        let counts = (0..).zip(self.statuses.iter().copied());
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

//! `Raw`: the echo load over plain TCP, messages end to end without a frame around them.

use super::{Before, Content, End, Protocol, Received, State, Times, batch_max};
use crate::load::Load;
use measure::{Nanos, Stage};
use wire::{Echo, Mismatch, PartialPool, Template, Unasked};

/// Plain TCP.
#[derive(Debug)]
pub(crate) struct Raw {
    template: Template,
    pool: PartialPool,
}

impl Raw {
    /// The messages of this load.
    #[must_use]
    pub(crate) fn new(load: &Load) -> Self {
        let batch = batch_max(load.size, load.in_flight());
        let template = Template::new(load.size, batch, load.seed);
        let template = if load.strict { template } else { template.passing_over() };
        Self { template, pool: PartialPool::new() }
    }
}

impl Protocol for Raw {
    type Session = Echo;

    const HANDSHAKES: bool = false;
    const STAGES: &'static [Stage] = &[];

    fn session(&self, number: u32, _: u16, _: Before) -> Echo {
        Echo::new(number)
    }

    fn number(echo: &Echo) -> u32 {
        echo.connection()
    }

    #[inline]
    fn state(_: &Echo) -> State {
        State::Open
    }

    #[inline]
    fn in_flight(echo: &Echo) -> u32 {
        echo.in_flight()
    }

    fn received(echo: &Echo) -> u32 {
        echo.received()
    }

    fn batch_max(&self) -> usize {
        self.template.batch_max()
    }

    fn message_bytes(&self) -> usize {
        self.template.size()
    }

    #[inline]
    fn compose(&mut self, echo: &mut Echo, count: usize, intended: Nanos, sent: Nanos) -> &[u8] {
        self.template.compose(echo, count, intended.0, sent.0)
    }

    #[inline]
    fn receive(
        &mut self,
        echo: &mut Echo,
        bytes: &mut [u8],
        _: Nanos,
        mut on_reply: impl FnMut(&Times, Option<Content>),
    ) -> Received {
        let read = echo.read(&self.template, &mut self.pool, bytes, |stamp| {
            let (intended, sent) = (Nanos(stamp.intended), Nanos(stamp.sent));
            on_reply(&Times { first: stamp.sequence == 0, intended, sent }, None);
        });
        match read {
            Ok(replies) => Received { replies, ..Received::default() },
            Err(mismatch) => mismatched(mismatch),
        }
    }

    fn forget(&mut self, echo: &mut Echo) {
        echo.give_up(&self.template, &mut self.pool);
    }

    fn unasked(&self) -> Unasked {
        self.pool.unasked().clone()
    }
}

#[cold]
fn mismatched(mismatch: Mismatch) -> Received {
    let end = match mismatch {
        // That is no wrong reply but no echo server at all.
        Mismatch::OtherProtocol(other) => End::Violation(other.to_string()),
        mismatch => End::Mismatch(mismatch),
    };
    Received { end: Some(end), ..Received::default() }
}

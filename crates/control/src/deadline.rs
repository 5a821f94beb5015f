//! `Deadline`: the moment by which an exchange must be over, however many reads it takes.

use measure::{Clock, Nanos};
use std::io;
use std::time::Duration;

/// A moment on a clock of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    clock: Clock,
    at: Nanos,
}

impl Deadline {
    /// The moment that lies `span` from now.
    pub(crate) fn after(span: Duration) -> Self {
        Self { clock: Clock::start(), at: Nanos::from(span) }
    }

    /// This moment, or the one `span` from now if that comes first.
    pub(crate) fn no_later_than(self, span: Duration) -> Self {
        Self { clock: self.clock, at: self.at.min(self.clock.now() + Nanos::from(span)) }
    }

    /// How long there is to wait, never zero.
    ///
    /// # Errors
    /// `TimedOut` once the moment has come.
    pub(crate) fn left(&self) -> io::Result<Duration> {
        match self.at.since(self.clock.now()) {
            Nanos::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(left.into()),
        }
    }
}

//! Plain TCP at the server: bytes go back as they come.

use crate::service::{Goodbye, Reply, Service, TimeLimits, TimedOut, Turn};
use measure::Nanos;

/// Where a connection stands: always here.
#[derive(Debug)]
pub(crate) struct State;

/// The connections of one reactor that speak it. They keep nothing.
#[derive(Debug, Default)]
pub(crate) struct Tcp {
    /// Reads that were echoed.
    reads: u64,
}

impl Tcp {
    /// Reads that were echoed.
    pub(crate) fn reads(&self) -> u64 {
        self.reads
    }
}

impl Service for Tcp {
    type State = State;

    fn arrived(&mut self) -> State {
        State
    }

    #[inline]
    fn read<'a>(&'a mut self, _: &mut State, bytes: &'a mut [u8], _: Turn<'_>) -> Reply<'a> {
        self.reads += 1;
        Reply { renewed: true, bytes, ..Reply::silent(bytes.len()) }
    }

    fn limit(&self, _: &State, _blocked: bool, limits: &TimeLimits) -> Option<Nanos> {
        limits.idle
    }

    fn time_out(&mut self, _: &mut State, _blocked: bool, _: Turn<'_>) -> TimedOut<'_> {
        TimedOut { goodbye: Goodbye::Closes, silence: true }
    }

    fn say_goodbye(&mut self, _: &mut State, _blocked: bool) -> Goodbye<'_> {
        Goodbye::Closes
    }

    fn ended(&mut self, _: State) {}
}

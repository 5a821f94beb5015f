//! Plain TCP at the server: bytes go back as they come.

use crate::service::{Parting, Reply, Service, TimeLimits, TimedOut, Turn};
use measure::Nanos;

/// Where a connection stands: always here.
#[derive(Debug)]
pub(crate) struct Phase;

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
    type Phase = Phase;

    fn arrived(&mut self) -> Phase {
        Phase
    }

    #[inline]
    fn read<'a>(&'a mut self, _: &mut Phase, bytes: &'a mut [u8], _: Turn<'_>) -> Reply<'a> {
        self.reads += 1;
        Reply { renewed: true, bytes, ..Reply::silent(bytes.len()) }
    }

    fn limit(&self, _: &Phase, _blocked: bool, limits: &TimeLimits) -> Option<Nanos> {
        limits.idle
    }

    fn time_out(&mut self, _: &mut Phase, _blocked: bool, _: Turn<'_>) -> TimedOut<'_> {
        TimedOut { parting: Parting::Closes, silence: true }
    }

    fn part(&mut self, _: &mut Phase, _blocked: bool) -> Parting<'_> {
        Parting::Closes
    }

    fn ended(&mut self, _: Phase) {}
}

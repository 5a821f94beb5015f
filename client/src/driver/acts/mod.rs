//! Acts: what a reactor does in a phase. Each is a struct that knows how far it is, and one turn of
//! it.

mod close;
mod first_echo;
mod leave;
mod open;
mod survey;
mod traffic;

use super::{LoadDriver, Table};
use crate::load::phases::{Act, Expects};
use crate::protocol::Protocol;
use close::Close;
use first_echo::FirstEcho;
use leave::Leave;
use measure::Nanos;
use open::Open;
use reactor::Network;
use survey::Survey;
use traffic::Round;

/// Connections closed, or taken leave of, before other work gets its turn.
const CLOSE_BATCH: usize = 1024;

/// How an act goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Turn {
    /// At this time, or when something happens.
    Again(Nanos),
    /// It has come to its end. It may be asked again, and says so again.
    Done,
}

/// The phase that a reactor is in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Running {
    /// Its number; `None` before the first.
    pub(super) number: Option<u16>,
    pub(super) act: Act,
    pub(super) expects: Expects,
    /// It was reported as done.
    pub(super) done: bool,
}

impl Running {
    pub(super) fn new(number: Option<u16>, act: Act) -> Self {
        Self { number, act, expects: act.expects(), done: false }
    }
}

/// How far the act of the phase is.
#[derive(Debug)]
pub(super) enum Acting {
    Resting,
    Open(Open),
    FirstEcho(FirstEcho),
    Survey(Survey),
    Traffic(Round),
    Leave(Leave),
    Close(Close),
    #[cfg(test)]
    Drop(super::drop_tests::Dropping),
}

impl Acting {
    /// An act begins, at the time from which all reactors count it.
    pub(super) fn begin<N: Network, P: Protocol>(
        act: Act,
        at: Nanos,
        driver: &mut LoadDriver<P>,
        core: &mut Table<N, P>,
    ) -> Self {
        match act {
            Act::Open => Self::Open(Open::new(at, driver, core)),
            Act::FirstEcho => Self::FirstEcho(FirstEcho::new(driver)),
            Act::Survey(edge) => Self::Survey(Survey::new(edge, driver)),
            Act::Traffic => {
                driver.begin_traffic(core, at);
                Self::Traffic(Round::default())
            }
            Act::Rest => Self::Resting,
            Act::Leave => Self::Leave(Leave::new(core.now() + driver.load.drain_timeout)),
            Act::Close => Self::Close(Close::default()),
            #[cfg(test)]
            Act::Drop { each } => Self::Drop(super::drop_tests::Dropping::new(each)),
        }
    }
}

impl<P: Protocol> LoadDriver<P> {
    /// One turn of the act. Returns when to go on.
    pub(super) fn act<N: Network>(&mut self, core: &mut Table<N, P>) -> Nanos {
        let mut acting = std::mem::replace(&mut self.acting, Acting::Resting);
        let turn = match &mut acting {
            Acting::Resting => Turn::Again(Nanos::MAX),
            Acting::Open(open) => open.turn(self, core),
            Acting::FirstEcho(first_echo) => first_echo.turn(self, core),
            Acting::Survey(survey) => survey.turn(self, core),
            Acting::Traffic(traffic) => traffic.turn(self, core),
            Acting::Leave(_) if self.running.done => Turn::Done,
            Acting::Leave(leave) => leave.turn(self, core),
            Acting::Close(close) => {
                self.finished = close.turn(core);
                Turn::Again(Nanos::ZERO)
            }
            #[cfg(test)]
            Acting::Drop(dropping) => dropping.turn(self, core),
        };
        self.acting = acting;
        match turn {
            Turn::Again(at) => at,
            Turn::Done => {
                self.finish_phase(core);
                Nanos::MAX
            }
        }
    }
}

//! `Phase`: a run is a list of them. What reactors do in one, until when it lasts, and what may
//! happen meanwhile. Pure.

use measure::Nanos;

/// A part of a run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Phase {
    /// Its name within the run.
    pub(crate) name: &'static str,
    pub(crate) act: Act,
    pub(crate) until: Until,
    /// What the readings stand for that are taken before it and behind it; none: none are taken.
    pub(crate) before: Vec<Landmark>,
    pub(crate) behind: Vec<Landmark>,
}

/// What the reactors do in a phase.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Act {
    /// Open connections until each has all of its share.
    Open,
    /// Send one message over every connection.
    FirstEcho,
    /// Ask TCP about the audited connections.
    Survey(Edge),
    /// Send the messages of the load.
    Traffic,
    /// What they did before: they are not told.
    Rest,
    /// Start nothing new, wait for what is on its way, take leave, report.
    Leave,
    /// Close all connections and end.
    Close,
    /// Reset every `each`-th of the connections: a phase of a test's own.
    #[cfg(test)]
    Drop { each: usize },
}

/// One of the two surveys of the audit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Edge {
    /// Before the traffic: receipts are stamped from then on.
    Before,
    /// Behind it.
    Behind,
}

/// When a phase is over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Until {
    /// When every reactor says so.
    Done,
    /// When so much time has passed.
    For(Nanos),
}

/// What a reading between two phases stands for in the result.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Landmark {
    /// All connections stand.
    Opened,
    /// The traffic begins, and is over. Without any both are one moment.
    TrafficFrom,
    TrafficTo,
}

/// What may happen in a phase.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Expects {
    /// Connections end without being lost.
    pub(crate) ends: bool,
    /// Connections are opened, be it in the place of others.
    pub(crate) opening: bool,
    /// Pings are sent, once the act that has them first is done.
    pub(crate) pings: bool,
}

impl Act {
    /// As results name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::FirstEcho => "first_echo",
            Self::Survey(_) => "survey",
            Self::Traffic => "traffic",
            Self::Rest => "rest",
            Self::Leave => "leave",
            Self::Close => "close",
            #[cfg(test)]
            Self::Drop { .. } => "drop",
        }
    }

    /// What may happen meanwhile.
    pub(crate) fn expects(self) -> Expects {
        let going_on = Expects { ends: false, opening: true, pings: true };
        match self {
            Self::Open | Self::FirstEcho | Self::Survey(_) | Self::Traffic | Self::Rest => going_on,
            Self::Leave => Expects { opening: false, pings: false, ..going_on },
            Self::Close => Expects { ends: true, opening: false, pings: false },
            #[cfg(test)]
            Self::Drop { .. } => going_on,
        }
    }
}

impl Phase {
    /// One that lasts until every reactor is done, and has no readings.
    pub(crate) fn new(name: &'static str, act: Act) -> Self {
        let (before, behind) = (Vec::new(), Vec::new());
        Self { name, act, until: Until::Done, before, behind }
    }

    /// One in which the reactors go on by themselves for so long.
    pub(crate) fn rest(name: &'static str, span: Nanos) -> Self {
        Self { until: Until::For(span), ..Self::new(name, Act::Rest) }
    }

    /// How it is called while it goes on.
    pub(crate) fn shown(&self) -> &'static str {
        match self.act {
            Act::FirstEcho => "first echo",
            Act::Survey(_) => "audit",
            _ => self.name,
        }
    }
}

/// The phases that tests of single reactors go through one by one.
#[cfg(test)]
pub(crate) mod steps {
    use super::*;
    use crate::orders::Command;

    pub(crate) const RAMP: u16 = 0;
    pub(crate) const FIRST_ECHO: u16 = 1;
    pub(crate) const AUDIT_FROM: u16 = 2;
    pub(crate) const DRIVE: u16 = 3;
    pub(crate) const AUDIT_TO: u16 = 4;
    pub(crate) const DRAIN: u16 = 5;

    pub(crate) fn all() -> Vec<Phase> {
        let acts = [
            Act::Open,
            Act::FirstEcho,
            Act::Survey(Edge::Before),
            Act::Traffic,
            Act::Survey(Edge::Behind),
            Act::Leave,
        ];
        acts.map(|act| Phase::new("step", act)).into()
    }

    pub(crate) fn begin(phase: u16, at: Nanos) -> Command {
        Command::Begin { phase, at }
    }
}

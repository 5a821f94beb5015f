//! What a run asks of its reactors, and how it is shared out: four-tuples, turns, times. Pure.

pub(crate) mod addresses;
pub(crate) mod audited_share;
pub(crate) mod bounds;
pub(crate) mod lanes;
pub(crate) mod pace;
pub(crate) mod phases;
pub(crate) mod schedule;

use addresses::Addresses;
use audited_share::Share;
use lanes::Lanes;
use measure::Nanos;
use phases::{Act, Phase};
use schedule::{Arrivals, Schedule};

/// How messages are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Model {
    /// Not at all.
    Idle,
    /// At planned times: so many per second, all reactors together.
    Open(f64),
    /// So many on their way on each connection, always.
    Closed(u32),
}

/// What all reactors of a run have in common.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// What the run consists of, in its order.
    pub(crate) phases: Vec<Phase>,
    /// Connections in all.
    pub(crate) connections: u64,
    /// Reactors.
    pub(crate) reactors: u64,
    /// Where the connections go, by which four-tuples.
    pub(crate) addresses: Addresses,
    /// Who opens when.
    pub(crate) lanes: Lanes,
    /// Connections opened per second, all together; `None`: as fast as they open.
    pub(crate) connect_rate: Option<f64>,
    /// How long one connection may take to open.
    pub(crate) connect_timeout: Nanos,
    /// Whether every connection echoes once before the traffic.
    pub(crate) first_echo: bool,
    /// The traffic.
    pub(crate) model: Model,
    /// How its messages are spread over its time, in the open model.
    pub(crate) arrivals: Arrivals,
    /// How long it lasts.
    pub(crate) duration: Nanos,
    /// Size of a message, in bytes.
    pub(crate) size: usize,
    /// How long a connection may wait for its next reply before it is given up.
    pub(crate) reply_timeout: Nanos,
    /// How long is waited for replies at the end.
    pub(crate) drain_timeout: Nanos,
    /// Messages that one connection may have on their way at once, in either model.
    pub(crate) in_flight_max: u32,
    /// Whether each message has a connection of its own, which is opened for it and closed behind
    /// it.
    pub(crate) churn: bool,
    /// How often each connection is pinged, if it is.
    pub(crate) ping: Option<Nanos>,
    /// How many of the connections are audited.
    pub(crate) audit: Share,
    /// Whether whatever is not the reply to a message breaks a rule.
    pub(crate) strict: bool,
    /// Whether connections have TLS.
    pub(crate) tls: bool,
    /// The seed of the run.
    pub(crate) seed: u64,
}

impl Load {
    /// Whether connections are opened more than once: then four-tuples are used again.
    pub(crate) fn opens_again(&self) -> bool {
        self.phases.iter().filter(|phase| phase.act == Act::Open).count() > 1
    }

    /// Messages that one connection is given at once.
    pub(crate) fn in_flight(&self) -> u32 {
        match self.model {
            Model::Closed(in_flight) => in_flight,
            Model::Idle | Model::Open(_) => 1,
        }
    }

    /// Reactors that have connections. The messages are shared out over these alone: where there
    /// are fewer connections than reactors, the others could not send theirs.
    pub(crate) fn senders(&self) -> u64 {
        self.reactors.min(self.connections)
    }

    /// When the messages of reactor `index` are due, counted from the start of the traffic.
    pub(crate) fn schedule(&self, index: u64) -> Schedule {
        let senders = self.senders();
        match self.model {
            Model::Open(rate) if index < senders => {
                let part = (index, senders);
                Schedule::new(self.arrivals, rate, self.duration, part, self.seed)
            }
            _ => Schedule::empty(),
        }
    }

    /// How many messages of all reactors are due in each of the first `count` windows of that
    /// length.
    pub(crate) fn due_windows(&self, window: Nanos, count: usize) -> Vec<u64> {
        let Model::Open(rate) = self.model else { return vec![0; count] };
        let windows = (window, count);
        Schedule::windows(self.arrivals, rate, self.duration, self.senders(), self.seed, windows)
    }
}

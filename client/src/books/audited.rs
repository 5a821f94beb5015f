//! What the audit of one reactor brings: for each audited reply the parts of its time, and TCP's
//! view before the traffic and behind it.

use super::recorder::Recorder;
use crate::protocol::Times;
use host::receipt::TcpHealth;
use measure::{FineHistogram, Nanos, Stage};
use reactor::Receipt;

/// What TCP says of the audited connections at one moment.
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// How many told.
    pub(crate) connections: u64,
    pub(crate) retransmits: u64,
    pub(crate) rtt: FineHistogram,
    pub(crate) rtt_variation: FineHistogram,
}

impl Look {
    pub(crate) fn add(&mut self, health: TcpHealth) {
        self.connections += 1;
        self.retransmits += u64::from(health.retransmits);
        self.rtt.record(health.rtt.0);
        self.rtt_variation.record(health.rtt_variation.0);
    }

    fn merge(&mut self, other: &Self) {
        self.connections += other.connections;
        self.retransmits += other.retransmits;
        self.rtt.merge(&other.rtt);
        self.rtt_variation.merge(&other.rtt_variation);
    }
}

/// What one reactor learned of its audited connections. The parts `outside` and `receive_lag` are
/// with the other stages, in its [`Recorder`].
#[derive(Debug, Default)]
pub(crate) struct Audited {
    /// Connections whose receipts were stamped.
    pub(crate) connections: u64,
    /// Replies of the traffic phase whose time was parted.
    pub(crate) messages: u64,
    /// Those that came without a stamp.
    pub(crate) unstamped: u64,
    /// Those whose stamp lies before the message, or behind the reading of the reply.
    pub(crate) misfits: u64,
    /// Times that the time of day was found to have been set.
    pub(crate) clock_steps: u64,
    pub(crate) send_lag: FineHistogram,
    pub(crate) response: FineHistogram,
    /// TCP's view before the traffic and behind it; `None`: the run did not come to that.
    pub(crate) start: Option<Box<Look>>,
    pub(crate) end: Option<Box<Look>>,
}

impl Audited {
    /// A reply of the traffic phase is complete. Its parts add up to its response, to the
    /// nanosecond.
    #[inline]
    pub(crate) fn reply(
        &mut self,
        recorder: &mut Recorder,
        times: &Times,
        receipt: Receipt,
        now: Nanos,
    ) {
        match receipt {
            Receipt::At(receipt) if times.sent <= receipt && receipt <= now => {
                self.messages += 1;
                self.send_lag.record((times.sent - times.intended).0);
                recorder.record(Stage::Outside, receipt - times.sent);
                recorder.record(Stage::ReceiveLag, now - receipt);
                self.response.record((now - times.intended).0);
            }
            Receipt::At(_) => self.misfits += 1,
            Receipt::Missing | Receipt::NotAudited => self.unstamped += 1,
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.connections += other.connections;
        self.messages += other.messages;
        self.unstamped += other.unstamped;
        self.misfits += other.misfits;
        // All reactors look at the same clock.
        self.clock_steps = self.clock_steps.max(other.clock_steps);
        self.send_lag.merge(&other.send_lag);
        self.response.merge(&other.response);
        for (mine, theirs) in [(&mut self.start, &other.start), (&mut self.end, &other.end)] {
            if let Some(theirs) = theirs {
                mine.get_or_insert_default().merge(theirs);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_would_be_negative_is_counted_and_not_recorded() {
        let mut recorder = Recorder::for_stages(&[Stage::Outside, Stage::ReceiveLag]);
        let mut audited = Audited::default();
        let times = Times { first: false, intended: Nanos(10), sent: Nanos(30) };
        let stamps = [29, 30, 70, 100, 101, 0].map(|at| Receipt::At(Nanos(at)));
        for receipt in stamps.into_iter().chain([Receipt::Missing]) {
            audited.reply(&mut recorder, &times, receipt, Nanos(100));
        }
        assert_eq!((audited.messages, audited.misfits, audited.unstamped), (3, 3, 1));
        let cells = |stage| -> Vec<_> {
            recorder.stage(stage).expect("recorded").cells().map(|(span, _)| span).collect()
        };
        assert_eq!(cells(Stage::Outside), [0, 40, 70]);
        assert_eq!(cells(Stage::ReceiveLag), [0, 30, 70]);
        assert_eq!(audited.send_lag.cells().collect::<Vec<_>>(), [(20, 3)]);
        assert_eq!(audited.response.cells().collect::<Vec<_>>(), [(90, 3)]);
    }
}

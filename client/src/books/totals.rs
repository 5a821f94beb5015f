//! `Totals`: the counts of one reactor, and what they say.

use measure::Failure;
use report::schema;

macro_rules! totals {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// Counts of one reactor since the start of the run. They only grow, so a report that comes
        /// late or is merged with the next loses nothing.
        #[derive(Clone, Copy, Debug, Default)]
        pub(crate) struct Totals {
            $($(#[$doc])* pub(crate) $name: u64,)+
            /// Failed and lost connections by kind, in the order of `Failure::ALL`.
            pub(crate) failures: [u64; Failure::COUNT],
        }

        impl Totals {
            /// Adds another reactor's counts.
            pub(crate) fn merge(&mut self, other: &Self) {
                $(self.$name += other.$name;)+
                for (mine, theirs) in self.failures.iter_mut().zip(other.failures) {
                    *mine += theirs;
                }
            }

            /// What was counted since these were.
            pub(crate) fn since(mut self, before: &Self) -> Self {
                $(self.$name -= before.$name;)+
                for (mine, theirs) in self.failures.iter_mut().zip(before.failures) {
                    *mine -= theirs;
                }
                self
            }
        }
    };
}

totals! {
    /// Connections that became usable.
    opened,
    /// Connections that did not.
    failed,
    /// Connections that were usable and then lost.
    lost,
    /// Connections that came to an agreed end.
    ended,
    /// Of those, the ones that the peer ended between two replies, without having said so.
    ended_idle,
    /// Connections that took the place of those.
    replaced,
    /// Attempts that an address did not answer, and that went on with the next one of its name.
    tried_again,
    /// Four-tuples that were passed over because somebody had them.
    tuples_skipped,
    /// Messages of the first-echo round.
    first_sent,
    /// Their replies.
    first_received,
    /// Messages of the traffic phase.
    sent,
    /// Their replies.
    received,
    /// Bytes in those, where the protocol tells.
    bytes_received,
    /// Of those, the ones that did not bring what was asked for.
    unserved,
    /// The same of the first ones.
    first_unserved,
    /// Bytes behind the last reply of a connection, which belong to nothing.
    bytes_surplus,
    /// Messages that were sent once more, on another connection.
    resent,
    /// Messages of either kind that will not be answered any more.
    unanswered,
    /// Of those, the ones of the first-echo round.
    first_unanswered,
    /// Replies that were not what had been sent.
    mismatched,
    /// Times that a message that was due had to wait because every connection looked at was
    /// blocked.
    pace_blocked,
}

impl Totals {
    /// Connections that are open.
    pub(crate) fn open(&self) -> u64 {
        self.opened - self.lost - self.ended
    }

    /// Messages on their way.
    pub(crate) fn in_flight(&self) -> u64 {
        (self.first_sent + self.sent)
            .saturating_sub(self.first_received + self.received + self.unanswered)
    }

    /// What these counts say of the connections; the result knows more.
    pub(crate) fn connections(&self) -> schema::Connections {
        schema::Connections {
            opened: self.opened,
            failed: self.failed,
            lost: self.lost,
            ended: self.ended,
            ended_idle: self.ended_idle,
            replaced: self.replaced,
            tried_again: self.tried_again,
            open_at_end: self.open(),
            ..schema::Connections::default()
        }
    }

    /// What these counts say of the messages, of `size` bytes each; of `http` the bodies are
    /// counted. What is on its way still is not lost.
    pub(crate) fn messages(&self, size: u64, http: bool) -> schema::Messages {
        schema::Messages {
            sent: self.sent,
            received: self.received,
            unserved: self.unserved,
            resent: self.resent,
            lost: self.unanswered.saturating_sub(self.first_unanswered),
            mismatched: self.mismatched,
            bytes_sent: self.sent * size,
            bytes_received: if http { self.bytes_received } else { self.received * size },
            bytes_surplus: self.bytes_surplus,
            ..schema::Messages::default()
        }
    }

    /// Counts a failure.
    pub(crate) fn fail(&mut self, kind: Failure) {
        self.failures[kind as usize] += 1;
    }
}

/// What became of the attempts at one address.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Attempts {
    /// Those that it answered.
    pub(crate) connected: u64,
    /// The others by kind, in the order of `Failure::ALL`.
    pub(crate) failures: [u64; Failure::COUNT],
}

impl Attempts {
    /// Adds those of another reactor.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.connected += other.connected;
        for (mine, theirs) in self.failures.iter_mut().zip(other.failures) {
            *mine += theirs;
        }
    }
}

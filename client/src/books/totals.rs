//! What one reactor counts and records, and the reports in which it hands that over.

use crate::books::audited::Audited;
use crate::books::backlog::Backlog;
use crate::books::effort::Effort;
use crate::result::pacing::SendWindows;
use measure::{Failure, FineHistogram, IntervalHistogram, Nanos, Stage};
use reactor::Counters;
use report::schema;
use std::collections::BTreeMap;
use wire::Unasked;

/// Counts of one reactor since the start of the run. They only grow, so a report that comes late or
/// is merged with the next loses nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    /// Connections that became usable.
    pub(crate) opened: u64,
    /// Connections that did not.
    pub(crate) failed: u64,
    /// Connections that were usable and then lost.
    pub(crate) lost: u64,
    /// Connections that came to an agreed end.
    pub(crate) ended: u64,
    /// Of those, the ones that the peer ended between two replies, without having said so.
    pub(crate) ended_idle: u64,
    /// Connections that took the place of those.
    pub(crate) replaced: u64,
    /// Attempts that an address did not answer, and that went on with the next one of its name.
    pub(crate) tried_again: u64,
    /// Failed and lost ones by kind, in the order of `Failure::ALL`.
    pub(crate) failures: [u64; Failure::COUNT],
    /// Four-tuples that were passed over because somebody had them.
    pub(crate) tuples_skipped: u64,
    /// Messages of the first-echo round.
    pub(crate) first_sent: u64,
    /// Their replies.
    pub(crate) first_received: u64,
    /// Messages of the traffic phase.
    pub(crate) sent: u64,
    /// Their replies.
    pub(crate) received: u64,
    /// Bytes in those, where the protocol tells.
    pub(crate) bytes_received: u64,
    /// Of those, the ones that did not bring what was asked for; and of the first ones.
    pub(crate) unserved: u64,
    pub(crate) first_unserved: u64,
    /// Bytes behind the last reply of a connection, which belong to nothing.
    pub(crate) bytes_surplus: u64,
    /// Messages that were sent once more, on another connection.
    pub(crate) resent: u64,
    /// Messages of either kind that will not be answered any more.
    pub(crate) unanswered: u64,
    /// Of those, the ones of the first-echo round.
    pub(crate) first_unanswered: u64,
    /// Replies that were not what had been sent.
    pub(crate) mismatched: u64,
    /// Times that a message that was due had to wait because every connection looked at was blocked.
    pub(crate) pace_blocked: u64,
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

    /// What these counts say of the messages, of `size` bytes each; of `http` the bodies are counted. What
    /// is on its way still is not lost.
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

    /// Adds another reactor's counts.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.opened += other.opened;
        self.failed += other.failed;
        self.lost += other.lost;
        self.ended += other.ended;
        self.ended_idle += other.ended_idle;
        self.replaced += other.replaced;
        self.tried_again += other.tried_again;
        for (mine, theirs) in self.failures.iter_mut().zip(other.failures) {
            *mine += theirs;
        }
        self.tuples_skipped += other.tuples_skipped;
        self.first_sent += other.first_sent;
        self.first_received += other.first_received;
        self.sent += other.sent;
        self.received += other.received;
        self.bytes_received += other.bytes_received;
        self.bytes_surplus += other.bytes_surplus;
        self.unserved += other.unserved;
        self.first_unserved += other.first_unserved;
        self.resent += other.resent;
        self.unanswered += other.unanswered;
        self.first_unanswered += other.first_unanswered;
        self.mismatched += other.mismatched;
        self.pace_blocked += other.pace_blocked;
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

/// Different sentences that one reactor tells apart in [`Causes`].
const RULES_MAX: usize = 32;
/// A sentence with words of the peer's in it is cut behind so many characters.
const RULE_CHARS_MAX: usize = 200;
/// What is counted for the rules beyond those.
const OTHER_RULES: &str = "other rules";

/// Why peers were given up as breaking the protocol. Counted on failures only, so it may allocate.
#[derive(Clone, Debug, Default)]
pub(crate) struct Causes {
    /// Replies by status: those to handshakes with another one than was asked for, or all of HTTP.
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// Connections by the sentence that says what was wrong.
    pub(crate) rules: BTreeMap<String, u64>,
    /// What came and was passed over, as it was not the reply to anything.
    pub(crate) unasked: Unasked,
    /// How peers took leave that did so first.
    pub(crate) closes: Closes,
}

impl Causes {
    /// A peer broke this rule.
    pub(crate) fn violated(&mut self, rule: &str) {
        self.count(rule.chars().take(RULE_CHARS_MAX).collect(), 1);
    }

    /// So many replies had this status.
    pub(crate) fn answered_with(&mut self, status: u16, count: u64) {
        *self.statuses.entry(status).or_default() += count;
    }

    fn count(&mut self, rule: String, count: u64) {
        let known = self.rules.len() < RULES_MAX || self.rules.contains_key(&rule);
        let rule = if known { rule } else { OTHER_RULES.to_owned() };
        *self.rules.entry(rule).or_default() += count;
    }

    /// Adds another reactor's counts.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (status, count) in &other.statuses {
            self.answered_with(*status, *count);
        }
        for (rule, count) in &other.rules {
            self.count(rule.clone(), *count);
        }
        self.unasked.merge(&other.unasked);
        self.closes.merge(&other.closes);
    }
}

/// Close codes that one reactor tells apart in [`Closes`].
const CLOSE_CODES_MAX: usize = 64;
/// What stands for a close frame without a code (RFC 6455 7.1.5).
const NO_CLOSE_CODE: u16 = 1005;

/// How peers took leave that did so first: by close code how often, and the first reason that was given.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Closes {
    pub(crate) by_code: BTreeMap<u16, (u64, String)>,
    /// Those with codes beyond the ones that are told apart.
    pub(crate) others: u64,
}

impl Closes {
    /// A peer took leave with this.
    #[cold]
    pub(crate) fn count(&mut self, code: Option<u16>, reason: &str) {
        self.add(code.unwrap_or(NO_CLOSE_CODE), 1, reason);
    }

    fn add(&mut self, code: u16, count: u64, reason: &str) {
        if self.by_code.len() >= CLOSE_CODES_MAX && !self.by_code.contains_key(&code) {
            self.others += count;
            return;
        }
        let (sum, first) = self.by_code.entry(code).or_default();
        *sum += count;
        if first.is_empty() {
            reason.clone_into(first);
        }
    }

    fn merge(&mut self, other: &Self) {
        for (code, (count, reason)) in &other.by_code {
            self.add(*code, *count, reason);
        }
        self.others += other.others;
    }
}

/// The latencies of one reactor, by stage. A histogram exists only for a stage that occurs.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    stages: [Option<Box<FineHistogram>>; Stage::COUNT],
}

impl Recorder {
    /// Room for these stages; recording into others does nothing.
    pub(crate) fn for_stages(stages: &[Stage]) -> Self {
        let mut recorder = Self::default();
        for stage in stages {
            recorder.stages[*stage as usize] = Some(Box::default());
        }
        recorder
    }

    #[inline]
    pub(crate) fn record(&mut self, stage: Stage, span: Nanos) {
        self.record_many(stage, span, 1);
    }

    /// The same for so many that took equally long.
    #[inline]
    pub(crate) fn record_many(&mut self, stage: Stage, span: Nanos, times: u32) {
        if let Some(histogram) = &mut self.stages[stage as usize] {
            histogram.record_many(span.0, times);
        }
    }

    /// The histogram of a stage, if it has one.
    pub(crate) fn stage(&self, stage: Stage) -> Option<&FineHistogram> {
        self.stages[stage as usize].as_deref()
    }

    /// What was recorded for one stage also holds for another.
    pub(crate) fn copy(&mut self, from: Stage, to: Stage) {
        self.stages[to as usize] = self.stages[from as usize].clone();
    }

    /// Adds all that another reactor recorded.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.stages.iter_mut().zip(&other.stages) {
            if let Some(theirs) = theirs {
                mine.get_or_insert_default().merge(theirs);
            }
        }
    }
}

/// What a reactor is to do next, in order. It says so when it has come to the end of one.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Step {
    /// Nothing yet.
    Waiting,
    /// Opening its connections.
    Ramp,
    /// One message over every connection.
    FirstEcho,
    /// The audit's round before the traffic.
    AuditFrom,
    /// Traffic.
    Drive,
    /// The audit's round behind it.
    AuditTo,
    /// Waiting for what is on its way.
    Drain,
    /// Closing all connections.
    Close,
}

/// What a reactor tells the coordinator.
#[derive(Debug)]
pub(crate) enum Report {
    /// A second has passed (or a step has ended, which makes the second a short one).
    Second(Box<Second>),
    /// A step is done.
    Done { reactor: usize, step: Step, at: Nanos },
    /// The measurement is over: all that was counted and recorded.
    Final { reactor: usize, last: Box<Final> },
}

/// A second in the life of a reactor.
#[derive(Debug)]
pub(crate) struct Second {
    pub(crate) reactor: usize,
    /// Which second of the run, from 0.
    pub(crate) second: u64,
    /// Whether that second is over; the end of a step reports in the middle of one.
    pub(crate) whole: bool,
    /// All counts so far.
    pub(crate) totals: Totals,
    /// Response times of what was received since the last report.
    pub(crate) response: IntervalHistogram,
    /// Service times of the same.
    pub(crate) service: IntervalHistogram,
    /// Send lag of what was sent since the last report.
    pub(crate) send_lag: IntervalHistogram,
}

/// What a reactor leaves behind.
#[derive(Debug)]
pub(crate) struct Final {
    /// What the audit brought; `None` without one.
    pub(crate) audit: Option<Box<Audited>>,
    pub(crate) totals: Totals,
    /// What became of the attempts at each address.
    pub(crate) addresses: Vec<Attempts>,
    pub(crate) causes: Causes,
    pub(crate) recorder: Recorder,
    /// How many messages of the open model were sent when.
    pub(crate) sends: SendWindows,
    /// How many were on their way when.
    pub(crate) backlog: Backlog,
    pub(crate) counters: Counters,
    /// How often bounds of the protocol were reached, by name.
    pub(crate) limits_reached: Vec<(&'static str, u64)>,
    /// The most connections it held.
    pub(crate) open_peak: u64,
    /// CPU time of its thread up to the end of the measurement.
    pub(crate) cpu: Nanos,
    /// How long the traffic phase was; zero without one.
    pub(crate) drive_time: Nanos,
    /// What that phase asked of its thread.
    pub(crate) effort: Effort,
    /// The send lag of each message, as far as no peer was in the way.
    pub(crate) own_lag: IntervalHistogram,
    /// From the start of the traffic to the last message sent, and to the last reply.
    pub(crate) last_sent: Nanos,
    pub(crate) last_reply: Nanos,
    /// How long the reactor ran, up to the end of the measurement.
    pub(crate) uptime: Nanos,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_codes_are_counted_with_their_first_reasons_and_bounded() {
        let (mut one, mut other) = (Causes::default(), Causes::default());
        one.closes.count(None, "");
        one.closes.count(Some(4401), "");
        other.closes.count(Some(4401), "login timeout");
        other.closes.count(Some(4401), "later");
        for code in 3000..3100 {
            other.closes.count(Some(code), "");
        }
        one.merge(&other);
        assert_eq!(one.closes.by_code[&1005], (1, String::new()));
        assert_eq!(one.closes.by_code[&4401], (3, "login timeout".to_owned()));
        assert_eq!(one.closes.by_code.len(), CLOSE_CODES_MAX);
        let told_apart: u64 = one.closes.by_code.values().map(|(count, _)| count).sum();
        assert_eq!(told_apart + one.closes.others, 104);
    }

    #[test]
    fn rules_are_counted_and_bounded_and_none_is_lost() {
        let (mut one, mut other) = (Causes::default(), Causes::default());
        for n in 0..100 {
            one.violated(&format!("the close code {n} must not be sent"));
            other.violated("the same again");
        }
        other.violated(&"x".repeat(10_000));
        assert_eq!(one.rules.len(), RULES_MAX + 1);
        one.merge(&other);
        assert_eq!(one.rules.len(), RULES_MAX + 1);
        assert_eq!(one.rules.values().sum::<u64>(), 201);
        assert_eq!(one.rules[OTHER_RULES], 201 - RULES_MAX as u64);
        assert!(other.rules.keys().all(|rule| rule.chars().count() <= RULE_CHARS_MAX));
    }
}

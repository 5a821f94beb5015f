//! What one reactor counts and records: on the hot path by the driver, read when it reports.

pub(crate) mod audited;
pub(crate) mod backlog;
pub(crate) mod causes;
pub(crate) mod effort;
pub(crate) mod recorder;
pub(crate) mod replies;
pub(crate) mod send_windows;
pub(crate) mod totals;

use crate::load::schedule::Schedule;
use audited::Audited;
use backlog::Backlog;
use causes::Causes;
use effort::Effort;
use measure::{IntervalHistogram, Nanos, Stage};
use reactor::{LoopTimes, Receipt};
use recorder::Recorder;
use replies::{Batch, Replies};
use send_windows::SendWindows;
use totals::{Attempts, Totals};

/// All that one reactor counts and records.
#[derive(Debug)]
pub(crate) struct Books {
    pub(crate) totals: Totals,
    /// What became of the attempts at each address.
    pub(crate) addresses: Vec<Attempts>,
    pub(crate) causes: Causes,
    /// Of this phase, and of those before it by their numbers.
    pub(crate) recorder: Recorder,
    pub(crate) by_phase: Vec<(u16, Recorder)>,
    /// Of this second.
    pub(crate) interval: Interval,
    /// The most connections that were open at a time.
    pub(crate) open_peak: u64,
    /// What the audit brings; `None` without one.
    pub(crate) audited: Option<Box<Audited>>,
    /// How many messages were sent when.
    pub(crate) sends: SendWindows,
    /// How many wait for their replies.
    pub(crate) backlog: Backlog,
    /// What the traffic asked of this thread, over the time in which messages were to be sent.
    pub(crate) effort: Effort,
    /// The send lag of each message, as far as no peer was in the way: zero for the others.
    pub(crate) own_lag: IntervalHistogram,
    pub(crate) last_sent_at: Nanos,
    pub(crate) last_reply_at: Nanos,
    /// Whether the first message of a connection is counted apart.
    first_echo: bool,
}

/// What one second is told by in the timeline.
#[derive(Debug)]
pub(crate) struct Interval {
    pub(crate) response: IntervalHistogram,
    pub(crate) service: IntervalHistogram,
    pub(crate) send_lag: IntervalHistogram,
}

impl Interval {
    fn new() -> Self {
        let new = IntervalHistogram::new;
        Self { response: new(), service: new(), send_lag: new() }
    }

    /// The next second begins.
    pub(crate) fn clear(&mut self) {
        let Self { response, service, send_lag } = self;
        for histogram in [response, service, send_lag] {
            histogram.clear();
        }
    }
}

impl Books {
    /// Of a reactor that tries so many addresses, in a run in which these stages occur.
    pub(crate) fn new(stages: &[Stage], first_echo: bool, audits: bool, addresses: usize) -> Self {
        Self {
            totals: Totals::default(),
            addresses: vec![Attempts::default(); addresses],
            causes: Causes::default(),
            recorder: Recorder::for_stages(stages),
            by_phase: Vec::new(),
            interval: Interval::new(),
            open_peak: 0,
            audited: audits.then(Box::default),
            sends: SendWindows::default(),
            backlog: Backlog::default(),
            effort: Effort::default(),
            own_lag: IntervalHistogram::new(),
            last_sent_at: Nanos::ZERO,
            last_reply_at: Nanos::ZERO,
            first_echo,
        }
    }

    /// What was recorded up to now was in this phase, which is over.
    pub(crate) fn end_phase(&mut self, number: u16) {
        self.by_phase.push((number, self.recorder.take_recorded()));
    }

    /// All phases are over: what was recorded in each makes the whole.
    pub(crate) fn end_phases(&mut self) {
        for (_, part) in &self.by_phase {
            self.recorder.merge(part);
        }
    }

    /// Messages are to be sent from `at` on, for so long; `planned`: at planned times.
    pub(crate) fn begin_traffic(&mut self, at: Nanos, duration: Nanos, planned: bool) {
        self.effort.begin();
        self.backlog.begin(at, duration);
        if planned {
            self.sends = SendWindows::for_span(duration);
        }
    }

    /// The traffic that began at `started` is over at `now`. `held_up`: see [`Backlog::look`].
    pub(crate) fn end_traffic(
        &mut self,
        now: Nanos,
        started: Nanos,
        times: &LoopTimes,
        held_up: Option<&Schedule>,
    ) {
        self.effort.end_sending(now - started, times);
        self.effort.end(now - started);
        self.backlog.end(now, &self.totals, held_up);
    }

    /// Messages leave at `now`, or are about to. `held_up`: see [`Backlog::look`].
    #[inline]
    pub(crate) fn sending(&mut self, now: Nanos, held_up: Option<&Schedule>) {
        self.backlog.look(now, &self.totals, held_up);
        self.backlog.sent(now);
    }

    /// A message leaves that was meant to do so this long ago. `held_up`: peers that took none were
    /// in the way.
    #[inline]
    pub(crate) fn send_lag(&mut self, lag: Nanos, held_up: bool) {
        self.recorder.record(Stage::SendLag, lag);
        self.interval.send_lag.record(lag.0);
        self.own_lag.record(if held_up { 0 } else { lag.0 });
    }

    /// Where the replies are entered that are complete with what is read at `now`, which was
    /// received at `receipt`.
    #[inline]
    pub(crate) fn replies(
        &mut self,
        now: Nanos,
        receipt: Receipt,
        held_up: Option<&Schedule>,
    ) -> Replies<'_> {
        self.backlog.look(now, &self.totals, held_up);
        Replies { books: self, now, receipt, batch: Batch::default() }
    }

    /// Such replies were entered.
    #[inline]
    pub(crate) fn answered(&mut self, now: Nanos) {
        self.last_reply_at = now;
        self.backlog.answered(now, self.totals.in_flight());
    }

    /// The address of this number answered an attempt.
    #[inline]
    pub(crate) fn connected(&mut self, address: u32) {
        self.addresses[address as usize].connected += 1;
    }
}

//! What a reactor tells the conductor: every second its running totals, at the end of a phase that
//! it is done, at the end of the run all that was counted and recorded.

use super::{LoadDriver, Table};
use crate::orders::{Final, Report, Second};
use crate::protocol::Protocol;
use crossbeam_channel::{Sender, TrySendError};
use measure::Nanos;
use reactor::Network;
use std::collections::VecDeque;

pub(super) const SECOND: u64 = 1_000_000_000;
/// When a report that found the channel full is tried again.
const RETRY: Nanos = Nanos::from_millis(10);

/// The way to the conductor.
#[derive(Debug)]
pub(super) struct Reports {
    sender: Sender<Report>,
    /// Reports that found the channel full; never many, see [`Reports::flush`].
    waiting: VecDeque<Report>,
    started: Nanos,
    /// The next second that is told of.
    next_second: u64,
    /// The last word is spoken: what comes from then on is no part of the result.
    pub(super) ended: bool,
}

impl Reports {
    /// Of a reactor that started at this time.
    pub(super) fn new(sender: Sender<Report>, started: Nanos) -> Self {
        Self { sender, waiting: VecDeque::new(), started, next_second: 1, ended: false }
    }

    /// Never waits: what does not fit into the channel goes with the next turn.
    pub(super) fn send(&mut self, report: Report) {
        self.waiting.push_back(report);
        self.flush();
    }

    /// Sends what waits.
    pub(super) fn flush(&mut self) {
        while let Some(report) = self.waiting.pop_front() {
            match self.sender.try_send(report) {
                Ok(()) => {}
                Err(TrySendError::Full(report)) => return self.waiting.push_front(report),
                // Nobody listens any more: the run is being abandoned.
                Err(TrySendError::Disconnected(_)) => self.waiting.clear(),
            }
        }
    }

    /// Whether nothing waits.
    pub(super) fn are_sent(&self) -> bool {
        self.waiting.is_empty()
    }

    /// When there is something to tell next.
    pub(super) fn deadline(&self, now: Nanos) -> Nanos {
        let retry = if self.are_sent() { Nanos::MAX } else { now + RETRY };
        retry.min(Nanos(self.next_second * SECOND))
    }

    /// Whether a second has ended by now, and which.
    pub(super) fn second_ended(&mut self, now: Nanos) -> Option<u64> {
        if now.0 < self.next_second * SECOND {
            return None;
        }
        let second = now.0 / SECOND;
        self.next_second = second + 1;
        Some(second - 1)
    }
}

impl<P: Protocol> LoadDriver<P> {
    /// Tells what was counted up to now, within this second. `whole`: it has ended.
    pub(super) fn report_second(&mut self, second: u64, whole: bool) {
        if self.reports.ended {
            return;
        }
        if self.reports.waiting.iter().any(|report| matches!(report, Report::Second(_))) {
            // One waits already. The counts are running totals and the histograms go on filling, so
            // the next report covers this second too.
            return;
        }
        let interval = &mut self.books.interval;
        let report = Second {
            reactor: self.index,
            second,
            whole,
            totals: self.books.totals,
            response: interval.response.clone(),
            service: interval.service.clone(),
            send_lag: interval.send_lag.clone(),
        };
        interval.clear();
        self.reports.send(Report::Second(Box::new(report)));
    }

    /// Hands over all that was counted and recorded, once.
    pub(super) fn report_final<N: Network>(&mut self, core: &Table<N, P>) {
        if self.reports.ended {
            return;
        }
        self.end_phase();
        self.reports.ended = true;
        let Self { books, protocol, .. } = self;
        books.end_phases();
        for (status, count) in protocol.statuses() {
            books.causes.answered_with(status, count);
        }
        books.totals.bytes_surplus = protocol.surplus();
        books.causes.unasked = protocol.unasked();
        books.causes.closes = protocol.closes();
        // What is still on its way will not be waited for.
        books.totals.unanswered += books.totals.in_flight();
        let mut audit = books.audited.take();
        if let Some(audit) = &mut audit {
            audit.clock_steps = core.wall_steps();
        }
        // Where the traffic never began, what was before it is no part of it.
        let started = self.traffic.started;
        let began = started > Nanos::ZERO;
        let since_start = |at: Nanos| if began { at - started } else { Nanos::ZERO };
        let last = Final {
            audit,
            totals: books.totals,
            addresses: books.addresses.clone(),
            causes: std::mem::take(&mut books.causes),
            recorder: std::mem::take(&mut books.recorder),
            by_phase: std::mem::take(&mut books.by_phase),
            sends: std::mem::take(&mut books.sends),
            backlog: std::mem::take(&mut books.backlog),
            counters: core.counters,
            tls: core.tls().filter(|_| self.load.tls).cloned().map(Box::new),
            limits_reached: protocol.limits_reached(),
            open_peak: books.open_peak,
            cpu: host::usage::thread_cpu_time(),
            drive_time: books.effort.time(),
            effort: books.effort.take(&core.times),
            own_lag: books.own_lag.clone(),
            last_sent: since_start(books.last_sent_at),
            last_reply: since_start(books.last_reply_at),
            uptime: core.now() - self.reports.started,
        };
        self.reports.send(Report::Final { reactor: self.index, last: Box::new(last) });
    }
}

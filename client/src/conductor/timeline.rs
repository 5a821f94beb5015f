//! The run second by second, over all reactors.

use super::checkpoint::Snapshot;
use crate::books::totals::Totals;
use crate::orders::Second;
use measure::IntervalHistogram;
use report::{hist, schema};
use std::collections::BTreeMap;

/// Seconds whose histograms are kept open for reports that come late.
const LATE_SECONDS: u64 = 2;

/// What happened in one second, over all reactors.
#[derive(Debug, Default)]
pub(super) struct Slice {
    pub(super) opened: u64,
    pub(super) failed: u64,
    pub(super) lost: u64,
    pub(super) ended: u64,
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) response: IntervalHistogram,
    pub(super) service: IntervalHistogram,
    pub(super) send_lag: IntervalHistogram,
}

impl Slice {
    /// As it goes into the result, behind the second before it.
    fn second(&self, second: u64, before: Option<&schema::Second>) -> schema::Second {
        let open = before.map_or(0, |before| before.open);
        schema::Second {
            second,
            opened: self.opened,
            open: (open + self.opened).saturating_sub(self.lost + self.ended),
            failed: self.failed + self.lost,
            sent: self.sent,
            received: self.received,
            response_p50_ns: self.response.quantile(0.5),
            response_p99_ns: self.response.quantile(0.99),
            response_max_ns: self.response.max(),
            response_hdr: hist::interval(&self.response),
            service_p50_ns: self.service.quantile(0.5),
            service_p99_ns: self.service.quantile(0.99),
            service_max_ns: self.service.max(),
            service_hdr: hist::interval(&self.service),
        }
    }
}

/// The run second by second. Reactors report running totals; what a second holds is the difference.
#[derive(Debug)]
pub(super) struct Timeline {
    /// The last totals of each reactor.
    totals: Vec<Totals>,
    sum: Totals,
    /// One past the last second that each reactor has reported.
    reported: Vec<u64>,
    /// Seconds that may still change.
    slices: BTreeMap<u64, Slice>,
    /// Seconds that do not.
    closed: Vec<schema::Second>,
    /// How many of those were handed over for a checkpoint.
    handed_over: usize,
    /// All seconds together.
    whole: Slice,
    empty: Slice,
}

impl Timeline {
    pub(super) fn new(reactors: usize) -> Self {
        Self {
            totals: vec![Totals::default(); reactors],
            sum: Totals::default(),
            reported: vec![0; reactors],
            slices: BTreeMap::new(),
            closed: Vec::new(),
            handed_over: 0,
            whole: Slice::default(),
            empty: Slice::default(),
        }
    }

    pub(super) fn total(&self) -> Totals {
        self.sum
    }

    pub(super) fn add(&mut self, report: &Second) {
        let before = self.totals[report.reactor];
        let now = report.totals;
        // A report for a second that is closed already goes to the first that is open.
        let second = report.second.max(self.closed.len() as u64);
        let slice = self.slices.entry(second).or_default();
        slice.opened += now.opened - before.opened;
        slice.failed += now.failed - before.failed;
        slice.lost += now.lost - before.lost;
        slice.ended += now.ended - before.ended;
        slice.sent += now.sent + now.first_sent - before.sent - before.first_sent;
        slice.received +=
            now.received + now.first_received - before.received - before.first_received;
        slice.response.merge(&report.response);
        slice.service.merge(&report.service);
        slice.send_lag.merge(&report.send_lag);
        self.whole.response.merge(&report.response);
        self.whole.service.merge(&report.service);
        self.whole.send_lag.merge(&report.send_lag);
        self.settle(report.reactor, now);
        self.reported[report.reactor] = report.second + u64::from(report.whole);
        while (self.closed.len() as u64) + LATE_SECONDS < second {
            self.close_next();
        }
    }

    /// The totals of a reactor, as it reported them last.
    pub(super) fn settle(&mut self, reactor: usize, totals: Totals) {
        self.totals[reactor] = totals;
        self.sum = Totals::default();
        for totals in &self.totals {
            self.sum.merge(totals);
        }
    }

    /// The latest second that every reactor has reported.
    pub(super) fn last_whole_second(&self) -> &Slice {
        let whole = self.reported.iter().copied().min().unwrap_or(0);
        self.slices.range(..whole).next_back().map_or(&self.empty, |(_, slice)| slice)
    }

    fn close_next(&mut self) {
        let second = self.closed.len() as u64;
        let slice = self.slices.remove(&second).unwrap_or_default();
        self.closed.push(slice.second(second, self.closed.last()));
    }

    /// What is new since the last one, and what stands now.
    pub(super) fn snapshot(&mut self) -> Snapshot {
        let closed = self.closed[self.handed_over..].to_vec();
        self.handed_over = self.closed.len();
        let mut open: Vec<schema::Second> = Vec::new();
        let last = self.slices.keys().next_back().map_or(0, |last| last + 1);
        for second in self.closed.len() as u64..last {
            let slice = self.slices.get(&second).unwrap_or(&self.empty);
            open.push(slice.second(second, open.last().or_else(|| self.closed.last())));
        }
        let Slice { response, service, send_lag, .. } = &self.whole;
        Snapshot {
            closed,
            open,
            totals: self.sum,
            response: response.clone(),
            service: service.clone(),
            send_lag: send_lag.clone(),
            ..Snapshot::default()
        }
    }

    pub(super) fn finish(&mut self) -> Vec<schema::Second> {
        while !self.slices.is_empty() {
            self.close_next();
        }
        std::mem::take(&mut self.closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(reactor: usize, second: u64, opened: u64, received: u64, latency: u64) -> Second {
        let mut response = IntervalHistogram::new();
        response.record(latency);
        let totals = Totals { opened, received, sent: received, ..Totals::default() };
        let (service, send_lag) = (response.clone(), IntervalHistogram::new());
        Second { reactor, second, whole: true, totals, response, service, send_lag }
    }

    #[test]
    fn seconds_are_the_differences_of_totals_over_all_reactors() {
        let mut timeline = Timeline::new(2);
        timeline.add(&report(0, 0, 5, 0, 100));
        timeline.add(&report(1, 0, 6, 0, 200));
        timeline.add(&report(0, 1, 5, 10, 300));
        timeline.add(&report(1, 3, 6, 20, 400));
        let total = timeline.total();
        assert_eq!((total.opened, total.received), (11, 30));
        let seconds = timeline.finish();
        let column =
            |field: fn(&schema::Second) -> u64| seconds.iter().map(field).collect::<Vec<_>>();
        assert_eq!(column(|s| s.second), [0, 1, 2, 3]);
        assert_eq!(column(|s| s.opened), [11, 0, 0, 0]);
        assert_eq!(column(|s| s.open), [11, 11, 11, 11]);
        assert_eq!(column(|s| s.received), [0, 10, 0, 20]);
        assert_eq!(seconds[0].response_max_ns, Some(200));
        assert_eq!(seconds[0].service_max_ns, Some(200));
        assert_eq!(seconds[2].response_max_ns, None);
        let all = |second: usize| {
            seconds[second].response_hdr.as_ref().map(|hdr| hist::decode(hdr).map(|all| all.len()))
        };
        assert_eq!((all(0), all(2)), (Some(Ok(2)), None));
    }

    #[test]
    fn each_second_is_handed_over_once_when_it_is_closed_and_whatever_is_open_each_time() {
        let mut timeline = Timeline::new(1);
        let numbers = |seconds: &[schema::Second]| -> Vec<u64> {
            seconds.iter().map(|second| second.second).collect()
        };
        timeline.add(&report(0, 0, 5, 1, 100));
        timeline.add(&report(0, 1, 6, 2, 200));
        let first = timeline.snapshot();
        assert_eq!((numbers(&first.closed), numbers(&first.open)), (vec![], vec![0, 1]));
        assert_eq!((first.open[1].open, first.totals.opened, first.response.count()), (6, 6, 2));
        timeline.add(&report(0, 4, 6, 3, 300));
        let second = timeline.snapshot();
        assert_eq!((numbers(&second.closed), numbers(&second.open)), (vec![0, 1], vec![2, 3, 4]));
        assert_eq!((second.open[2].received, second.response.count()), (1, 3));
        timeline.add(&report(0, 5, 6, 4, 300));
        assert_eq!(numbers(&timeline.snapshot().closed), [2]);
        assert_eq!(numbers(&timeline.finish()), [0, 1, 2, 3, 4, 5], "the result lacks none");
    }

    #[test]
    fn a_late_report_loses_nothing() {
        let mut timeline = Timeline::new(2);
        timeline.add(&report(0, 9, 1, 1, 100));
        timeline.add(&report(1, 2, 1, 7, 200));
        let seconds = timeline.finish();
        assert_eq!(seconds.iter().map(|s| s.received).sum::<u64>(), 8);
        assert_eq!(seconds.len(), 10);
    }
}

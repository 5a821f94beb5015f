//! The backlog of one reactor while messages are sent: how many are due and not answered at evenly
//! spaced marks of the planned time, what was answered within it, and the long silences of the
//! server.
//!
//! A mark is taken by the first thing that happens at or behind it, *before* that is counted: until
//! then nothing has changed, so the figure is exact however rarely a reactor wakes up.

use crate::books::totals::Totals;
use crate::load::schedule::Schedule;
use measure::Nanos;

/// Marks over the planned time, the one at its end included.
pub(crate) const MARKS: u64 = 60;

/// A silence shorter than this is not kept: half of what is told, since that of several reactors is
/// what theirs have in common.
const KEPT_FROM: Nanos = Nanos(report::server::SILENCE.0 / 2);
/// The most silences that are kept; then the shortest gives way. A server that stands still for 100
/// ms a hundred times is no longer told by its longest.
const KEPT_MAX: usize = 64;

/// What one reactor knows of its backlog. Times count from the start of the traffic.
#[derive(Clone, Debug)]
pub(crate) struct Backlog {
    started: Nanos,
    span: Nanos,
    /// When the next mark is due; [`Nanos::MAX`] before the traffic and behind its last mark.
    due: Nanos,
    /// Messages on their way at each mark, and those that were due and waited for their peers.
    pub(crate) marks: Vec<u64>,
    /// Those that waited.
    pub(crate) waiting: Vec<u64>,
    /// What was counted at the last of them, and how many waited.
    at_end: Option<(Totals, u64)>,
    /// Since when no reply has come although messages are on their way; `None`: none is.
    quiet_since: Option<Nanos>,
    /// Such times that were long, in their order: from, to. Several reactors may have had their
    /// longest at different stalls, so the longest alone would not do.
    pub(crate) silences: Vec<(Nanos, Nanos)>,
}

impl Default for Backlog {
    fn default() -> Self {
        Self {
            started: Nanos::ZERO,
            span: Nanos::ZERO,
            due: Nanos::MAX,
            marks: Vec::new(),
            waiting: Vec::new(),
            at_end: None,
            quiet_since: None,
            silences: Vec::new(),
        }
    }
}

impl Backlog {
    /// Messages are sent from `started` on, for `span`.
    pub(crate) fn begin(&mut self, started: Nanos, span: Nanos) {
        let (marks, waiting) =
            (Vec::with_capacity(MARKS as usize), Vec::with_capacity(MARKS as usize));
        let silences = Vec::with_capacity(KEPT_MAX);
        let due = started + at(span, 1);
        *self = Self { started, span, due, marks, waiting, silences, ..Self::default() };
    }

    /// To be called with the time of whatever is about to be counted. `held_up`: what is still to
    /// be sent, if its peers hold that up.
    #[inline]
    pub(crate) fn look(&mut self, now: Nanos, totals: &Totals, held_up: Option<&Schedule>) {
        if now >= self.due {
            self.mark(now, totals, held_up);
        }
    }

    #[cold]
    fn mark(&mut self, now: Nanos, totals: &Totals, held_up: Option<&Schedule>) {
        while now >= self.due {
            let waiting = self.waiting_at(self.due, held_up);
            self.marks.push(totals.in_flight() + waiting);
            self.waiting.push(waiting);
            let passed = self.marks.len() as u64;
            if passed == MARKS {
                self.due = Nanos::MAX;
                self.at_end = Some((*totals, waiting));
            } else {
                self.due = self.started + at(self.span, passed + 1);
            }
        }
    }

    fn waiting_at(&self, at: Nanos, held_up: Option<&Schedule>) -> u64 {
        held_up.map_or(0, |schedule| schedule.overdue(at - self.started))
    }

    /// Messages leave at `now`.
    #[inline]
    pub(crate) fn sent(&mut self, now: Nanos) {
        if self.quiet_since.is_none() {
            self.quiet_since = Some(now);
        }
    }

    /// Replies came at `now`, and `in_flight` messages are still on their way.
    #[inline]
    pub(crate) fn answered(&mut self, now: Nanos, in_flight: u64) {
        if let Some(since) = self.quiet_since
            && now - since >= KEPT_FROM
        {
            self.keep(since, now);
        }
        self.quiet_since = (in_flight > 0).then_some(now);
    }

    #[cold]
    fn keep(&mut self, from: Nanos, to: Nanos) {
        if self.silences.len() == KEPT_MAX {
            let shortest =
                self.silences.iter().enumerate().min_by_key(|(_, (from, to))| *to - *from);
            let Some((index, shortest)) = shortest.map(|(index, (from, to))| (index, *to - *from))
            else {
                return;
            };
            if to - from <= shortest {
                return;
            }
            self.silences.remove(index);
        }
        self.silences.push((from, to));
    }

    /// The traffic is over, at `now`, be it before the planned time was. What was counted at its
    /// end, or is by now.
    pub(crate) fn end(&mut self, now: Nanos, totals: &Totals, held_up: Option<&Schedule>) {
        self.look(now, totals, held_up);
        if self.quiet_since.is_some() && totals.in_flight() > 0 {
            self.answered(now, 0);
        }
        let end = self.started + self.span;
        self.silences.retain(|(from, _)| *from < end);
        for (from, to) in &mut self.silences {
            (*from, *to) = (*from - self.started, *to - self.started);
        }
        self.quiet_since = None;
        self.due = Nanos::MAX;
        let waiting = self.waiting_at(now.min(end), held_up);
        self.at_end.get_or_insert((*totals, waiting));
    }

    /// Replies within the planned time that brought what was asked for.
    pub(crate) fn served(&self) -> u64 {
        self.at_end.map_or(0, |(totals, _)| totals.received.saturating_sub(totals.unserved))
    }

    /// Messages that were due and not answered at the end of it.
    pub(crate) fn at_end(&self) -> u64 {
        self.at_end.map_or(0, |(totals, waiting)| totals.in_flight() + waiting)
    }
}

/// When the mark of this number is due, from the start of a time so long.
fn at(span: Nanos, mark: u64) -> Nanos {
    Nanos((u128::from(span.0) * u128::from(mark) / u128::from(MARKS)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::schedule::Arrivals;

    fn totals(sent: u64, received: u64) -> Totals {
        Totals { sent, received, ..Totals::default() }
    }

    #[test]
    fn a_reply_behind_the_end_is_not_within_the_time_however_late_the_reactor_wakes() {
        let mut backlog = Backlog::default();
        let second = Nanos::from_secs(1);
        backlog.begin(second, Nanos::from_secs(6));
        backlog.look(Nanos::from_millis(1_099), &totals(1, 0), None);
        assert_eq!(backlog.marks, [0; 0]);
        backlog.look(Nanos::from_millis(1_100), &totals(3, 1), None);
        assert_eq!(backlog.marks, [2]);
        // Nothing happened for five seconds: the marks between hold what was on its way all along.
        backlog.look(Nanos::from_millis(6_100), &totals(10, 4), None);
        assert_eq!(backlog.marks.len(), 51);
        assert!(backlog.marks[1..].iter().all(|count| *count == 6));
        // The first thing behind the end is a reply: it is looked at before it counts.
        backlog.look(Nanos::from_secs(9), &totals(10, 5), None);
        backlog.end(Nanos::from_secs(10), &totals(10, 10), None);
        assert_eq!((backlog.marks.len(), backlog.served(), backlog.at_end()), (60, 5, 5));
    }

    #[test]
    fn what_is_due_and_waits_for_busy_peers_is_owed() {
        // 100 a second are due, one of which was sent and answered: all the others wait.
        let mut schedule = Schedule::new(Arrivals::Uniform, 100.0, Nanos::from_secs(6), (0, 1), 1);
        schedule.advance();
        let (mut backlog, second) = (Backlog::default(), Nanos::from_secs(1));
        backlog.begin(second, Nanos::from_secs(6));
        backlog.look(Nanos::from_millis(1_100), &totals(1, 1), None);
        backlog.look(Nanos::from_millis(4_000), &totals(3, 1), Some(&schedule));
        assert_eq!((backlog.marks.len(), backlog.waiting.len()), (30, 30));
        // Due by 0.2 s: 0, 10, … 200 ms.
        assert_eq!((backlog.waiting[0], backlog.waiting[1], backlog.marks[1]), (0, 20, 22));
        assert_eq!((backlog.waiting[29], backlog.marks[29]), (300, 302));
        backlog.end(Nanos::from_millis(4_050), &totals(3, 1), Some(&schedule));
        assert_eq!((backlog.served(), backlog.at_end()), (1, 307));
    }

    #[test]
    fn a_run_that_is_cut_short_is_told_as_far_as_it_went() {
        let mut backlog = Backlog::default();
        backlog.begin(Nanos::ZERO, Nanos::from_secs(60));
        backlog.end(Nanos::from_millis(2_500), &totals(9, 5), None);
        assert_eq!((backlog.marks.len(), backlog.served(), backlog.at_end()), (2, 5, 4));
    }

    #[test]
    fn silence_is_only_where_an_answer_is_owed() {
        let (mut backlog, at) = (Backlog::default(), Nanos::from_millis);
        backlog.begin(at(1_000), Nanos::from_secs(10));
        backlog.sent(at(1_000));
        backlog.answered(at(1_010), 0);
        // Nobody asks for 5 s, then an answer takes 300 ms, with more asked meanwhile.
        backlog.sent(at(6_000));
        backlog.sent(at(6_200));
        backlog.answered(at(6_300), 1);
        backlog.answered(at(6_310), 0);
        backlog.end(at(11_000), &totals(3, 3), None);
        assert_eq!(backlog.silences, [(at(5_000), at(5_300))]);
        // One that lasts to the end counts up to there.
        backlog.begin(at(0), Nanos::from_secs(10));
        backlog.sent(at(8_000));
        backlog.end(at(12_000), &totals(1, 0), None);
        assert_eq!(backlog.silences, [(at(8_000), at(12_000))]);
        // The shortest give way where there are many.
        backlog.begin(at(0), Nanos::from_secs(100));
        for number in 0..70 {
            backlog.sent(at(1_000 * number));
            backlog.answered(at(1_000 * number + 200 + number), 0);
        }
        backlog.end(at(100_000), &totals(70, 70), None);
        assert_eq!(backlog.silences.len(), KEPT_MAX);
        assert_eq!(backlog.silences[0], (at(6_000), at(6_206)));
    }
}

//! The section `messages`: what was sent and answered, in which time, and what waited.

use crate::books::backlog::{Backlog, MARKS};
use crate::conductor::Measured;
use crate::load::pace::Pace;
use crate::plan::Plan;
use measure::Nanos;
use report::schema;

pub(super) fn messages_of(plan: &Plan, measured: &Measured) -> schema::Messages {
    let (totals, size) = (&measured.totals, plan.load.size as u64);
    let unasked = &measured.causes.unasked;
    let (http, time) = (plan.record.http.is_some(), traffic_time(plan, measured));
    let had_traffic = plan.record.model != schema::Model::None;
    schema::Messages {
        planned: messages_planned(plan),
        // Nothing is waited for any more.
        lost: totals.sent.saturating_sub(totals.received),
        unasked: unasked.messages,
        unasked_bytes: unasked.bytes,
        unasked_first: (unasked.messages > 0).then(|| wire::shown(&unasked.first)),
        bytes_read: Some(measured.finals.values().map(|last| last.counters.bytes_received).sum()),
        seconds: time.map_or(0.0, Nanos::as_secs_f64),
        rate_planned: plan.record.rate_per_second,
        served: sum(measured, |backlog| backlog.served()),
        served_seconds: planned_seconds(plan.load.duration, measured),
        backlog_at_end: had_traffic.then(|| sum(measured, |backlog| backlog.at_end())),
        backlog: marks(measured, |backlog| &backlog.marks),
        waiting: marks(measured, |backlog| &backlog.waiting),
        backlog_step_seconds: match had_traffic {
            true => plan.load.duration.as_secs_f64() / MARKS as f64,
            false => 0.0,
        },
        first_echo: measured.first_echo.map(|took| schema::FirstEcho {
            planned: measured.first_echo_planned,
            sent: totals.first_sent,
            received: totals.first_received,
            unserved: totals.first_unserved,
            seconds: took.as_secs_f64(),
            ..schema::FirstEcho::default()
        }),
        ..totals.messages(size, http)
    }
}

/// How long messages were sent: the duration as planned, less if the run was cut short, more if the
/// generator was late. The closed model sends when replies come, so there it is the last of those.
pub(super) fn traffic_time(plan: &Plan, measured: &Measured) -> Option<Nanos> {
    let open = plan.record.model == schema::Model::Open;
    let span = measured.finals.values().map(|last| {
        let on_the_way = if open { last.last_sent } else { last.last_reply };
        last.drive_time.min(plan.load.duration).max(on_the_way)
    });
    span.max()
}

/// How many messages the open model is to send.
pub(super) fn messages_planned(plan: &Plan) -> Option<u64> {
    let rate = plan.record.rate_per_second.filter(|_| plan.record.model == schema::Model::Open)?;
    Some(Pace::new(rate).count_before(plan.load.duration))
}

/// A count of all reactors' backlogs.
fn sum(measured: &Measured, of: fn(&Backlog) -> u64) -> u64 {
    measured.finals.values().map(|last| of(&last.backlog)).sum()
}

/// The time that was planned for the traffic; of a run that somebody ended, as far as it came to
/// pass. One that ended by itself, since no connection was left, had all of it to serve in.
fn planned_seconds(duration: Nanos, measured: &Measured) -> f64 {
    let longest = measured.finals.values().map(|last| last.drive_time).max();
    let longest = longest.unwrap_or_default();
    let cut_short = measured.halt_interrupted || longest == Nanos::ZERO;
    if cut_short { longest.min(duration).as_secs_f64() } else { duration.as_secs_f64() }
}

/// A row of counts, one for each of the marks that every reactor has come to.
fn marks(measured: &Measured, of: fn(&Backlog) -> &Vec<u64>) -> Vec<u64> {
    let each = || measured.finals.values().map(|last| of(&last.backlog));
    let count = each().map(Vec::len).min().unwrap_or(0);
    (0..count).map(|mark| each().map(|marks| marks[mark]).sum()).collect()
}

/// The longest time in which no reactor that had something on its way heard an answer.
pub(super) fn silence(measured: &Measured) -> Option<(Nanos, Nanos)> {
    let with_traffic = measured.finals.values().filter(|last| last.totals.sent > 0);
    let common = with_traffic
        .map(|last| last.backlog.silences.clone())
        .reduce(|common, next| in_common(&common, &next))?;
    common.into_iter().max_by_key(|(from, to)| *to - *from)
}

/// The times that lie in both, each of which is in order and overlaps none of its own.
fn in_common(one: &[(Nanos, Nanos)], other: &[(Nanos, Nanos)]) -> Vec<(Nanos, Nanos)> {
    let (mut at, mut common) = ((0, 0), Vec::new());
    while let (Some(a), Some(b)) = (one.get(at.0), other.get(at.1)) {
        let (from, to) = (a.0.max(b.0), a.1.min(b.1));
        if from < to {
            common.push((from, to));
        }
        if a.1 < b.1 { at.0 += 1 } else { at.1 += 1 }
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_what_the_silences_of_all_reactors_have_in_common() {
        let spans = |spans: &[(u64, u64)]| -> Vec<(Nanos, Nanos)> {
            spans.iter().map(|(from, to)| (Nanos(*from), Nanos(*to))).collect()
        };
        // Of two stalls one reactor felt the first for longer, the other the second.
        let (one, other) = (spans(&[(10, 20), (40, 49)]), spans(&[(11, 19), (40, 50)]));
        assert_eq!(in_common(&one, &other), spans(&[(11, 19), (40, 49)]));
        assert_eq!(in_common(&other, &one), spans(&[(11, 19), (40, 49)]));
        assert_eq!(in_common(&one, &spans(&[(20, 40)])), []);
        assert_eq!(in_common(&one, &spans(&[(0, 90)])), one);
        assert_eq!(
            in_common(&spans(&[(0, 9)]), &spans(&[(1, 2), (3, 4)])),
            spans(&[(1, 2), (3, 4)])
        );
    }
}
